"""Test what relevances claim: does the energy need the pairs of high relevance, and does the 2-body curve show what pairs do?

    python -m tests.benchmarks.explanation inputs/water/data/frames.xyz inputs/water/test.xyz --model water-cg -o runs/water.png

**Deletion.** Pairs are taken out of a frame's graph, and the energy of what is left is computed: the most binding first (lowest
relevance), the most repulsive first, the shortest first, and at random. If relevances mean anything, the first order raises the
energy faster than the others and the second lowers it. Every pair is also removed alone: its relevance should be the change, ΔE.

**Pairs alone.** A pair potential is fitted to the forces of the frames (tests/benchmarks/body_order.py): what can be learnt if
nothing but pairs exists. Its shape is compared with the mean 2-body relevance over distance. A pair potential contains what more
beads do on average, and its zero is its own, so that the comparison is one of shapes: correlation and signs of the slopes.
"""

import argparse
import sys
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.io import read
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from tqdm import tqdm

from analysis.figures import OKABE_ITO
from analysis.relevance.nbody import pair_relevances
from analysis.relevance.trace import Rules, Trace, trace
from mlcalc import load_model
from mlcalc.common.files import write_atomically
from mlcalc.common.tables import aligned, with_error
from mlcalc.model import Model
from mlcalc.priors.torch_twins import angular_energies
from mlcalc.torch_potential import network_of
from tests.benchmarks.body_order import (
    PAIR_CUTOFF_A,
    SHORTEST_A,
    design,
    energies_of_pairs,
    evenly,
    functions_of_pairs,
    least_squares,
)

FRACTIONS = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])  # of the pairs that are removed
SHOWN = 0.1  # the fraction in the table
BIN_A, FEWEST = 0.1, 50  # of distances, and pairs in a bin that counts


class Deletion(NamedTuple):
    """A network's deletions with one γ.

    Attributes:
        network: Its name; gamma: γ.
        curves: Order → (n_frames, n_fractions) change of the energy, eV a bead.
        alone: (n_frames, 2) correlation of relevance and ΔE over single pairs: Pearson's, and Spearman's by ranks.
        distances, relevances: (n,) Å and eV of all pairs of all frames.
    """

    network: str
    gamma: float
    curves: dict[str, np.ndarray]
    alone: np.ndarray
    distances: np.ndarray
    relevances: np.ndarray

    @property
    def label(self) -> str:
        """For tables and legends."""
        return f"{self.network}, γ = {self.gamma:g}"


class Graph:
    """The energy of a frame, with the priors, as a function of the pairs that it keeps."""

    def __init__(self, model: Model, atoms: Atoms, t: Trace):
        self._network, self._trace = network_of(model, torch.float64).requires_grad_(False), t
        self._numbers = torch.from_numpy(atoms.numbers)
        self._species = torch.tensor([model.config.elements.index(z) for z in atoms.numbers.tolist()])

    def energy(self, keep: np.ndarray) -> float:
        """eV, of the pairs in ``keep``, indices or a mask."""
        t = self._trace
        pairs = [torch.from_numpy(array[keep]) for array in (t.first, t.second, t.vectors)]
        energy = float(self._network(self._species, *pairs)["energy"].sum()) + t.repulsion[keep].sum()
        if t.prior is not None:
            energy += float(angular_energies(t.prior, self._numbers, *pairs).sum())
        return energy


