"""Energies of probe atoms that feel a molecule without changing it: local chemical potentials Ω_A(r).

A probe of element A at r receives messages from the atoms of the molecule in every layer, and sends none. The features of the
molecule are those that it has alone::

    Ω_A(r) = s·readout(x_probe) + its share of the priors,  without the constant of the element

The network itself is evaluated, on the molecule and many probes that are no neighbours of each other. Its pairs send both ways;
therefore, behind each module in which atoms exchange messages, the molecule gets back the features that it has alone.

Sources: Schütt et al., Nat. Commun. 8, 13890 (2017), doi:10.1038/ncomms13890; J. Chem. Phys. 148, 241722 (2018),
doi:10.1063/1.5019779.
"""

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from mlcalc.architectures import ARCHITECTURES, architecture_of, name_of
from mlcalc.common.errors import InputError
from mlcalc.geometry.cells import check_positions
from mlcalc.geometry.domain import check_elements
from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.potential import check_fits
from mlcalc.priors import prior_energies
from mlcalc.torch_potential import network_of

# By architecture, the list of modules in which atoms exchange messages; all others act on single atoms or on single pairs. None:
# no atom learns what another one feels, so that the energy of a probe is that of an atom at its place.
EXCHANGES: dict[str, str | None] = {
    "schnet": "interactions", "painn": "interactions", "so3net": "interactions", "dtnn": "interactions", "wacsf": None,
}  # fmt: skip

_PAIRS_AT_ONCE = 8192  # keeps the arrays of a batch around 100 MB
_ON_A_NUCLEUS = 1e-6  # Å, where the direction to the atom is undefined


class ProbedMolecule:
    """A molecule as probes feel it, in float64.

    Args:
        model: The model; atoms: a molecule that it supports.

    Raises:
        InputError: An architecture without a row in EXCHANGES, a periodic structure, or one that the model does not support; a
            model that is a correction to an engine.
    """

    def __init__(self, model: Model, atoms: Atoms):
        _check(model, atoms)
        self.model, self.atoms = model, atoms
        self._network: Any = network_of(model, torch.float64).requires_grad_(False)
        self._species = self._rows(atoms.numbers)
        self._features: list[Any] = []  # of the molecule alone, by call: passes of a DTNN may share a module
        self._in_turn = iter(self._features)
        exchange = EXCHANGES[name_of(model.config)]
        blocks: Any = self._network.get_submodule(exchange) if exchange else ()
        keeping = [block.register_forward_hook(self._keep) for block in blocks]
        pairs = half_pairs(atoms.positions, model.config.cutoff)
        vectors = atoms.positions[pairs.second] - atoms.positions[pairs.first]
        self._network(self._species, *map(torch.from_numpy, (pairs.first, pairs.second, vectors)))
        for hook in keeping:
            hook.remove()
        for block in blocks:
            block.register_forward_hook(self._restore)

    def energies(self, element: int, points: np.ndarray) -> np.ndarray:
        """Ω_A at points (n, 3) Å for the atomic number A: (n,) eV, without the constant of the element.

        Raises:
            InputError: An element that the model does not know, or a point on a nucleus.
        """
        check_probe(self.model, self.atoms, element)
        points = np.asarray(points, dtype=float).reshape(-1, 3)
        check_positions(points)
        size = max(1, _PAIRS_AT_ONCE // len(self.atoms))
        parts = [self._batch(element, points[start : start + size]) for start in range(0, len(points), size)]
        return np.concatenate([np.zeros(0), *parts])

    def alone(self, element: int) -> float:
        """Ω_A of a probe without neighbours, eV: the limit far away, if the network has a cutoff function."""
        return float(self._of_pairs(element, 1, np.zeros((0, 2), dtype=np.int64), np.zeros((0, 3)))[0])

    def _batch(self, element: int, points: np.ndarray) -> np.ndarray:
        between = points[:, None] - self.atoms.positions
        distance = np.linalg.norm(between, axis=2)
        if (distance < _ON_A_NUCLEUS).any():
            probe, atom = np.argwhere(distance < _ON_A_NUCLEUS)[0]
            raise InputError(f"the point {points[probe].round(6).tolist()} Å lies on atom {atom}: move it")
        near = np.argwhere(distance < (self.model.config.cutoff or np.inf))
        return self._of_pairs(element, len(points), near, between[near[:, 0], near[:, 1]])

    def _of_pairs(self, element: int, n_probes: int, near: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Energies of probes by pairs (n_pairs, 2) of probe and atom, and vectors (n_pairs, 3) Å from atom to probe."""
        n_atoms = len(self.atoms)
        numbers = np.concatenate([self.atoms.numbers, np.full(n_probes, element)])
        pairs = (torch.from_numpy(near[:, 1]), torch.from_numpy(n_atoms + near[:, 0]), torch.from_numpy(vectors))
        self._in_turn = iter(self._features)
        energies = self._network(self._rows(numbers), *pairs)["energy"]
        energies = energies + prior_energies(self.model.priors, torch.from_numpy(numbers), *pairs)
        return energies[n_atoms:].numpy()

    def _rows(self, numbers: np.ndarray) -> Tensor:
        return torch.tensor([self.model.config.elements.index(z) for z in numbers.tolist()])

    def _keep(self, module, inputs, output) -> None:
        self._features.append(output)

    def _restore(self, module, inputs, output):
        return _with_first_rows(next(self._in_turn), output)


def _with_first_rows(rows, output):
    """The output of a module, one array or several, with these first rows."""
    if isinstance(output, tuple):
        return tuple(map(_with_first_rows, rows, output))
    return torch.cat([rows, output[len(rows) :]])


def _check(model: Model, atoms: Atoms) -> None:
    if name_of(model.config) not in EXCHANGES:
        known = " or ".join(ARCHITECTURES[name].title for name in EXCHANGES)
        raise InputError(f"no probe atoms for a {architecture_of(model.config).title}: expected a model of {known}")
    if atoms.pbc.any():
        raise InputError("the structure is periodic: expected a molecule, since Σ‖r − r_i‖⁻² has no limit in a crystal")
    model.check_complete()
    check_fits(model, atoms)


def check_probe(model: Model, atoms: Atoms, element: int) -> None:
    """Raise InputError for a probe of an atomic number that the model does not know, or knows only as a free atom."""
    check_elements(
        np.append(atoms.numbers, element), model.config.elements, model.domain, f"probe {chemical_symbols[element]}"
    )
