"""Tensor files that are packed (smaller, without loss), sealed (encrypted) and signed.

    from sconce.tensors.containers import open_container, pack_file, seal_file, sign, verify

    pack_file("model.safetensors", "model.packed.safetensors")
    seal_file("model.safetensors", "sealed.safetensors", to=["sconce-pub-..."], sign_key="release.pem")
    verify("sealed.safetensors", key="release.pub")
    with open_container("sealed.safetensors", "pt", keys=[open("me.key").read()]) as f:
        weight = f.get_tensor("weight")

Whatever was changed in a file is noticed before any of it is given out: SafetensorError, its `code` that
of the command line. docs/packed.md, docs/sealed.md, docs/signing.md.
"""

import os

from .. import _tensors
from .._tensors import SafetensorError
from . import _FRAMEWORKS, _arrays

__all__ = ["open_container", "pack_file", "seal_file", "sign", "verify"]


def _write(source, path, **options):
    names = {"pack": True, "recipients": [], "passphrases": [], "hide_names": False, "cipher": "", "threads": 0,
             "durable": False, "sign_key": None, "sign_passphrase": None, "certificates": [], "signature": None}
    for name in ("sign_key", "signature"):
        if options.get(name) is not None:
            options[name] = os.fsdecode(options[name])
    return _tensors.write_container(os.fsdecode(source), os.fsdecode(path), **(names | options))


def pack_file(source, path, *, threads=0, durable=False, sign_key=None, sign_passphrase=None, certificates=(),
              signature=None):
    """Packs a .safetensors without losing a bit; with `sign_key` (a PEM file) signs it on the way, to
    `signature` or PATH.sig. {"source_bytes", "file_bytes", "tensors"}."""
    return _write(source, path, threads=threads, durable=durable, sign_key=sign_key, sign_passphrase=sign_passphrase,
                  certificates=list(certificates), signature=signature)


def seal_file(source, path, *, to=(), passphrases=(), pack=False, hide_names=False, cipher="", threads=0,
              durable=False, sign_key=None, sign_passphrase=None, certificates=(), signature=None):
    """Encrypts a .safetensors for public keys (texts, "sconce-pub-...") and passphrases."""
    if not to and not passphrases:
        raise SafetensorError("for whom? give `to` or `passphrases`")
    return _write(source, path, pack=pack, recipients=list(to), passphrases=list(passphrases), hide_names=hide_names,
                  cipher=cipher, threads=threads, durable=durable, sign_key=sign_key, sign_passphrase=sign_passphrase,
                  certificates=list(certificates), signature=signature)


class open_container:
    """A packed or sealed file, its tensors made as asked for. `keys` are texts of secret keys. With keys or
    passphrases given, a file that is not sealed is refused. Safe to use from several threads."""

    def __init__(self, filename, framework="np", *, keys=(), passphrases=(), threads=1):
        if framework not in _FRAMEWORKS:
            raise SafetensorError(f"framework {framework} is invalid, wanted pt or np")
        make = _arrays.Torch if _FRAMEWORKS[framework] == "pytorch" else _arrays.Numpy
        self._make, self._threads = make(SafetensorError), threads
        self._file = _tensors.Container(os.fsdecode(filename), list(keys), list(passphrases))

    def _container(self):
        if self._file is None:
            raise SafetensorError("File is closed")
        return self._file

    def kind(self):
        """Of "packed" and "sealed" what it is."""
        return self._container().kind()

    def keys(self):
        return self._container().keys()

    def metadata(self):
        return self._container().metadata()

    def get_tensor(self, name):
        import numpy as np
        info = self._container().info(name)
        if info is None:
            raise SafetensorError(f"File does not contain tensor {name}")
        dtype, shape, size, _ = info
        array = np.empty(size, np.uint8)
        self._container().read_into(name, 0, array, self._threads)
        return self._make.of(self._make.base(array), 0, size, dtype, shape)

    def get_tensors(self):
        return {name: self.get_tensor(name) for name in self.keys()}

    def restore(self, path, *, threads=0, durable=False):
        """Writes the original file, byte for byte; nothing when anything is wrong anywhere."""
        return self._container().restore(os.fsdecode(path), threads, durable)

    def check(self, *, threads=0):
        """Reads everything and keeps nothing: whether restore() would succeed."""
        return self._container().restore(None, threads, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file = None


def _signature_of(model):
    return os.path.join(model, "model.sig") if os.path.isdir(model) else model + ".sig"


def sign(model, signature=None, *, key, passphrase=None, certificates=(), tensors=True, ignore=(),
         allow_symlinks=False, threads=0):
    """Signs a folder or a file (OpenSSF Model Signing) with the private key of a PEM file. {"files",
    "tensors", "bytes", "ignored", "warnings"}."""
    model = os.fsdecode(model)
    signature = _signature_of(model) if signature is None else os.fsdecode(signature)
    return _tensors.sign(model, signature, key=os.fsdecode(key), passphrase=passphrase,
                         certificates=[os.fsdecode(path) for path in certificates], tensors=tensors,
                         ignore=list(ignore), allow_symlinks=allow_symlinks, threads=threads)


def verify(model, signature=None, *, key=None, roots=(), tensor=None):
    """Returns when everything, or the one `tensor`, is as the holder of `key` (a PEM file), or of a
    certificate under `roots`, has signed it; else raises."""
    model = os.fsdecode(model)
    signature = _signature_of(model) if signature is None else os.fsdecode(signature)
    return _tensors.verify(model, signature, key=None if key is None else os.fsdecode(key),
                           roots=[os.fsdecode(path) for path in roots], tensor=tensor)
