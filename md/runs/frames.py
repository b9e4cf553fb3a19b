"""Snapshots of single beads of a run, for labelling."""

from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms

from md.dynamics.clamped import Clamped
from md.dynamics.ring_polymer import configuration
from md.files.layout import ENGINE, INPUT, MODEL, STRUCTURE, TRAJECTORY
from md.files.trajectory import read_cells, read_frames
from md.potentials import electronic_state, farthest_first, fingerprints, force_disagreement, load_model
from md.runs.config import RunSettings, read_settings
from md.runs.driving import potentials_of
from md.runs.run_folder import FROM_IPI, check_files, is_run_folder, kind_of, own_settings
from md.runs.structures import read_start, read_structure
from mlcalc.common.errors import InputError

_MOST_UNCERTAIN = 100  # default number of beads on which a committee disagrees
_LEAST_A = 0.01  # beads whose distances differ by less, root mean square, count as one structure


class Choice(NamedTuple):
    """The choice of beads and frames.

    Attributes:
        skip, every: Number of frames to skip at the start, and the stride.
        beads_per_frame: Number of beads of each frame, drawn at random with ``seed``; None for all.
        disagreement: Only beads for which the run's committee disagrees on the force on an atom by more than this, eV/Å.
        most: Upper limit on the number of beads; the most different are kept. None for 100 with ``disagreement``, else all.
    """

    skip: int = 0
    every: int = 1
    beads_per_frame: int | None = None
    seed: int = 0
    disagreement: float | None = None
    most: int | None = None


def bead_structures(folder: Path, choice: Choice) -> tuple[list, str]:
    """Snapshots of single beads of a run as ASE Atoms, for labelling, and a line on the number of candidates.

    If there are more than ``most``, the ones that differ most in their interatomic distances are chosen: first the one with the
    largest disagreement, then repeatedly the one farthest from all chosen ones.

    Returns:
        Structures centred at the origin; ``info`` holds temperature_K, beads, trajectory, step, bead and sampling, and charge and
        multiplicity if the start has them.

    Raises:
        InputError: Not a run folder, a number out of range, or no beads left.
    """
    if not is_run_folder(folder):
        raise InputError(f"{folder} is not a run folder of 'rpmd run' (no {INPUT}, {STRUCTURE} or {MODEL} or {ENGINE})")
    check_files(folder)
    if choice.most is not None and choice.most < 1:
        raise InputError(f"--most {choice.most}: expected at least 1")
    trajectory = folder / TRAJECTORY, choice.skip, choice.every
    steps, positions = read_frames(*trajectory)
    n_beads = positions.shape[1]
    if choice.beads_per_frame is not None and not 1 <= choice.beads_per_frame <= n_beads:
        raise InputError(f"--beads-per-frame {choice.beads_per_frame}: expected 1 to {n_beads}")
    settings, atoms = read_settings(folder / INPUT, {}), read_structure(folder / STRUCTURE)
    cells = read_cells(*trajectory) if atoms.pbc.any() else None
    if cells is None:
        cells = np.broadcast_to(atoms.cell.array, (len(positions), 3, 3))
    uncertain, found = np.ones(positions.shape[:2]), f"{positions.shape[0] * n_beads} beads"
    chosen = uncertain > 0.0
    if choice.disagreement is not None:
        uncertain = _disagreement(folder, positions, cells)
        chosen = uncertain > choice.disagreement
        found = f"{chosen.sum()} of {chosen.size} beads above {choice.disagreement:g} eV/Å"
        if not chosen.any():
            raise InputError(f"{found} (the largest disagreement is {uncertain.max():.4g}): nothing to write")
    chosen = _drawn(chosen, choice)
    frames, beads = _thinned(chosen, positions, cells, uncertain, atoms, choice)
    structures = [
        _snapshot(
            atoms, positions[frame, bead], cells[frame],
            _facts(folder, settings) | {"step": int(steps[frame]), "bead": int(bead)},
        )
        for frame, bead in zip(frames, beads, strict=True)
    ]  # fmt: skip
    return structures, f"{found}, {len(structures)} written"


def _disagreement(folder: Path, positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """(n_frames, P) eV/Å, largest over the atoms that move, of the run's model and its committee at positions of its frames."""
    settings = None if kind_of(folder) == FROM_IPI else own_settings(folder)
    if settings is None or not settings.committee:
        raise InputError(f"{folder}: no disagreement recorded; run it with a committee")
    if settings.engine:
        raise InputError(
            f"{folder}: --disagreement of a run with engine = {settings.engine!r}: it keeps no forces; choose frames without it"
        )
    models = [load_model(name) for name in (settings.model, *settings.committee)]
    atoms = read_start(folder / STRUCTURE, models[0], quiet=True)
    potentials = potentials_of(settings, atoms, models)
    moving = Clamped.of(atoms).moving
    found = np.empty(positions.shape[:2])
    for frame, beads, cell in zip(found, positions, cells, strict=True):
        place = configuration(np.ascontiguousarray(beads[:, moving]), cell if atoms.pbc.any() else None)
        forces = np.array([potential(*place)[1] for potential in potentials])
        frame[:] = force_disagreement(forces).max(axis=1)
    return found


def _drawn(chosen: np.ndarray, choice: Choice) -> np.ndarray:
    """A mask (n_frames, P) with ``beads_per_frame`` of the True entries of each frame, drawn at random."""
    if choice.beads_per_frame is None:
        return chosen
    rng, drawn = np.random.default_rng(choice.seed), np.zeros_like(chosen)
    for row, candidates in zip(drawn, map(np.flatnonzero, chosen), strict=True):
        row[rng.choice(candidates, min(choice.beads_per_frame, len(candidates)), replace=False)] = True
    return drawn


def _thinned(
    chosen: np.ndarray, positions: np.ndarray, cells: np.ndarray, uncertain: np.ndarray, atoms: Atoms, choice: Choice
) -> np.ndarray:
    """(2, n) frames and beads of the at most ``most`` most different beads, in the order of the run."""
    frames, beads = np.nonzero(chosen)
    most = choice.most or (None if choice.disagreement is None else _MOST_UNCERTAIN)
    if most is None or not len(frames):
        return np.array([frames, beads])
    prints = np.concatenate([
        fingerprints(positions[frame, chosen[frame]], cells[frame], atoms.pbc) for frame in np.unique(frames)
    ])  # fmt: skip
    worst = int(uncertain[frames, beads].argmax())
    kept = sorted(islice(farthest_first(prints, worst, _LEAST_A), most))
    return np.array([frames[kept], beads[kept]])


def _facts(folder: Path, settings: RunSettings) -> dict:
    n_beads = settings.bead_counts[0]
    return {
        "sampling": f"ring-polymer MD, {settings.engine or f'model {Path(settings.model).stem}'}"
        + "".join(f", {part}" for part in settings.potential),
        "temperature_K": settings.temperature_K,
        "beads": n_beads,
        "trajectory": f"{folder.name}-T{settings.temperature_K:g}-P{n_beads}-seed{settings.seed}",
    }


def _snapshot(atoms: Atoms, positions: np.ndarray, cell: np.ndarray, facts: dict) -> Atoms:
    """One bead as a structure, in the cell (3, 3) Å of its frame."""
    snapshot = atoms.copy()
    snapshot.cell = cell
    snapshot.set_constraint()  # ASE would report zero forces on held atoms, and labels need them
    snapshot.positions = positions - (0 if atoms.pbc.any() else positions.mean(axis=0))
    snapshot.info = electronic_state(atoms).info | facts
    return snapshot
