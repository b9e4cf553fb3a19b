"""Runs of C20 and liquid methane as a user would start them, and comparison of their files with those of an undisturbed run."""

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from md.files.checkpoint import NEWEST, read_checkpoint

RPMD = [sys.executable, "-P", "-m", "md.cli"]
INPUTS = Path(__file__).parents[2] / "inputs"


class Case(NamedTuple):
    """A command with its input and keys; frequent checkpoints keep the cost of a kill small."""

    name: str
    command: str
    source: str
    keys: dict[str, object]

    def line(self, folder: Path, **keys: object) -> list[str]:
        """The command line for a run folder."""
        pairs = [f"{key}={value}" for key, value in (self.keys | keys).items()]
        options = [part for pair in pairs for part in ("--set", pair)]
        return [*RPMD, self.command, str(INPUTS / self.source), *options, "--output", str(folder), "--no-figure"]


_OFTEN = {
    "equilibration_steps": 2000, "checkpoint_every_steps": 200, "properties_every_steps": 5, "trajectory_every_steps": 10,
}  # fmt: skip
_BATCHES = {
    "beads": 2, "equilibration_steps": 400, "steps": 600, "trajectories": 80, "trajectories_at_once": 4,
    "thermostat": "T-RPMD",
}  # fmt: skip
_HILLS = (
    '[{variable = "distance", atoms = [0, 10], on = "centroid", kind = "metadynamics", height_eV = 0.002, width_A = 0.05, '
    "every_steps = 25, bias_factor = 4.0}]"
)
_SLOW = (
    '[{model = "c20-painn", beads = 3, every_steps = 5}, {model = "c20", weight = -1.0, beads = 3, every_steps = 5}]'
)
_PRESSURE = {"barostat": "isotropic", "pressure_GPa": 0.353, "equilibration_steps": 200, "checkpoint_every_steps": 50}
_BATH = {"thermostat": "adQTB", "integrator": "BAOAB", "bath_segment_fs": 200.0, "bath_adaptation_ps": 1.0}
CASES = [
    Case("P = 1", "run", "c20/rpmd.toml", _OFTEN | {"beads": 1, "steps": 60_000}),
    Case("P = 8", "run", "c20/rpmd.toml", _OFTEN | {"beads": 8, "steps": 20_000}),
    Case("metadynamics", "run", "c20/rpmd.toml", _OFTEN | {"beads": 4, "steps": 20_000, "bias": _HILLS}),
    Case("several potentials", "run", "c20/rpmd.toml", _OFTEN | {"beads": 4, "steps": 10_000, "potential": _SLOW}),
    Case("trajectories", "real-time", "c20/spectrum.toml", _BATCHES),
    Case("constant pressure", "run", "methane/md.toml", _OFTEN | {"beads": 2, "steps": 6000} | _PRESSURE),
    Case("quantum bath", "run", "c20/rpmd.toml", _OFTEN | {"beads": 1, "steps": 60_000} | _BATH),
]


class Comparison(NamedTuple):
    """Comparison of a run with the undisturbed one: frames (or trajectories) lost, doubled, and whether all bits agree."""

    lost: int
    doubled: int
    same: bool


def finish(line: list[str], timeout: float = 600) -> None:
    """Run a command to its end; RuntimeError with its output if it fails."""
    done = subprocess.run(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")


def killed_run(case: Case, folder: Path, rng: random.Random, kills: int) -> int:
    """Start a run, kill and resume it up to a number of times, let it end; returns the number of kills."""
    line, done = case.line(folder), 0
    while True:
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not (folder / NEWEST).exists() and process.poll() is None:
            time.sleep(0.01)
        try:
            # The first second is spent on imports; after that any moment will do.
            process.wait(rng.uniform(1.0, 2.5) if done < kills else 600)
            if process.returncode:
                raise RuntimeError(process.stderr.read().decode())
            return done
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            line = [*RPMD, "resume", str(folder), "--no-figure"]


def compare(folder: Path, reference: Path) -> Comparison:
    """Compare the files of a run with those of the undisturbed one."""
    states = [read_checkpoint(path)[0] for path in (folder, reference)]
    same = states[0].generators == states[1].generators and all(
        np.array_equal(array, states[1].state[name]) for name, array in states[0].state.items()
    )
    if (reference / "velocities.h5").exists():
        velocities = []
        for path in (folder, reference):
            with h5py.File(path / "velocities.h5") as file:
                velocities.append(file["velocity"][:])
        surplus = len(velocities[0]) - len(velocities[1])
        return Comparison(max(-surplus, 0), max(surplus, 0), same and np.array_equal(*velocities))
    frames = []
    for path in (folder, reference):
        with h5py.File(path / "trajectory.h5") as file:
            group = file["particles/trajectory"]
            cells = group["box/edges/value"][:] if "edges" in group["box"] else np.zeros(0)
            frames.append((group["position/step"][:], group["position/value"][:], cells))
    (steps, values, cells), (expected, wanted, known) = frames
    names = [path.name for path in reference.glob("*.csv")]  # properties, and hills where there are any
    same = same and np.array_equal(values, wanted) and np.array_equal(cells, known)
    same = same and all((folder / name).read_bytes() == (reference / name).read_bytes() for name in names)
    return Comparison(len(np.setdiff1d(expected, steps)), len(steps) - len(np.unique(steps)), same)
