"""Kills runs of C20 at random moments, resumes them, and compares what they leave with runs that were left alone.

    python -m tests.soak --kills 100

For P = 1 and P = 8 in turn, until so many kills are done. Prints kills survived, frames lost and doubled, and whether trajectory,
table and last state are those of the undisturbed run to the bit. Exit code 1 if anything differs.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from md.checkpoint import NEWEST, read_checkpoint
from mlcalc.tables import aligned

RPMD = [sys.executable, "-P", "-m", "md.cli"]
INPUT = Path(__file__).parents[2] / "inputs" / "c20" / "rpmd.toml"
STEPS = {1: 60_000, 8: 20_000}
KILLS_PER_RUN = 10


def command(n_beads: int, folder: Path) -> list[str]:
    """A run that records and saves often."""
    keys = (
        "equilibration_steps=2000",
        "checkpoint_every_steps=200",
        "properties_every_steps=5",
        "trajectory_every_steps=10",
    )
    options = [part for key in keys for part in ("--set", key)]
    steps = ["--steps", str(STEPS[n_beads]), "--beads", str(n_beads)]
    return [*RPMD, "run", str(INPUT), *steps, *options, "--output", str(folder), "--no-figure"]


def killed_run(n_beads: int, folder: Path, rng: random.Random, kills: int) -> int:
    """Start a run, kill and resume it up to so many times, let it end; returns the number of kills."""
    line, done = command(n_beads, folder), 0
    while True:
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not (folder / NEWEST).exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            # The first second is spent on imports; then any moment is as good as another.
            process.wait(rng.uniform(1.0, 2.5) if done < kills else 600)
            if process.returncode:
                raise RuntimeError(process.stderr.read().decode())
            return done
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            line = [*RPMD, "resume", str(folder), "--no-figure"]


def compare(folder: Path, reference: Path) -> tuple[int, int, bool]:
    """Frames lost, frames doubled, and whether all is the same to the bit."""
    arrays = []
    for path in (folder, reference):
        with h5py.File(path / "trajectory.h5") as file:
            arrays.append(
                (file["particles/trajectory/position/step"][:], file["particles/trajectory/position/value"][:])
            )
    (steps, frames), (expected, wanted) = arrays
    lost = len(np.setdiff1d(expected, steps))
    doubled = len(steps) - len(np.unique(steps))
    points = [read_checkpoint(path)[0].point for path in (folder, reference)]
    same = (
        np.array_equal(frames, wanted)
        and (folder / "properties.csv").read_bytes() == (reference / "properties.csv").read_bytes()
        and all(np.array_equal(a, b) for a, b in zip(*points, strict=True))
    )
    return lost, doubled, same


def main() -> int:
    """Kill until enough kills are done; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, rows, total, good = random.Random(options.seed), [], 0, True
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for n_beads in STEPS:
            subprocess.run(command(n_beads, place / f"reference{n_beads}"), check=True, stdout=subprocess.DEVNULL)
        number = 0
        while total < options.kills:
            n_beads = list(STEPS)[number % len(STEPS)]
            folder = place / f"run{number}"
            kills = killed_run(n_beads, folder, rng, min(KILLS_PER_RUN, options.kills - total))
            lost, doubled, same = compare(folder, place / f"reference{n_beads}")
            total, number, good = total + kills, number + 1, good and same and not lost and not doubled
            rows.append([str(n_beads), str(kills), str(lost), str(doubled), "yes" if same else "NO"])
            print(f"{total} kills: P = {n_beads}, {kills} here, bit-identical: {rows[-1][-1]}", flush=True)
    print(aligned(["P", "kills survived", "frames lost", "frames doubled", "bit-identical"], rows))
    print(f"{total} kills in all")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
