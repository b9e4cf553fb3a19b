"""Measures steps of training: gradient, optimiser, average and batch, without and with the compiler.

    python -m tests.benchmarks.training_steps --steps 20 -o runs/training_steps

Networks have 64 features and 3 interactions in float32; a step is the median of --steps. Nothing else should run on the machine;
where something does, --cpu-time counts the processor's time, which is the duration of a step on one thread. The first steps include
what compiling takes; they are short where torch has kept the compiled code of an earlier run.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase.io import read, write

from mlcalc.common.files import write_atomically
from mlcalc.common.tables import aligned
from mlcalc.common.threads import check_threads
from mlcalc.training.dataset import read_dataset
from mlcalc.training.schedule import frame_order
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.trainer import Trainer

_WARM_UP = 3  # steps before the clock starts


class System(NamedTuple):
    """Structures to train on: file, atoms taken of each, batch size, cutoff (Å)."""

    file: str
    atoms: int
    batch_size: int
    cutoff: float


SYSTEMS = {
    "C20": System("inputs/c20/pbe_d3_train.xyz", 20, 8, 6.0),
    "15 atoms": System("inputs/c20/pbe_d3_train.xyz", 15, 5, 6.0),  # of C20: only their number matters here
    "methane box": System("inputs/methane/test.xyz", 125, 8, 5.0),
    "water box": System("inputs/water/test.xyz", 216, 4, 6.0),
}


def main() -> int:
    """Measure, print, write."""
    options = _options()
    options.output.mkdir(parents=True, exist_ok=True)
    threads, rows = check_threads(options.threads), []
    for name in options.systems:
        for architecture in options.architectures:
            found = [measure(SYSTEMS[name], architecture, mode, threads, options) for mode in (False, True)]
            (eager, _), (compiled, first) = found
            ms = [f"{1e3 * eager:.1f}", f"{1e3 * compiled:.1f}", f"{eager / compiled:.1f}", f"{first:.0f}"]
            rows.append([name, architecture, str(SYSTEMS[name].batch_size), *ms])
            print("  ".join(rows[-1]), flush=True)
    header = ["system", "architecture", "batch", "eager / ms", "compiled / ms", "ratio", "first steps / s"]
    table = aligned(header, rows, left=2)
    print(table)
    write_atomically(options.output / "training_steps.txt", (table + "\n").encode())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--architectures", nargs="+", default=["schnet", "painn"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="processor's time instead of the duration")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/training_steps"))
    return parser.parse_args()


def measure(
    system: System, architecture: str, compiled: bool, threads: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Median seconds of a step, and seconds of the steps before the clock started."""
    torch.compiler.reset()
    clock = time.process_time if options.cpu_time else time.perf_counter
    trainer = _trainer(system, architecture, compiled, threads, options.output)
    began, steps = time.perf_counter(), _steps(trainer, clock)
    for _ in range(_WARM_UP):
        next(steps)
    warm = time.perf_counter() - began
    return statistics.median(next(steps) for _ in range(options.steps)), warm


def _trainer(system: System, architecture: str, compiled: bool, threads: int, folder: Path) -> Trainer:
    path = folder / "structures.xyz"
    write(path, [_first(atoms, system.atoms) for atoms in read(system.file, ":")], format="extxyz")
    settings = TrainingSettings(
        data=(path.name,), architecture=architecture, cutoff_A=system.cutoff, batch_size=system.batch_size, threads=threads,
        split="random", test_fraction=0.0, energy_weight=0.0, compile=compiled, device="cpu",
    )  # fmt: skip
    return Trainer(settings, read_dataset([path]))


def _first(atoms, n_atoms: int):
    forces = atoms.get_forces()[:n_atoms]
    cut = atoms[:n_atoms]
    cut.arrays["forces"] = np.array(forces)
    return cut


def _steps(trainer: Trainer, clock: Callable[[], float]) -> Iterator[float]:
    """Seconds of one training step after the other."""
    loss = trainer._loss_function()
    order = frame_order(trainer.settings, trainer.dataset, trainer.split.train, 0)
    while True:
        began = clock()
        trainer._advance(loss, trainer.batches.make(next(order)))
        yield clock() - began


if __name__ == "__main__":
    raise SystemExit(main())
