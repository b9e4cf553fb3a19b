"""Measures mlcalc and its peers: same weights, same structure, same threads, one run.

    python -m tests.benchmarks --models c20 c20-large+3 painn:64,3 --beads 1 8 32 --threads 1 2 -o runs/benchmarks

A model ``NAME+n`` has n more interactions that do not change the energy: c20-large+3 has 128 features and 6 interactions.
``painn:64,3`` has random weights, 64 features and 3 interactions; its atoms are so heavy that they stay where they are.

Every measurement is a separate process. Peers with their own environment (JAX, SchNetPack) are left out, with a note, until
``bash tests/benchmarks/make_environments.sh FOLDER`` has created it; then pass ``--environments FOLDER``. Each program first
computes the forces of the same replicas; a program that disagrees by more than 1e-3 eV/Å is reported, not timed.
"Times floor" compares with the matrix products alone, measured in the same run (tests/benchmarks/floor.py).
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

from mlcalc.architectures import name_of
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.tables import aligned
from mlcalc.model import Model
from tests.benchmarks.floor import PRODUCTS, floor_ms, measure_products
from tests.benchmarks.peer_process import in_agreement, run_peer
from tests.benchmarks.problem import benchmark_case, write_problem
from tests.benchmarks.programs import PEERS, REFERENCE


def main() -> int:
    """Run every combination; write table, JSON and chart."""
    options = _options()
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in options.models:
        model, structure = benchmark_case(name, options.structure)
        problem = write_problem(model, structure, output / f"{_file_name(name)}.npz")
        floor = _floor(model, len(structure), options)
        for n_beads, threads in itertools.product(options.beads, options.threads):
            rows += _compare(name, model, problem, (n_beads, threads), floor, options)
            write_atomically(output / "benchmarks.json", json.dumps(rows, indent=1).encode())
        problem.unlink()
    if not rows:
        print("no program gave a time", file=sys.stderr)
        return 1
    table = as_table(rows)
    print(table)
    write_atomically(output / "benchmarks.txt", (table + "\n").encode())
    from tests.benchmarks.chart import draw

    print(f"chart: {draw(rows, output / 'benchmarks.png')}")
    return 0


def _options() -> argparse.Namespace:
    every = list(dict.fromkeys(peer for peers in PEERS.values() for peer in peers))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["c20", "c20-large+3", "painn:64,3"], metavar="MODEL")
    parser.add_argument("--structure", default="inputs/c20/c20.xyz")
    parser.add_argument("--beads", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="+", default=every, choices=every, metavar="PEER")
    parser.add_argument("--environments", type=Path, help="folder made by make_environments.sh")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("-o", "--output", default="runs/benchmarks")
    return parser.parse_args()


def _file_name(name: str) -> str:
    return Path(name).stem.replace(":", "-")


def _floor(model: Model, n_atoms: int, options):
    """(beads, threads) to the milliseconds of the matrix products alone, and the BLAS; None where they are not counted."""
    architecture = name_of(model.config)
    if architecture not in PRODUCTS:
        return None
    products = PRODUCTS[architecture](model.config)
    found = measure_products(products, n_atoms, options.seconds / 10)
    if found is None:
        return None
    print(f"matrix products: {found['blas']}", flush=True)
    return lambda beads, threads: {
        "floor_ms": floor_ms(products, n_atoms, beads, threads, found["us"]), "blas": found["blas"]
    }  # fmt: skip


def _compare(name: str, model: Model, problem: Path, case: tuple[int, int], floor, options) -> list[dict]:
    n_beads, threads = case
    peers = PEERS[name_of(model.config)]

    def measure(peer: str) -> dict | None:
        script, variant, environment = peers[peer]
        arguments = [str(problem), str(n_beads), str(threads), "--seconds", str(options.seconds), "--variant", variant]
        return run_peer(peer, script, environment, options.environments, threads, arguments)

    rows = []
    for found in in_agreement([peer for peer in peers if peer in options.peers], measure):
        bound = floor(n_beads, threads) if floor else {}
        rows.append({"model": name, "beads": n_beads, "threads": threads} | found | bound)
        print(f"{name} P = {n_beads}, {threads} thread(s), {found['peer']}: {found['median_ms']:.3f} ms", flush=True)
    return rows


def as_table(rows: list[dict]) -> str:
    """Times with quartiles, also as multiples of mlcalc's and of the floor."""
    lines = []
    reference = {_key(row): row["median_ms"] for row in rows if row["peer"] == REFERENCE}
    for row in rows:
        of_reference, of_floor = reference.get(_key(row)), row.get("floor_ms")
        lines.append([
            row["model"], str(row["beads"]), str(row["threads"]), row["peer"], f"{row['median_ms']:.3f}",
            f"{row['low_ms']:.3f}–{row['high_ms']:.3f}", _ratio(row["median_ms"], of_reference),
            _ratio(row["median_ms"], of_floor), row["version"],
        ])  # fmt: skip
    header = ["model", "P", "threads", "program", "ms per step", "quartiles", "times mlcalc", "times floor", "version"]
    return aligned(header, lines, left=1)


def _ratio(time: float, other: float | None) -> str:
    return f"{time / other:.3g}" if other else "–"


def _key(row: dict) -> tuple:
    return row["model"], row["beads"], row["threads"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
