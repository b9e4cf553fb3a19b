"""Measures steps of Langevin dynamics of a coarse-grained liquid, 1000 to 64 000 beads, and of ASE with SchNetPack's calculator.

    python -m tests.benchmarks.liquids --environments FOLDER -o runs/liquids

Same weights, same prior, same liquid (the structure repeated along its cell), same thermostat, time step and threads; neighbour
lists are rebuilt when necessary, as in any run. Memory is the maximum of a process. A peer that disagrees by more than
1e-3 eV/Å is reported, not timed; one without enough memory for a size is left out there. SchNetPack's environment:
``bash tests/benchmarks/make_environments.sh FOLDER``. Nothing else should run on the machine.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from ase.io import read
from matplotlib.figure import Figure

from mlcalc import load_model
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from mlcalc.common.threads import check_threads
from tests.benchmarks.chart import COLORS
from tests.benchmarks.peer_process import in_agreement, run_peer
from tests.benchmarks.problem import write_problem

# name → (script, environment)
PEERS = {"mlcalc": ("mlcalc_liquid.py", None), "ASE + SchNetPack": ("schnetpack_liquid.py", "schnetpack")}


def main() -> int:
    """Measure, print, write."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    model, threads, rows = load_model(options.model), check_threads(options.threads), []
    for repeats in options.repeats:
        structure = read(options.structure).repeat(repeats)
        problem = write_problem(model, structure, options.output / "problem.npz", with_priors=True)
        rows += _compare(problem, len(structure), threads, options)
        write_atomically(options.output / "liquids.json", to_json(rows, indent=1).encode())
    problem.unlink()
    table = as_table(rows)
    print(table)
    write_atomically(options.output / "liquids.txt", (table + "\n").encode())
    draw(rows, f"{options.model}, {threads} threads, float32").savefig(options.output / "liquids.png", dpi=150)
    print(options.output / "liquids.png")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="methane-cg")
    parser.add_argument("--structure", default="inputs/methane/start.xyz")
    parser.add_argument(
        "--repeats",
        type=int,
        nargs="+",
        default=[1, 2, 4, 8],
        metavar="N",
        help="repetitions along each edge of the cell",
    )
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="PEER")
    parser.add_argument("--environments", type=Path, help="folder made by make_environments.sh")
    parser.add_argument("--threads", type=int, help="(default: all)")
    parser.add_argument("--seconds", type=float, default=20.0, help="duration of each measurement")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/liquids"))
    return parser.parse_args()


def _compare(problem: Path, n_beads: int, threads: int, options) -> list[dict]:
    def measure(peer: str) -> dict | None:
        script, environment = PEERS[peer]
        arguments = [str(problem), "1", str(threads), "--seconds", str(options.seconds)]
        return run_peer(peer, script, environment, options.environments, threads, arguments)

    rows = []
    for found in in_agreement(options.peers, measure):
        rows.append({"n_beads": n_beads, "threads": threads} | found)
        print(f"{n_beads} beads, {found['peer']}: {found['median_ms']:.2f} ms, {found['peak_MB']:.0f} MB", flush=True)
    return rows


def as_table(rows: list[dict]) -> str:
    """Time of a step with quartiles, per bead, memory, and the time as a multiple of mlcalc's."""
    reference = {row["n_beads"]: row["median_ms"] for row in rows if row["peer"] == next(iter(PEERS))}
    lines = [
        [
            str(row["n_beads"]), row["peer"], f"{row['median_ms']:.2f}", f"{row['low_ms']:.2f}–{row['high_ms']:.2f}",
            f"{1e3 * row['median_ms'] / row['n_beads']:.2f}", f"{row['peak_MB']:.0f}",
            f"{row['median_ms'] / reference.get(row['n_beads'], np.nan):.1f}", row["version"],
        ]
        for row in rows
    ]  # fmt: skip
    header = ["beads", "program", "ms / step", "quartiles", "µs / bead / step", "peak MB", "times mlcalc", "version"]
    return aligned(header, lines, left=2)


def draw(rows: list[dict], title: str) -> Figure:
    """Time and memory against beads, both logarithmic; bars from quartile to quartile."""
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    time, memory = figure.subplots(1, 2)
    for peer, color in zip(dict.fromkeys(row["peer"] for row in rows), COLORS, strict=False):
        mine = [row for row in rows if row["peer"] == peer]
        beads = np.array([row["n_beads"] for row in mine])
        low, median, high = (
            np.array([row[key] for row in mine]) / beads * 1e3 for key in ("low_ms", "median_ms", "high_ms")
        )
        time.errorbar(beads, median, (median - low, high - median), fmt="o-", color=color, label=peer, capsize=2)
        memory.plot(beads, [row["peak_MB"] / 1e3 for row in mine], "o-", color=color)
    time.set(xscale="log", yscale="log", xlabel="beads", ylabel="time / µs per bead and step")
    memory.set(xscale="log", yscale="log", xlabel="beads", ylabel="most memory held / GB")
    figure.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


if __name__ == "__main__":
    sys.exit(main())
