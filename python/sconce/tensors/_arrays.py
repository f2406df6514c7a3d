"""Arrays of a framework made of bytes. Internal to sconce.tensors."""

import numpy as np

# Name in the file -> name in numpy (those that numpy lacks come from ml_dtypes) and in torch.
NUMPY = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "I16": "int16", "U16": "uint16", "I32": "int32",
    "U32": "uint32", "I64": "int64", "U64": "uint64", "F16": "float16", "F32": "float32",
    "F64": "float64", "C64": "complex64", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
TORCH = {**NUMPY, "F4": "float4_e2m1fn_x2"}


class Numpy:
    """`of(base, offset, size, dtype, shape)`: an array over a part of `base`, a 1-D uint8 array."""

    def __init__(self, error):
        self.error = error

    def dtype(self, name):
        if name not in NUMPY:
            raise self.error(f"numpy has no element type for {name}")
        try:
            return np.dtype(NUMPY[name])
        except TypeError:
            pass
        try:
            import ml_dtypes
            return np.dtype(getattr(ml_dtypes, NUMPY[name]))
        except (ImportError, AttributeError):
            raise self.error(f"numpy has no {NUMPY[name]}: install ml_dtypes, or open the file for torch")

    def base(self, array):
        return array

    def of(self, base, offset, size, dtype, shape):
        dtype = self.dtype(dtype)
        if size == 0:
            return np.zeros(shape, dtype)
        return base[offset:offset + size].view(dtype).reshape(shape)

    def own(self, tensor):
        return tensor.copy()

    def to(self, tensor, device):
        return tensor


class Torch:
    def __init__(self, error):
        import torch
        self.torch, self.error = torch, error
        self.dtypes = {name: getattr(torch, text) for name, text in TORCH.items() if hasattr(torch, text)}

    def base(self, array):
        return self.torch.from_numpy(array) if array.size else self.torch.empty(0, dtype=self.torch.uint8)

    def of(self, base, offset, size, dtype, shape):
        torch = self.torch
        if dtype not in self.dtypes:
            raise self.error(f"this torch has no element type for {dtype}")
        wanted = self.dtypes[dtype]
        if dtype == "F4":  # torch counts pairs
            if not shape or shape[-1] % 2:
                raise self.error(f"F4 of shape {list(shape)} has no pairs in its last dimension")
            shape = (*shape[:-1], shape[-1] // 2)
        if size == 0:
            return torch.empty(shape, dtype=wanted)
        part = base[offset:offset + size]
        if (part.data_ptr() % wanted.itemsize) or (part.storage_offset() % wanted.itemsize):
            part = part.clone()  # files of old writers hold unaligned tensors
        return part.view(wanted).view(shape)

    def own(self, tensor):
        return tensor

    def to(self, tensor, device):
        return tensor if device == "cpu" else tensor.to(device)
