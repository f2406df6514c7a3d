"""Writes the small checkpoints of this folder: python make.py. Made with torch 2.13.0, numpy 2.4.6.

old.tar follows torch 0.1.9's writer, which no torch of today has; torch.load still reads it.
"""

import collections
import io
import pathlib
import pickle
import struct
import tarfile
import zipfile

import numpy
import torch

HERE = pathlib.Path(__file__).resolve().parent


def state():
    weight = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    return collections.OrderedDict(
        [
            ("layer.weight", torch.nn.Parameter(weight)),
            ("layer.tied", weight),
            ("layer.transposed", weight.t()),
            ("layer.half", torch.ones(3, dtype=torch.bfloat16)),
            ("layer.count", torch.tensor(7)),
            ("layer.empty", torch.empty(0, 4)),
            ("layer.wide", torch.tensor([1, 65535], dtype=torch.uint16)),
            ("layer.complex", torch.tensor([1 + 2j]).conj()),
        ]
    )


def training():
    return {
        "model": state(),
        "optimizer": {
            "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 3)}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}],
        },
        "epoch": 3,
        "loss": numpy.float64(0.25),
        "history": numpy.arange(4, dtype=numpy.float32),
        "random": {"python": (3, (1, 2, 3), None), "bytes": b"\x00\xff", "big": 1 << 80},
        "tags": {"a"},
        "none": None,
        "complex": 1 + 2j,
        "dtype": torch.float16,
        "device": torch.device("cuda", 1),
        "size": torch.Size([2, 3]),
        "counts": collections.Counter("aab"),
        "by_name": collections.defaultdict(list, a=[1]),
    }


def write_tar(path, tensors, value_of):
    """tensors: name -> (storage tensor, offset, size, stride); two may share a storage."""
    storages, body, views = {}, io.BytesIO(), []
    for storage, *_ in tensors.values():
        storages.setdefault(id(storage), (len(storages) + 100, storage))
    pickle.dump(len(storages), body, protocol=2)
    for key, storage in storages.values():
        kind = {torch.float32: "Float", torch.int64: "Long"}[storage.dtype]
        body.write(
            b"\x80\x02K" + bytes([key]) + b"X\x03\x00\x00\x00cpuctorch\n%sStorage\n\x87."
            % kind.encode()
        )
        body.write(struct.pack("<q", storage.numel()) + storage.numpy().tobytes())
    pickle.dump(views, body, protocol=2)
    geometry = io.BytesIO()
    pickle.dump(len(tensors), geometry, protocol=2)
    keys = {}
    for number, (name, (storage, offset, size, stride)) in enumerate(tensors.items()):
        keys[name] = number + 200
        kind = {torch.float32: "Float", torch.int64: "Long"}[storage.dtype]
        geometry.write(
            b"\x80\x02K" + bytes([keys[name]]) + b"K" + bytes([storages[id(storage)][0]])
            + b"ctorch\n%sTensor\n\x87." % kind.encode()
        )
        geometry.write(struct.pack("<ii", len(size), 0))
        geometry.write(struct.pack(f"<{2 * len(size) + 1}q", *size, *stride, offset))

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return keys[value.name] if isinstance(value, Named) else None

    value = io.BytesIO()
    Pickler(value, protocol=2).dump(value_of(Named))
    system = {"protocol_version": 1000, "little_endian": True, "type_sizes": {"int": 4}}
    members = {
        "sys_info": pickle.dumps(system, protocol=2),
        "pickle": value.getvalue(),
        "tensors": geometry.getvalue(),
        "storages": body.getvalue(),
    }
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1483228800.5  # not whole, so that an extended header is written
            tar.addfile(info, io.BytesIO(data))


class Named:
    def __init__(self, name):
        self.name = name


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(2))

    def forward(self, x):
        return self.linear(x) * self.scale


def deflate(source, path):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist(), key=lambda name: not name.endswith("data.pkl")):
            new.writestr(zipfile.ZipInfo(name), old.read(name), zipfile.ZIP_DEFLATED)


def main():
    torch.manual_seed(0)
    torch.save(state(), HERE / "state.pt")
    torch.save(training(), HERE / "protocol_4.pt", pickle_protocol=4)
    torch.save(training(), HERE / "protocol_2.pt")
    torch.save(state(), HERE / "stream.pt", _use_new_zipfile_serialization=False)
    torch.save(
        training(), HERE / "stream_5.pt", _use_new_zipfile_serialization=False, pickle_protocol=5
    )
    torch.save(torch.ones(2), HERE / "bare.pt")
    deflate(HERE / "state.pt", HERE / "deflated.pt")
    torch.jit.save(torch.jit.script(Module()), HERE / "script.pt")
    data = torch.arange(6, dtype=torch.float32)
    tensors = {
        "a": (data, 0, (2, 3), (3, 1)),
        "b": (data, 1, (2,), (2,)),
        "c": (torch.arange(3), 0, (3,), (1,)),
    }
    write_tar(HERE / "old.tar", tensors, lambda named: {n: named(n) for n in tensors})
    with open(HERE / "arrays.pkl", "wb") as file:
        pickle.dump({"a": numpy.arange(6.0).reshape(2, 3), "n": numpy.int16(3)}, file, protocol=4)


if __name__ == "__main__":
    main()
