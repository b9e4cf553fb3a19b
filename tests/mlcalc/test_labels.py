"""Labels of other people's files: every name, unit and format gives the same numbers, or one line that says what was found."""

import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixBondLength
from ase.db import connect
from ase.io import write

from mlcalc.common.errors import InputError
from mlcalc.structures import labels
from mlcalc.structures.labels import LabelNames
from mlcalc.training.dataset import read_dataset

KCAL = units.kcal / units.mol


def labelled(count: int = 4) -> list:
    """Shaken ethanols with the energies and forces of EMT."""
    frames = []
    for k in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.05, seed=k)
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(atoms)
    return frames


def as_extxyz(frames, energy="energy", forces="forces", extra="", scale=1.0) -> str:
    """Extended XYZ by hand, with any names."""
    text = ""
    for atoms in frames:
        text += f"{len(atoms)}\nProperties=species:S:1:pos:R:3" + (f":{forces}:R:3" if forces else "")
        text += (
            f" {energy}={float(atoms.get_potential_energy() / scale)!r}" if energy else ""
        ) + f' {extra} pbc="F F F"\n'
        for symbol, q, f in zip(atoms.symbols, atoms.positions, atoms.get_forces() / scale, strict=True):
            text += " ".join([symbol, *map(repr, q.tolist()), *(map(repr, f.tolist()) if forces else [])]) + "\n"
    return text


@pytest.fixture
def frames():
    return labelled()


def check(dataset, frames):
    np.testing.assert_allclose(dataset.energies, [atoms.get_potential_energy() for atoms in frames], rtol=1e-12)
    np.testing.assert_allclose(
        dataset.forces,
        np.concatenate([atoms.calc.results["forces"] for atoms in frames]),
        atol=6e-9,  # the digits of extxyz
    )


@pytest.mark.parametrize(
    ("energy", "forces"), [("energy", "forces"), ("REF_energy", "REF_forces"), ("dft_energy", "force")]
)
def test_names_that_are_given(tmp_path, frames, energy, forces):
    (tmp_path / "a.xyz").write_text(as_extxyz(frames, energy, forces))
    check(read_dataset([tmp_path / "a.xyz"], [LabelNames(energy, forces)]), frames)


def test_names_that_are_not_given_are_named(tmp_path, frames):
    path = tmp_path / "a.xyz"
    path.write_text(as_extxyz(frames, "REF_energy", "REF_forces"))
    with pytest.raises(InputError, match="structure 1 has no forces; found REF_forces: set forces_key"):
        read_dataset([path])
    with pytest.raises(InputError, match="no structure has the energy_key 'Energy'; found REF_energy"):
        read_dataset([path], [LabelNames("Energy", "REF_forces")])
    path.write_text(as_extxyz(frames, "TotEnergy"))
    dataset = read_dataset([path])
    assert np.isnan(dataset.energies).all()
    assert "energies in 0, forces in all (forces), not taken: TotEnergy" in str(dataset.contents[0])


def test_a_name_that_is_given_beats_the_usual_one(tmp_path, frames):
    for atoms in frames:
        atoms.info["dft"] = 1.0
        atoms.arrays["other"] = np.ones((len(atoms), 3))
    write(tmp_path / "a.xyz", frames, format="extxyz")
    dataset = read_dataset([tmp_path / "a.xyz"], [LabelNames("dft", "other")])
    assert (dataset.energies == 1.0).all() and (dataset.forces == 1.0).all()


@pytest.mark.parametrize("unit", ["kcal/mol", "Hartree", "kJ/mol"])
def test_units(tmp_path, frames, unit):
    scale = {"kcal/mol": KCAL, "Hartree": units.Hartree, "kJ/mol": units.kJ / units.mol}[unit]
    (tmp_path / "asked.xyz").write_text(as_extxyz(frames, scale=scale))
    check(read_dataset([tmp_path / "asked.xyz"], [LabelNames(unit=unit)]), frames)
    (tmp_path / "said.xyz").write_text(
        as_extxyz(frames, scale=scale, extra=f"energy_unit={unit} forces_unit={unit}/Ang")
    )
    check(read_dataset([tmp_path / "said.xyz"]), frames)
    with pytest.raises(InputError, match="energy_unit = 'eV', but its structures state"):
        read_dataset([tmp_path / "said.xyz"], [LabelNames(unit="eV")])


@pytest.mark.parametrize(
    "extra", ["energy_unit=Ry", "forces_unit=Hartree/Bohr", "length_unit=Bohr", "energy_unit=eV f_unit=meV/Ang"]
)
def test_units_that_are_not_served(tmp_path, frames, extra):
    (tmp_path / "a.xyz").write_text(as_extxyz(frames, extra=extra))
    with pytest.raises(InputError, match="structure 1.* expected "):
        read_dataset([tmp_path / "a.xyz"])


def test_other_keys_with_unit_in_their_name_do_not_matter(tmp_path, frames):
    (tmp_path / "a.xyz").write_text(as_extxyz(frames, extra="formula_units=2 unit_cell=conventional"))
    check(read_dataset([tmp_path / "a.xyz"]), frames)


def test_free_energies_belong_to_the_forces(tmp_path, frames):
    for atoms in frames:
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.25
    write(tmp_path / "a.xyz", frames, format="extxyz")
    dataset = read_dataset([tmp_path / "a.xyz"])
    np.testing.assert_allclose(dataset.energies, [atoms.calc.results["energy"] - 0.25 for atoms in frames])
    assert "energies in all (free_energy)" in str(dataset.contents[0])
    check(read_dataset([tmp_path / "a.xyz"], [LabelNames("energy")]), frames)
    del frames[2].calc.results["free_energy"]
    write(tmp_path / "a.xyz", frames, format="extxyz")
    with pytest.raises(InputError, match="free_energy in 3 of 4 structures, where it differs"):
        read_dataset([tmp_path / "a.xyz"])
    for atoms in frames:
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"]
    del frames[1].calc.results["free_energy"]
    write(tmp_path / "a.xyz", frames, format="extxyz")
    check(read_dataset([tmp_path / "a.xyz"]), frames)


