"""The short-range repulsion: compiled form, torch form, published universal screening, smooth switch."""

import numpy as np
import pytest
import torch

from mlcalc.priors.repulsion import ZBL_COEFFICIENTS, Repulsion, zbl_pair
from mlcalc.priors.torch_twins import pair_repulsion


@pytest.mark.parametrize("r", [0.2, 0.55, 0.61, 0.9, 1.19])
def test_torch_and_compiled_repulsion_agree_with_finite_differences(r):
    cutoff = 1.2
    energy, derivative = zbl_pair(r, 6, 1, cutoff)
    carbon, hydrogen = torch.tensor([6.0], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)
    distance = torch.tensor([r], dtype=torch.float64, requires_grad=True)
    twin = pair_repulsion(Repulsion(cutoff), carbon, hydrogen, distance)
    (slope,) = torch.autograd.grad(twin.sum(), distance)
    assert twin.item() == pytest.approx(energy, rel=1e-7)
    assert slope.item() == pytest.approx(derivative, rel=1e-6)
    step = 1e-6
    numerical = (zbl_pair(r + step, 6, 1, cutoff)[0] - zbl_pair(r - step, 6, 1, cutoff)[0]) / (2 * step)
    assert derivative == pytest.approx(numerical, rel=1e-5)


def test_bare_coulomb_at_contact_and_nothing_at_the_cutoff():
    """φ(0) = Σc_k = 1.00000 (to the printed digits), so r·V → Z_i Z_j e²/4πε₀ = 36 × 14.39964 eV Å."""
    assert sum(ZBL_COEFFICIENTS) == pytest.approx(1.0, abs=2e-5)
    r = 1e-6
    assert r * zbl_pair(r, 6, 6, 1.2)[0] == pytest.approx(36 * 14.39964, rel=1e-4)
    energy, derivative = zbl_pair(1.2 - 1e-9, 6, 6, 1.2)
    assert abs(energy) < 1e-12 and abs(derivative) < 1e-12


def test_repulsion_pushes_apart_everywhere():
    r = np.linspace(0.1, 1.19, 200)
    assert all(zbl_pair(x, 6, 6, 1.2)[1] < 0 for x in r)
