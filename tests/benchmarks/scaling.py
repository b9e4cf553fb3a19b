"""Measures the growth of the cost of mlcalc with atoms (a periodic fluid), beads (C20) and threads (both).

    python -m tests.benchmarks.scaling --model c20 --largest 100000 -o runs/scaling
    python -m tests.benchmarks.scaling --model painn:64,3 --largest 64000 -o runs/scaling-painn

A model is a name, a path, or an architecture and a size for random weights, see problem.benchmark_model.

The fluid has 0.1 atoms per Å³, as water, and its atoms move freely at 300 K, so that its neighbour lists are rebuilt as often as in
a real one: its cost per step includes the share of a new list. Memory is that of the potential: weights, lists and scratch. Writes
a table, JSON and a figure; nothing else should run on the machine.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np
from ase import units
from ase.data import atomic_masses
from matplotlib.figure import Figure

from md.dynamics.ring_polymer import thermal_ring_polymer
from md.simulation import Dynamics, simulate
from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.common.threads import check_threads, single_threaded_blas
from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.potential import build_potential
from tests.benchmarks.problem import benchmark_case

DENSITY = 0.1  # atoms / Å³
DYNAMICS = Dynamics(temperature_K=300.0, timestep_fs=0.5)
SIZES = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 64_000, 100_000)
BEADS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def main() -> int:
    """Measure, print, write."""
    options = _options()
    (model, structure), threads = benchmark_case(options.model, options.structure), check_threads(None)
    if architecture_of(model.config).kernel is None:
        raise InputError(f"model {options.model}: no compiled kernel; PyTorch keeps all pairs of such fluids in memory")
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n < threads] + [threads]
    rows = []
    with single_threaded_blas():
        for n_atoms in (n for n in SIZES if n <= options.largest):
            rows.append(fluid(model, n_atoms, threads, options.seconds))
            _show(rows[-1])
        for n_beads in BEADS:
            rows.append(molecule(model, structure, n_beads, threads, options.seconds))
            _show(rows[-1])
        for n in counts:
            rows.append(molecule(model, structure, 8, n, options.seconds) | {"kind": "molecule by threads"})
            _show(rows[-1])
            rows.append(fluid(model, 10_000, n, options.seconds) | {"kind": "fluid by threads"})
            _show(rows[-1])
    options.output.mkdir(parents=True, exist_ok=True)
    table = as_table(rows)
    print(table)
    write_atomically(options.output / "scaling.txt", (table + "\n").encode())
    write_atomically(options.output / "scaling.json", to_json(rows, indent=1).encode())
    draw(rows, options.model, threads).savefig(options.output / "scaling.png", dpi=150)
    print(options.output / "scaling.png")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="c20", help="name, path, or ARCHITECTURE:FEATURES,INTERACTIONS")
    parser.add_argument("--structure", default="inputs/c20/c20.xyz", help="molecule for the scaling with beads")
    parser.add_argument("--largest", type=int, default=SIZES[-1], metavar="N", help="atoms of the largest fluid")
    parser.add_argument("--seconds", type=float, default=3.0, help="duration of each measurement")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/scaling"))
    return parser.parse_args()


def fluid(model: Model, n_atoms: int, threads: int, seconds: float) -> dict:
    """One evaluation of a periodic fluid with P = 1, and one new neighbour list; its share follows from the fastest atom."""
    rng, element = np.random.default_rng(n_atoms), model.config.elements[-1]
    length = (n_atoms / DENSITY) ** (1 / 3)
    side = int(np.ceil(n_atoms ** (1 / 3)))
    sites = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), axis=-1).reshape(-1, 3)
    sites = sites[np.sort(rng.choice(len(sites), n_atoms, replace=False))] * length / side
    positions = (sites + rng.normal(0.0, 0.15, sites.shape))[None]
    cell, pbc = length * np.eye(3), np.ones(3, dtype=bool)
    kernel = build_potential(model, np.full(n_atoms, element), threads=threads, cell=cell, pbc=pbc)
    evaluation = _median_time(lambda: kernel(positions), seconds)
    cells = (cell * (1.0 + 1e-12 * k) for k in itertools.count(1))

    def with_new_list():
        kernel(positions, next(cells))  # another cell, another list

    building = max(_median_time(with_new_list, seconds) - evaluation, 0.0)
    pairs = half_pairs(positions[0], model.config.cutoff, cell, pbc)
    spread = np.sqrt(units.kB * DYNAMICS.temperature_K / atomic_masses[element])
    fastest = np.linalg.norm(rng.normal(0.0, spread, (n_atoms, 3)), axis=1).max()
    steps_per_list = max(0.5 * kernel.skin / (fastest * DYNAMICS.timestep_fs * units.fs), 1.0)
    return {
        "kind": "fluid", "atoms": n_atoms, "beads": 1, "threads": threads, "ms": 1e3 * (evaluation + building / steps_per_list),
        "evaluation_ms": 1e3 * evaluation, "list_ms": 1e3 * building, "steps_per_list": steps_per_list,
        "pairs_per_atom": len(pairs.first) / n_atoms, "memory_MB": kernel.memory / 1e6,
    }  # fmt: skip


def molecule(model: Model, structure, n_beads: int, threads: int, seconds: float) -> dict:
    """One ring-polymer step of a molecule."""
    rng = np.random.default_rng(n_beads)
    kernel = build_potential(model, structure.numbers, threads=threads)
    state = thermal_ring_polymer(structure.positions, structure.get_masses(), n_beads, DYNAMICS.temperature_K, rng)
    samples = simulate(state, kernel, DYNAMICS, rng, steps=10**9, every=10)
    step = _median_time(lambda: next(samples), seconds) / 10
    return {
        "kind": "molecule", "atoms": len(structure), "beads": n_beads, "threads": threads, "ms": 1e3 * step,
        "memory_MB": kernel.memory / 1e6,
    }  # fmt: skip


def _median_time(work, seconds: float) -> float:
    """Median time of a call in s, after two calls to warm up."""
    work(), work()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def _show(row: dict) -> None:
    print(
        f"{row['kind']}: {row['atoms']} atoms, P = {row['beads']}, {row['threads']} thread(s): {row['ms']:.3f} ms",
        file=sys.stderr,
    )


def as_table(rows: list[dict]) -> str:
    """All rows; time per atom and bead, memory, and the neighbour list's part."""
    lines = []
    for row in rows:
        replicas = row["atoms"] * row["beads"]
        listed = [f"{row['list_ms']:.2f}", f"{row['steps_per_list']:.0f}"] if "list_ms" in row else ["–", "–"]
        lines.append([
            row["kind"], str(row["atoms"]), str(row["beads"]), str(row["threads"]), f"{row['ms']:.3f}",
            f"{1e3 * row['ms'] / replicas:.2f}", *listed, f"{row['memory_MB']:.1f}",
        ])  # fmt: skip
    header = [
        "system",
        "N",
        "P",
        "threads",
        "ms / step",
        "µs / atom / bead",
        "ms / new list",
        "steps / list",
        "memory / MB",
    ]
    return aligned(header, lines, left=1)


