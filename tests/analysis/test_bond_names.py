"""Groups of bonds by elements and order, against structural formulae; cages against those that are none."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.cluster import Icosahedron

from analysis.structure.bond_names import bond_groups, pair_name
from analysis.structure.cages import diameter_pairs
from mlcalc.structures.structure_files import read_atoms
from tests.analysis.run_folders import dodecahedron, malonaldehyde

C20 = Path(__file__).parents[2] / "inputs" / "c20" / "c20.xyz"
# As drawn in any textbook; ':' where no single formula will do.
FORMULAE = {
    "H2O": {"bonds": 2},
    "CO2": {"bonds": 2},
    "C2H6": {"C–C": 1, "C–H": 6},
    "C2H4": {"C=C": 1, "C–H": 4},
    "C2H2": {"C≡C": 1, "C–H": 2},
    "C6H6": {"C:C": 6, "C–H": 6},
    "C3H4_D2d": {"C=C": 2, "C–H": 4},  # allene
    "C4H4O": {"C=C": 2, "C–C": 1, "C–O": 2, "C–H": 4},  # furan
    "HCOOH": {"C=O": 1, "C–O": 1, "C–H": 1, "O–H": 1},
    "CH3CONH2": {"C=O": 1, "C–C": 1, "C–N": 1, "C–H": 3, "N–H": 2},
    "CH3CN": {"C–C": 1, "C≡N": 1, "C–H": 3},
    "C60": {"C=C": 30, "C–C": 60},
}


@pytest.mark.parametrize("name", FORMULAE)
def test_orders_are_those_of_the_formula(name):
    assert {group: len(pairs) for group, pairs in bond_groups(molecule(name)).items()} == FORMULAE[name]


def test_malonaldehyde():
    groups = bond_groups(malonaldehyde())
    assert {name: pairs.tolist() for name, pairs in groups.items()} == {
        "C=C": [[2, 3]], "C=O": [[0, 1]], "C–C": [[1, 2]], "C–O": [[3, 4]], "C–H": [[1, 6], [2, 7], [3, 8]], "O–H": [[4, 5]],
    }  # fmt: skip
    assert len(diameter_pairs(malonaldehyde())) == 0
    assert pair_name(malonaldehyde().get_chemical_symbols(), (5, 3)) == "C3–H5"


def test_c20_keeps_bonds_and_diameters():
    for atoms in (read_atoms(C20)[-1], dodecahedron()):
        assert {name: len(pairs) for name, pairs in bond_groups(atoms).items()} == {"bonds": 30}
        assert len(diameter_pairs(atoms)) == 10


def cubane() -> Atoms:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / np.sqrt(3)
    return Atoms("C8H8", np.concatenate([1.36 * corners, 2.45 * corners]))


def test_cages():
    hollow = Icosahedron("Au", 2)
    full = hollow.copy()
    del hollow[int(np.linalg.norm(hollow.positions - hollow.get_center_of_mass(), axis=1).argmin())]
    found = [len(diameter_pairs(atoms)) for atoms in (molecule("C60"), hollow, cubane())]
    assert found == [30, 6, 4]
    assert (diameter_pairs(cubane()) < 8).all()  # of the cage, not of what hangs on it
    rough = dodecahedron()
    rough.positions += np.random.default_rng(1).normal(0.0, 0.08, (20, 3))
    assert len(diameter_pairs(rough)) >= 8
    none = [full, molecule("H2O"), molecule("C6H6"), molecule("bicyclobutane"), molecule("P2"), Atoms("C")]
    assert [len(diameter_pairs(atoms)) for atoms in none] == [0] * len(none)
