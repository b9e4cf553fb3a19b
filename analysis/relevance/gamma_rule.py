"""The generalised γ rule: propagation of relevance from the outputs of an activated dense layer to its inputs.

Relevance R is carried as m = R/x, relevance of a feature divided by the feature ("effective gradient"), which avoids division by
features that are zero. Through linear layers, residual sums and pooling m propagates as a gradient does (gradient × input).
For an activated layer y = f(z), z = Σ_k a_k w_k + b, of inputs a of either sign::

    share_k = c̃_k / (Σ_k c̃_k + b̃) of R(y),    c_k = a_k w_k,
    c̃ = c + γ max(c, 0) for z > 0,  c + γ min(c, 0) for z < 0;  b̃ of b likewise

so that m(a_k) = Σ_j m(y_j) s_j c̃_kj / a_k with the slope s_j = y_j / (Σ_k c̃_kj + b̃_j); for γ = 0 it is the secant y/z. Forward
values are exact. Biases absorb a share, so that the sum of all relevances differs from the energy: both are always reported.

Source: Schnake et al., IEEE TPAMI 44, 7581 (2022), doi:10.1109/TPAMI.2021.3115452; γ for signed inputs: Bonneau et al.,
Nat. Commun. 16, 9898 (2025).
"""

from typing import NamedTuple

import numpy as np


class Dense(NamedTuple):
    """An activated dense layer in a forward pass.

    Attributes:
        weights: (in, out); bias: (out,); inputs: (N, in).
        before, after: (N, out) z and f(z).
        derivative: (N, out) f′(z), where a rule needs it.
    """

    weights: np.ndarray
    bias: np.ndarray
    inputs: np.ndarray
    before: np.ndarray
    after: np.ndarray
    derivative: np.ndarray | None = None


class GammaRule:
    """The γ rule of one activated layer: m of its outputs (n, out) → m of its inputs (n, in), for atoms (n,).

    For an input a_k > 0, γ strengthens a term a_k w_kj of an output z_j > 0 if w_kj > 0, and of z_j < 0 if w_kj < 0; for a_k < 0
    the signs of w_kj are reversed. With u± = m s of the outputs of either sign and W± the weights of either sign, all four cases
    are matrix products over all atoms at once.

    Args:
        dense: The layer; gamma: γ.
        published: Divide by the larger of Σ c̃ and b̃ (the smaller where z < 0) instead of by their sum, as the code of Bonneau et
            al. does: shares then add up to other than the output. With γ = 0 that code takes the gradient, s = f′(z).
    """

    def __init__(self, dense: Dense, gamma: float, published: bool = False):
        self._gamma, self._dense = gamma, dense
        self._up, self._down = np.maximum(dense.weights, 0.0), np.minimum(dense.weights, 0.0)
        if published and gamma == 0.0:
            self._slope = dense.derivative
            return
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = dense.after / (self._larger() if published else self._strengthened())
        self._slope = np.where(dense.before == 0.0, 0.5, slope)  # ssp′(0) = silu′(0) = ½

    def _strengthened(self) -> np.ndarray:
        """Σ c̃ + b̃, (N, out): it has the sign of z and at least its magnitude."""
        d, positive, negative = self._dense, np.maximum(self._dense.inputs, 0.0), np.minimum(self._dense.inputs, 0.0)
        more = positive @ self._up + negative @ self._down + np.maximum(d.bias, 0.0)
        less = positive @ self._down + negative @ self._up + np.minimum(d.bias, 0.0)
        return d.before + self._gamma * np.where(d.before > 0.0, more, less)

    def of_all_inputs(self) -> np.ndarray:
        """(N, out) Σ_k a_k m(a_k) for m = 1: what the inputs together receive, the rest being the bias's."""
        return self._slope * (self._strengthened() - self._of_bias())

    def _of_bias(self) -> np.ndarray:
        """b̃, (N, out)."""
        bias, positive = self._dense.bias, self._dense.before > 0.0
        return bias + self._gamma * np.where(positive, np.maximum(bias, 0.0), np.minimum(bias, 0.0))

    def _larger(self) -> np.ndarray:
        """The larger of Σ c̃ and b̃, or the smaller where z < 0, (N, out)."""
        of_bias = self._of_bias()
        of_terms, positive = self._strengthened() - of_bias, self._dense.before > 0.0
        return np.where(positive, np.maximum(of_terms, of_bias), np.minimum(of_terms, of_bias))

    def __call__(self, atoms: np.ndarray, m: np.ndarray) -> np.ndarray:
        """Apply the rule, see the class."""
        u = m * self._slope[atoms]
        if self._gamma == 0.0:
            return u @ self._dense.weights.T
        outputs_positive = self._dense.before[atoms] > 0.0
        positive, negative = np.where(outputs_positive, u, 0.0), np.where(outputs_positive, 0.0, u)
        same = positive @ self._up.T + negative @ self._down.T
        other = positive @ self._down.T + negative @ self._up.T
        return same + other + self._gamma * np.where(self._dense.inputs[atoms] > 0.0, same, other)
