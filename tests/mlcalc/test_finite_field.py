"""Polarizabilities by finite fields, against second derivatives of the energy, and their symmetries."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.io import read, write

from mlcalc.common.errors import InputError
from mlcalc.data.finite_field import FIELD, polarizability
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
