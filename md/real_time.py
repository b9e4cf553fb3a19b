"""Real-time ring-polymer MD: many independent trajectories from thermalised starts, moved as one batch.

Every trajectory starts from a thermalisation with PILE-L and then moves under T-RPMD, which leaves the centroid free, or at
constant energy (RPMD; at P = 1 both are classical dynamics). The velocities of the centroids are what Kubo-transformed velocity
autocorrelation functions are made of (analysis/spectra.py).

M copies of a molecule are one ring polymer of M·N atoms whose potential is a sum over copies: the laws of motion need not know,
and the network sees P·M replicas at once.

Source: Craig, Manolopoulos, J. Chem. Phys. 121, 3368 (2004), doi:10.1063/1.1777575; T-RPMD: Rossi, Ceriotti, Manolopoulos,
J. Chem. Phys. 140, 234116 (2014), doi:10.1063/1.4883861.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from ase import units

from md.integrators import in_modes, make_laws
from md.normal_modes import to_beads
from md.progress import Progress
from md.ring_polymer import RingPolymer, thermal_ring_polymer
from md.run_folder import VELOCITIES, RunFolder
from md.runner import StopRequest, attempt, facts
from md.simulation import Dynamics, Potential, simulate
from mlcalc.errors import InputError

_REAL_TIME = ("T-RPMD", "none")


class Copies:
    """The potential of M independent copies of a molecule: (P, M·N, 3) Å → energies (P,) eV summed over copies, forces."""

    def __init__(self, potential: Potential, copies: int):
        self.potential, self.copies = potential, copies

    def __call__(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n_beads = len(positions)
        energies, forces = self.potential(positions.reshape(n_beads * self.copies, -1, 3))
        return energies.reshape(n_beads, self.copies).sum(axis=1), forces.reshape(positions.shape)


def check_real_time(settings) -> None:
    """Raise InputError unless RunSettings ask for motion in real time."""
    if settings.thermostat not in _REAL_TIME:
        raise InputError(
            f"thermostat = {settings.thermostat!r} disturbs motion in real time: expected one of {', '.join(_REAL_TIME)}"
        )
    if settings.trajectories % settings.trajectories_at_once:
        raise InputError(
            f"trajectories = {settings.trajectories}: expected a multiple of "
            f"trajectories_at_once = {settings.trajectories_at_once}"
        )
    if settings.steps < settings.velocities_every_steps:
        raise InputError(
            f"steps = {settings.steps}: expected at least velocities_every_steps = {settings.velocities_every_steps}"
        )


def run_ensemble(settings, folder: Path, prepared, stop: StopRequest, checkpoint: None = None) -> dict:
    """All trajectories of one number of beads; returns what runner.run wants of a run. There are no checkpoints yet.

    ``velocities.h5`` in the folder holds the trajectories that came to their end, whole.
    """
    copies, n_beads = settings.trajectories_at_once, settings.beads
    batches, per_batch = settings.trajectories // copies, settings.equilibration_steps + settings.steps
    record = RunFolder(folder, settings)
    record.begin(prepared.atoms, prepared.model_path)
    record.set_status(force=True, state="running", trajectories=0, **facts(settings, prepared.model_path))
    record.log(f"started: P = {n_beads}, {settings.trajectories} trajectories of {settings.steps} steps")
    progress = Progress(replace(settings, steps=batches * per_batch, equilibration_steps=0), record, copies)
    rng = np.random.default_rng(settings.seed)
    state = thermal_ring_polymer(
        np.tile(prepared.atoms.positions, (copies, 1)), np.tile(prepared.atoms.get_masses(), copies), n_beads,
        settings.temperature_K, rng,
    )  # fmt: skip
    potential = Copies(prepared.potential, copies)
    with (
        attempt(record, progress, stop) as outcome,
        VelocityWriter(folder / VELOCITIES, settings, prepared.atoms) as writer,
    ):
        for batch in range(batches):
            before = batch * per_batch

            def show(step: int, before: int = before) -> None:
                progress.show(before + step)
                stop.check()

            writer.append(trajectories(state, potential, prepared.dynamics[n_beads], rng, settings, show))
            record.set_status(force=True, trajectories=(batch + 1) * copies)
    return outcome | {"beads": n_beads, "ns_per_day": progress.ns_per_day}


def trajectories(
    state: RingPolymer,
    potential: Copies,
    dynamics: Dynamics,
    rng: np.random.Generator,
    settings,
    show: Callable[[int], None],
) -> np.ndarray:
    """Thermalise M copies and follow them: velocities of their centroids, (M, n_frames, N, 3) float32 in Å/fs.

    Args:
        state: The M copies as one ring polymer, moved in place.
        dynamics: Of the motion in real time; thermalised starts come from PILE-L with the same time step.
        settings: RunSettings with equilibration_steps, steps, velocities_every_steps.
        show: Called with the number of steps made so far.
    """
    every, warm_up = settings.velocities_every_steps, settings.equilibration_steps
    canonical = replace(dynamics, thermostat="PILE-L", remove_com=False, remove_rotation=False)
    for sample in simulate(state, potential, canonical, rng, warm_up, every):
        show(sample.step)
    stop_rigid_motion(state, potential.copies, dynamics)
    # Motion keeps both at rest, but for the rotation that noise on the internal modes adds.
    free = replace(dynamics, remove_com=False, remove_rotation=False)
    n_atoms = len(state.masses) // potential.copies
    frames = np.empty((potential.copies, settings.steps // every + 1, n_atoms, 3), dtype=np.float32)
    for sample in simulate(state, potential, free, rng, settings.steps, every):
        velocities = state.momenta.mean(axis=0) / state.masses[:, None] * units.fs
        frames[:, sample.step // every] = velocities.reshape(potential.copies, n_atoms, 3)
        show(warm_up + sample.step)
    return frames


def stop_rigid_motion(state: RingPolymer, copies: int, dynamics: Dynamics) -> None:
    """Take momentum, and angular momentum if ``dynamics`` says so, out of every copy."""
    laws = make_laws(dynamics, len(state.positions))
    for begin in range(0, len(state.masses), len(state.masses) // copies):
        atoms = slice(begin, begin + len(state.masses) // copies)
        copy = RingPolymer(*(np.ascontiguousarray(x[:, atoms]) for x in state[:2]), state.masses[atoms])
        modes = in_modes(copy, laws)
        to_beads(laws.transform, modes.momenta, copy.momenta)
        state.momenta[:, atoms] = copy.momenta


class VelocityWriter:
    """``velocities.h5``: ``/velocity`` (n_trajectories, n_frames, N, 3) float32 in Å/fs, whole batches at a time.

    Attributes of the dataset: ``unit``, ``interval_fs``, ``n_beads``, ``temperature_K``; ``/mass`` (N,) in u.
    """

    def __init__(self, path: Path, settings, atoms):
        shape = (settings.steps // settings.velocities_every_steps + 1, len(atoms), 3)
        self._file = h5py.File(path, "x", libver=("earliest", "v108"), locking=False)
        self._data = self._file.create_dataset(
            "velocity", (0, *shape), "f4", maxshape=(settings.trajectories, *shape), chunks=(1, *shape)
        )
        self._data.attrs.update(
            unit="Angstrom fs-1", interval_fs=settings.timestep_fs * settings.velocities_every_steps,
            n_beads=settings.beads, temperature_K=settings.temperature_K,
        )  # fmt: skip
        self._file["mass"] = atoms.get_masses()
        self._file.flush()

    def append(self, velocities: np.ndarray) -> None:
        """Add trajectories (M, n_frames, N, 3) in Å/fs."""
        n = len(self._data)
        self._data.resize(n + len(velocities), axis=0)
        self._data[n:] = velocities
        self._file.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
