"""Calculators that fail in one way each, for engine strings of the family ``ase``."""

import os
import signal

import numpy as np
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes


class Springs(Calculator):
    """Acetylene whose pairs of atoms are joined by ½k(r − r₀)², k = 5 eV/Å², until calculation number ``after``.

    Args:
        fails: "never", "raises", "nan", "dies" (killed), "leaves" (exit code 0), or "wrong": forces are 10 % too large.
        after: Calculations of one calculator before it fails.
    """

    implemented_properties = ["energy", "forces"]

    def __init__(self, fails: str = "never", after: int = 0):
        super().__init__()
        self.fails, self.after, self.count = fails, after, 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.count += 1
        late = self.count > self.after
        if late and self.fails == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if late and self.fails == "leaves":
            os._exit(0)
        if late and self.fails == "raises":
            raise RuntimeError("the self-consistency did not converge")
        vectors = self.atoms.positions[:, None] - self.atoms.positions[None]
        lengths = np.linalg.norm(vectors, axis=2) + np.eye(len(self.atoms))
        stretch = lengths - molecule("C2H2").get_all_distances() - np.eye(len(self.atoms))
        forces = -5.0 * (stretch / lengths)[:, :, None] * vectors
        energy = 0.5 * 2.5 * (stretch**2).sum() * (np.nan if late and self.fails == "nan" else 1.0)
        self.results = {"energy": float(energy), "forces": forces.sum(axis=1) * (1.1 if self.fails == "wrong" else 1.0)}


def no_calculator(**settings) -> dict:
    """A function that gives no calculator."""
    return settings
