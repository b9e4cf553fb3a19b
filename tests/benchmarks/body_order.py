"""Compare how well pairs, densities, triples and a network describe the forces on the beads of a liquid.

    python -m tests.benchmarks.body_order inputs/water/data/frames.xyz inputs/water/test.xyz --model water-cg

Energies linear in their coefficients are fitted to forces by least squares (no network, no seed, one minimum) and tested on frames
of other trajectories::

    pairs       Σ_ij c_n φ_n(r_ij)
    densities   Σ_i c_nm ρ_in ρ_im,  ρ_in = Σ_j φ_n(r_ij): the number of neighbours of a bead by distance
    triples     Σ_i Σ_jk c_nmp φ_n(r_ij) φ_m(r_ik) cos^p θ_jik; densities are those with p = 0
    prior       Σ_i Σ_jk h(r_ij) h(r_ik) (c_0 + c_1 cos θ_jik + c_2 cos² θ_jik), h of the angular prior (mlcalc/priors/angular.py)

A SchNet has densities, and densities of densities, of any power, but no explicit angles: it must build them from densities or take
them from a prior. Its place in this table shows what a training has reached, not the limit of the architecture. The strength of the
prior is c_2 and its cosine −c_1/2c_2: c_0 belongs to a density, which the network learns.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from ase.io import read
from tqdm import tqdm

from mlcalc import SchNetCalculator
from mlcalc.common.tables import aligned, with_error
from mlcalc.geometry.pairs import half_pairs

PAIR_CUTOFF_A, PAIR_FUNCTIONS = 8.0, 30
SHORTEST_A = 2.3  # first centre of the radial functions of pairs; that of triples is slightly larger
POWERS = 4  # powers of the cosine: 0 to 3


def main() -> int:
    """Fit, test, print."""
    options = _options()
    torch.set_num_threads(1)
    known = evenly(read(options.frames, ":"), options.fit)
    unknown = read(options.test, ":")
    designs = {}
    for name, frames in (("fit", known), ("test", unknown)):
        terms = partial(energies, options=options)
        designs[name] = np.stack([design(atoms, terms) for atoms in tqdm(frames, desc=name, disable=None)])
    targets = {"fit": np.stack([a.get_forces().ravel() for a in known])}
    targets["test"] = np.stack([a.get_forces().ravel() for a in unknown])
    per_power = options.radial * (options.radial + 1) // 2
    rows = [["none", "0", row(targets["test"])]]
    for label, powers, prior in (
        ("pairs", 0, False), ("pairs, densities", 1, False), ("pairs, densities, prior", 1, True),
        ("pairs, triples to cos θ", 2, False), ("pairs, triples to cos² θ", 3, False), ("pairs, triples to cos³ θ", 4, False),
    ):  # fmt: skip
        terms = np.r_[: PAIR_FUNCTIONS + powers * per_power, -3 * prior : 0]
        coefficients = least_squares(designs["fit"][..., terms].reshape(-1, len(terms)), targets["fit"].ravel())
        rows.append([label, str(len(terms)), row(targets["test"] - designs["test"][..., terms] @ coefficients)])
        if prior:
            strength, cosine = coefficients[-1], -0.5 * coefficients[-2] / coefficients[-1]
    for model in options.model:
        calculator = SchNetCalculator(model)
        rows.append([model, "", row(np.array([a.get_forces().ravel() - predicted(calculator, a) for a in unknown]))])
    print(aligned(["energy of", "coefficients", "force RMSE / meV/Å"], rows, left=1))
    print(f"Fitted to {len(known)} frames of {options.frames}; errors of {len(unknown)} frames of {options.test}.")
    print(f"Triples: {options.radial} radial functions within {options.cutoff:g} Å. ±: one standard error over frames.")
    print(
        f"Prior: strength {strength:.3g} eV, cosine {cosine:.3f}, for a decay of {options.decay:g} Å and a cutoff of "
        f"{options.angle_cutoff:g} Å."
    )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", help="to fit")
    parser.add_argument("test", help="frames of other trajectories")
    parser.add_argument("--model", action="append", default=[], help="name or file; may be repeated")
    parser.add_argument("--fit", type=int, default=150, metavar="N", help="frames to fit (default: 150)")
    parser.add_argument("--cutoff", type=float, default=4.5, metavar="A", help="cutoff of triples (default: 4.5)")
    parser.add_argument(
        "--radial", type=int, default=4, metavar="N", help="number of radial functions of triples (default: 4)"
    )
    parser.add_argument("--decay", type=float, default=2.0, metavar="A", help="decay length of the prior (default: 2)")
    parser.add_argument(
        "--angle-cutoff", type=float, default=3.75, metavar="A", help="cutoff of the prior (default: 3.75)"
    )
    return parser.parse_args()


def evenly(frames: list, number: int) -> list:
    """So many of them."""
    return frames[:: max(1, len(frames) // number)][:number]


def radial(r: torch.Tensor, first: float, cutoff: float, n: int) -> torch.Tensor:
    """φ_n(r): overlapping Gaussians with a smooth cutoff; (n_pairs,) Å → (n_pairs, n)."""
    last = cutoff - 0.4
    centres = torch.linspace(first, last, n, dtype=r.dtype)
    width = 0.8 * (last - first) / (n - 1)
    return (
        torch.exp(-0.5 * ((r[:, None] - centres) / width) ** 2)
        * ((1 - (r.clamp(max=cutoff) / cutoff) ** 2) ** 2)[:, None]
    )


def vectors_of(positions: torch.Tensor, pairs) -> torch.Tensor:
    """(n_pairs, 3) Å, differentiable."""
    return positions[pairs.second] - positions[pairs.first] + torch.from_numpy(pairs.shift)


def functions_of_pairs(r: torch.Tensor) -> torch.Tensor:
    """(n_pairs, PAIR_FUNCTIONS)"""
    return radial(r, SHORTEST_A, PAIR_CUTOFF_A, PAIR_FUNCTIONS)


def energies_of_pairs(positions: torch.Tensor, pairs) -> torch.Tensor:
    """The terms of the coefficients of pairs."""
    return functions_of_pairs(torch.linalg.vector_norm(vectors_of(positions, pairs), dim=1)).sum(0)


def energies(positions: torch.Tensor, pairs, options: argparse.Namespace) -> torch.Tensor:
    """The terms of the coefficients: pairs, then triples by power of the cosine, then the prior's by power of the cosine."""
    first, second = torch.from_numpy(pairs.first), torch.from_numpy(pairs.second)
    vectors = vectors_of(positions, pairs)
    r = torch.linalg.vector_norm(vectors, dim=1)
    found = [functions_of_pairs(r).sum(0)]
    near = r < max(options.cutoff, options.angle_cutoff)
    first, second, vectors, r = first[near], second[near], vectors[near], r[near]
    centre = torch.cat([first, second])
    directions = torch.cat([vectors, -vectors]) / torch.cat([r, r])[:, None]
    r = torch.cat([r, r])
    found += products(centre, directions, radial(r, SHORTEST_A + 0.3, options.cutoff, options.radial), POWERS)
    weight = torch.exp(
        options.decay / (r.clamp(max=options.angle_cutoff - 1e-3 * options.decay) - options.angle_cutoff)
    )
    own = weight.square().sum()  # a neighbour with itself: cos θ = 1, not a triple
    found += [0.5 * (term - own) for term in products(centre, directions, weight[:, None], 3)]
    return torch.cat(found)


