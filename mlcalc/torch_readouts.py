"""Outputs of a model's readouts, evaluated by PyTorch whatever computes its energies and forces."""

import numpy as np
import torch

from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.outputs import OUTPUTS
from mlcalc.readouts import available
from mlcalc.readouts.networks import Structures
from mlcalc.torch_potential import network_of

_ATOMS_AT_ONCE = 2048  # keeps the arrays of a batch within the caches


class Readouts:
    """The readouts of a model.

    Args:
        model: The model; precision: ``"float32"`` or ``"float64"``.
    """

    def __init__(self, model: Model, precision: str = "float32"):
        self._model, self._dtype = model, getattr(torch, precision)
        self._network = network_of(model, self._dtype).requires_grad_(False)
        self._rows = {z: row for row, z in enumerate(model.config.elements)}
        self._charge = float(model.domain.get("charge", 0))

    def __call__(self, numbers: np.ndarray, positions: np.ndarray, cell=None, pbc=None) -> dict[str, np.ndarray]:
        """Outputs of structures of one composition, by Output.evaluated: (P, …), or (P, N, …) of outputs per atom.

        Args:
            numbers: (N,) atomic numbers, of elements of the model; positions: (P, N, 3) Å.
            cell: (3, 3) Å and pbc: three booleans; None for a molecule.
        """
        species = torch.tensor([self._rows[z] for z in numbers.tolist()])
        size = max(1, _ATOMS_AT_ONCE // positions.shape[1])
        starts = range(0, len(positions), size)
        parts = [self._batch(species, positions[begin : begin + size], cell, pbc) for begin in starts]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _batch(self, species: torch.Tensor, positions: np.ndarray, cell, pbc) -> dict[str, np.ndarray]:
        number, n_atoms = positions.shape[:2]
        lists = [half_pairs(frame, self._network.config.cutoff, cell, pbc) for frame in positions]
        first, second = (
            torch.from_numpy(np.concatenate([getattr(pairs, end) + k * n_atoms for k, pairs in enumerate(lists)]))
            for end in ("first", "second")
        )
        vectors = np.concatenate(
            [
                frame[pairs.second] - frame[pairs.first] + pairs.shift
                for frame, pairs in zip(positions, lists, strict=True)
            ]
        )
        species = species.repeat(number)
        centred = positions - positions.mean(axis=1, keepdims=True)
        structures = Structures(
            torch.from_numpy(centred.reshape(-1, 3)).to(self._dtype),
            torch.arange(number).repeat_interleave(n_atoms), number, self._charge, species,
        )  # fmt: skip
        found = self._network(species, first, second, torch.from_numpy(vectors).to(self._dtype), structures)
        arrays = {}
        for name in available(self._model, pbc is not None and bool(np.any(pbc))):
            array = found[name].double().numpy()
            arrays[OUTPUTS[name].evaluated] = array.reshape(number, n_atoms) if OUTPUTS[name].per_atom else array
        return arrays
