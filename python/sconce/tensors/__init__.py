"""Tensor files: .safetensors and sets of them, as arrays of numpy or torch.

    from sconce.tensors import safe_open
    from sconce.tensors.torch import load_file, save_file        # or sconce.tensors.numpy

    save_file({"weight": w}, "model.safetensors")
    tensors = load_file("model.safetensors")                     # or model.safetensors.index.json
    with safe_open("model.safetensors", "pt") as f:
        half = f.get_slice("weight")[:512]

Names, arguments and exceptions are those of the package safetensors, so that changing the import is
enough. What differs: names that stand in a file twice are refused (`accept="reference"` takes the
last, as safetensors does), sets in shards open as one file, metadata is written in order of its keys.
"""

import os

from .. import _tensors
from .._tensors import SafetensorError, TensorSpec, deserialize, serialize, serialize_file
from . import _arrays

__all__ = ["SafetensorError", "TensorSpec", "deserialize", "load", "load_file", "safe_open", "save",
           "save_file", "serialize", "serialize_file"]

_FRAMEWORKS = {"pt": "pytorch", "torch": "pytorch", "pytorch": "pytorch", "np": "numpy", "numpy": "numpy"}
_DEVICES = ("cuda", "mps", "npu", "xpu", "xla", "mlu", "musa", "hpu")


def _check_device(device):
    """What torch is given for `device`: text, or a number that torch interprets."""
    if device is None or device == "cpu":
        return "cpu"
    if isinstance(device, int) and not isinstance(device, bool) and device >= 0:
        return device
    text = device if isinstance(device, str) else str(device)
    kind, colon, number = text.partition(":")
    if text == "cpu":
        return text
    if kind not in _DEVICES or (colon and not number.isdecimal()):
        raise SafetensorError(f"device {text} is invalid")
    if kind == "mps":
        if colon and int(number) != 0:
            raise SafetensorError(f"device {text} is invalid: only mps or mps:0 is supported")
        return "mps"
    return text if colon else f"{kind}:0"


class safe_open:
    """Opens a file, or a set through its index; tensors are made as asked for.

    `backend="mmap"` maps the file: torch tensors are views of it, written only in memory; `"pread"`
    reads into memory of their own, and get_tensors() does so with several threads into huge pages,
    which then live as long as any one of its tensors. Safe to use from several threads.
    """

    def __init__(self, filename, framework, device="cpu", *, backend="mmap", accept="standard"):
        if framework not in _FRAMEWORKS:
            raise SafetensorError(f"framework {framework} is invalid, wanted pt or np")
        if backend not in ("mmap", "pread"):
            raise SafetensorError(f'backend "{backend}" is invalid (expected one of: "mmap", "pread")')
        path = os.fsdecode(filename)
        if not os.path.exists(path):
            raise FileNotFoundError(f"No such file or directory: {path}")
        name = _FRAMEWORKS[framework]
        self._device = _check_device(device)
        if name == "numpy" and self._device != "cpu":
            raise SafetensorError(f"Device {self._device} is not supported for framework numpy")
        self._file = _tensors.File(path, accept)
        self._make = _arrays.Torch(SafetensorError) if name == "pytorch" else _arrays.Numpy(SafetensorError)
        self._backend = backend
        self._mapped = None

    def _open_file(self):
        if self._file is None:
            raise SafetensorError("File is closed")
        return self._file

    def _info(self, name):
        info = self._open_file().info(name)
        if info is None:
            raise SafetensorError(f"File does not contain tensor {name}")
        return info

    def _views(self, method):
        """{name: tensor} over the memory of all shards."""
        tensors = {}
        for array, rows in self._open_file().load(method).shards():
            base = self._make.base(array)
            for name, dtype, shape, offset, size in rows:
                tensors[name] = (base, offset, size, dtype, shape)
        return tensors

    def keys(self):
        return self._open_file().keys()

    def offset_keys(self):
        return self._open_file().offset_keys()

    def metadata(self):
        return self._open_file().metadata()

    def get_tensor(self, name):
        dtype, shape, size = self._info(name)
        if self._backend == "pread":
            import numpy as np
            array = np.empty(size, np.uint8)
            self._file.read_into(name, array)
            return self._make.to(self._make.of(self._make.base(array), 0, size, dtype, shape), self._device)
        if self._mapped is None:
            self._mapped = self._views("map")
        return self._make.to(self._make.own(self._make.of(*self._mapped[name])), self._device)

    def get_tensors(self):
        if self._backend == "pread":
            return {name: self._make.to(self._make.of(*place), self._device)
                    for name, place in self._views("read").items()}
        return {name: self.get_tensor(name) for name in self.offset_keys()}

    def get_slice(self, name):
        dtype, shape, _ = self._info(name)
        return _Slice(self, self._open_file(), name, dtype, shape)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file = self._mapped = None


