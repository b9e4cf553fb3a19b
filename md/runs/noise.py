"""The noise of a run, and the record of what a quantum bath has learnt."""

import numpy as np
from ase import units

from md.dynamics.quantum_bath import QuantumBath
from md.dynamics.ring_polymer import HBAR
from md.files.checkpoint import Checkpoint
from md.files.layout import BATH
from md.runs.run_folder import RunFolder
from md.simulation import Motion
from mlcalc.common.files import write_atomically


class Noise:
    """Noise from a generator, of which nothing is recorded."""

    def __init__(self, source: np.random.Generator | QuantumBath):
        self.source = source

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs besides the state of the generator."""
        return {}

    def seen(self) -> dict:
        """Findings for status.json."""
        return {}

    def report(self, record: RunFolder) -> None:
        """Write what was learnt."""


class BathNoise(Noise):
    """Noise of a quantum bath."""

    source: QuantumBath

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint needs besides the state of the generator."""
        return self.source.arrays()

    def seen(self) -> dict:
        """Findings for status.json: of every mass, how far the theorem is from holding, and where friction has run out."""
        bath = self.source
        return {
            "quantum_bath": {
                "masses_u": bath.masses.tolist(), "segments": bath.segments, "violation": bath.violation().tolist(),
                "at_limit": bath.at_limit().tolist(),
            }
        }  # fmt: skip

    def report(self, record: RunFolder) -> None:
        """Write γ_r/γ of every mass against the wavenumber, and the findings to the status."""
        bath = self.source
        header = ",".join(["wavenumber_per_cm", *(f"friction_ratio_{mass:.6g}u" for mass in bath.masses)])
        rows = np.vstack([bath.omega * HBAR / units.invcm, bath.ratio]).T
        lines = [header, *(",".join(f"{value:.6g}" for value in row) for row in rows)]
        write_atomically(record.folder / BATH, ("\n".join(lines) + "\n").encode())
        record.set_status(**self.seen())


def noise_of(motion: Motion, rng: np.random.Generator, checkpoint: Checkpoint | None) -> Noise:
    """The noise of a run from its generator, as it was at its checkpoint, if it has one."""
    noise: Noise = Noise(rng)
    if motion.dynamics.has_quantum_bath:
        noise = BathNoise(QuantumBath(motion.dynamics, motion.ring_polymer.masses, rng))
        if checkpoint is not None:
            noise.source.restore(checkpoint.state)
    if checkpoint is not None:
        rng.bit_generator.state = checkpoint.generators[0]
    return noise
