"""The loss compiled by torch, and checked against the loss as it is; where torch cannot compile, the training does without.

The compiler is not trusted. That of torch 2.13 fuses loops that read and add to rows of atoms in a wrong order: it gave forces of
PaiNNs that were wrong by 20 to 30 meV/Å, at the right energy, so that networks learned to be wrong by as much. Without fusion of
loops they are right to rounding; a step of a PaiNN takes a quarter less time, one of a SchNet up to a third more.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mlcalc.common.errors import note
from mlcalc.training.dataset import Batch

Loss = Callable[[dict[str, Tensor], Batch], Tensor]
_OPTIONS: dict = {"max_fusion_size": 1}
_SAME = 1e-2  # of the gradient, relative; rounding in float32 is 1e-6 at the start of a training, 4e-4 at the end


def compiled(loss: Loss) -> Loss:
    """The loss compiled for each shape of a batch at its first call, or as it is if that fails; a note on stderr says so.

    At the first batch of each shape its gradient is compared with that of the loss as it is.
    """
    # Loaded here: it takes seconds, which trainings without the compiler save.
    from torch._dynamo.exc import TorchDynamoException

    present, checked = torch.compile(loss, dynamic=False, options=_OPTIONS), set()

    def call(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        nonlocal present
        if present is loss:
            return loss(parameters, batch)
        try:
            shape = len(batch.species), len(batch.first), len(batch.levels)
            if shape not in checked:
                checked.add(shape)
                if (difference := _difference(present, loss, parameters, batch)) > _SAME:
                    note(
                        f"the compiled loss has another gradient (by {difference:.1g}); the training is slower without it"
                    )
                    present = loss
            return present(parameters, batch)
        except TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            note(f"torch cannot compile the loss ({reason[:200]}); the training is slower without")
            present = loss
            return loss(parameters, batch)

    return call


def _difference(one: Loss, other: Loss, parameters: dict[str, Tensor], batch: Batch) -> float:
    """Norm of the difference of the gradients of two losses, relative to that of the second; infinite for a NaN."""
    gradients, learnt = [], [parameter for parameter in parameters.values() if parameter.requires_grad]
    for loss in (one, other):
        found = torch.autograd.grad(loss(parameters, batch), learnt, allow_unused=True)
        gradients.append(torch.cat([torch.zeros(1) if g is None else g.flatten().cpu() for g in found]))
    difference = (gradients[0] - gradients[1]).norm() / gradients[1].norm().clamp(min=1e-30)
    return float(difference) if difference.isfinite() else float("inf")