def main() -> int:
    """Fit, delete, print, draw."""
    options = _options()
    torch.set_num_threads(1)
    frames = evenly(read(options.test, ":"), options.frames)
    models = {name: load_model(name) for name in options.model}
    found = [
        deletion(Path(name).stem, model, frames, gamma, options.singles)
        for name, model in models.items()
        for gamma in options.gamma
    ]
    distances, potential = pairs_alone(evenly(read(options.fit, ":"), options.fit_frames))
    text = f"{deletion_table(found)}\n\n{pair_table(found, distances, potential)}"
    text += f"\n{len(frames)} frames of {options.test}; potential of pairs from {options.fit_frames} frames of {options.fit}."
    print(text)
    if options.output:
        write_atomically(options.output.with_suffix(".txt"), f"{text}\n".encode())
        draw(found, distances, potential).savefig(options.output, dpi=150)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fit", help="frames with forces to which the potential of pairs is fitted")
    parser.add_argument("test", help="frames that are explained")
    parser.add_argument("--model", action="append", required=True, help="name or file; may be repeated")
    parser.add_argument("--gamma", type=float, nargs="+", default=[0.0, 0.1, 0.5])
    parser.add_argument("--frames", type=int, default=20, help="number of frames to explain (default: 20)")
    parser.add_argument(
        "--fit-frames", type=int, default=200, metavar="N", help="number of frames to fit (default: 200)"
    )
    parser.add_argument(
        "--singles", type=int, default=100, metavar="N", help="pairs of a frame removed alone (default: 100)"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.png", help="figure; the table goes beside it")
    return parser.parse_args()


def deletion(network: str, model: Model, frames: list[Atoms], gamma: float, singles: int) -> Deletion:
    """Delete pairs from frames."""
    rng, curves, alone, distances, relevances = np.random.default_rng(0), {}, [], [], []
    for atoms in tqdm(frames, desc=f"{network}, γ = {gamma:g}", disable=None):
        t = trace(model, atoms)
        relevance, graph = pair_relevances(Rules(t, gamma)), Graph(model, atoms, t)
        orders = {
            "most binding": np.argsort(relevance), "most repulsive": np.argsort(-relevance), "shortest": np.argsort(t.distances),
            "random": rng.permutation(len(relevance)),
        }  # fmt: skip
        for name, order in orders.items():
            kept = [graph.energy(np.sort(order[round(f * len(order)) :])) for f in FRACTIONS]
            curves.setdefault(name, []).append((np.array(kept) - kept[0]) / len(atoms))
        chosen = rng.choice(len(relevance), min(singles, len(relevance)), replace=False)
        everything = np.arange(len(relevance))
        change = t.energy - np.array([graph.energy(np.delete(everything, k)) for k in chosen])
        alone.append((np.corrcoef(relevance[chosen], change)[0, 1], spearmanr(relevance[chosen], change).statistic))
        distances.append(t.distances)
        relevances.append(relevance)
    stacked = {name: np.array(values) for name, values in curves.items()}
    return Deletion(network, gamma, stacked, np.array(alone), np.concatenate(distances), np.concatenate(relevances))


def pairs_alone(frames: list[Atoms]) -> tuple[np.ndarray, np.ndarray]:
    """Distances (n,) Å and the potential (n,) eV of pairs alone that fits the forces best; zero at its cutoff."""
    designs = [design(atoms, energies_of_pairs) for atoms in tqdm(frames, desc="pairs alone", disable=None)]
    coefficients = least_squares(
        np.concatenate(designs), np.concatenate([atoms.get_forces().ravel() for atoms in frames])
    )
    distances = np.arange(SHORTEST_A, PAIR_CUTOFF_A, BIN_A) + 0.5 * BIN_A
    return distances, functions_of_pairs(torch.from_numpy(distances)).numpy() @ coefficients


def binned(item: Deletion, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of pairs and their mean relevance, eV, in bins around these distances."""
    edges = np.append(distances - 0.5 * BIN_A, distances[-1] + 0.5 * BIN_A)
    counts = np.histogram(item.distances, edges)[0]
    return counts, np.histogram(item.distances, edges, weights=item.relevances)[0] / counts.clip(1)


def shapes(item: Deletion, distances: np.ndarray, potential: np.ndarray) -> tuple[float, float, float]:
    """Of the mean relevance and the potential of pairs: correlation, share of bins with the same sign of the slope, weighted by
    the number of pairs; and by how much the first is larger than the second (least squares)."""
    counts, relevance = binned(item, distances)
    seen = counts >= FEWEST
    weights = counts[seen] / counts[seen].sum()
    one, other = (values[seen] - weights @ values[seen] for values in (relevance, potential))
    covariance = weights @ (one * other)
    correlation = covariance / np.sqrt((weights @ one**2) * (weights @ other**2))
    agree = np.sign(np.gradient(one)) == np.sign(np.gradient(other))
    return float(correlation), float(weights @ agree), float(covariance / (weights @ other**2))


def deletion_table(found: list[Deletion]) -> str:
    """Changes of the energy, and correlations over single pairs, with standard errors over frames."""
    place = int(np.flatnonzero(FRACTIONS == SHOWN)[0])
    names = list(found[0].curves)
    header = [f"ΔE / meV a bead, {SHOWN:.0%} of pairs removed", *names, "R, ΔE alone: Pearson", "Spearman"]
    rows = [
        [item.label, *(mean(1e3 * item.curves[name][:, place]) for name in names), *map(mean, item.alone.T)]
        for item in found
    ]
    return aligned(header, rows, left=1)


def pair_table(found: list[Deletion], distances: np.ndarray, potential: np.ndarray) -> str:
    """How the 2-body curves compare with the potential of pairs alone."""
    header = ["2-body relevance and pairs alone", "correlation", "slopes of one sign", "relevance / potential"]
    rows = [[item.label, *(f"{value:.2f}" for value in shapes(item, distances, potential))] for item in found]
    return aligned(header, rows, left=1)


def mean(values: np.ndarray) -> str:
    """With its standard error."""
    return with_error(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))


def draw(found: list[Deletion], distances: np.ndarray, potential: np.ndarray) -> Figure:
    """2-body curves beside the potential of pairs, a color for each network, a style for each γ; deletions of the first γ."""
    figure = Figure(figsize=(10.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = ("-", "--", "-.", ":")
    colors = dict(zip(dict.fromkeys(item.network for item in found), cycle(OKABE_ITO), strict=False))
    of_gamma = dict(zip(dict.fromkeys(item.gamma for item in found), cycle(styles), strict=False))
    seen = binned(found[0], distances)[0] >= FEWEST
    left.plot(distances[seen], potential[seen] - potential[seen][-1], color="0.6", lw=3.0, label="pairs alone")
    for item in found:
        counts, relevance = binned(item, distances)
        drawn = counts >= FEWEST
        style = of_gamma[item.gamma]
        left.plot(distances[drawn], relevance[drawn], color=colors[item.network], ls=style, label=item.label)
    left.axhline(0.0, color="0.3", lw=0.6)
    left.set(xlabel="distance r / Å", ylabel="2-body relevance, potential of pairs / eV")
    left.legend(frameon=False, fontsize="small")
    of_order = dict(zip(found[0].curves, styles, strict=True))
    for item in {item.network: item for item in reversed(found)}.values():
        for name, curve in item.curves.items():
            value, error = 1e3 * curve.mean(axis=0), 1e3 * curve.std(axis=0, ddof=1) / np.sqrt(len(curve))
            right.errorbar(100 * FRACTIONS, value, error, color=colors[item.network], ls=of_order[name], lw=1.2)
    for network, color in colors.items():
        right.plot([], [], color=color, label=network)
    for name, style in of_order.items():
        right.plot([], [], color="0.3", ls=style, label=f"{name} first" if name != "random" else "at random")
    right.axhline(0.0, color="0.3", lw=0.6)
    right.set(xlabel="pairs removed / %", ylabel=f"change of the energy / meV a bead (γ = {found[0].gamma:g})")
    right.legend(frameon=False, fontsize="small")
    return figure


if __name__ == "__main__":
    sys.exit(main())
