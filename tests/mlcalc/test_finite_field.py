"""Polarizabilities by finite fields, against second derivatives of the energy, and their symmetries."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule

from mlcalc.common.errors import InputError
from mlcalc.structures.electronic_state import electronic_state

tblite = pytest.importorskip("tblite.interface", reason="needs tblite: pip install 'mlcalc[label]'")

from mlcalc.data.finite_field import FIELD, polarizability  # noqa: E402


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


def test_crystals_are_refused():
    with pytest.raises(InputError, match="periodic: expected a molecule"):
        polarizability(bulk("C"))
