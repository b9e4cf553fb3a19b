"""The bias of a run: what its samples and guards see of it, and the hills that it adds on the way."""

from collections.abc import Callable

import numpy as np

from md.bias.biased import BiasedPotential
from md.bias.settings import columns_of, hills_of
from md.bias.terms import biased
from md.dynamics.normal_modes import to_modes, transform_matrix
from md.files.checkpoint import Checkpoint
from md.observables.estimators import Sample
from md.runs.config import RunSettings
from md.runs.preparation import Prepared
from md.runs.run_folder import RunFolder
from md.simulation import Potential


class NoBias:
    """No bias: samples and guards stay as they are."""

    columns: tuple[str, ...] = ()

    def __init__(self, potential: Potential):
        self.potential = potential

    def guard(self, check: Callable) -> Callable:
        """What checks the force calls of a simulation."""
        return check

    def seen(self, sample: Sample) -> Sample:
        """A sample with the bias."""
        return sample

    def values(self, sample: Sample) -> dict[str, float]:
        """Numbers by column of properties.csv, of a sample with the bias."""
        return {}

    def grow(self, sample: Sample, record: RunFolder) -> None:
        """Add a hill if one is due."""

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs of the bias."""
        return {}


class RunBias(NoBias):
    """The bias of one run, with the hills of its checkpoint, if it has one."""

    potential: BiasedPotential

    def __init__(self, settings: RunSettings, prepared: Prepared, checkpoint: Checkpoint | None):
        super().__init__(biased_potential(settings, prepared))
        self.columns, hills = tuple(columns_of(settings.bias)), hills_of(settings.bias)
        self._every = hills.every_steps if hills else None
        if checkpoint is not None and self.potential.hills:
            self.potential.hills.hills = checkpoint.state["hills"].copy()

    def guard(self, check: Callable) -> Callable:
        """What checks the force calls of a simulation: a guard sees physical energies and physical forces."""

        def of_potential(step: int, beads: np.ndarray, modes, energies: np.ndarray, forces: np.ndarray) -> None:
            check(step, beads, modes, energies, self.potential.applied.physical_forces)

        return of_potential

    def seen(self, sample: Sample) -> Sample:
        """A sample with the bias."""
        return sample._replace(bias=self.potential.applied)

    def values(self, sample: Sample) -> dict[str, float]:
        """Numbers by column of properties.csv, of a sample with the bias: of every term its variable and its energy."""
        numbers = np.column_stack([sample.bias.values, sample.bias.energies]).ravel().tolist()
        return dict(zip(self.columns, numbers, strict=True))

    def grow(self, sample: Sample, record: RunFolder) -> None:
        """Add a hill if one is due, and bring the forces of the simulation up to date.

        A checkpoint is written after this. A run that resumes from it evaluates its forces with the hill, and so must this one.
        """
        if self._every is None or sample.step == 0 or sample.step % self._every:
            return
        state = sample.ring_polymer
        centre, height = self.potential.deposit(state.positions, state.cell, sample.forces).tolist()
        kicks = sample.forces if sample.extra_kicks is None else sample.forces + sample.extra_kicks
        to_modes(transform_matrix(len(state.positions)), kicks, sample.modes.forces)
        record.add_hill(sample.step, sample.time_fs, centre, height)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs of the bias: (n, 2) hills."""
        hills = self.potential.hills
        return {} if hills is None else {"hills": hills.hills.copy()}


def biased_potential(settings: RunSettings, prepared: Prepared) -> BiasedPotential:
    """The potential of a run with its bias, without hills yet."""
    moving = np.arange(len(prepared.atoms)) if prepared.indices is None else prepared.indices
    return biased(prepared.potential, settings.bias, prepared.atoms.pbc, moving, settings.temperature_K)


def bias_of(settings: RunSettings, prepared: Prepared, checkpoint: Checkpoint | None) -> NoBias:
    """The bias of a run."""
    return RunBias(settings, prepared, checkpoint) if settings.bias else NoBias(prepared.potential)
