"""Structure files: what is refused before ASE reads it, and that all else is as ASE reads it."""

import bz2
import gzip
import lzma
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength
from ase.io import read, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mlcalc.structures.structure_files
from mlcalc.common.errors import InputError
from mlcalc.structures.structure_files import drop_constraints, read_atoms, read_last


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
    monkeypatch.setattr(mlcalc.structures.structure_files, "_LARGEST", 10)
    with pytest.raises(InputError, match="bytes, more than the 10"):
        read_atoms(tmp_path / "a.xyz")


def test_other_columns_are_no_obstacle(tmp_path):
    atoms = molecule("CH4")
    atoms.arrays["charge_like"] = np.arange(5.0)
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    np.testing.assert_array_equal(read_atoms(tmp_path / "a.xyz")[0].arrays["charge_like"], np.arange(5.0))


def three_frames(tmp_path):
    """A file with three frames as ASE writes it, and its lines by frame."""
    frames = [molecule(name) for name in ("CH4", "C2H2", "H2O")]
    for k, atoms in enumerate(frames):
        atoms.info["number"] = k
    write(tmp_path / "clean.xyz", frames, format="extxyz")
    lines, parts = (tmp_path / "clean.xyz").read_text().splitlines(), []
    while lines:
        count = int(lines[0]) + 2
        parts.append(lines[:count])
        lines = lines[count:]
    return frames, parts


