"""The loss compiled by torch; where torch cannot compile, say for want of a C++ compiler, the training does without."""

from collections.abc import Callable

import torch
from torch import Tensor

from mlcalc.common.errors import note
from mlcalc.training.dataset import Batch

Loss = Callable[[dict[str, Tensor], Batch], Tensor]


def compiled(loss: Loss) -> Loss:
    """The loss compiled for each shape of a batch at its first call, or as it is if that fails; a note on stderr says so."""
    # Loaded here: it takes seconds, which trainings without the compiler save.
    from torch._dynamo.exc import TorchDynamoException

    present = torch.compile(loss, dynamic=False)

    def call(parameters: dict[str, Tensor], batch: Batch) -> Tensor:
        nonlocal present
        try:
            return present(parameters, batch)
        except TorchDynamoException as error:
            reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
            note(f"torch cannot compile the loss ({reason[:200]}); the training is slower without")
            present = loss
            return loss(parameters, batch)

    return call
