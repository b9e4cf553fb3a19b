"""Measures the cost of reliability: the guard of every force call, and checkpoints.

    python -m tests.benchmarks.safety --beads 1 8

Guards are timed in a run of C20. The cost of a checkpoint every 1000 steps is too small to measure directly: runs that write one
every 100 steps alternate with runs that write none, and a tenth of the difference is the cost at every 1000 steps.
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from md.cli import main as rpmd
from md.guards.limits import Guard
from mlcalc.common.tables import aligned

OFTEN, USUAL = 100, 1000  # steps between checkpoints


def main() -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beads", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for beads in options.beads:
        guard = guard_times(beads, options.steps)
        pairs = [
            (steps_per_second(beads, options.steps, OFTEN), steps_per_second(beads, options.steps, 10**9))
            for _ in range(options.repeats)
        ]
        often, never = (statistics.median(column) for column in zip(*pairs, strict=True))
        costs = [(1.0 / a - 1.0 / b) * b * OFTEN / USUAL for a, b in pairs]
        rows.append([
            str(beads), f"{1e6 / never:.0f}", f"{1e6 * statistics.median(guard):.1f}", f"{never:.0f}", f"{often:.0f}",
            f"{100 * statistics.median(costs):.2f} ({100 * min(costs):.2f} to {100 * max(costs):.2f})",
        ])  # fmt: skip
    header = ["P", "step / µs", "guard / µs", "steps/s", f"one every {OFTEN}", f"checkpoint every {USUAL} steps / %"]
    print(aligned(header, rows))
    return 0


def steps_per_second(beads: int, steps: int, every: int) -> float:
    """Rate of a complete run of C20 with a checkpoint at the given interval of steps."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        keys = {"steps": steps, "beads": beads, "equilibration_steps": 0, "checkpoint_every_steps": every}
        assignments = [part for key, value in keys.items() for part in ("--set", f"{key}={value}")]
        output = str(Path(folder) / "run")
        if code := rpmd(["run", "inputs/c20/rpmd.toml", "--output", output, "--no-figure", *assignments]):
            raise SystemExit(code)
        rate = json.loads((Path(output) / "status.json").read_text())["ns_per_day"]
    return rate * 1e6 / 0.5 / 86400.0


def guard_times(beads: int, steps: int) -> list[float]:
    """Seconds of every call of the guard in a run."""
    times, check = [], Guard.__call__

    def timed(guard, *state):
        begin = time.perf_counter()
        check(guard, *state)
        times.append(time.perf_counter() - begin)

    Guard.__call__ = timed
    try:
        steps_per_second(beads, steps, 10**9)
    finally:
        Guard.__call__ = check
    return times


if __name__ == "__main__":
    sys.exit(main())
