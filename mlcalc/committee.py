"""Committees: several models of one system, whose disagreement shows where none of them can be trusted.

Source: Schran, Brezina, Marsalek, J. Chem. Phys. 153, 104105 (2020), doi:10.1063/5.0016004, eqs. 1 to 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.mixing import AverageCalculator

from mlcalc.calculator import SETTINGS, NetworkCalculator, check_settings
from mlcalc.common.errors import InputError
from mlcalc.model_file import Model


@dataclass(frozen=True)
class Disagreement:
    """Standard deviations of M models (denominator M) on one structure.

    Attributes:
        energy: eV. Models with different zeros of energy differ by a constant too: compare it between structures.
        forces: (N,) eV/Å, root of the mean squared distance of the force vectors on an atom from their mean.
    """

    energy: float
    forces: np.ndarray


def disagreement(energies: np.ndarray, forces: np.ndarray) -> Disagreement:
    """The disagreement of energies (M,) eV and forces (M, N, 3) eV/Å."""
    return Disagreement(float(np.std(energies)), force_disagreement(forces))


def force_disagreement(forces: np.ndarray) -> np.ndarray:
    """(…) eV/Å, root of the mean squared distance of M force vectors (M, …, 3) from their mean."""
    return np.sqrt(np.square(forces - forces.mean(axis=0)).sum(axis=-1).mean(axis=0))


class CommitteeCalculator(AverageCalculator):
    """Mean of several networks, and their disagreement.

    Args:
        models: At least two shipped names, paths of model files or loaded models.
        options: Settings of each model, as in NetworkCalculator (precision, backend, threads).

    Properties: those of NetworkCalculator, means over the models. ASE has no name for their disagreement: it is the
    attribute ``disagreement``, a Disagreement of the last calculation, None before the first one.

    Raises:
        InputError: Fewer than two models, or one that cannot be used. Otherwise as NetworkCalculator.

    Example:
        >>> from ase.io import read
        >>> from mlcalc import CommitteeCalculator
        >>> atoms = read("inputs/c20/c20.xyz")
        >>> atoms.calc = CommitteeCalculator(["c20", "c20-large"])
        >>> forces = atoms.get_forces()
        >>> uncertain = atoms.calc.disagreement.forces  # (20,) eV/Å
    """

    name = "mlcalc-committee"

    def __init__(self, models: Sequence[str | Path | Model], **options):
        if isinstance(models, str | Path | Model) or len(models) < 2:
            raise InputError(f"models = {models!r:.80}: expected a list of at least two, a committee")
        super().__init__([NetworkCalculator(model, **options) for model in models])
        self.parameters = {"models": [calculator.parameters["model"] for calculator in self.mixer.calcs], **options}
        self.disagreement: Disagreement | None = None

    def set(self, **options) -> dict:
        """Change precision, backend or threads of all models, all or none; returns the changed ones. The models are fixed.

        Raises:
            TypeError: No such setting, or the models.
            InputError: A value that the constructor would refuse.
        """
        if "dtype" in options:  # another name for precision, as in NetworkCalculator
            options["precision"] = options.pop("dtype")
        check_settings(options, tuple(name for name in SETTINGS if name != "model"))
        changed: dict = {}
        for calculator in self.mixer.calcs:
            changed |= calculator.set(**options)
        if changed:
            self.parameters |= changed
            self.atoms, self.results, self.disagreement = None, {}, None
        return changed

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        """Compute all properties of ``atoms`` with every model (ASE calls this)."""
        super().calculate(atoms, sorted({"energy", "forces", *properties}), system_changes)
        parts = {name: self.results.pop(name) for name in list(self.results) if name.endswith("_contributions")}
        self.disagreement = disagreement(
            np.array(parts["energy_contributions"]), np.array(parts["forces_contributions"])
        )
