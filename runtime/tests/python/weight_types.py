"""Checks tritune's decoders and encoders of weight types in a second, independent way.

    python weight_types.py FILE.gguf

FILE is what the example `weight_types` writes: for each type, `TYPE.blocks` of that type, and `TYPE.values`, the same
weights as tritune decodes them (F32). Types that the PyPI package `gguf` knows are decoded by it; the others here, in
plain numpy, from the descriptions of the formats. Needs: numpy, gguf.
"""

import struct
import sys

import gguf
import numpy as np

# Ids of types that share one, or that `gguf` does not have.
OTHERS = {36: "I2_S", 38: "TL1", 39: "TL2", 42: "Q2_0", 134: "IQ1_BN", 135: "IQ2_BN", 142: "PQ2_0", 335: "IQ2_BN_R4"}

# Rows and columns of a tile, rows of a part of it: the kernel configurations that bitnet.cpp publishes.
TL1_TILES = {(1536, 1536): (128, 64, 64), (1536, 4096): (256, 128, 32)}
TL2_TILES = {(1536, 1536): (128, 192, 32), (1536, 4096): (256, 96, 32)}


def read(path):
    """Tensors by name: shape (rows first), type id, bytes up to the next one."""
    data = open(path, "rb").read()
    at = 4

    def number(code):
        nonlocal at
        size = struct.calcsize("<" + code)
        (value,) = struct.unpack_from("<" + code, data, at)
        at += size
        return value

    def text():
        nonlocal at
        length = number("Q")
        at += length
        return data[at - length : at].decode()

    assert data[:4] == b"GGUF" and number("I") == 3
    tensors, keys = number("Q"), number("Q")
    for _ in range(keys):
        text()
        assert number("I") == 8, "only strings are expected"
        text()
    found = []
    for _ in range(tensors):
        name = text()
        shape = [number("Q") for _ in range(number("I"))]
        found.append((name, tuple(reversed(shape)), number("I"), number("Q")))
    start = (at + 31) // 32 * 32
    ends = [offset for *_, offset in found[1:]] + [len(data) - start]
    return {
        name: (shape, kind, np.frombuffer(data[start + offset : start + end], np.uint8))
        for (name, shape, kind, offset), end in zip(found, ends)
    }


def halves(pairs):
    return np.ascontiguousarray(pairs).view(np.float16).astype(np.float32)


def singles(fours):
    return np.ascontiguousarray(fours).view(np.float32)


def two_bits(array, shift):
    codes = array >> shift & 3
    assert codes.max() <= 2
    return codes.astype(np.float32) - 1


def digits(array, count):
    """The first `count` digits of bytes that are fractions in base 3, on a last axis."""
    powers = np.array([3**i for i in range(count)])
    return (array[..., None].astype(np.int64) * powers % 256 * 3 >> 8).astype(np.float32) - 1