@pytest.mark.parametrize("constraint", [FixAtoms([0, 3]), FixBondLength(0, 1)])
@pytest.mark.parametrize("name", ["a.xyz", "a.traj", "a.json"])
def test_forces_of_fixed_atoms_are_those_of_the_file(tmp_path, frames, constraint, name):
    for atoms in frames:
        atoms.set_constraint(constraint)
    write(tmp_path / name, frames)
    check(read_dataset([tmp_path / name]), frames)


def test_databases(tmp_path, frames):
    with connect(tmp_path / "a.db") as database:
        for atoms in frames:
            database.write(atoms, dft=2.0, data={"dft_forces": np.full((len(atoms), 3), 3.0)})
    check(read_dataset([tmp_path / "a.db"]), frames)
    dataset = read_dataset([tmp_path / "a.db"], [LabelNames("dft", "dft_forces")])
    assert (dataset.energies == 2.0).all() and (dataset.forces == 3.0).all()


@pytest.mark.parametrize("names", [("R", "z", "E", "F"), ("coords", "nuclear_charges", "energies", "forces")])
def test_archives_of_md17(tmp_path, frames, names):
    values = np.array([a.positions for a in frames]), frames[0].numbers
    values += (
        np.array([[a.get_potential_energy() / KCAL] for a in frames]), np.array([a.get_forces() / KCAL for a in frames]),
    )  # fmt: skip
    arrays = dict(zip(names, values, strict=True))
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match="does not state the unit .* MD17 and rMD17 it is kcal/mol"):
        read_dataset([tmp_path / "a.npz"])
    check(read_dataset([tmp_path / "a.npz"], [LabelNames(unit="kcal/mol")]), frames)
    np.savez(tmp_path / "b.npz", **arrays, e_unit="kcal/mol", r_unit="Ang")
    check(read_dataset([tmp_path / "b.npz"]), frames)
    np.savez(tmp_path / "c.npz", **arrays, e_unit="kcal/mol", r_unit="Bohr")
    with pytest.raises(InputError, match="r_unit = Bohr"):
        read_dataset([tmp_path / "c.npz"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "holds x; expected the arrays R"),
        ({"R": np.zeros((2, 3, 3)), "z": np.ones(4)}, "do not belong to one molecule"),
        ({"R": np.zeros((2, 3, 3)), "z": np.ones(3), "E": np.zeros(3)}, "3 energies of 2 geometries"),
        ({"R": np.zeros((2, 3, 3)), "z": np.array([None, 1, 2])}, "not a readable structure"),
    ],
)
def test_archives_that_are_something_else(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_dataset([tmp_path / "a.npz"])


def test_free_atoms_need_no_forces(tmp_path, frames):
    text = (
        as_extxyz(frames)
        + '1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom energy=-13.6 pbc="F F F"\nH 0 0 0\n'
    )
    (tmp_path / "a.xyz").write_text(text)
    dataset = read_dataset([tmp_path / "a.xyz"])
    assert dataset.energies[-1] == -13.6
    np.testing.assert_array_equal(dataset.forces[-1], np.zeros(3))
    (tmp_path / "a.xyz").write_text(as_extxyz(frames) + as_extxyz(frames[:1], forces=None))
    with pytest.raises(InputError, match="structure 5 has no forces; label the file first"):
        read_dataset([tmp_path / "a.xyz"])


@pytest.mark.parametrize("energy", ["abc", '"1 2"', "nan", "-1.0D+00", "T"])
def test_energies_that_are_no_numbers(tmp_path, energy):
    (tmp_path / "a.xyz").write_text(f"1\nProperties=species:S:1:pos:R:3:forces:R:3 energy={energy}\nC 0 0 0 0 0 0\n")
    with pytest.raises(InputError, match="structure 1 has the energy"):
        read_dataset([tmp_path / "a.xyz"])


def test_what_was_found_is_said(tmp_path, frames):
    frames[0].set_constraint(FixAtoms([0]))
    frames[1].set_masses(np.full(9, 2.0))
    for atoms in frames:
        atoms.info["charge"] = 1
    write(tmp_path / "a.xyz", [*frames, *labelled(2)[1:]], format="extxyz")
    found = str(read_dataset([tmp_path / "a.xyz"]).contents[0])
    assert found == (
        "a.xyz: 5 structures of 9 atoms, energies in all (energy), forces in all (forces), charge 0 and 1, masses in 1, "
        "constraints in 1, dropped"
    )


def test_energies_alone_are_read_in_linear_time(tmp_path, monkeypatch):
    """Whether something looks like forces is asked once for a file, not once for each of its structures."""
    looked = []
    monkeypatch.setattr(labels, "force_names", lambda frames: looked.append(len(frames)) or ())
    frames = [molecule("H2O") for _ in range(20)]
    for k, atoms in enumerate(frames):
        atoms.calc = SinglePointCalculator(atoms, energy=float(k))
    write(tmp_path / "energies.xyz", frames, format="extxyz")
    dataset = read_dataset([tmp_path / "energies.xyz"], [LabelNames()], energy_only=True)
    assert dataset.energies == pytest.approx(np.arange(20.0))
    assert len(looked) <= 2
