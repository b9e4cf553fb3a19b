"""Structure files: what is refused before ASE reads it, and that all else is as ASE reads it."""

import time

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read, write

import mlcalc.structure_files
from mlcalc.errors import InputError
from mlcalc.structure_files import read_atoms


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.cif", "POSCAR", "a.traj"])
def test_as_ase_reads_it(tmp_path, name):
    path = tmp_path / name
    write(path, bulk("NaCl", "rocksalt", 5.6, cubic=True))
    (atoms,), expected = read_atoms(path), read(path)
    assert atoms == expected


def test_several_frames(tmp_path):
    frames = [molecule("CH4"), molecule("C2H2")]
    write(tmp_path / "a.xyz", frames)
    assert [len(atoms) for atoms in read_atoms(tmp_path / "a.xyz")] == [5, 4]
    with open(tmp_path / "a.xyz", "a") as stream:
        stream.write("\n\n")
    assert [len(atoms) for atoms in read_atoms(tmp_path / "a.xyz")] == [5, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("999999999999\n\nC 0 0 0\n", "line 1 announces 999999999999 atoms, 1 lines follow"),
        ("1\n\nC 0 0 0\n9_9_9_9_9_9_9_9_9\n\nC 0 0 0\n", "line 4 announces 999999999 atoms"),
        ("-1\n\n", "announces -1 atoms"),
        ('1\nProperties=species:S:1:pos:R:999999999 pbc="F F F"\nC 0 0 0\n', "line 2 announces 999999999 columns"),
        ("1\nproperties = species:S:1:pos:R:9_9999999\nC 0 0 0\n", "line 2 announces 99999999 columns"),
        ("", "xyz: "),
        ("two\n\nC 0 0 0\n", "not a readable structure"),
    ],
)  # fmt: skip
def test_refused_at_once(tmp_path, text, message):
    """ASE would count to a billion, or fill the memory."""
    (tmp_path / "a.xyz").write_text(text)
    began = time.perf_counter()
    with pytest.raises(InputError, match=message):
        read_atoms(tmp_path / "a.xyz")
    assert time.perf_counter() - began < 2.0


def test_too_large_or_missing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file"):
        read_atoms(tmp_path / "a.xyz")
    write(tmp_path / "a.xyz", molecule("CH4"))
    monkeypatch.setattr(mlcalc.structure_files, "_LARGEST", 10)
    with pytest.raises(InputError, match="bytes, more than the 10"):
        read_atoms(tmp_path / "a.xyz")


def test_other_columns_are_no_obstacle(tmp_path):
    atoms = molecule("CH4")
    atoms.arrays["charge_like"] = np.arange(5.0)
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    np.testing.assert_array_equal(read_atoms(tmp_path / "a.xyz")[0].arrays["charge_like"], np.arange(5.0))
