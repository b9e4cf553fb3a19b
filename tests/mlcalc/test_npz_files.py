"""NumPy's archives of others: what is in them is what they say, or they are refused in one line."""

import io
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcalc.common.errors import InputError
from mlcalc.structures.npz_files import _read
from mlcalc.structures.structure_files import read_atoms

R = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.8]]])
GOOD = {"R": R, "z": np.array([1, 1]), "E": np.array([-1.0, -2.0]), "F": np.ones((2, 2, 3)), "Q": np.array(0)}


def refused(path) -> str:
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        read_atoms(path)
    duration, peak = time.monotonic() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    message = str(caught.value)
    assert duration < 5.0 and peak < 3e7 and "\n" not in message and len(message) < 600
    return message


def test_good(tmp_path):
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **GOOD, e_unit="eV")
        frames = read_atoms(tmp_path / "a.npz")
        np.testing.assert_array_equal([atoms.positions for atoms in frames], R)
        assert [atoms.get_potential_energy() for atoms in frames] == [-1.0, -2.0]
        assert frames[0].info == {"energy_unit": "eV", "charge": 0.0}
    np.savez(tmp_path / "a.npz", R=R.astype(">f4"), z=np.array([1.0, 1.0]), Q=np.array([1, -1]), e_unit=np.array(b"eV"))
    assert [atoms.info["charge"] for atoms in read_atoms(tmp_path / "a.npz")] == [1.0, -1.0]
    np.savez(tmp_path / "a.npz", R=np.asfortranarray(R), z=np.array([1, 1], np.uint8))
    np.testing.assert_array_equal(read_atoms(tmp_path / "a.npz")[1].positions, R[1])