@given(
    gaps=st.lists(st.lists(st.sampled_from(["", " ", "\t", "\ufeff"]), max_size=3), min_size=4, max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    suffix=st.sampled_from(["", ".gz", ".bz2", ".xz"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_frame_is_dropped_whatever_lies_between_frames(tmp_path, gaps, end, encoding, suffix):
    """ASE itself ends at the first empty line, and knows no byte order mark."""
    frames, parts = three_frames(tmp_path)
    lines = [*gaps[0]]
    for part, gap in zip(parts, gaps[1:], strict=True):
        lines += [*part, *gap]
    path = tmp_path / f"odd.xyz{suffix}"
    opener = {"": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}[suffix]
    with opener(path, "wb") as stream:
        stream.write(end.join([*lines, ""]).encode(encoding))
    assert [atoms.info["number"] for atoms in read_atoms(path)] == [0, 1, 2]
    assert all(one == other for one, other in zip(read_atoms(path), read(tmp_path / "clean.xyz", ":"), strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n\nC 0 0 0\n\n\nO 1 0 0\n", "line 4 is empty, within a structure"),
        ("1\n\nC 0 0 0\n\nthe end\n", "line 5 is 'the end'; expected the number of atoms of structure 2"),
        ("1\n\nC 0 0 0\n\n2\n\nC 0 0 0\n", "line 5 announces 2 atoms, 1 lines follow"),
        ("1 atom\n\nC 0 0 0\n", "line 1 is '1 atom'"),
        ("1\n\nX7 0 0 0\n", "element 'X7': expected a chemical symbol"),
    ],
)
def test_what_cannot_be_frames_is_refused(tmp_path, text, message):
    (tmp_path / "a.xyz").write_text(text)
    with pytest.raises(InputError, match=message):
        read_atoms(tmp_path / "a.xyz")


@pytest.mark.parametrize(
    "text",
    [
        "3\n\nD 0 0 0\nO .6 .7 0\nd 1.5 0 0\n",
        "3\nProperties=pos:R:3:species:S:1\n0 0 0 D\n.6 .7 0 O\n1.5 0 0 D\n",
        '3\nProperties=id:I:1:species:S:1:pos:R:3 pbc="F F F"\n1 D 0 0 0\n2 O .6 .7 0\n3 D 1.5 0 0\n',
    ],
)
def test_deuterium_is_hydrogen_of_the_atoms_mass(tmp_path, text):
    (tmp_path / "a.xyz").write_text(text)
    (atoms,) = read_atoms(tmp_path / "a.xyz")
    assert atoms.get_chemical_symbols() == ["H", "O", "H"]
    # AME2020: 2.014 101 777 844 u
    np.testing.assert_allclose(atoms.get_masses(), [2.014101778, 15.999, 2.014101778], rtol=1e-9)
    np.testing.assert_array_equal(atoms.positions[2], [1.5, 0, 0])


def test_tritium_and_masses_that_are_given(tmp_path):
    (tmp_path / "a.xyz").write_text("2\n\nT 0 0 0\nH 1 0 0\n")
    np.testing.assert_allclose(read_atoms(tmp_path / "a.xyz")[0].get_masses(), [3.016049281, 1.008], rtol=1e-9)
    (tmp_path / "a.xyz").write_text("2\nProperties=species:S:1:pos:R:3:masses:R:1\nD 0 0 0 2.5\nH 1 0 0 1.0\n")
    np.testing.assert_array_equal(read_atoms(tmp_path / "a.xyz")[0].get_masses(), [2.5, 1.0])


def test_deuterium_of_other_formats(tmp_path):
    write(tmp_path / "a.cif", bulk("HF", "rocksalt", 4.1, cubic=True))
    lines = (tmp_path / "a.cif").read_text().splitlines()
    (tmp_path / "a.cif").write_text("\n".join(re.sub(r"^  H ", "  D ", line) for line in lines) + "\n")
    atoms = read_atoms(tmp_path / "a.cif")[0]
    np.testing.assert_allclose(atoms.get_masses()[atoms.numbers == 1], 2.014101778, rtol=1e-9)
    np.testing.assert_allclose(atoms.get_masses()[atoms.numbers == 9], 18.998403, rtol=1e-6)
    (tmp_path / "a.gen").write_text("1 C\nD\n1 1 0.0 0.0 0.0\n")
    with pytest.raises(InputError, match="element 'D': write H and a column masses"):
        read_atoms(tmp_path / "a.gen")


@pytest.mark.parametrize("name", ["masses", "mass", "Mass", "atomic_mass"])
def test_masses_by_other_names(tmp_path, name):
    path = tmp_path / "a.xyz"
    path.write_text(f"2\nProperties=species:S:1:pos:R:3:{name}:R:1\nC 0 0 0 13.003\nO 1 0 0 15.9\n")
    np.testing.assert_array_equal(read_atoms(path)[0].get_masses(), [13.003, 15.9])


@pytest.mark.parametrize(
    ("columns", "line", "message"),
    [
        ("masses:R:1", "0", "masses: atom 0 weighs 0 u"),
        ("mass:R:1", "-5", "masses: atom 0 weighs -5 u"),
        ("masses:R:1", "nan", "masses: atom 0 weighs nan u"),
        ("masses:R:1:mass:R:1", "12 13", "columns masses and mass differ"),
        ("isotope:I:1", "13", "column isotope: expected masses in u"),
    ],
)
def test_masses_that_are_none(tmp_path, columns, line, message):
    (tmp_path / "a.xyz").write_text(f"1\nProperties=species:S:1:pos:R:3:{columns}\nC 0 0 0 {line}\n")
    with pytest.raises(InputError, match=f"structure 1: .*{message}"):
        read_atoms(tmp_path / "a.xyz")


def test_constraints_are_dropped_with_a_note(tmp_path, capsys):
    atoms = molecule("CH4")
    atoms.set_constraint([FixAtoms([0]), FixBondLength(0, 1)])
    write(tmp_path / "a.traj", [atoms, molecule("CH4")])
    frames = read_atoms(tmp_path / "a.traj")
    drop_constraints(frames, "a.traj", "labels")
    assert not any(atoms.constraints for atoms in frames)
    assert "FixAtoms, FixBondLengths in 1 of 2 structures: labels disregard constraints" in capsys.readouterr().err


def test_the_last_of_several_with_a_note(tmp_path, capsys):
    frames, _ = three_frames(tmp_path)
    assert read_last(tmp_path / "clean.xyz") == frames[-1]
    assert "holds 3 structures: the last one is used" in capsys.readouterr().err
    write(tmp_path / "one.xyz", frames[0])
    read_last(tmp_path / "one.xyz")
    assert capsys.readouterr().err == ""


def test_without_asserts(tmp_path):
    """ASE's reader takes a line within an assert."""
    write(tmp_path / "a.xyz", molecule("CH4"))
    program = f"from mlcalc.cli import main; raise SystemExit(main(['modes', {str(tmp_path / 'a.xyz')!r}]))"
    done = subprocess.run(
        [sys.executable, "-O", "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 2
    assert "unset PYTHONOPTIMIZE" in done.stderr


@pytest.mark.parametrize(
    ("comment", "line", "message"),
    [
        ("Properties=species:S:1:pos:R:3", "C 1e300 0 0", "structure 1: positions of atom 0: "),
        ("Properties=species:S:1:pos:R:3", "C nan 0 0", "positions of atom.* NaN or infinite"),
        ('Lattice="nan 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3', "C 0 0 0", "cell vector.* NaN or infinite"),
        ('Lattice="9 0 0 0 9 0 0 0 1e200" Properties=species:S:1:pos:R:3', "C 0 0 0", "cell vector 2: "),
        ("Properties=species:S:1:pos:R:3:masses:R:1", "C 0 0 0 1e308", r"weighs 1e\+308 u; expected 0.1 to 1e\+06 u"),
        ("Properties=species:S:1:pos:R:3:masses:R:1", "C 0 0 0 0.012", "weighs 0.012 u"),
        ("Properties=species:S:1:pos:R:3:masses:S:1", "C 0 0 0 heavy", "expected one number for each atom, in u"),
        ("Properties=species:S:1:pos:R:3:mass:S:1", "C 0 0 0 heavy", "expected one number for each atom, in u"),
        ("Properties=species:S:1:pos:R:3:pos:R:3", "C 0 0 0 1 1 1", "pos"),
        ("Properties=species:S:1:pos:R:3:masses:R:1:masses:R:1", "C 0 0 0 1 1", "masses"),
        (
            f'Properties=species:S:1:pos:R:3 x="_JSON {"[" * 30}null{"]" * 30}"',
            "C 0 0 0",
            "x: nested more than 20 levels",
        ),
        ("Properties=species:S:1:pos:R:3:masses:R:2", "C 0 0 0 1 1", "expected one number for each atom"),
        (f'Properties=species:S:1:pos:R:3 x="_JSON {"[" * 90_000}"', "C 0 0 0", "not a readable structure"),
        (f'Properties=species:S:1:pos:R:3 x="_JSON {"9" * 9_000}"', "C 0 0 0", "not a readable structure"),
    ],
)
def test_numbers_beyond_all_bounds(tmp_path, comment, line, message):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\n{comment}\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_atoms(path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "device", "nul", "long", "socket"])
def test_only_regular_files_are_read(tmp_path, kind):
    """The others block, have no end, or are none."""
    path = tmp_path / "a.xyz"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    path = {"device": "/dev/zero", "nul": "a\0.xyz", "long": "a" * 5000}.get(kind, path)
    with pytest.raises(InputError, match=r"regular file|no such file|cannot be read|without NUL") as caught:
        read_atoms(path)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)