def draw(rows: list[dict], model: str, threads: int) -> Figure:
    """Three panels: against atoms, beads and threads."""
    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    by_atoms, by_beads, by_threads = figure.subplots(1, 3)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in dict.fromkeys(row["kind"] for row in rows)}
    atoms = np.array([row["atoms"] for row in kinds["fluid"]])
    cost = np.array([1e3 * row["ms"] for row in kinds["fluid"]])
    by_atoms.plot(atoms, cost / atoms, "o-", color="#0072B2", label="time")
    by_atoms.set(xscale="log", xlabel="atoms N", ylabel="µs per atom and step", ylim=(0, None),
                 title=f"periodic fluid, P = 1, {threads} threads")  # fmt: skip
    memory = by_atoms.twinx()
    memory.plot(atoms, [1e3 * row["memory_MB"] / row["atoms"] for row in kinds["fluid"]], "s--", color="#D55E00")
    memory.set(ylabel="memory, kB per atom", ylim=(0, None))
    memory.yaxis.label.set_color("#D55E00")
    beads = np.array([row["beads"] for row in kinds["molecule"]])
    by_beads.plot(beads, [1e3 * row["ms"] / row["beads"] for row in kinds["molecule"]], "o-", color="#0072B2")
    by_beads.set(
        xscale="log", xlabel="beads P", ylabel="µs per bead and step", ylim=(0, None), title=f"C20, {threads} threads"
    )
    by_beads.set_xticks(beads, beads)
    by_beads.minorticks_off()
    for kind, label, color in (
        ("molecule by threads", "C20, P = 8", "#0072B2"),
        ("fluid by threads", "fluid, N = 10 000", "#009E73"),
    ):
        counts = [row["threads"] for row in kinds[kind]]
        speed = [kinds[kind][0]["ms"] / row["ms"] for row in kinds[kind]]
        by_threads.plot(counts, speed, "o-", color=color, label=label)
    by_threads.plot(counts, counts, ":", color="0.5", label="ideal")
    by_threads.set(xlabel="threads", ylabel="times as fast as one", title="threads")
    by_threads.set_xticks(counts)
    by_threads.legend(frameon=False)
    figure.suptitle(f"mlcalc with {model}, float32", fontsize=10)
    return figure


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
