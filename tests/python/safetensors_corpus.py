"""Headers that a reader must judge: (name, bytes of a file), made anew at each call, always the same.

Families: every rule of the format kept and broken, what JSON allows and what it does not, quirks of the
reference's deserialiser, lies about lengths and offsets, and seeded mutations of all of these.
"""

import random
import struct

F32 = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


def file_of(header, data=4, length=None):
    header = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(header) if length is None else length) + header + b"\x07" * data


def entry(dtype='"F32"', shape="[1]", offsets="[0,4]", more=""):
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def crafted():
    yield "empty file", b""
    yield "seven bytes", b"\0" * 7
    yield "length only", file_of("", 0)
    yield "no tensors", file_of("{}", 0)
    yield "no tensors, data", file_of("{}", 1)
    yield "length past the end", file_of('{"a":' + F32 + "}", 0, 1000)
    yield "length of 2^63", file_of('{"a":' + F32 + "}", 4, 1 << 63)
    yield "length of 2^64 - 1", file_of('{"a":' + F32 + "}", 4, (1 << 64) - 1)
    yield "length past the limit", file_of("{}", 0, 100_000_001)
    for text, name in [(" ", "space"), ("\t", "tab"), ("\r", "CR"), ("\n", "LF"), ("\0", "NUL"), ("\f", "FF"),
                       ("\v", "VT"), ("\u00a0", "no-break space"), ("\ufeff", "BOM"), ("//x\n", "comment"),
                       (",", "comma"), ("{}", "object"), ("x", "letter")]:
        yield f"{name} before", file_of(f'{text}{{"a":{F32}}}')
        yield f"{name} after", file_of(f'{{"a":{F32}}}{text}')
        yield f"{name} inside", file_of(f'{{"a":{text}{F32}}}')
    for top in ["[]", "null", "1", '"a"', "", "{", "}", '{"a"}', '{"a":}', "{,}", '{"a":1}', '{"a":null}',
                '{"a":[]}', '{"a":{}}', "{'a':1}", "{a:1}", '{"a":' + F32 + ',}', '{"a":' + F32 + ' "b":1}']:
        yield f"top {top[:20]}", file_of(top)
    for dtype in ["BOOL", "F4", "F6_E2M3", "F6_E3M2", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ",
                  "F8_E5M2FNUZ", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "C64", "F64", "I64", "U64",
                  "C128", "I4", "U4", "F128", "f32", "float32", "", "F32 ", "BF16\\u0000"]:
        for count in (1, 4, 8):
            bits = {"B": 8, "F4": 4, "F6": 6}.get(dtype[:2], 8)
            size = {"16": 2, "32": 4, "64": 8}.get(dtype[-2:], 0) * count or count * bits // 8
            yield f"dtype {dtype} {count}", file_of('{"a":' + entry(f'"{dtype}"', f"[{count}]", f"[0,{size}]") + "}", size)
    for dtype in ["1", "null", '["F32"]', '{"F32":null}', '{"F32":{}}', '{"F32":1}', '{"F32":null,"F32":null}',
                  '{"F32":null,"U8":null}', "{}", '{"f32":null}', '{"F32":[]}', '"F3\\u0032"', '{"F3\\u0032":null}']:
        yield f"dtype value {dtype}", file_of('{"a":' + entry(dtype) + "}")
    for shape in ["[]", "[1,1]", "[0]", "[-1]", "[-0]", "[0,0]", "[01]", "[1.0]", "[1e0]", "[1E0]", '["1"]', "[null]",
                  "[true]", "[[1]]", "1", "null", '{"0":1}', "[1,]", "[,1]", "[18446744073709551615]",
                  "[18446744073709551616]", "[0,18446744073709551615,2]", "[18446744073709551615,2,0]",
                  "[4611686018427387904,4]", "[9223372036854775807,2]", "[1,1,1,1,1,1,1,1,1]", "[+1]", "[0x1]",
                  "[1 ]", "[ 1]", "[\n1\t]", "[NaN]", "[Infinity]"]:
        yield f"shape {shape}", file_of('{"a":' + entry(shape=shape) + "}")
        yield f"shape {shape}, no data", file_of('{"a":' + entry(shape=shape, offsets="[0,0]") + "}", 0)
    yield "rank 1000", file_of('{"a":' + entry(shape="[" + "1," * 999 + "1]") + "}")
    for offsets in ["[0]", "[0,4,4]", "[]", "[4,0]", "[4,8]", "[0,3]", "[0,5]", "[-0,4]", "[0,4.0]", '["0","4"]',
                    '{"0":0,"1":4}', "null", "[0,null]", "[18446744073709551612,0]", "[0,18446744073709551615]",
                    "[0,18446744073709551616]", "[ 0 , 4 ]", "[00,4]", "[0,4"]:
        yield f"offsets {offsets}", file_of('{"a":' + entry(offsets=offsets) + "}")
    yield "data too short", file_of('{"a":' + F32 + "}", 3)
    yield "data too long", file_of('{"a":' + F32 + "}", 5)
    two = '{"a":' + F32 + ',"b":%s}'
    for what, second, data in [("gap", "[5,9]", 9), ("overlap", "[2,6]", 6), ("same", "[0,4]", 4), ("next", "[4,8]", 8),
                               ("order", "[4,8]", 8)]:
        yield f"two tensors, {what}", file_of(two % entry(offsets=second), data)
    yield "second first", file_of('{"b":' + entry(offsets="[4,8]") + ',"a":' + F32 + "}", 8)
    for at in (0, 1, 4, 5):
        yield f"empty tensor at {at}", file_of(two % entry('"U8"', "[0]", f"[{at},{at}]"))
    yield "10 over the same bytes", file_of("{" + ",".join(f'"t{i}":{F32}' for i in range(10)) + "}")
    for key in ["dtype", "shape", "data_offsets"]:
        fields = {"dtype": '"F32"', "shape": "[1]", "data_offsets": "[0,4]"}
        text = ",".join(f'"{k}":{v}' for k, v in fields.items())
        yield f"without {key}", file_of('{"a":{' + ",".join(f'"{k}":{v}' for k, v in fields.items() if k != key) + "}}")
        yield f"{key} twice", file_of('{"a":{' + text + f',"{key}":{fields[key]}' + "}}")
        yield f"{key} null", file_of('{"a":{' + ",".join(f'"{k}":{"null" if k == key else v}' for k, v in fields.items()) + "}}")
        yield f"{key} escaped", file_of('{"a":{' + text.replace(f'"{key}"', '"' + key[:-1] + "\\u%04x" % ord(key[-1]) + '"') + "}}")
    for value in ["1", "-1", "1.5", "-0.0", "1e5", "1e309", "-1e309", "1e308", "1.7976931348623157e308",
                  "1.7976931348623159e308", "0e999", "0.0e99999999999999999999", "1e-999", "1e99999999999",
                  "1e-99999999999", "123456789012345678901234567890", "9" * 400, "0." + "1" * 400, "9" * 310 + "e-5",
                  "1" * 30 + ".5e280", "0.0000001e315", "1.", ".5", "1e", "1e+", "--1", "-", "true", "false", "null",
                  "tru", "nul", "True", "NaN", "Infinity", "{}", "[]", '{"a":{"b":[1,2,{"c":null}]}}', '{"a":1,"a":2}',
                  "[1,]", '{"a":1,}', '{"a" 1}', '"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"\\ud800x"',
                  '"\\ud800\\u0041"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\u00FF"', '"\n"', '"\x7f"', '"\\u0000"',
                  '"abc', '"\\"', '"\\\\"', '"\\/"', '"\\b\\f\\n\\r\\t"', '"' + "x" * 300 + '"', '"\u00e9\u4e00"']:
        yield f"unknown field {value[:40]!r}", file_of('{"a":' + entry(more=f',"x":{value}') + "}")
    for depth in (1, 2, 50, 123, 124, 125, 126, 127, 128, 200):
        yield f"lists {depth} deep", file_of('{"a":' + entry(more=',"x":' + "[" * depth + "]" * depth) + "}")
        yield f"objects {depth} deep", file_of('{"a":' + entry(more=',"x":' + '{"y":' * depth + "1" + "}" * depth) + "}")
        yield f"depth {depth} instead of a tensor", file_of('{"a":' + "[" * depth + "]" * depth + "}")
    for tensor in ['["F32",[1],[0,4]]', '["F32",[1]]', '["F32",[1],[0,4],0]', '["F32",[1],[0,4],]', '[[1],"F32",[0,4]]',
                   '[{"F32":null},[1],[0,4]]', '[ "F32" , [ 1 ] , [ 0 , 4 ] ]', '"F32"', "[]"]:
        yield f"tensor {tensor}", file_of('{"a":' + tensor + "}")
    for name in ["", "a/b", "\u00e9", "\\u0000", "\\ud83d\\ude00", "\\/", "\\ud800", "\x01", "\x7f", "x" * 5000, "__meta__",
                 "__metadata__x", " ", "\u4e00"]:
        yield f"name {name[:20]!r}", file_of(f'{{"{name}":{F32}}}')
    yield "name is not UTF-8", file_of(b'{"\xff":' + F32.encode() + b"}")
    yield "name is overlong UTF-8", file_of(b'{"\xc0\xaf":' + F32.encode() + b"}")
    yield "name is a surrogate in UTF-8", file_of(b'{"\xed\xa0\x80":' + F32.encode() + b"}")
    yield "name is cut UTF-8", file_of(b'{"\xe4\xb8":' + F32.encode() + b"}")
    for first in [F32, entry('"U8"', "[9]", "[7,0]"), entry('"F64"'), "1", entry('"XX"'), '["F32",[1],[0,4]]',
                  entry(offsets="[0,99]")]:
        yield f"name twice, first {first[:30]}", file_of(f'{{"a":{first},"a":{F32}}}')
        yield f"name twice, last {first[:30]}", file_of(f'{{"a":{F32},"a":{first}}}')
        yield f"name twice by escape {first[:30]}", file_of(f'{{"t":{first},"\\u0074":{F32}}}')
    for metadata in ["{}", "null", '{"a":"b"}', '{"a":"b","a":"c"}', '{"a":1}', '{"a":null}', '{"a":{}}', "[]", '""', "1",
                     '{"":""}', '{"\\ud800":"x"}', '{"a":"\\ud800"}', '{"a":"b",}', '{"a":"\\u0000"}', '[["a","b"]]']:
        yield f"metadata {metadata}", file_of(f'{{"__metadata__":{metadata},"a":{F32}}}')
        yield f"metadata last {metadata}", file_of(f'{{"a":{F32},"__metadata__":{metadata}}}')
        yield f"metadata escaped {metadata}", file_of(f'{{"\\u005f_metadata__":{metadata},"a":{F32}}}')
    for a in ["null", "{}", '{"a":"b"}']:
        yield f"metadata twice {a}", file_of(f'{{"__metadata__":{a},"__metadata__":{{}},"a":{F32}}}')
    yield "metadata alone", file_of('{"__metadata__":{"a":"b"}}', 0)


def mutated(count, seed=1):
    """Crafted files with bytes of the header changed, its length kept right three times of four."""
    base = list(crafted())
    rng = random.Random(seed)
    tokens = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"0", b"1", b"-", b".", b"e", b" ", b"null", b'"a"',
              b'"dtype"', b'"F32"', b"\x00", b"\xff", b"\\u0061", b"18446744073709551616"]
    for number in range(count):
        name, data = rng.choice(base)
        header, tail = bytearray(data[8:-4] if len(data) > 12 else data[8:]), data[-4:]
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(header))
            kind = rng.randint(0, 3)
            if kind == 0 and header:
                del header[min(at, len(header) - 1)]
            elif kind == 1:
                header[at:at] = rng.choice(tokens)
            elif kind == 2 and header:
                header[min(at, len(header) - 1)] ^= 1 << rng.randint(0, 7)
            else:
                header[at:at + rng.randint(0, 8)] = header[rng.randint(0, len(header)):][:rng.randint(0, 12)]
        length = len(header) + (rng.randint(-3, 3) if rng.random() < 0.25 else 0)
        yield f"mutation {number} of {name}", struct.pack("<Q", max(length, 0)) + bytes(header) + tail
