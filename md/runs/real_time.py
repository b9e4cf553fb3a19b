"""Real-time ring-polymer MD: many independent trajectories from thermalised starts, moved as one batch.

Every trajectory starts from a thermalisation with PILE-L and then moves under T-RPMD, which leaves the centroid free, or at
constant energy (RPMD; at P = 1 both are classical dynamics). The velocities of the centroids give Kubo-transformed velocity
autocorrelation functions (analysis/spectrum/spectra.py).

M copies of a molecule are one ring polymer of M·N atoms whose potential is a sum over copies: the laws of motion are the same,
and the network sees P·M replicas at once.

Source: Craig, Manolopoulos, J. Chem. Phys. 121, 3368 (2004), doi:10.1063/1.1777575; T-RPMD: Rossi, Ceriotti, Manolopoulos,
J. Chem. Phys. 140, 234116 (2014), doi:10.1063/1.4883861.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms, units

from md.dynamics.integrators import in_modes, make_laws
from md.dynamics.normal_modes import to_beads
from md.dynamics.ring_polymer import RingPolymer, cell_of, thermal_ring_polymer
from md.files.checkpoint import Checkpoint
from md.guards.endings import Frame, Stopped, StopRequest
from md.guards.limits import check_finite
from md.potentials import Copies
from md.runs.config import RunSettings
from md.runs.continuation import done_steps
from md.runs.identity import REAL_TIME
from md.runs.preparation import Prepared
from md.runs.progress import Progress
from md.runs.run_folder import RunFolder
from md.runs.runner import Saver, attempt, facts, make_guards
from md.runs.verdict import verdict_of_guards
from md.simulation import Dynamics, Motion, NoiseSource, simulate, standard_normal
from mlcalc.common.errors import InputError

_REAL_TIME = ("T-RPMD", "none")


def check_real_time(settings: RunSettings) -> None:
    """Raise InputError unless RunSettings describe real-time motion."""
    if settings.thermostat not in _REAL_TIME:
        raise InputError(
            f"thermostat = {settings.thermostat!r} disturbs motion in real time: expected one of {', '.join(_REAL_TIME)}"
        )
    if settings.committee:
        raise InputError("committee: 'rpmd real-time' records only velocities, no disagreement; leave it out")
    if settings.trajectories % settings.trajectories_at_once:
        raise InputError(
            f"trajectories = {settings.trajectories}: expected a multiple of "
            f"trajectories_at_once = {settings.trajectories_at_once}"
        )
    if settings.steps < settings.velocities_every_steps:
        raise InputError(
            f"steps = {settings.steps}: expected at least velocities_every_steps = {settings.velocities_every_steps}"
        )


def run_ensemble(
    settings: RunSettings, folder: Path, prepared: Prepared, stop: StopRequest, checkpoint: Checkpoint | None = None
) -> dict:
    """All trajectories of one number of beads, from the batch after the checkpoint; returns the keys of run_one without properties.

    ``velocities.h5`` in the folder holds only complete trajectories.
    """
    copies, n_beads = settings.trajectories_at_once, settings.n_beads
    batches, per_batch = settings.trajectories // copies, settings.equilibration_steps + settings.steps
    generators = [np.random.default_rng(seed) for seed in np.random.SeedSequence(settings.seed).spawn(copies)]
    state, potential = thermal_copies(prepared.moving, settings, generators), Copies(prepared.potential, copies)
    motion = Motion(state, potential, prepared.dynamics[n_beads], side_by_side(generators, n_beads))
    record, first = RunFolder(folder, settings), 0
    record.note_changes()
    guards = make_guards(settings, prepared, record, potential)
    if checkpoint is not None:
        first = checkpoint.step
        _restore(state, generators, checkpoint)
        guards.resume(record.earlier_status())
    record.open_velocities(prepared.atoms, checkpoint and checkpoint.extent)
    done = done_steps(settings, checkpoint)
    record.set_status(force=True, state="running", **facts(settings, prepared, REAL_TIME, done))
    record.log(
        f"started: P = {n_beads}, trajectories {first * copies} to {settings.trajectories} of {settings.steps} steps"
    )
    progress = Progress(replace(settings, steps=batches * per_batch, equilibration_steps=0), record, copies, done)
    # Energies and forces are not available where velocities are recorded.
    unknown = np.full(state.positions.shape, np.nan)
    all_atoms = prepared.atoms[np.tile(np.arange(len(prepared.atoms)), copies)]
    with (
        attempt(record, progress, stop, guards, all_atoms) as outcome,
        Saver(record, prepared.identity[n_beads], settings.checkpoint_every_steps, generators) as saver,
    ):
        for batch in range(first, batches):

            def show(step: int, before: int = batch * per_batch) -> None:
                progress.show(before + step)
                guards.bonds(Frame(before + step, state.positions, unknown[:, 0, 0], unknown, state.cell))
                if stop.made:
                    raise Stopped

            record.add_velocities(*trajectories(motion, settings, show, guards.force_calls, prepared.dipoles))
            record.set_status(force=True, trajectories=(batch + 1) * copies)
            saver.save("trajectories", batch + 1, _arrays(state))
    verdict = verdict_of_guards(outcome["seen"])
    return outcome | {"beads": n_beads, "ns_per_day": progress.ns_per_day, "verdict": verdict}


def _arrays(state: RingPolymer) -> dict[str, np.ndarray]:
    """The start of the next batch, copied because the batch changes the state."""
    names = ("positions", "momenta") if state.cell is None else ("positions", "momenta", "cell")
    return {name: getattr(state, name).copy() for name in names}


def _restore(state: RingPolymer, generators: list[np.random.Generator], checkpoint: Checkpoint) -> None:
    """Restore a state and its generators from a checkpoint."""
    for name, array in checkpoint.state.items():
        getattr(state, name)[:] = array
    for generator, known in zip(generators, checkpoint.generators, strict=True):
        generator.bit_generator.state = known


def thermal_copies(atoms: Atoms, settings: RunSettings, generators: list[np.random.Generator]) -> RingPolymer:
    """Thermal ring polymers of a molecule, joined along the atoms, each drawn from its own generator."""
    copies = [
        thermal_ring_polymer(atoms.positions, atoms.get_masses(), settings.n_beads, settings.temperature_K, generator)
        for generator in generators
    ]
    positions, momenta = (np.concatenate([copy[n] for copy in copies], axis=1) for n in range(2))
    return RingPolymer(positions, momenta, np.concatenate([copy.masses for copy in copies]), cell=cell_of(atoms))


def side_by_side(generators: list[np.random.Generator], n_beads: int) -> NoiseSource:
    """Noise for copies with one generator each: the numbers of a copy do not depend on the other copies."""
    sources = [standard_normal(generator) for generator in generators]

    def fill(numbers: np.ndarray) -> None:
        if not numbers.size:
            return
        shares = numbers.reshape(*numbers.shape[:2], n_beads, len(sources), -1)
        for copy, source in enumerate(sources):
            share = np.empty_like(shares[:, :, :, copy], order="C")
            source(share)
            shares[:, :, :, copy] = share

    return fill


def trajectories(
    motion: Motion, settings: RunSettings, show: Callable[[int], None], guard: Callable = check_finite,
    dipoles: Callable | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:  # fmt: skip
    """Thermalise M copies and follow them.

    Args:
        motion: The M copies as one ring polymer, moved in place; its dynamics are the real-time ones; PILE-L with the same time
            step thermalises the starts.
        settings: Uses equilibration_steps, steps, velocities_every_steps and trajectories_at_once, M.
        show: Called with the number of steps made so far.
        guard: As in simulate.
        dipoles: See Dipoles; None not to record them.

    Returns:
        Velocities of the centroids, (M, n_frames, N, 3) float32 in Å/fs, and the mean dipoles of the beads, (M, n_frames, 3) eÅ.
    """
    every, warm_up = settings.velocities_every_steps, settings.equilibration_steps
    state, dynamics, copies = motion.ring_polymer, motion.dynamics, settings.trajectories_at_once
    canonical = replace(dynamics, thermostat="PILE-L", remove_com=False, remove_rotation=False)
    for sample in simulate(*motion._replace(dynamics=canonical), warm_up, every, guard=guard):
        show(sample.step)
    stop_rigid_motion(state, copies, dynamics)
    # Motion keeps both at rest, except for the rotation that noise on the internal modes adds.
    free = motion._replace(dynamics=replace(dynamics, remove_com=False, remove_rotation=False))
    n_atoms = len(state.masses) // copies
    frames = np.empty((copies, settings.steps // every + 1, n_atoms, 3), dtype=np.float32)
    moments = np.empty((copies, len(frames[0]), 3)) if dipoles else None
    for sample in simulate(*free, settings.steps, every, guard=guard):
        velocities = state.momenta.mean(axis=0) / state.masses[:, None] * units.fs
        frames[:, sample.step // every] = velocities.reshape(copies, n_atoms, 3)
        if dipoles and moments is not None:
            moments[:, sample.step // every] = dipoles(state.positions, copies)
        show(warm_up + sample.step)
    return frames, moments


def stop_rigid_motion(state: RingPolymer, copies: int, dynamics: Dynamics) -> None:
    """Remove the momentum, and with ``dynamics.remove_rotation`` the angular momentum, of every copy."""
    laws = make_laws(dynamics, len(state.positions))
    for begin in range(0, len(state.masses), len(state.masses) // copies):
        atoms = slice(begin, begin + len(state.masses) // copies)
        positions, momenta = (np.ascontiguousarray(x[:, atoms]) for x in (state.positions, state.momenta))
        copy = RingPolymer(positions, momenta, state.masses[atoms])
        modes = in_modes(copy, laws)
        to_beads(laws.transform, modes.momenta, copy.momenta)
        state.momenta[:, atoms] = copy.momenta
