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
    """The readouts of a model for one composition.

    Args:
        model: The model; numbers: (N,) atomic numbers; precision: ``"float32"`` or ``"float64"``.
        pbc: Three booleans, or None for a molecule.
    """

    def __init__(self, model: Model, numbers: np.ndarray, precision: str = "float32", pbc=None):
        self._dtype, self._pbc = getattr(torch, precision), pbc
        self._network = network_of(model, self._dtype).requires_grad_(False)
        order = {z: row for row, z in enumerate(model.config.elements)}
        self._species = torch.tensor([order[z] for z in numbers.tolist()])
        self._charge = float(model.domain.get("charge", 0))
        self.outputs = available(model, pbc is not None and bool(np.any(pbc)))

    def __call__(self, positions: np.ndarray, cell=None) -> dict[str, np.ndarray]:
        """Outputs of structures at positions (P, N, 3) Å, by Output.evaluated: (P, …), or (P, N, …) of outputs per atom."""
        size = max(1, _ATOMS_AT_ONCE // positions.shape[1])
        parts = [self._batch(positions[begin : begin + size], cell) for begin in range(0, len(positions), size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _batch(self, positions: np.ndarray, cell) -> dict[str, np.ndarray]:
        number, n_atoms = positions.shape[:2]
        lists = [half_pairs(frame, self._network.config.cutoff, cell, self._pbc) for frame in positions]
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
        species = self._species.repeat(number)
        centred = positions - positions.mean(axis=1, keepdims=True)
        structures = Structures(
            torch.from_numpy(centred.reshape(-1, 3)).to(self._dtype),
            torch.arange(number).repeat_interleave(n_atoms), number, self._charge, species,
        )  # fmt: skip
        found = self._network(species, first, second, torch.from_numpy(vectors).to(self._dtype), structures)
        arrays = {}
        for name in self.outputs:
            array = found[name].double().numpy()
            arrays[OUTPUTS[name].evaluated] = array.reshape(number, n_atoms) if OUTPUTS[name].per_atom else array
        return arrays
