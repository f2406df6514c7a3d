"""Tensor files as torch tensors: save, save_file, load, load_file, save_model, load_model as in
safetensors.torch."""

import torch

from . import TensorSpec, load as _load, load_file as _load_file, serialize, serialize_file

__all__ = ["load", "load_file", "load_model", "save", "save_file", "save_model"]


def _range(tensor):
    """(device, first byte, byte past the last) that the tensor touches; None when it touches none."""
    if tensor.device.type == "meta" or tensor.numel() == 0 or tensor.layout != torch.strided:
        return None
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride()))
    start = tensor.data_ptr()
    return (tensor.device, start, start + (last + 1) * tensor.element_size()) if start else None


def _shared(tensors):
    """Groups of names whose tensors have bytes in common, each sorted."""
    spans = sorted(((str(span[0]), span[1], span[2], name) for name, tensor in tensors.items()
                    if (span := _range(tensor)) is not None))
    groups, current, reach = [], [], None
    for device, start, end, name in spans:
        if current and reach[0] == device and start < reach[1]:
            current.append(name)
            reach = (device, max(reach[1], end))
            continue
        groups.append(current)
        current, reach = [name], (device, end)
    groups.append(current)
    return [sorted(group) for group in groups if len(group) > 1]


def _specs(tensors, keep):
    if not isinstance(tensors, dict):
        raise ValueError(f"Expected a dict of [str, torch.Tensor] but received {type(tensors)}")
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"Key `{name}` is invalid, expected torch.Tensor but received {type(tensor)}")
    sparse = [name for name, tensor in tensors.items() if tensor.layout != torch.strided]
    if sparse:
        raise ValueError(f"sparse tensors have no place in the format: {sparse}; make them dense with "
                         "to_dense(), which may need much more room")
    shared = _shared(tensors)
    if shared:
        raise RuntimeError(f"these tensors share memory: {shared}. A file would hold each in full and "
                           "loading would not share them again: use save_model, or clone them")
    specs = {}
    for name, tensor in tensors.items():
        if not tensor.is_contiguous():
            raise ValueError(f"tensor `{name}` is not contiguous: call .contiguous() first, or it would not "
                             "be loaded as it is")
        host = tensor.detach().resolve_conj().resolve_neg().to("cpu")
        keep.append(host)
        specs[name] = TensorSpec(dtype=str(host.dtype).removeprefix("torch."), shape=list(host.shape),
                                 data_ptr=host.data_ptr(), data_len=host.numel() * host.element_size())
    return specs


def save(tensors, metadata=None):
    keep = []  # tensors live until their bytes are copied
    return serialize(_specs(tensors, keep), metadata)


def save_file(tensors, filename, metadata=None, **options):
    keep = []
    serialize_file(_specs(tensors, keep), filename, metadata, **options)


def load(data):
    return _load(data, "pt")


def load_file(filename, device="cpu", *, backend="mmap", accept="standard"):
    return _load_file(filename, "pt", device, backend=backend, accept=accept)


def save_model(model, filename, metadata=None, force_contiguous=True):
    """Writes a module; of names that mean the same tensor one is kept, the others go to the metadata."""
    state = {name: tensor for name, tensor in model.state_dict().items()}
    metadata = dict(metadata or {})
    for group in _shared(state):
        whole = [name for name in group if state[name].untyped_storage().nbytes()
                 == state[name].numel() * state[name].element_size()]
        spans = {_range(state[name]) for name in group}
        if not whole or len(spans) > 1 and any(
                _range(state[name])[1] < _range(state[whole[0]])[1]
                or _range(state[name])[2] > _range(state[whole[0]])[2] for name in group):
            raise RuntimeError(f"none of {group} holds all the memory that they share")
        for name in group:
            if name == whole[0]:
                continue
            if _range(state[name]) != _range(state[whole[0]]) or state[name].shape != state[whole[0]].shape:
                raise RuntimeError(f"{name} is a part of {whole[0]}: the format cannot say so")
            del state[name]
            metadata[name] = whole[0]
    if force_contiguous:
        state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, filename, metadata)


def load_model(model, filename, strict=True, device="cpu"):
    """Fills a module from a file of save_model. Gives (missing, unexpected) names."""
    state = load_file(filename, device=device)
    groups = _shared(model.state_dict())
    for group in groups:
        kept = [name for name in group if name in state]
        if len(kept) == 1:
            for name in group:
                state.setdefault(name, state[kept[0]])
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing, unexpected = sorted(missing), sorted(unexpected)
    if strict and (missing or unexpected):
        raise RuntimeError(f"{type(model).__name__}: missing in the file: {missing}; unexpected: {unexpected}")
    return set(missing), unexpected
