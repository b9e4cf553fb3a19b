"""Measures the time of explanations: all walks, and sums over atoms, pairs and triples, for 125 beads in a periodic box.

    python -m tests.benchmarks.relevance --threads 2

The task is that of the published study of coarse-grained methane: 125 beads, 3 interaction blocks, 128 features, about 124 000
walks, float64; for every architecture that has rules. The peer explains one walk at a time, as published programs do: a forward and
a backward pass through PyTorch for each walk, in which all other nodes are detached. It is timed on a sample of walks, whose
relevances must agree with ours.
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
from analysis.relevance.rules import RULES
from analysis.relevance.trace import Rules, Trace, trace
from analysis.relevance.walks import Walks, walk_relevances
from mlcalc.architectures import ARCHITECTURES
from mlcalc.common.tables import aligned
from mlcalc.model import Model
from mlcalc.torch_potential import model_of, network_of, new_network
from tests.analysis.relevance_twins import TWINS

BOX_A, BEADS, CLOSEST_A = (20.768, 20.410, 17.969), 125, 3.3
CUTOFF_A = 5.12  # not 5: so that beads at random positions have as many neighbours as those of the liquid
CONFIG = {
    "elements": (6,),
    "n_features": 128,
    "n_interactions": 3,
    "n_rbf": 20,
    "cutoff": CUTOFF_A,
    "readout_hidden": 64,
}
GAMMA = 0.1
AGREEMENT = 1e-8  # relative


def main() -> int:
    """Time, compare, print; exit code 1 if a peer disagrees."""
    options = _options()
    torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads):
        differences = [compare(architecture, options) for architecture in options.architectures]
    print(
        f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most, Python and libraries included"
    )
    return int(max(differences) > AGREEMENT)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", nargs="+", choices=list(RULES), default=list(RULES), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--walks", type=int, default=40, help="number of walks that the peer explains (default: %(default)s)"
    )
    return parser.parse_args()


def compare(architecture: str, options: argparse.Namespace) -> float:
    """Print the times of a network; returns the largest relative difference of its walks from the peer's."""
    model, atoms = random_network(architecture), fluid()

    def rules() -> Rules:
        return Rules(trace(model, atoms), GAMMA)

    t, sets, walks = rules().trace, triple_sets(rules().trace), walk_relevances(rules())
    jobs: dict[str, Callable] = {
        f"all {len(walks.relevance)} walks": lambda: walk_relevances(rules()),
        "sum over all walks": lambda: total_relevance(rules()),
        f"sums over {BEADS} atoms": lambda: single_relevances(rules()),
        f"sums over {len(t.first)} pairs": lambda: pair_relevances(rules()),
        f"sums over {len(sets.atoms)} triples": lambda: triple_relevances(rules(), triple_sets(t)),
    }
    times = {name: _seconds(job, options.repeats) for name, job in jobs.items()}
    rows = [[name, f"{statistics.median(s):.3g} s", f"{min(s):.3g} to {max(s):.3g} s"] for name, s in times.items()]
    per_walk, difference = peer(model, t, walks, options.walks)
    alone, ours = per_walk * len(walks.relevance), statistics.median(times[next(iter(jobs))])
    rows.append(["one walk at a time, all of them", f"{alone:.3g} s", f"{1e3 * per_walk:.1f} ms a walk"])
    print(aligned([architecture, "median", "spread"], rows, left=1))
    orders = ", ".join(f"{count} of order {order}" for order, count in enumerate(np.bincount(walks.order)) if count)
    print(f"walks: {orders}; with the network's forward pass, on {options.threads} threads")
    print(f"ratio: {alone / ours:.3g}; largest relative difference {difference:.1e}\n")
    return difference


def _seconds(job: Callable, repeats: int) -> list[float]:
    job()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        job()
        times.append(time.perf_counter() - begin)
    return times


def random_network(architecture: str) -> Model:
    """A network of the published size; its weights do not matter for the time."""
    torch.manual_seed(0)
    return model_of(new_network(ARCHITECTURES[architecture].config(**CONFIG)))


def fluid() -> Atoms:
    """Beads at random positions, no pair closer than in the liquid."""
    rng, cell = np.random.default_rng(4), np.diag(BOX_A)
    places = np.empty((0, 3))
    while len(places) < BEADS:
        place = rng.random((1, 3)) @ cell
        if not len(places) or get_distances(place, places, cell=cell, pbc=True)[1].min() > CLOSEST_A:
            places = np.concatenate([places, place])
    return Atoms(f"C{BEADS}", places, cell=cell, pbc=True)


def peer(model: Model, t: Trace, walks: Walks, number: int) -> tuple[float, float]:
    """Seconds for a walk, and the largest relative difference from ours."""
    chosen = np.random.default_rng(0).choice(len(walks.relevance), number, replace=False)
    network, gammas = network_of(model, torch.float64).requires_grad_(False), [GAMMA] * (len(t.blocks) + 1)
    rule = RULES[t.architecture].names[0]
    differences, times = [], []
    for k in chosen:
        begin = time.perf_counter()
        value = TWINS[t.architecture](network, t, gammas, rule, walks.atoms[k])
        times.append(time.perf_counter() - begin)
        differences.append(abs(value / walks.relevance[k] - 1.0))
    return statistics.median(times), max(differences)


if __name__ == "__main__":
    sys.exit(main())
