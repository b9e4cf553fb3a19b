"""Checkpoints of others that declare more than they hold, or hold what no network does: one line, at once, in little memory."""

import io
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.importers.schnet_tf import import_schnet_tf
from mlcalc.importers.schnetpack import import_schnetpack
from mlcalc.importers.tf_bundle import read_tf_bundle
from mlcalc.importers.torch_file import read_torch_file
from tests.mlcalc.tf_bundles import block, schnet_tensors, varint, write_bundle

CHECKPOINT = Path(__file__).parent / "golden" / "schnetpack_best_model"
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")


def refused(read, *arguments) -> str:
    """Message of an InputError that comes soon, in one short line, and in at most 30 MB."""
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        read(*arguments)
    duration, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert duration < 5.0 and peak < 3e7
    assert "\n" not in message and len(message) < 1000
    return message


# TensorFlow's tables.


def table(blocks: list[bytes], handles: list[tuple[bytes, int, int]]) -> bytes:
    """A sorted string table of these blocks and an index of (key, offset, size)."""
    file = b"".join(blocks)
    index = block([(key, varint(offset) + varint(size)) for key, offset, size in handles])
    footer = varint(0) + varint(0) + varint(len(file)) + varint(len(index) - 5)
    return file + index + footer.ljust(40, b"\0") + MAGIC


def entry(shape: tuple[int, ...], offset: int, size: int, dtype: int = 1) -> bytes:
    dimensions = b"".join(b"\x12" + varint(len(n)) + n for length in shape for n in [b"\x08" + varint(length)])
    return (
        b"\x08" + varint(dtype) + b"\x12" + varint(len(dimensions)) + dimensions
        + b"\x20" + varint(offset) + b"\x28" + varint(size)
    )  # fmt: skip


def bundle(folder, records: list[tuple[bytes, bytes]], data: bytes, times: int = 1) -> Path:
    """A checkpoint whose index lists one block several times."""
    content = block(records)
    handles = [(b"z%06d" % k, 0, len(content) - 5) for k in range(times)]
    (folder / "x.index").write_bytes(table([content], handles))
    (folder / "x.data-00000-of-00001").write_bytes(data)
    return folder / "x"


def test_a_block_that_is_listed_three_thousand_times(tmp_path):
    """Once 144 s."""
    records = [(b"a%06d" % k, entry((4, 4), 64 * k, 64)) for k in range(3000)]
    path = bundle(tmp_path, records, bytes(64 * 3000), times=3000)
    assert "overlap" in refused(read_tf_bundle, path)


def test_tensors_that_share_their_numbers(tmp_path):
    """Once 2 GB out of 1 MB."""
    path = bundle(tmp_path, [(b"a%06d" % k, entry((1 << 18,), 0, 1 << 20)) for k in range(2000)], bytes(1 << 20))
    assert "share byte 0" in refused(read_tf_bundle, path)


@pytest.mark.parametrize(
    "records",
    [
        [(b"b", entry((4,), 0, 16)), (b"a", entry((4,), 16, 16))],
        [(b"a", entry((4,), 0, 16)), (b"a", entry((4,), 16, 16))],
        [(b"a", entry((0, 1 << 62), 0, 0))],
        [(b"a", entry((1 << 62, 0, 1 << 62), 0, 0))],
        [(b"a", entry((4,), 1 << 63, 16))],
        [(b"a", entry((2**64 - 1, 2**64 - 4), 0, 16))],
        [(b"a", entry((1,) * 9 + (4,), 0, 16))],
        [(b"a", entry((1,) * 5000 + (4,), 0, 16))],
        [(b"a", b"\x08" + b"\xff" * 2000 + b"\x01")],
        [(b"a", b"\x08\x01\x10\x05")],  # a number where the shape belongs
        [(b"k" * 2000, entry((4,), 0, 16))],
        [(b"\xff\xfe", entry((4,), 0, 16))],
    ],
)
def test_entries(tmp_path, records):
    refused(read_tf_bundle, bundle(tmp_path, records, bytes(64)))


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_sizes_of_the_files(tmp_path, suffix):
    path = bundle(tmp_path, [(b"a", entry((4,), 0, 16))], bytes(16))
    with Path(f"{path}.{suffix}").open("r+b") as stream:
        stream.truncate(1 << 33)  # of holes
    assert "too many for a SchNet" in refused(read_tf_bundle, path)


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blows=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_entries_with_checksums_that_fit(tmp_path, blows):
    content = bytearray(entry((4, 4), 0, 64) + b"\x35" + struct.pack("<I", 0))
    for place, byte in blows:
        content[int(place * len(content))] = byte
    path = bundle(tmp_path, [(b"", b""), (b"a", bytes(content))], bytes(64))
    try:
        found = read_tf_bundle(path)
    except InputError:
        return
    assert sum(array.nbytes for array in found.values()) <= 64


