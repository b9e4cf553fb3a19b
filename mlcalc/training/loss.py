"""The loss of training, as a function of the parameters.

Loss of a batch, the sum over labelled outputs with weights w (science: Schütt et al., J. Chem. Phys. 148, 241722 (2018), eq. 9)::

    Σ_o w_o ⟨h(|o − ô|)⟩    mean over frames, or atoms for outputs per atom; |…|² sums components
    h(x) = x²               up to a threshold δ, and 2δx − δ² beyond (Huber's function, doubled); x² everywhere without one

With weights of frames, h is multiplied by that of its frame; the mean is still over all frames.

The forces are gradients of the network, so the loss needs second derivatives. They come from ``torch.func.grad`` inside one
function of the parameters, which ``torch.compile`` fuses (on one core 1.5 times faster for a SchNet of C20, 2.5 times for a PaiNN).
Where no structure has forces they are not computed.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, grad

from mlcalc.architectures.torch_blocks import Network
from mlcalc.outputs import OUTPUTS
from mlcalc.priors import prior_energies
from mlcalc.readouts.networks import Structures
from mlcalc.training.dataset import Batch


class Term(NamedTuple):
    """An output in the loss: its weight w, and the threshold δ in its unit, 0 for none."""

    weight: float
    huber: float = 0.0

    def of_rows(self, residual: Tensor, rank: int) -> Tensor:
        """h of each row of o − ô (rows, …): (rows,); 0 where a residual is NaN, for want of a label."""
        square = torch.nan_to_num(residual).square()
        for _ in range(rank):
            square = square.sum(-1)
        if not self.huber:
            return square
        limit = self.huber**2
        # The clamp keeps the derivative of the root finite where the residual is zero.
        beyond = 2.0 * self.huber * square.clamp(min=limit).sqrt() - limit
        return torch.where(square > limit, beyond, square)


def predicted(
    network: Network, priors: dict[str, Any], parameters: Mapping[str, Tensor], batch: Batch,
    wanted: Collection[str] = ("energy", "forces"), charge: float = 0.0,
) -> dict[str, Tensor]:  # fmt: skip
    """Outputs of a batch by name, differentiable in the parameters of the network.

    Energies (B,) eV without shift, and those wanted.

    Args:
        network: See Architecture.network; priors: Priors of its model, by name.
        wanted: Names of outputs; forces, and those of the network's readouts, cost time.
        charge: Total charge of each structure, e.
    """
    numbers = network.atomic_numbers[batch.species]
    beside_energy = set(wanted) - {"energy", "forces"}
    structures: Structures | None = None
    if beside_energy:
        structures = Structures(batch.positions, batch.frame, len(batch.levels), charge, batch.species)

    def energy(vectors: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        graph = batch.species, batch.first, batch.second, vectors
        outputs = functional_call(network, dict(parameters), graph, {"structures": structures})
        outputs["energy"] = outputs["energy"] + prior_energies(priors, numbers, batch.first, batch.second, vectors)
        return outputs["energy"].sum(), outputs

    found = {}
    if "forces" in wanted:
        pair_forces, outputs = grad(energy, has_aux=True)(batch.vectors)
        forces = torch.zeros_like(batch.labels["forces"])
        found["forces"] = forces.index_add(0, batch.first, pair_forces).index_add(0, batch.second, -pair_forces)
    else:
        _, outputs = energy(batch.vectors)
    found["energy"] = torch.zeros_like(batch.labels["energy"]).index_add(0, batch.frame, outputs["energy"])
    return found | {name: outputs[name] for name in beside_energy}


def batch_loss(
    network: Network, priors: dict[str, Any], parameters: dict[str, Tensor], batch: Batch, terms: dict[str, Term],
    charge: float = 0.0,
) -> Tensor:  # fmt: skip
    """The loss of the module docstring; outputs without a label count as exact.

    Args:
        parameters: Those of the network, and ``offsets`` (n_levels,) eV of the energies.
        terms: By the names of outputs.
        charge: As in predicted.
    """
    of_network = {name: value for name, value in parameters.items() if name != "offsets"}
    found = predicted(network, priors, of_network, batch, terms, charge)
    # Selected by a sum: torch 2.13 cannot compile the derivative of an index for more than one thread.
    offsets = parameters["offsets"]
    mine = batch.levels[:, None] == torch.arange(len(offsets), device=offsets.device)
    found["energy"] = found["energy"] + torch.where(mine, offsets, 0.0).sum(1)
    loss = torch.zeros((), dtype=offsets.dtype, device=offsets.device)
    for name, term in terms.items():
        rows = term.of_rows(found[name] - batch.labels[name], OUTPUTS[name].rank)
        mean = rows.mean() if batch.shares is None else (batch.shares[name] * rows).sum()
        loss = loss + term.weight * mean
    return loss