def test_constant_columns_pack_well_and_are_read(tmp_path):
    rng, count = np.random.default_rng(0), 140_000
    arrays = {
        "R": rng.normal(size=(count, 1, 3)),
        "z": np.array([1]),
        "Q": np.zeros(count),
        "F": np.zeros((count, 1, 3)),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    with np.load(tmp_path / "a.npz") as archive:  # without the structures, which take long to make
        assert archive["Q"].nbytes > 1 << 20
    with zipfile.ZipFile(tmp_path / "a.npz") as opened:
        found = _read(opened)
    np.testing.assert_array_equal(found["positions"], arrays["R"])
    assert found["forces"].shape == (count, 1, 3) and not found["charge"].any()


WRONG = {
    "part of an element": ({"z": np.array([6.7, 1.0])}, "atomic number 6.7: expected whole numbers from 1 to 118"),
    "no element": ({"z": np.array([0, 1])}, "atomic number 0"),
    "element 999": ({"z": np.array([1, 999])}, "atomic number 999"),
    "negative": ({"z": np.array([-6, 1])}, "atomic number -6"),
    "wrapped": ({"z": np.array([2**64 - 1, 1], np.uint64)}, "atomic number 18446744073709551615"),
    "huge": ({"z": np.array([1e300, 1])}, "atomic number 1e\\+300"),
    "element as text": ({"z": np.array(["6", "1"])}, "numbers of the type <U1"),
    "element that is none": ({"z": np.array([np.nan, 1])}, "not all finite"),
    "elements of frames": ({"z": np.ones((2, 2))}, "do not belong to one molecule"),
    "position that is none": ({"R": np.full((2, 2, 3), np.nan)}, "positions of the type float64, not all finite"),
    "complex": ({"R": R + 1j}, "positions of the type complex128"),
    "text": ({"R": R.astype(str)}, "positions of the type <U"),
    "truth": ({"R": R > 0}, "positions of the type bool"),
    "times": ({"R": R.astype("m8[s]")}, "positions of the type timedelta64"),
    "records": ({"R": np.zeros((2, 2, 3), [("x", "f8")])}, "Python objects or records"),
    "objects": ({"R": R.astype(object)}, "Python objects or records, which are never read"),
    "objects in energies": ({"E": np.array([None, 1.0])}, "Python objects"),
    "energy that is none": ({"E": np.array([np.inf, 1.0])}, "energies of the type float64, not all finite"),
    "complex energies": ({"E": np.array([1j, 1.0])}, "energies of the type complex128"),
    "forces that are none": ({"F": np.full((2, 2, 3), np.nan)}, "forces .* not all finite"),
    "charges": ({"Q": np.zeros(3)}, "3 charges of 2 geometries"),
    "words": ({"e_unit": np.array(["eV", "kcal"])}, "e_unit is not one word"),
    "number for a word": ({"r_unit": np.array(1.0)}, "r_unit is not one word"),
    "two names": ({"coords": 2 * R}, "positions come under two names, R and coords"),
    "two numbers": ({"Z": np.array([6, 6])}, "numbers come under two names, z and Z"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays(tmp_path, name):
    change, message = WRONG[name]
    np.savez(tmp_path / "a.npz", **GOOD | change)
    with pytest.raises(InputError, match=message):
        read_atoms(tmp_path / "a.npz")
    refused(tmp_path / "a.npz")


def npy(array: np.ndarray, **header) -> bytes:
    """An array under a header that says something else."""
    stream = io.BytesIO()
    said = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape} | header
    np.lib.format.write_array_header_1_0(stream, said)
    return stream.getvalue() + array.tobytes()


def archive(path, kind=zipfile.ZIP_DEFLATED, **members: bytes):
    with zipfile.ZipFile(path, "w", kind) as target:
        for name, content in members.items():
            target.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("shape", [(1 << 40, 2, 3), (0, 1 << 62, 3), (1, 2, 3), (-1, 2, 3), (-2, -2, 3), (3, 2, 3)])
def test_declared_shapes(tmp_path, shape):
    path = archive(tmp_path / "a.npz", R=npy(R, shape=shape), z=npy(GOOD["z"]))
    assert "not a readable structure" in refused(path) or shape[0] == 0


def test_a_small_file_that_unpacks_to_much(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as target:
        with target.open("R.npy", "w", force_zip64=True) as stream:
            stream.write(npy(np.zeros((0, 2, 3)), shape=((1 << 28) // 48, 2, 3)))
            for _ in range(256):
                stream.write(bytes(1 << 20))
        target.writestr("z.npy", npy(GOOD["z"]))
    assert "not geometries" in refused(tmp_path / "a.npz")


def test_arrays_that_are_too_large_beside_the_geometries(tmp_path):
    path = archive(tmp_path / "a.npz", R=npy(R), z=npy(GOOD["z"]), E=npy(np.zeros(1 << 23)))
    assert "expected at most" in refused(path)


def test_names_that_steer_the_terminal(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as target:
        target.writestr("\x1b[31m\nx.npy", b"")
    assert "\\x1b[31m\\nx" in refused(tmp_path / "a.npz")


def test_other_files_under_the_name(tmp_path):
    for content in (b"", b"text", b"\x93NUMPY", npy(R), b"PK\5\6" + bytes(18), b"PK\3\4" * 30):
        (tmp_path / "a.npz").write_bytes(content)
        refused(tmp_path / "a.npz")
    for member in (b"", b"text", b"\x93NUMPY\1\0", b"\x93NUMPY\3\0\xff\xff\xff\xff", b"\x93NUMPY\2\0\xff\xff\xff\x7f{"):
        refused(archive(tmp_path / "a.npz", R=member, z=npy(GOOD["z"])))
    nested = b"\x93NUMPY\1\0" + (9000).to_bytes(2, "little") + b"(" * 9000
    refused(archive(tmp_path / "a.npz", R=nested, z=npy(GOOD["z"])))


@settings(max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["R", "z", "E", "F"]),
    blows=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=3)), min_size=1, max_size=3),
)
def test_damage_with_checksums_that_fit(tmp_path, name, blows):
    members = {key: npy(GOOD[key]) for key in ("R", "z", "E", "F")}
    for place, other in blows:
        at = int(place * len(members[name]))
        members[name] = members[name][:at] + other + members[name][at + 1 :]
    path = archive(tmp_path / "a.npz", zipfile.ZIP_STORED, **members)
    try:
        frames = read_atoms(path)
    except InputError:
        return
    assert all(np.isfinite(atoms.positions).all() and (atoms.numbers >= 1).all() for atoms in frames)
