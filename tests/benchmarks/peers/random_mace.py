"""A MACE with random weights."""

import numpy as np
import torch
from e3nn.o3 import Irreps
from mace import modules


def random_mace(elements: list[int], cutoff: float, neighbours: float, hidden: str) -> torch.nn.Module:
    """ScaleShiftMACE in float64, as it is trained and exported: two interactions, l ≤ 3, correlation order 3."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    return modules.ScaleShiftMACE(
        r_max=cutoff, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, num_interactions=2, correlation=3,
        interaction_cls=modules.RealAgnosticResidualInteractionBlock, radial_MLP=[64, 64, 64], radial_type="bessel",
        interaction_cls_first=modules.RealAgnosticInteractionBlock, num_elements=len(elements), atomic_numbers=elements,
        hidden_irreps=Irreps(hidden), MLP_irreps=Irreps("16x0e"), atomic_energies=np.zeros(len(elements)),
        avg_num_neighbors=neighbours, gate=torch.nn.functional.silu, atomic_inter_scale=1.0, atomic_inter_shift=0.0,
    )  # fmt: skip
