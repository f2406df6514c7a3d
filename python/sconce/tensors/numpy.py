"""Tensor files as numpy arrays: save, save_file, load, load_file as in safetensors.numpy."""

import sys

import numpy as np

from . import TensorSpec, load as _load, load_file as _load_file, serialize, serialize_file

__all__ = ["load", "load_file", "save", "save_file"]


def _specs(tensors, keep):
    specs = {}
    for name, array in tensors.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"tensor {name!r} is a {type(array).__name__}, wanted a numpy array")
        order = array.dtype.byteorder
        if order == ">" or (order == "=" and sys.byteorder == "big"):
            array = array.byteswap()
        array = np.ascontiguousarray(array) if array.ndim else array
        keep.append(array)
        specs[name] = TensorSpec(dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data,
                                 data_len=array.nbytes)
    return specs


def save(tensor_dict, metadata=None):
    keep = []  # arrays live until their bytes are copied
    return serialize(_specs(tensor_dict, keep), metadata)


def save_file(tensor_dict, filename, metadata=None, **options):
    keep = []
    serialize_file(_specs(tensor_dict, keep), filename, metadata, **options)


def load(data):
    return _load(data, "np")


def load_file(filename, *, backend="mmap", accept="standard"):
    return _load_file(filename, "np", backend=backend, accept=accept)
