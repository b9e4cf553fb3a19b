"""Snapshots of single beads of a run, for labelling."""

from pathlib import Path

import numpy as np

from md.config import read_settings
from md.preparation import read_structure
from md.properties import read_table
from md.run_folder import INPUT, MODEL, PROPERTIES, STRUCTURE, TRAJECTORY, check_files, is_run_folder
from md.trajectory import read_frames
from mlcalc.errors import InputError


def bead_structures(
    folder: Path,
    skip: int = 0,
    every: int = 1,
    beads_per_frame: int | None = None,
    seed: int = 0,
    disagreement: float | None = None,
) -> list:
    """Snapshots of single beads of a run as ASE Atoms, for labelling.

    Args:
        folder: Run folder; skip, every: Frames to leave out at the start, and the stride.
        beads_per_frame: How many beads of each frame, drawn at random with ``seed``; None for all.
        disagreement: Only frames on which the run's committee disagrees by more than this, eV/Å; None for all.

    Returns:
        Structures centred at the origin; ``info`` says temperature_K, beads, trajectory, step, bead and sampling, and charge and
        multiplicity where the start says them.

    Raises:
        InputError: Not a run folder, or a number out of range.
    """
    if not is_run_folder(folder):
        raise InputError(f"{folder} is not a run folder of 'rpmd run' (no {INPUT}, {STRUCTURE} or {MODEL})")
    check_files(folder)
    settings = read_settings(folder / INPUT, {})
    atoms = read_structure(folder / STRUCTURE)
    steps, positions = read_frames(folder / TRAJECTORY, skip, every)
    n_beads = positions.shape[1]
    if beads_per_frame is not None and not 1 <= beads_per_frame <= n_beads:
        raise InputError(f"--beads-per-frame {beads_per_frame}: expected 1 to {n_beads}")
    if disagreement is not None:
        uncertain = _uncertain(folder, steps, disagreement)
        steps, positions = steps[uncertain], positions[uncertain]
    rng, structures = np.random.default_rng(seed), []
    for step, frame in zip(steps.tolist(), positions, strict=True):
        chosen = (
            range(n_beads) if beads_per_frame is None else sorted(rng.choice(n_beads, beads_per_frame, replace=False))
        )
        for bead in chosen:
            snapshot = atoms.copy()
            snapshot.set_constraint()  # ASE would report no forces on atoms that are held, and labels need them
            snapshot.positions = frame[bead] - (0 if atoms.pbc.any() else frame[bead].mean(axis=0))
            snapshot.info = atoms.info | {
                "sampling": f"ring-polymer MD, model {Path(settings.model).stem}",
                "temperature_K": settings.temperature_K,
                "beads": n_beads,
                "trajectory": f"{folder.name}-T{settings.temperature_K:g}-P{n_beads}-seed{settings.seed}",
                "step": step,
                "bead": int(bead),
            }
            structures.append(snapshot)
    return structures


def _uncertain(folder: Path, steps: np.ndarray, disagreement: float) -> np.ndarray:
    """Which of the frames of these steps have a record of a larger disagreement."""
    table = read_table(folder / PROPERTIES)
    if "disagreement_eV_A" not in table:
        raise InputError(f"{folder}: recorded no disagreement; run it with a committee")
    return np.isin(steps, table["step"][table["disagreement_eV_A"] > disagreement])
