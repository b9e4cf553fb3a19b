"""Measures mlcalc and its peers: same weights, same structure, same threads, one run.

    python -m tests.benchmarks --models c20 c20-large c20-large+3 --beads 1 8 32 --threads 1 2 -o runs/benchmarks

A model ``NAME+n`` has n more interactions that do not change the energy: c20-large+3 has 128 features and 6 interactions.

Every measurement is a separate process. Peers with their own environment (JAX, SchNetPack) are left out, with a note, until
``bash tests/benchmarks/make_environments.sh FOLDER`` has created it; then pass ``--environments FOLDER``. Each program first
computes the forces of the same replicas; a program that disagrees by more than 1e-3 eV/Å is reported, not timed.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

from ase.io import read

from mlcalc.common.files import write_atomically
from mlcalc.common.tables import aligned
from tests.benchmarks.peer_process import in_agreement, run_peer
from tests.benchmarks.problem import benchmark_model, write_problem

REFERENCE = "mlcalc"
# name → (script, variant, environment)
PEERS = {
    REFERENCE: ("mlcalc_rpmd.py", "", None),
    "mlcalc, forces alone": ("mlcalc_rpmd.py", "forces", None),
    "mlcalc, motion alone": ("mlcalc_rpmd.py", "motion", None),
    "PyTorch compiled, forces alone": ("torch_dense.py", "compiled", None),
    "PyTorch eager, forces alone": ("torch_dense.py", "eager", None),
    "JAX": ("jax_rpmd.py", "", "jax"),
    "SchNetPack": ("schnetpack_rpmd.py", "", "schnetpack"),
}


def main() -> int:
    """Run every combination; write table, JSON and chart."""
    options = _options()
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    structure, rows = read(options.structure), []
    for name in options.models:
        problem = write_problem(benchmark_model(name), structure, output / f"{Path(name).stem}.npz")
        for n_beads, threads in itertools.product(options.beads, options.threads):
            rows += _compare(name, problem, n_beads, threads, options)
            write_atomically(output / "benchmarks.json", json.dumps(rows, indent=1).encode())
    table = _table(rows)
    print(table)
    write_atomically(output / "benchmarks.txt", (table + "\n").encode())
    from tests.benchmarks.chart import draw

    print(f"chart: {draw(rows, output / 'benchmarks.png')}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["c20", "c20-large+3"], metavar="MODEL")
    parser.add_argument("--structure", default="inputs/c20/c20.xyz")
    parser.add_argument("--beads", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS), metavar="PEER")
    parser.add_argument("--environments", type=Path, help="folder made by make_environments.sh")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("-o", "--output", default="runs/benchmarks")
    return parser.parse_args()


def _compare(model: str, problem: Path, n_beads: int, threads: int, options) -> list[dict]:
    rows = []
    for found in in_agreement(options.peers, lambda peer: _measure(peer, problem, n_beads, threads, options)):
        rows.append({"model": model, "beads": n_beads, "threads": threads} | found)
        print(f"{model} P = {n_beads}, {threads} thread(s), {found['peer']}: {found['median_ms']:.3f} ms", flush=True)
    return rows


def _measure(peer: str, problem: Path, n_beads: int, threads: int, options) -> dict | None:
    script, variant, environment = PEERS[peer]
    arguments = [str(problem), str(n_beads), str(threads), "--seconds", str(options.seconds), "--variant", variant]
    return run_peer(peer, script, environment, options.environments, threads, arguments)


def _table(rows: list[dict]) -> str:
    """Times with quartiles, also as multiples of mlcalc's."""
    lines = []
    reference = {_key(row): row["median_ms"] for row in rows if row["peer"] == REFERENCE}
    for row in rows:
        ratio = row["median_ms"] / reference[_key(row)] if _key(row) in reference else float("nan")
        lines.append([
            row["model"], str(row["beads"]), str(row["threads"]), row["peer"], f"{row['median_ms']:.3f}",
            f"{row['low_ms']:.3f}–{row['high_ms']:.3f}", f"{ratio:.1f}", row["version"],
        ])  # fmt: skip
    header = ["model", "P", "threads", "program", "ms per step", "quartiles", "times mlcalc", "version"]
    return aligned(header, lines, left=1)


def _key(row: dict) -> tuple:
    return row["model"], row["beads"], row["threads"]


if __name__ == "__main__":
    sys.exit(main())
