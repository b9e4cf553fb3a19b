"""Measures forces of mlcalc's networks, and of MACE by symmetrix (C++, Kokkos) and by PyTorch, on one molecule.

    python -m tests.benchmarks.mace --models c20 painn:64,3 --mace 64x0e 32x0e+32x1o --environments FOLDER -o runs/mace

Networks differ, so this compares costs, not programs on one task: time per atom of one evaluation of energies and forces. MACEs
have random weights, two interactions, l ≤ 3, correlation order 3 and the cutoff of the first model; both programs of a MACE must
agree on forces. symmetrix compiles code for each network on its first use: minutes, kept in its cache. Environment: ``bash
tests/benchmarks/make_environments.sh FOLDER``. Nothing else should run on the machine.
"""

import argparse
import itertools
import sys
from pathlib import Path

from mlcalc.architectures import ARCHITECTURES, name_of
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned
from tests.benchmarks.peer_process import in_agreement, run_peer
from tests.benchmarks.problem import benchmark_case, write_problem


def main() -> int:
    """Measure, print, write."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for beads, threads in itertools.product(options.beads, options.threads):
        rows += _measure(beads, threads, options)
        write_atomically(options.output / "mace.json", to_json(rows, indent=1).encode())
    table = as_table(rows)
    print(table)
    write_atomically(options.output / "mace.txt", (table + "\n").encode())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["c20", "painn:64,3", "painn:128,3"], metavar="MODEL")
    parser.add_argument("--mace", nargs="+", default=["64x0e", "32x0e+32x1o"], metavar="IRREPS", help="hidden irreps")
    parser.add_argument("--structure", default="inputs/c20/c20.xyz")
    parser.add_argument("--beads", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--environments", type=Path, help="folder made by make_environments.sh")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/mace"))
    return parser.parse_args()


def _measure(beads: int, threads: int, options) -> list[dict]:
    case, rows = [str(beads), str(threads), "--seconds", str(options.seconds), "--variant"], []
    for k, name in enumerate(options.models):
        model, structure = benchmark_case(name, options.structure)
        problem = write_problem(model, structure, options.output / f"problem{k}.npz")
        network = f"{ARCHITECTURES[name_of(model.config)].title} {name}"
        found = run_peer("mlcalc", "mlcalc_rpmd.py", None, None, threads, [str(problem), *case, "forces"])
        rows += [{"peer": "mlcalc", "network": network} | found] if found else []
    first = str(options.output / "problem0.npz")
    for hidden in options.mace:
        file = str(options.output / f"mace-{hidden}.json")
        peers = {
            "PyTorch": ("mace_torch.py", f"{hidden} {file}"),
            "symmetrix": ("symmetrix_mace.py", file),
        }

        def measure(peer: str, peers=peers) -> dict | None:
            script, variant = peers[peer]
            return run_peer(peer, script, "mace", options.environments, threads, [first, *case, variant])

        rows += [{"network": f"MACE {hidden}"} | found for found in in_agreement(list(peers), measure)]
    shape = {"beads": beads, "threads": threads, "atoms": len(structure)}
    return [shape | {key: value for key, value in row.items() if key != "forces"} for row in rows]


def as_table(rows: list[dict]) -> str:
    """Time per atom of an evaluation, with quartiles."""
    lines = []
    for row in rows:
        scale = 1e3 / (row["atoms"] * row["beads"])
        lines.append([
            row["network"], row["peer"], str(row["beads"]), str(row["threads"]), f"{scale * row['median_ms']:.2f}",
            f"{scale * row['low_ms']:.2f}–{scale * row['high_ms']:.2f}", row["version"],
        ])  # fmt: skip
    return aligned(
        ["network", "program", "P", "threads", "µs / atom / evaluation", "quartiles", "version"], lines, left=2
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
