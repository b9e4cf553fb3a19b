"""Measures the time of explanations: all walks, and sums over atoms, pairs and triples, for 125 beads in a periodic box.

    python -m tests.benchmarks.relevance --threads 2

The task is that of the published study of coarse-grained methane: 125 beads, 3 interaction blocks, 128 features, about 124 000
walks, float64. The peer explains one walk at a time, as published programs do: a forward and a backward pass through PyTorch for
each walk, in which all other nodes are detached. It is timed on a sample of walks, whose relevances must agree with ours.
"""

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.geometry import get_distances
from threadpoolctl import threadpool_limits

from analysis.relevance.nbody import pair_relevances, single_relevances, total_relevance, triple_relevances, triple_sets
from analysis.relevance.trace import Rules, Trace, trace
from analysis.relevance.walks import Walks, walk_relevances
from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.common.tables import aligned
from mlcalc.model import Model
from mlcalc.torch_potential import model_of, new_network

BOX_A, BEADS, CLOSEST_A = (20.768, 20.410, 17.969), 125, 3.3
CUTOFF_A = 5.12  # not 5: so that beads at random positions have as many neighbours as those of the liquid
CONFIG = SchNetConfig(
    elements=(6,),
    n_features=128,
    n_interactions=3,
    n_rbf=20,
    cutoff=CUTOFF_A,
    readout_hidden=64,
    readout_activation="silu",
)
GAMMA = 0.1
AGREEMENT = 1e-8  # relative


def main() -> int:
    """Time, compare, print; exit code 1 if the peer disagrees."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--walks", type=int, default=40, help="number of walks that the peer explains (default: %(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        model, atoms = random_network(), fluid()
        t = trace(model, atoms)
        rules, sets = Rules(t, GAMMA), triple_sets(t)
        walks = walk_relevances(rules)
        jobs: dict[str, Callable] = {
            f"all {len(walks.relevance)} walks": lambda: walk_relevances(Rules(trace(model, atoms), GAMMA)),
            "sum over all walks": lambda: total_relevance(Rules(trace(model, atoms), GAMMA)),
            f"sums over {BEADS} atoms": lambda: single_relevances(Rules(trace(model, atoms), GAMMA)),
            f"sums over {len(t.first)} pairs": lambda: pair_relevances(Rules(trace(model, atoms), GAMMA)),
            f"sums over {len(sets.atoms)} triples": lambda: triple_relevances(
                Rules(trace(model, atoms), GAMMA), triple_sets(t)
            ),
        }
        rows = [[name, *_timed(job, options.repeats)] for name, job in jobs.items()]
        ours = statistics.median(_seconds(jobs[next(iter(jobs))], options.repeats))
        per_walk, difference = peer(t, walks, options.walks)
    rows.append(
        [
            "one walk at a time, all of them",
            f"{per_walk * len(walks.relevance):.3g} s",
            f"{1e3 * per_walk:.1f} ms a walk",
        ]
    )
    print(aligned(["job", "median", "spread"], rows, left=1))
    orders = ", ".join(f"{count} of order {order}" for order, count in enumerate(np.bincount(walks.order)) if count)
    print(f"walks: {orders}; with the network's forward pass, on {options.threads} threads")
    print(f"ratio: {per_walk * len(walks.relevance) / ours:.3g}; largest relative difference {difference:.1e}")
    print(
        f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most, Python and libraries included"
    )
    return int(difference > AGREEMENT)


def _timed(job: Callable, repeats: int) -> tuple[str, str]:
    times = _seconds(job, repeats)
    return f"{statistics.median(times):.3g} s", f"{min(times):.3g} to {max(times):.3g} s"


def _seconds(job: Callable, repeats: int) -> list[float]:
    job()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return times


def random_network() -> Model:
    """A network of the published size; its weights do not matter for the time."""
    torch.manual_seed(0)
    return model_of(new_network(CONFIG))


def fluid() -> Atoms:
    """Beads at random positions, no pair closer than in the liquid."""
    rng, cell = np.random.default_rng(4), np.diag(BOX_A)
    places = np.empty((0, 3))
    while len(places) < BEADS:
        place = rng.random((1, 3)) @ cell
        if not len(places) or get_distances(place, places, cell=cell, pbc=True)[1].min() > CLOSEST_A:
            places = np.concatenate([places, place])
    return Atoms(f"C{BEADS}", places, cell=cell, pbc=True)


def peer(t: Trace, walks: Walks, number: int) -> tuple[float, float]:
    """Seconds for a walk, and the largest relative difference from ours."""
    chosen = np.random.default_rng(0).choice(len(walks.relevance), number, replace=False)
    differences, times = [], []
    for k in chosen:
        begin = time.perf_counter()
        value = relevance_of_walk(t, walks.atoms[k])
        times.append(time.perf_counter() - begin)
        differences.append(abs(value / walks.relevance[k] - 1.0))
    return statistics.median(times), max(differences)


def relevance_of_walk(t: Trace, walk: np.ndarray) -> float:
    """R of a walk from the readout to the embedding, by automatic differentiation of a pass with exact forward values."""
    embedding = torch.from_numpy(t.embedding).requires_grad_()
    x = embedding
    for block, node in zip(t.blocks, walk[::-1], strict=False):
        x = _only(x, node)
        messages, filters = _with_values(x @ _tensor(block.in2f), block.messages), _tensor(block.filters)
        convolved = torch.zeros_like(messages)
        convolved.index_add_(0, torch.from_numpy(t.first), messages[t.second] * filters)
        convolved.index_add_(0, torch.from_numpy(t.second), messages[t.first] * filters)
        x = x + _dense(convolved, block.dense) @ _tensor(block.output)
    x = _with_values(x, t.readout.inputs)
    energy = (_dense(_only(x, walk[0]), t.readout) @ _tensor(t.weights)).sum()
    (gradient,) = torch.autograd.grad(energy, embedding)
    return float((gradient * embedding).sum().detach())


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _with_values(x: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    """Contributions of biases belong to no walk."""
    return x + (_tensor(values) - x).detach()


def _only(x: torch.Tensor, node: int) -> torch.Tensor:
    """The same values, with a gradient through only one node."""
    mask = torch.zeros(len(x), 1, dtype=x.dtype)
    mask[node] = 1.0
    return x * mask + (x * (1.0 - mask)).detach()


def _dense(x: torch.Tensor, dense) -> torch.Tensor:
    """f(z) with the derivative of the γ rule: the strengthening enters as a factor of 1."""
    weights, bias = _tensor(dense.weights), _tensor(dense.bias)
    z = _tensor(dense.before)
    more = x.clamp(min=0) @ weights.clamp(min=0) + x.clamp(max=0) @ weights.clamp(max=0) + bias.clamp(min=0)
    less = x.clamp(min=0) @ weights.clamp(max=0) + x.clamp(max=0) @ weights.clamp(min=0) + bias.clamp(max=0)
    strengthened = x @ weights + bias + GAMMA * torch.where(z > 0, more, less)
    return strengthened * (_tensor(dense.after) / strengthened).detach()


if __name__ == "__main__":
    sys.exit(main())