class _Slice:
    """A tensor of which parts can be taken with [...]: integers, ranges without step."""

    def __init__(self, opened, file, name, dtype, shape):
        self._opened, self._file, self._name, self._dtype, self._shape = opened, file, name, dtype, shape

    def get_shape(self):
        return list(self._shape)

    def get_dtype(self):
        return self._dtype

    def __getitem__(self, index):
        if isinstance(index, list):
            if index:
                raise SafetensorError("Non empty lists are not implemented")
            index = (slice(0, 0),)
        index = index if isinstance(index, tuple) else (index,)
        if Ellipsis in index or None in index:
            raise TypeError("'...' and None are not implemented: give integers and ranges")
        ranges, texts = [], []
        for at, (item, size) in enumerate(zip(index, self._shape)):
            if isinstance(item, slice):
                start = 0 if item.start is None else item.start.__index__()
                stop = size if item.stop is None else item.stop.__index__()
                if start < 0 or stop < 0:
                    raise OverflowError(f"negative ends of a range are not implemented: {start}:{stop}")
                if item.step not in (None, 1):
                    raise SafetensorError(f"dimension {at}: ranges with a step are not implemented")
                ranges.append((start, stop, False))
                texts.append(f"{'' if item.start is None else start}:{'' if item.stop is None else stop}")
            else:
                place = item.__index__()
                if place < -size:
                    raise SafetensorError(f"Invalid index {place} for dimension {at} of size {size}")
                place += size if place < 0 else 0
                ranges.append((place, place + 1, True))
                texts.append(str(place))
        for at in reversed(range(len(ranges))):
            (start, stop, _), size = ranges[at], self._shape[at]
            if start >= size or stop > size or stop < start:
                wrong = start if start >= size else max(stop - 1, 0)
                raise SafetensorError(
                    f"Error during slicing [{', '.join(texts)}] with shape {list(self._shape)}: "
                    f"index {wrong} out of bounds for tensor dimension #{at} of size {size}")
        data, shape = self._file.slice(self._name, ranges)
        import numpy as np
        make = self._opened._make
        base = make.base(np.frombuffer(data, np.uint8))
        return make.to(make.of(base, 0, len(data), self._dtype, shape), self._opened._device)


class _safe_open_handle(safe_open):
    """The same of an open Python file that has a name."""

    def __init__(self, f, framework, device="cpu", *, backend="mmap", accept="standard"):
        f.fileno  # as the original: what is no file raises AttributeError
        super().__init__(f.name, framework, device, backend=backend, accept=accept)


def _module_for(tensors):
    kind = next((type(t).__module__.partition(".")[0] for t in tensors.values()), "numpy")
    if kind == "torch":
        from . import torch
        return torch
    from . import numpy
    return numpy


def save_file(tensors, filename, metadata=None):
    """Writes {name: array or tensor} of numpy or torch, whole or not at all."""
    _module_for(tensors).save_file(tensors, filename, metadata)


def save(tensors, metadata=None):
    """The bytes that save_file would write."""
    return _module_for(tensors).save(tensors, metadata)


def load_file(filename, framework="np", device="cpu", *, backend="mmap", accept="standard"):
    """{name: array or tensor} of a file, or of a set through its index."""
    with safe_open(filename, framework, device, backend=backend, accept=accept) as f:
        return f.get_tensors()


def load(data, framework="np"):
    """{name: array or tensor} of the bytes of a file."""
    import numpy as np
    make = _arrays.Torch(SafetensorError) if _FRAMEWORKS.get(framework) == "pytorch" else _arrays.Numpy(SafetensorError)
    return {name: make.of(make.base(np.frombuffer(item["data"], np.uint8)), 0, len(item["data"]),
                          item["dtype"], tuple(item["shape"]))
            for name, item in deserialize(data)}