def i2_s(data, n, k, plane):
    """Blocks over the flattened tensor: `plane` neighbours, then `plane` more, from the upper bits down."""
    blocks = data[: n * k // 4].reshape(-1, plane)
    trits = np.stack([two_bits(blocks, shift) for shift in (6, 4, 2, 0)], axis=1)
    return trits.reshape(n, k) * singles(data[n * k // 4 :][:4])


def q2_0(data, n, k, group):
    blocks = data[: n * k // group * (2 + group // 4)].reshape(-1, 2 + group // 4)
    trits = np.stack([two_bits(blocks[:, 2:], shift) for shift in (0, 2, 4, 6)], axis=-1)
    return (trits.reshape(-1, group) * halves(blocks[:, :2])).reshape(n, k)


def iq1_bn(data, n, k):
    """ik_llama.cpp weighs the first of a byte's digits least: digits come out backwards, the 13th byte's four after a 0."""
    rows = data[: n * (2 + k // 64 * 13)].reshape(n, -1)
    blocks = rows[:, 2:].reshape(n, k // 64, 13)
    fifteen = digits(blocks[:, :, :12].reshape(n, k // 64, 4, 3), 5)[..., ::-1].reshape(n, k // 64, 4, 15)
    last = digits(blocks[:, :, 12], 5)[..., :0:-1]
    trits = np.concatenate([fifteen, last[..., None]], axis=-1)
    return trits.reshape(n, k) * halves(rows[:, :2])


def iq2_bn(data, n, k):
    rows = data[: n * (4 + k // 4)].reshape(n, -1)
    blocks = rows[:, 4:].reshape(n, k // 64, 16)
    trits = np.stack([two_bits(blocks, shift) for shift in (0, 2, 4, 6)], axis=2)
    return trits.reshape(n, k) * singles(rows[:, :4])


def iq2_bn_r4(data, n, k):
    fours = data[: n * (4 + k // 4)].reshape(n // 4, -1)
    # l, row, i; then q from the shifts: columns are l, q, i.
    blocks = fours[:, 16:].reshape(n // 4, k // 64, 4, 4, 4)
    trits = np.stack([two_bits(blocks, shift) for shift in (0, 2, 4, 6)], axis=-1)
    trits = trits.transpose(0, 3, 1, 2, 5, 4).reshape(n, k)
    return trits * singles(fours[:, :16]).reshape(n, 1)


def tl1_bytes(trits):
    """As bitnet.cpp's converter packs for Arm: 3 · first + second + 4 of each two columns, in tiles."""
    n, k = trits.shape
    rows, columns, inner = TL1_TILES[n, k]
    width = 256 // inner
    pairs = (3 * trits[:, 0::2] + trits[:, 1::2] + 4).astype(np.uint8)
    axes = (n // rows, rows // inner, inner // 16, 16, k // columns, columns // width, width // 4, 2)
    nibbles = pairs.reshape(axes).transpose(0, 4, 1, 5, 2, 6, 3, 7).reshape(-1, 2)
    return nibbles[:, 0] << 4 | nibbles[:, 1]


def tl2_bytes(trits):
    """As it packs for x86: magnitudes of triples, their signs, then pairs of the columns that fill no tile."""
    n, k = trits.shape
    rows, columns, inner = TL2_TILES[n, k]
    wide = k // columns * columns

    def nibbles(numbers, columns):
        """Two of `numbers` [n, columns] a byte, 32 rows side by side, their second and third eight exchanged."""
        axes = (n // rows, rows // 32, 2, 2, 8, -1, columns // 2, 2)
        tiled = numbers.astype(np.uint8).reshape(axes).transpose(0, 5, 1, 6, 3, 2, 4, 7)
        return (tiled[..., 0] << 4 | tiled[..., 1]).reshape(-1)

    triples = 9 * trits[:, 0:wide:3] + 3 * trits[:, 1:wide:3] + trits[:, 2:wide:3]
    # Sixteen bits: eight triples, each of a row and of the row 16 below, the highest bit first.
    axes = (n // rows, rows // 32, 2, 16, wide // columns, columns // 24, 8)
    signs = (triples < 0).reshape(axes).transpose(0, 4, 1, 5, 3, 6, 2).reshape(-1, 16)
    signs = (signs * (1 << np.arange(15, -1, -1))).sum(axis=1).astype("<u2").view(np.uint8)
    pairs = 3 * trits[:, wide::2] + trits[:, wide + 1 :: 2] + 4
    parts = [nibbles(np.abs(triples), columns // 3), signs]
    if wide < k:
        parts.append(nibbles(pairs, 16))
    packed = np.concatenate(parts)
    reserved = (k - 256) * n // 3 * 5 // 8 + 256 * n // 2 * 4 // 8
    return np.pad(packed, (0, (reserved + 31) // 32 * 32 - len(packed)))


def values(name, kind, data, n, k):
    if kind not in OTHERS:
        known = gguf.GGMLQuantizationType(kind)
        block, size = gguf.GGML_QUANT_SIZES[known]
        return gguf.quants.dequantize(data[: n * k // block * size].reshape(n, -1), known)
    return {
        "I2_S": lambda: i2_s(data, n, k, 32),
        "I2_S_ARM64": lambda: i2_s(data, n, k, 16),
        "Q2_0": lambda: q2_0(data, n, k, 64),
        "Q2_0_G128": lambda: q2_0(data, n, k, 128),
        "PQ2_0": lambda: q2_0(data, n, k, 128),
        "IQ1_BN": lambda: iq1_bn(data, n, k),
        "IQ2_BN": lambda: iq2_bn(data, n, k),
        "IQ2_BN_R4": lambda: iq2_bn_r4(data, n, k),
    }[name]()


def main():
    checked = 0
    for path in sys.argv[1:]:
        tensors = read(path)
        for name in [name.removesuffix(".blocks") for name in tensors if name.endswith(".blocks")]:
            (n, k), kind, data = tensors[f"{name}.blocks"]
            shape, plain, expected = tensors[f"{name}.values"]
            assert shape == (n, k) and plain == 0
            expected = singles(expected[: 4 * n * k]).reshape(n, k)
            kind_name = name.split(".")[0]
            if kind_name in ("TL1", "TL2"):
                scale = np.abs(expected).max()
                trits = np.rint(expected / scale).astype(np.int64)
                packed = tl1_bytes(trits) if kind_name == "TL1" else tl2_bytes(trits)
                same = np.array_equal(packed, data[: len(packed)]) and singles(data[len(packed) :][:4])[0] == scale
            else:
                # Bit for bit but for the sign of zeros, and which NaN it is.
                with np.errstate(all="ignore"):
                    same = np.array_equal(values(kind_name, kind, data, n, k), expected, equal_nan=True)
            print(f"{name:20} {n:5} x {k:<5} {'same' if same else 'DIFFERENT'}")
            assert same, name
            checked += 1
    assert checked >= 29, f"only {checked} tensors were checked"


main()
