"""Explain runs of liquids with different networks in the same way: the same γ, frames and shell for all."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from analysis.liquid.pair_density import Density
from analysis.relevance.along_run import Binned, RunRelevance, analyse
from analysis.relevance.trace import explained_priors
from analysis.runs.universe import open_run
from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.model import Model
from mlcalc.model_file import load_model


class AtomsStructure(NamedTuple):
    """A liquid in atoms, seen at the centres of mass of its molecules.

    Attributes:
        g: g(r); shell: Å, largest distance of neighbours.
    """

    g: Density
    shell: float


class Explained(NamedTuple):
    """A run.

    Attributes:
        liquid: Its name; architecture: Of its network; network: That, and its angular prior, or "without priors".
        by_gamma: The run's relevances, one for each γ.
    """

    liquid: str
    architecture: str
    network: str
    by_gamma: tuple[RunRelevance, ...]


def read_structure(path: Path) -> AtomsStructure:
    """The first liquid of a JSON file that ``python -m analysis liquid`` wrote.

    Raises:
        InputError: No such file, or none of that kind.
    """
    try:
        liquid = json.loads(path.read_text(encoding="utf-8"))["liquids"][0]
        curve = Density(*(np.array(liquid["g"][name], dtype=float) for name in Density._fields))
        return AtomsStructure(curve, float(liquid["shell_A"]))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: expected the JSON file that 'python -m analysis liquid' writes") from error


def compare(
    runs: list[tuple[str, Path]], atoms: dict[str, AtomsStructure], gammas: Sequence[float], **options
) -> list[Explained]:
    """Explain every run with every γ.

    Args:
        runs: Names of liquids and run folders.
        atoms: By liquid; a liquid without has the shell of its first run.
        options: frames, discard and workers, as in along_run.analyse.

    Raises:
        InputError: As there; or two runs of one liquid with the same network, or with other beads.
    """
    opened = [(liquid, open_run(folder)) for liquid, folder in runs]
    networks = [_network(load_model(run.model)) for _, run in opened]
    names = [(liquid, network) for (liquid, _), (_, network) in zip(opened, networks, strict=True)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"{twice[0][0]} with {twice[0][1]}: {names.count(twice[0])} runs: expected one of every network"
        )
    shells, found = {name: item.shell for name, item in atoms.items()}, []
    beads: dict[str, list] = {}
    for (liquid, run), (architecture, network) in zip(opened, networks, strict=True):
        if sorted(run.structure.numbers) != beads.setdefault(liquid, sorted(run.structure.numbers)):
            raise InputError(f"{run}: its beads are not those of the first run of {liquid}")
        by_gamma = []
        for gamma in gammas:
            by_gamma.append(analyse(run, gamma, shell=shells.get(liquid), rdf=True, **options))
            shells.setdefault(liquid, by_gamma[0].shell)
        found.append(Explained(liquid, architecture, network, tuple(by_gamma)))
    return found


def _network(model: Model) -> tuple[str, str]:
    """The architecture and the network, such as "SchNet" and "SchNet, angular prior"."""
    title, explained = architecture_of(model.config).title, explained_priors(model)
    if len(explained) < len(model.priors):
        return title, f"{title} without priors"
    return title, title + (", angular prior" if "angular" in explained else "")


def at(binned: Binned, place: float) -> tuple[float, float]:
    """Mean of an entry in the bin at this distance or angle, and its standard error."""
    row = int(np.searchsorted(binned.edges, place)) - 1
    return float(binned.mean[row]), float(binned.error[row])
