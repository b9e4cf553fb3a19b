"""A trained network as a value: architecture, weights, priors and metadata."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.outputs import Scalar


@dataclass(frozen=True)
class Model:
    """A trained network.

    Attributes:
        config: The architecture: an instance of the ``config`` of a row of mlcalc.architectures.ARCHITECTURES.
        weights: Arrays named as in the torch module's ``state_dict``; eV and Å.
        metadata: JSON-able ``domain``, ``scalar``, ``test_errors``, ``provenance`` of the file header.
        priors: Physical terms added to the network, by their names in mlcalc.priors.PRIORS.
        readouts: What the network says beside the energy, names in mlcalc.readouts.READOUTS.

    Raises:
        InputError: A prior reaches beyond the cutoff of the network, where there are no pairs.
    """

    config: Any
    weights: dict[str, np.ndarray]
    metadata: dict[str, Any] = field(default_factory=dict)
    priors: dict[str, Any] = field(default_factory=dict)
    readouts: tuple[str, ...] = ()

    def __post_init__(self):
        for name, prior in self.priors.items():
            if prior.cutoff > (self.config.cutoff or np.inf):
                raise InputError(
                    f"{name}: cutoff = {prior.cutoff!r}: expected at most the cutoff of {self.config.cutoff:g} Å"
                )

    @property
    def domain(self) -> dict[str, Any]:
        """The recorded domain of the training set, see mlcalc/training/domain.py."""
        return self.metadata.get("domain", {})

    @property
    def scalar(self) -> Scalar | None:
        """What the scalar of the readout of this name is; None without one."""
        return Scalar(**self.metadata["scalar"]) if "scalar" in self.metadata else None

    def check_complete(self) -> None:
        """Raise InputError if the energies of the network are corrections to those of an engine: alone they mean nothing."""
        if engine := self.domain.get("correction_to"):
            raise InputError(
                f"the model is a correction to {engine}, no potential by itself: label structures with the sum (mlcalc label "
                f"--engine '{engine} + schnet:MODEL') and train a network on them"
            )

    def as_correction_to(self, engine: str | None) -> "Model":
        """The network without the mark of a correction, to be added to an engine, or compared with corrections to it.

        Raises:
            InputError: It corrects another engine, or none.
        """
        if (found := self.domain.get("correction_to")) != engine:
            raise InputError(f"the model is {_correction(found)}: expected {_correction(engine)}")
        domain = {name: value for name, value in self.domain.items() if name != "correction_to"}
        return replace(self, metadata=self.metadata | {"domain": domain})


def _correction(engine: str | None) -> str:
    return f"a correction to {engine}" if engine else "a potential, no correction"