def products(
    centre: torch.Tensor, directions: torch.Tensor, functions: torch.Tensor, powers: int
) -> list[torch.Tensor]:
    """For every power p of the cosine Σ_i Σ_jk φ_n φ_m cos^p θ, n ≤ m: contractions of moments Σ_j φ r̂⊗…⊗r̂ of rank p."""
    found, n = [], functions.shape[1]
    tensor, upper = torch.ones(len(centre), 1, dtype=functions.dtype), torch.triu_indices(n, n)
    for _ in range(powers):
        moments = torch.zeros(int(centre.max()) + 1, n, tensor.shape[1], dtype=functions.dtype)
        moments = moments.index_add(0, centre, functions[:, :, None] * tensor[:, None, :])
        found.append(torch.einsum("inx,imx->nm", moments, moments)[upper[0], upper[1]])
        tensor = (tensor[:, :, None] * directions[:, None, :]).reshape(len(centre), -1)
    return found


def design(atoms, energies: Callable) -> np.ndarray:
    """(3N, n_coefficients): forces of every term of the energy, a function of positions (N, 3) and half pairs."""
    pairs = half_pairs(atoms.get_positions(), PAIR_CUTOFF_A, atoms.cell.array, atoms.pbc)
    positions = torch.tensor(atoms.get_positions(), requires_grad=True)
    terms = energies(positions, pairs)
    return np.stack([-torch.autograd.grad(t, positions, retain_graph=True)[0].numpy().ravel() for t in terms], axis=1)


def least_squares(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Coefficients of columns of very different size; with a weak ridge, since neighbouring functions overlap."""
    scale = design.std(axis=0)
    scale[scale == 0.0] = 1.0  # distances at which no pair occurs
    scaled = design / scale
    gram = scaled.T @ scaled
    gram += 1e-7 * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram, scaled.T @ target) / scale


def predicted(calculator: SchNetCalculator, atoms) -> np.ndarray:
    """Forces (3N,) eV/Å of the network."""
    probe = atoms.copy()
    probe.calc = calculator
    return probe.get_forces().ravel()


def row(residual: np.ndarray) -> str:
    """Root mean square of errors (n_frames, 3N), meV/Å, with its standard error over frames."""
    squares = np.square(1e3 * residual).mean(axis=1)
    rmse = np.sqrt(squares.mean())
    return with_error(rmse, squares.std(ddof=1) / np.sqrt(len(squares)) / (2 * rmse))


if __name__ == "__main__":
    sys.exit(main())