WRONG_TENSORS = {
    "one dimension": ("atom_embedding/embeddings/W:0", np.zeros(10, np.float32)),
    "no dimension": ("atom_embedding/embeddings/W:0", np.zeros((), np.float32)),
    "few rows": ("atomref/embeddings/W:0", np.zeros((2, 1), np.float32)),
    "two means": ("mean_per_atom:0", np.zeros(2, np.float32)),
    "no number": ("std_per_atom:0", np.array([np.nan], np.float32)),
    "whole numbers": ("Dense/b:0", np.zeros(3, np.int32)),
    "three dimensions": ("Dense/W:0", np.zeros((4, 3, 1), np.float32)),
    "a flat filter": ("interaction_0/SchNetFilter/Dense/W:0", np.zeros(6, np.float32)),
    "a third layer": ("Dense_2/W:0", np.zeros((1, 1), np.float32)),
    "a bias more": ("interaction_0/CFConv/in2fac/b:0", np.zeros(4, np.float32)),
    "a gap": ("interaction_3/Dense/W:0", np.zeros((4, 4), np.float32)),
}


@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_tensors_that_no_schnet_has(tmp_path, capsys, name):
    key, array = WRONG_TENSORS[name]
    write_bundle(tmp_path / "best_model", schnet_tensors() | {key: array})
    refused(import_schnet_tf, tmp_path)
    assert main(["import", "schnet-tf", str(tmp_path), "-o", str(tmp_path / "m.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "m.safetensors").exists()


def test_tensors_of_optimizers_are_left_out(tmp_path):
    extra = {
        "Dense/W/Adam:0": np.zeros((4, 3), np.float32),
        "global_step:0": np.array(5),
        "beta1_power:0": np.array(0.9),
    }
    write_bundle(tmp_path / "best_model", schnet_tensors() | extra)
    assert import_schnet_tf(tmp_path).config.n_features == 4


# Files of torch.save.


def torch_file(path: Path, content: bytes, storages: dict[str, bytes] | None = None, kind=zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a/data.pkl", content)
        for key, numbers in (storages or {}).items():
            archive.writestr(f"a/data/{key}", numbers)
    return path


def tensor(count: int, offset: int, size: tuple, stride: tuple) -> bytes:
    """A pickle of a tensor over storage 0, in the instructions of torch.save."""

    def number(value: int) -> bytes:
        return b"\x8a\x0b" + value.to_bytes(11, "little", signed=True)

    def numbers(values: tuple) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    words = [b"X" + struct.pack("<I", len(word)) + word for word in (b"storage", b"0", b"cpu")]
    place = b"(" + words[0] + b"ctorch\nFloatStorage\n" + words[1] + words[2] + number(count) + b"tQ"
    arguments = place + number(offset) + numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR."


def test_a_tensor(tmp_path):
    content = np.arange(16, dtype=np.float32).tobytes()
    found = read_torch_file(torch_file(tmp_path / "x", tensor(16, 2, (3, 2), (1, 4)), {"0": content}))
    np.testing.assert_array_equal(found, [[2, 6], [3, 7], [4, 8]])


@pytest.mark.parametrize(
    "declared",
    [(1 << 20, 0, (4,), (1,)), (1 << 40, 0, (4,), (1,)), (2, 0, (2,), (1,)), (16, 0, (1 << 31,), (1,)), (16, 1 << 40, (4,), (1,)),
     (16, 0, (4,), (1 << 60,)), (16, -1, (4,), (1,)), (16, 0, (-4,), (1,)), (16, 0, (4,), (-1,)), (16, 0, (4, 4), (1,)),
     (16, 0, (1,) * 9, (1,) * 9), (16, 0, (1 << 80,), (0,))],
)  # fmt: skip
def test_tensors_beyond_their_numbers(tmp_path, declared):
    refused(read_torch_file, torch_file(tmp_path / "x", tensor(*declared), {"0": bytes(64)}))


def repacked(path: Path, change, kind=zipfile.ZIP_STORED) -> Path:
    """The checkpoint with another pickle."""
    with zipfile.ZipFile(CHECKPOINT) as old, zipfile.ZipFile(path, "w", kind) as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


def test_two_megabytes_that_unpack_to_two_gigabytes(tmp_path):
    """Once 2.3 GB."""
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", tensor(1 << 29, 0, (4,), (1,)))
        with archive.open("a/data/0", "w", force_zip64=True) as stream:
            for _ in range(256):
                stream.write(bytes(1 << 20))
    assert "is compressed, which torch.save never does" in refused(import_schnetpack, tmp_path / "x", "eV", "Ang")


def test_members_that_lie_over_each_other(tmp_path):
    """A table of contents that lists the same bytes a hundred times."""
    torch_file(tmp_path / "x", b"\x80\x02N.", {"0": bytes(1 << 16)})
    with zipfile.ZipFile(tmp_path / "x", "a") as archive:
        for k in range(100):
            again = zipfile.ZipInfo(f"a/data/{k + 1}")
            original = archive.getinfo("a/data/0")
            for name in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(again, name, getattr(original, name))
            archive.filelist.append(again)
        archive._didModify = True
    assert "declares" in refused(read_torch_file, tmp_path / "x")


HOSTILE_PICKLES = {
    # Each of 60 tuples holds the one before twice: 2⁶⁰ steps to hash, to compare or to print the last.
    "key that never ends": b"}" + b"N\x85q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"Ns.",
    "print that never ends": b"]q\x00" + b"](h\x00h\x00eq\x00" * 60 + b")R.",
    "bytes without end": b"c__builtin__\nbytearray\n\x8a\x08" + (1 << 40).to_bytes(8, "little") + b"\x85R.",
    "tensor without end": b"ctorch\nFloatTensor\n\x8a\x08" + (1 << 40).to_bytes(8, "little") + b"\x85R.",
    "text without end": b"X\xff\xff\xff\xffabc.",
    "bytes of protocol 5": b"\x96" + (1 << 60).to_bytes(8, "little") + b"abc.",
    "no end": b"(" * 1000,
    "deep": b"]" * 200_000 + b"a" * 199_999 + b".",
    "unknown memory": b"h\x05.",
    "classes": b"".join(b"ca\nc%d\n" % k for k in range(5000)) + b".",
    "class of two lines": b"ca\nB\\nC\n.",
    "class that steers the terminal": b"ca\n\\x1b[31m\n.",
    "attributes of a class": b"ca\nB\n}X\x04\x00\x00\x00kindNsb.",
    "attributes of a maker": b"ctorch._utils\n_rebuild_tensor_v2\nN}X\x0c\x00\x00\x00__defaults__N\x85s\x86b.",
    "call of a word": b"X\x01\x00\x00\x00a)R.",
    "arguments of a number": b"ca\nB\nK\x01R.",
    "storage of a word": b"X\x07\x00\x00\x00storageQ.",
}


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_pickles(tmp_path, name):
    refused(import_schnetpack, torch_file(tmp_path / "x", b"\x80\x02" + HOSTILE_PICKLES[name]), "eV", "Ang")


def test_dtypes_are_names_where_a_table_has_them_for_keys(tmp_path):
    """As in the casts of early releases of SchNetPack 2."""
    content = b"\x80\x02}ctorch\nfloat32\nctorch\nfloat64\ns."
    assert read_torch_file(torch_file(tmp_path / "x", content)) == {"float32": "float64"}


@pytest.mark.parametrize(
    ("key", "kind"),
    [(b"cnumpy\nfloat32\n", "float32"), (b"cposix\nsystem\n", "system"), (b"ca\nB\n)R", "B"), (b")", "tuple"), (b"N", "NoneType"),
     (b"\x88", "bool"), (b"ctorch._utils\n_rebuild_parameter\n", "function")],
)  # fmt: skip
def test_other_keys_of_tables_are_refused_by_their_type(tmp_path, key, kind):
    for content in (b"}" + key + b"Ns.", b"}(" + key + b"Nu."):
        message = refused(read_torch_file, torch_file(tmp_path / "x", b"\x80\x02" + content))
        assert f"a table of the file has a key of the type {kind}" in message


def test_a_dtype_is_nothing_to_call_or_to_give_attributes_to(tmp_path):
    for use in (b")R.", b"}b."):
        refused(read_torch_file, torch_file(tmp_path / "x", b"\x80\x02ctorch\nfloat32\n" + use))


def test_blocks_that_share_a_large_tensor(tmp_path, monkeypatch):
    """A tensor of the wrong shape in each of 20 blocks is not copied once."""
    module = read_torch_file(CHECKPOINT)
    blocks = module.representation.interactions
    blocks.children[0].in2f._parameters["weight"] = np.zeros((1 << 12, 1 << 10), np.float32)
    vars(blocks)["_modules"] = {str(t): blocks.children[0] for t in range(20)}
    monkeypatch.setattr("mlcalc.importers.schnetpack._read", lambda path: module)
    assert "in2f.weight has shape (4096, 1024), expected (16, 16)" in refused(
        import_schnetpack, CHECKPOINT, "eV", "Ang"
    )


def test_what_calls_itself_a_maker_is_one_only_by_its_own_module(tmp_path):
    found = read_torch_file(
        torch_file(tmp_path / "x", b"\x80\x02cposix\n_rebuild_tensor_v2\nX\x04\x00\x00\x00true\x85R.")
    )
    assert found.kind == "_rebuild_tensor_v2" and not vars(found)


@pytest.mark.parametrize("byte", [b"\0", b"\xff"])
def test_large_files(tmp_path, byte):
    with (tmp_path / "x").open("wb") as stream:
        stream.write(byte * 100)
        stream.truncate(1 << 40)  # of holes
    assert "expected at most" in refused(import_schnetpack, tmp_path / "x", "eV", "Ang")
    assert "no such file" in refused(import_schnetpack, tmp_path / ("x" * 300), "eV", "Ang")


def test_an_outsized_table_of_contents(tmp_path):
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        for k in range(30_000):
            archive.writestr(f"a/data/{k}", b"")
    assert "outsized table of contents" in refused(read_torch_file, tmp_path / "x")
    stream = io.BytesIO((tmp_path / "x").read_bytes())
    (tmp_path / "y").write_bytes(stream.getvalue() + b"PK\5\6")  # a signature that ends nothing
    refused(read_torch_file, tmp_path / "y")


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    blows=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=0, max_size=3)), min_size=1, max_size=3
    )
)
def test_damaged_pickles_with_checksums_that_fit(tmp_path, blows):
    def damage(content: bytes) -> bytes:
        for place, other in blows:
            at = int(place * len(content))
            content = content[:at] + other + content[at + 1 :]
        return content

    try:
        model = import_schnetpack(repacked(tmp_path / "x", damage), "eV", "Ang")
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return
    assert all(np.isfinite(array).all() for array in model.weights.values())


def test_the_numbers_are_those_that_torch_reads(tmp_path):
    """Views, transposes, parameters and half a storage, as torch itself writes them."""
    import torch

    base = torch.arange(24.0).reshape(4, 6)
    saved = [
        base,
        base.T,
        base[1:3, ::2],
        torch.nn.Parameter(base[0]),
        torch.arange(3),
        torch.zeros(0, 3),
        torch.tensor(2.5),
    ]
    torch.save(saved, tmp_path / "x")
    for ours, theirs in zip(read_torch_file(tmp_path / "x"), saved, strict=True):
        np.testing.assert_array_equal(ours, theirs.detach().numpy())
        assert ours.dtype == theirs.detach().numpy().dtype or ours.size == 0
