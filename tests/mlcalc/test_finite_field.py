"""Polarizabilities by finite fields, against second derivatives of the energy, and their symmetries."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.io import read, write

from mlcalc.common.errors import InputError
from mlcalc.data.finite_field import FIELD, STRONG_FIELD, hyperpolarizability, polarizability
from mlcalc.structures.electronic_state import electronic_state

SCRIPT = Path(__file__).parents[2] / "inputs" / "qm9" / "polarizabilities.py"
tblite = pytest.importorskip("tblite.interface", reason="needs tblite: pip install 'mlcalc[label]'")


def energy(atoms: Atoms, field: np.ndarray) -> float:
    """Hartree."""
    import cffi

    state = electronic_state(atoms)
    calculator = tblite.Calculator(
        "GFN2-xTB", atoms.numbers, atoms.positions / units.Bohr, float(state.charge or 0), (state.multiplicity or 1) - 1
    )
    calculator.set("verbosity", 0)
    calculator.set("accuracy", 0.01)
    components = np.ascontiguousarray(field, dtype=float)
    calculator.add("electric-field", cffi.FFI().cast("double*", components.ctypes.data))
    return float(calculator.singlepoint().get("energy"))


@pytest.mark.parametrize("name, info", [("H2O", {}), ("H2O", {"charge": 1, "multiplicity": 2}), ("C2H4", {})])
def test_dipoles_and_energies_give_the_same_tensor(name, info):
    """E(F) = E − μF − ½ αF² + O(F³): its second difference is −α, of ions too."""
    atoms, axes = molecule(name), FIELD * np.eye(3)
    atoms.info |= info
    found = polarizability(atoms) / units.Bohr**3
    middle = energy(atoms, np.zeros(3))
    for a in range(3):
        second = (energy(atoms, axes[a]) + energy(atoms, -axes[a]) - 2.0 * middle) / FIELD**2
        assert found[a, a] == pytest.approx(-second, rel=5e-3)
    assert (np.linalg.eigvalsh(found) > 0).all()


def test_the_tensor_turns_with_the_molecule():
    atoms = molecule("CH3CHO")
    turned = atoms.copy()
    turned.rotate(50.0, (1.0, 2.0, -1.0))
    rotation, *_ = np.linalg.lstsq(atoms.positions, turned.positions, rcond=None)
    np.testing.assert_allclose(polarizability(turned), rotation.T @ polarizability(atoms) @ rotation, atol=2e-3)


def test_hyperpolarizabilities_are_third_derivatives_of_the_energy():
    """E(F) = E − μF − ½ αF² − ⅙ βF³: along the axis of water, from four energies."""
    atoms, h = molecule("H2O"), 2.0 * STRONG_FIELD
    vector = hyperpolarizability(atoms)
    assert np.abs(vector[:2]).max() < 1e-3 * abs(vector[2])
    e = {k: energy(atoms, np.array([0.0, 0.0, k * h])) for k in (-2, -1, 1, 2)}
    along = -(e[2] - 2.0 * e[1] + 2.0 * e[-1] - e[-2]) / (2.0 * h**3)
    across = 0.0
    for axis in np.eye(3)[:2]:
        mixed = {(a, b): energy(atoms, h * (a * axis + b * np.array([0, 0, 1.0]))) for a in (-1, 0, 1) for b in (-1, 1)}
        second = {b: mixed[1, b] - 2.0 * mixed[0, b] + mixed[-1, b] for b in (-1, 1)}
        across -= (second[1] - second[-1]) / (2.0 * h**3)
    assert vector[2] == pytest.approx(along + across, rel=0.02)


def test_hyperpolarizabilities_know_symmetry():
    """None of a molecule with a centre of inversion; a vector that turns with the molecule."""
    assert np.abs(hyperpolarizability(molecule("C2H4"))).max() < 1e-2
    atoms = molecule("CH3OH")
    turned = atoms.copy()
    turned.rotate(40.0, (1.0, -1.0, 0.5))
    rotation, *_ = np.linalg.lstsq(atoms.positions, turned.positions, rcond=None)
    np.testing.assert_allclose(hyperpolarizability(turned), hyperpolarizability(atoms) @ rotation, rtol=0.01, atol=0.1)
    with pytest.raises(InputError, match="periodic"):
        hyperpolarizability(bulk("Cu"))


@pytest.mark.parametrize("name", ["C5H5N", "CH3NO2"])
def test_weaker_fields_change_little(name):
    """A polarizability by 0.02 %, a hyperpolarizability by up to about one per cent."""
    atoms = molecule(name)
    tensors = [polarizability(atoms, field=field) for field in (FIELD, FIELD / 2)]
    np.testing.assert_allclose(*tensors, rtol=0, atol=2e-4 * np.abs(tensors).max())
    lengths = [np.linalg.norm(hyperpolarizability(atoms, field=field)) for field in (STRONG_FIELD, STRONG_FIELD / 2)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.015) and lengths[1] > 10


def test_the_script_of_qm9_labels_a_file(tmp_path):
    spec = spec_from_file_location("polarizabilities", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    given = [molecule(name) for name in ("H2O", "CH4", "C2H4")]
    for k, atoms in enumerate(given):
        atoms.info |= {"qm9": k, "polarizability_A3": float(np.trace(polarizability(atoms))) / 1.5}
    write(tmp_path / "set.xyz", given)
    script.label(tmp_path / "set.xyz", 2, tmp_path / "out.xyz")
    first, second = read(tmp_path / "out.xyz", ":")
    tensor = polarizability(given[1])
    np.testing.assert_allclose(
        second.info["polarizability_xx_xy_yy_xz_yz_zz_A3"], tensor[np.tril_indices(3)], atol=1e-6
    )
    assert "2 molecules, GFN2-xTB / QM9 0.5" in script.summary(tmp_path / "out.xyz")


def test_crystals_are_refused():
    with pytest.raises(InputError, match="periodic: expected a molecule"):
        polarizability(bulk("C"))
