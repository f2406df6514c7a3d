"""Makes the small safetensors and npy files that fuzzing starts from: python make.py."""

import pathlib

import numpy as np
import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent
torch.manual_seed(0)
save_file({}, here / "safetensors" / "none.safetensors")
save_file({"a": torch.ones(2, 3), "b.c": torch.ones(3, dtype=torch.bfloat16),
           "empty": torch.zeros(0, 4, dtype=torch.int64), "flag": torch.tensor(True)},
          here / "safetensors" / "some.safetensors", metadata={"format": "pt"})
save_file({"\u00e9\n\"": torch.ones(1, 1, 1, dtype=torch.uint8)},
          here / "safetensors" / "escaped.safetensors")
np.save(here / "npy" / "scalar.npy", np.float64(2.5))
np.save(here / "npy" / "rows.npy", np.arange(6, dtype="<i2").reshape(2, 3))
np.save(here / "npy" / "columns.npy", np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 4)))
np.save(here / "npy" / "big_endian.npy", np.arange(3, dtype=">c8"))
np.save(here / "npy" / "bool.npy", np.array([True, False]))
np.save(here / "npy" / "empty.npy", np.zeros((0, 5), "<u8"))
with open(here / "npy" / "version_3.npy", "wb") as file:
    np.lib.format.write_array(file, np.arange(2, dtype="<f2"), version=(3, 0))
