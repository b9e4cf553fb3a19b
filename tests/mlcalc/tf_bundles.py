"""Writes TensorFlow V2 checkpoints, so that the importer can be tested without anyone else's files."""

import struct
from pathlib import Path

import numpy as np

from mlcalc.importers.tf_bundle import masked_crc32c

DTYPES = {np.dtype("float32"): 1, np.dtype("float64"): 2, np.dtype("int32"): 3, np.dtype("int64"): 9}


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def block(records: list[tuple[bytes, bytes]]) -> bytes:
    """A table block with prefix-compressed keys and its trailer."""
    body, previous = b"", b""
    for key, value in records:
        shared = next(
            (k for k, (a, b) in enumerate(zip(key, previous, strict=False)) if a != b), min(len(key), len(previous))
        )
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    body += struct.pack("<II", 0, 1)
    return body + b"\0" + struct.pack("<I", masked_crc32c(body + b"\0"))


def write_bundle(prefix: Path, tensors: dict[str, np.ndarray], per_block: int = 3) -> None:
    """PREFIX.index and PREFIX.data-00000-of-00001."""
    data, records = b"", [(b"", b"")]
    for name, array in sorted(tensors.items()):
        raw = array.tobytes()
        shape = b"".join(b"\x12" + varint(len(size)) + size for n in array.shape for size in [b"\x08" + varint(n)])
        entry = b"\x08" + varint(DTYPES[array.dtype]) + b"\x12" + varint(len(shape)) + shape
        entry += (
            b"\x20" + varint(len(data)) + b"\x28" + varint(len(raw)) + b"\x35" + struct.pack("<I", masked_crc32c(raw))
        )
        records.append((name.encode(), entry))
        data += raw
    file, handles = b"", []
    for k in range(0, len(records), per_block):
        chunk = records[k : k + per_block]
        content = block(chunk)
        handles.append((chunk[-1][0], varint(len(file)) + varint(len(content) - 5)))
        file += content
    index_offset, index = len(file), block(handles)
    footer = varint(0) + varint(0) + varint(index_offset) + varint(len(index) - 5)
    file += index + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.index").write_bytes(file)
    Path(f"{prefix}.data-00000-of-00001").write_bytes(data)


def schnet_tensors(
    n_features: int = 4, n_interactions: int = 2, n_rbf: int = 6, hidden: int = 3
) -> dict[str, np.ndarray]:
    """A small random network under the original program's names."""
    rng = np.random.default_rng(1)

    def random(*shape):
        return rng.normal(size=shape).astype(np.float32)

    tensors = {
        "atom_embedding/embeddings/W:0": random(10, n_features),
        "atomref/embeddings/W:0": np.zeros((10, 1), np.float32),
        "mean_per_atom:0": np.array([-7.5], np.float32),
        "std_per_atom:0": np.array([0.25], np.float32),
        "Dense/W:0": random(n_features, hidden), "Dense/b:0": random(hidden),
        "Dense_1/W:0": random(hidden, 1), "Dense_1/b:0": random(1),
    }  # fmt: skip
    for t in range(n_interactions):
        tensors |= {
            f"interaction_{t}/SchNetFilter/Dense/W:0": random(n_rbf, n_features),
            f"interaction_{t}/SchNetFilter/Dense/b:0": random(n_features),
            f"interaction_{t}/SchNetFilter/Dense_1/W:0": random(n_features, n_features),
            f"interaction_{t}/SchNetFilter/Dense_1/b:0": random(n_features),
            f"interaction_{t}/CFConv/in2fac/W:0": random(n_features, n_features),
            f"interaction_{t}/CFConv/fac2out/W:0": random(n_features, n_features),
            f"interaction_{t}/CFConv/fac2out/b:0": random(n_features),
            f"interaction_{t}/Dense/W:0": random(n_features, n_features),
            f"interaction_{t}/Dense/b:0": random(n_features),
        }
    return tensors
