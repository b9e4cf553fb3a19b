"""What every export to another program asks of a model, and says of what its file does not hold."""

from collections.abc import Iterable

from ase.data import chemical_symbols

from mlcalc.architectures import ARCHITECTURES, architecture_of, name_of
from mlcalc.common.errors import InputError
from mlcalc.model import Model


def check_exportable(model: Model, program: str, architectures: Iterable[str], priors: Iterable[str]) -> None:
    """Raise InputError unless a model is complete, has a cutoff, and consists of what a program knows.

    Args:
        program: Its name in messages.
        architectures: Names in ARCHITECTURES; priors: names in mlcalc.priors.PRIORS.
    """
    model.check_complete()
    architectures, priors = tuple(architectures), tuple(priors)
    if name_of(model.config) not in architectures:
        known = ", ".join(ARCHITECTURES[row].title for row in architectures)
        raise InputError(f"architecture {architecture_of(model.config).title}: {program} knows {known}")
    if model.config.cutoff is None:
        raise InputError(f"a network without a cutoff, which connects all atoms: {program} needs one with a cutoff")
    if unknown := sorted(model.priors.keys() - set(priors)):
        raise InputError(f"prior {unknown[0]!r}: {program} knows {', '.join(priors)}")


def known_elements(model: Model) -> list[int]:
    """Atomic numbers of the elements that the network has met with neighbours, in the order of the rows of its embedding."""
    known = model.domain.get("elements", model.config.elements)
    return [z for z in model.config.elements if z in known]


def left_out(model: Model, program: str) -> list[str]:
    """What a file for a program does not hold of a model, a line each."""
    elements = [chemical_symbols[z] for z in model.config.elements if z not in known_elements(model)]
    lines = [f"left out: {', '.join(elements)}, which the network has met only as free atoms"] if elements else []
    if charge := model.domain.get("charge"):
        lines.append(f"the network was trained on molecules with the charge {charge:+d}: {program} does not check that")
    return lines
