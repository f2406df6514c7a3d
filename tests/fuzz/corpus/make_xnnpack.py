"""Takes the payloads out of the .pte files that stock made for src/targets/xnnpack/run/testdata.

A payload follows the tables of its .pte as a segment: "XH00" at its byte 4, a header that says where
its constants end. Run: python make_xnnpack.py
"""

import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
FROM = HERE.parents[2] / "src/targets/xnnpack/run/testdata"

for path in sorted(FROM.glob("*.pte")):
    data, at, number = path.read_bytes(), 0, 0
    while (at := data.find(b"XH00", at)) >= 0:
        start = at - 4
        end = struct.unpack_from("<I", data, start + 18)[0] + struct.unpack_from("<Q", data, start + 22)[0]
        name = f"{path.stem}.{number}" if number else path.stem
        (HERE / "xnnpack" / name).write_bytes(data[start : start + end])
        at, number = at + 4, number + 1
