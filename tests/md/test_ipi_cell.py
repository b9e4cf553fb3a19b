"""Molecules in i-PI's cell: one that i-PI's own wrapping has cut is never evaluated, and one that it has not always is."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from md.cli import main
from md.ipi.cell import CellGuard
from md.ipi.guest import CellError, Guest
from md.ipi.input import force_fields, read_root
from tests.conftest import SCHNETPACK_DIALECT, random_model

MOLECULE = molecule("C2H2")
MODEL = random_model(SCHNETPACK_DIALECT)
TRICLINIC = np.array([[16.0, 3.0, -2.0], [0.0, 17.0, 4.0], [0.0, 0.0, 15.0]])  # i-PI's: lattice vectors in columns


def wrapped(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """By i-PI itself, as for <ffsocket pbc='True'>."""
    pytest.importorskip("ipi")
    from ipi.engine.cell import Cell

    flat = positions.reshape(-1) / units.Bohr
    Cell(cell / units.Bohr).array_pbc(flat)
    return flat.reshape(-1, 3) * units.Bohr


@pytest.mark.parametrize("cell", [20.0 * np.eye(3), TRICLINIC])
@pytest.mark.parametrize("cutoff", [4.0, None])
def test_cut_or_in_one_piece(cell, cutoff):
    """Somewhere in space, always in one piece without wrapping; with it, cut exactly where a distance has changed."""
    rng, guard, cuts = np.random.default_rng(2), CellGuard(np.zeros(3, bool), cutoff), 0
    for _ in range(100):
        q = MOLECULE.positions + cell @ rng.uniform(-1, 1, 3)
        assert guard.complaint(q[None], cell[None]) is None
        pieces = wrapped(q, cell)
        changed = np.abs(Atoms(positions=pieces).get_all_distances() - MOLECULE.get_all_distances()).max() > 1e-6
        complaint = guard.complaint(np.array([q, pieces]), np.array([cell, cell]))
        assert (complaint is not None) == changed
        assert not changed or "cut by i-PI's cell" in complaint
        cuts += changed
    assert 5 < cuts < 95


def test_a_drift_across_the_wall_ends_a_run(tmp_path):
    guest = Guest(MODEL, MOLECULE, "float64")
    cell = 12.0 * np.eye(3)
    for shift in (0.0, 2.0, 4.0):
        guest(cell[None] / units.Bohr, wrapped(MOLECULE.positions + [0, 0, shift], cell)[None] / units.Bohr)
    with pytest.raises(
        CellError, match="cut by i-PI's cell: atoms . and . are 1.* Å apart through its wall.*pbc='False'"
    ):
        guest(cell[None] / units.Bohr, wrapped(MOLECULE.positions + [0, 0, 6.0], cell)[None] / units.Bohr)


def test_a_cell_that_is_too_small():
    guard = CellGuard(np.zeros(3, bool), 4.0)
    message = guard.complaint(MOLECULE.positions[None], 5.0 * np.eye(3)[None])
    assert "template has no cell, but i-PI's cell of 5 × 5 × 5 Å is smaller" in message
    assert "give a template with pbc" in message


@pytest.mark.parametrize("cell", [np.zeros((3, 3)), 1e6 * np.eye(3), -np.eye(3) * 40.0])
def test_dummy_cells_are_no_matter(cell):
    assert CellGuard(np.zeros(3, bool), 4.0).complaint(MOLECULE.positions[None], cell[None]) is None


@pytest.mark.parametrize("what", [np.nan, np.inf, -1e300])
@pytest.mark.parametrize("pbc", [False, True])
def test_cells_without_sense_are_refused(what, pbc):
    """For any template, such numbers show that the server or its computation is broken."""
    cells = np.array([40.0 * np.eye(3)] * 2)
    cells[1, 2, 0] = what
    guard = CellGuard(np.full(3, pbc), 4.0)
    assert "expected finite numbers below 1e+09" in guard.complaint(np.array([MOLECULE.positions] * 2), cells)


def test_periodic_directions_may_be_wrapped():
    cell, slab = np.diag([4.0, 4.0, 20.0]), CellGuard(np.array([True, True, False]), 4.0)
    q = MOLECULE.positions + [2.0, 0.0, 0.0]
    assert slab.complaint(wrapped(q, cell)[None], cell[None]) is None
    cut = wrapped(q + [0, 0, 10.0], cell)
    assert "cut by i-PI's cell" in slab.complaint(cut[None], cell[None])
    assert CellGuard(np.ones(3, bool), 4.0).complaint(cut[None], cell[None]) is None
    assert "no volume" in CellGuard(np.ones(3, bool), 4.0).complaint(cut[None], 0 * cell[None])


def test_beads_in_cells_of_their_own():
    guard = CellGuard(np.zeros(3, bool), 4.0)
    q, cells = np.array([MOLECULE.positions] * 2), np.array([20.0 * np.eye(3), 5.0 * np.eye(3)])
    assert "5 × 5 × 5" in guard.complaint(q, cells)
    assert guard.complaint(q, 4 * cells) is None


def test_what_the_client_says_of_itself():
    assert str(Guest(MODEL, MOLECULE)) == "as a molecule, 4 atoms C2H2"
    periodic = Atoms(MOLECULE, cell=3 * [9.0], pbc=[True, True, False])
    assert str(Guest(MODEL, periodic)) == "periodic in a, b, 4 atoms C2H2: the cell comes from i-PI"


@pytest.mark.parametrize(("text", "code"), [("True", 2), (" true ", 2), ("yes", 2)])
def test_the_launcher_refuses_before_anything_is_started(tmp_path, monkeypatch, capsys, text, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.xml").write_text(
        f"<simulation><ffsocket name='f' mode='unix' pbc='{text}'><address>none</address></ffsocket></simulation>"
    )
    (tmp_path / "c2.xyz").write_text("2\n\nC 0 0 0\nC 0 0 1.4\n")
    assert main(["ipi-launch", "in.xml", "--template", "c2.xyz"]) == code
    assert "pbc='False'" in capsys.readouterr().err.replace("or 'False'", "pbc='False'")


def test_force_fields_of_an_input(tmp_path):
    (tmp_path / "in.xml").write_text(
        "<simulation><ffdirect name='a' pbc='False'><parameters>{model: c20, template: c20.xyz}</parameters></ffdirect>"
        "<ffcommittee name='c'><ffsocket name='b'/></ffcommittee></simulation>"
    )
    found = {field.name: field for field in force_fields(read_root(tmp_path / "in.xml"))}
    assert (found["a"].wraps, found["b"].wraps) == (False, None)
    assert found["a"].parameters == {"model": "c20", "template": "c20.xyz"}
