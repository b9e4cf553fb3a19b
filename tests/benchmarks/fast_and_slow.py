"""Measures what longer steps, contraction and several time steps save, and the bias that each brings: C20 with BCOCB and PILE-L.

    python -m tests.benchmarks.fast_and_slow --fast runs/train-small/model.safetensors --length 100 -o runs/fast-and-slow

A setting is a time step in fs for the plain run with the slow network (0.5), or a time step, beads P′ and steps M between
evaluations of the slow network (0.5:4:4). All settings move in turns of a few hundred fs, so that a busy moment of the machine hits
all of them; times are compared turn by turn with the first setting. Bond widths and energies have jackknife errors over blocks of
turns, and are compared with the first setting in standard errors. Writes a table and JSON. Run it on an idle machine.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.io import read

from md.components.split import Component, SplitPotential
from md.dynamics.ring_polymer import thermal_ring_polymer
from md.dynamics.stability import first_resonance, stiffest_frequency
from md.observables.estimators import Sample
from md.simulation import Dynamics, simulate
from mlcalc import load_model
from mlcalc.common.errors import InputError
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.common.threads import single_threaded_blas
from mlcalc.potential import make_potential

TEMPERATURE_K, BLOCKS = 300.0, 20
LONGEST_BOND_A, SAMPLE_FS, TURN_FS = 1.75, 10.0, 400.0


class Setting(NamedTuple):
    """How a run moves: Δt in fs, P′ and M; P′ = 0 for the plain run."""

    timestep_fs: float
    beads: int = 0
    every: int = 1

    @classmethod
    def of(cls, text: str) -> "Setting":
        """From 0.5 or 0.5:4:4."""
        parts = text.split(":")
        if len(parts) not in (1, 3):
            raise argparse.ArgumentTypeError(f"{text!r}: expected a time step such as 0.5, or 0.5:4:4")
        return cls(float(parts[0]), *map(int, parts[1:]))

    def __str__(self) -> str:
        plain = f"{self.timestep_fs:g} fs"
        return f"{plain}, {self.beads} beads every {self.every} steps" if self.beads else f"{plain}, plain"

    @property
    def sample_steps(self) -> int:
        """Steps between samples, a multiple of M."""
        return self.every * max(1, round(SAMPLE_FS / self.timestep_fs / self.every))


DEFAULTS = [
    *map(Setting, (0.5, 1.0, 1.5, 2.0)),
    *(Setting(0.5, *pair) for pair in ((4, 2), (4, 4), (3, 4), (1, 4))),
    Setting(1.0, 4, 2),
]


class Moving:
    """A run of one setting, its times and what its bonds and energies were in each turn."""

    def __init__(self, setting: Setting, slow, fast, structure, n_beads: int, seed: int):
        self.setting, self.times_per_fs = setting, []
        distances = structure.get_all_distances()
        self._pairs = np.argwhere(np.triu((distances < LONGEST_BOND_A) & (distances > 0.0)))
        self.sums: list[np.ndarray] = []  # by turn: samples, Σ energy, Σ kinetic, then Σ d and Σ d² of each pair
        potential = slow
        if setting.beads:
            parts = [Component(slow, 1.0, *setting[1:]), Component(fast, -1.0, *setting[1:])]
            potential = SplitPotential(fast, parts)
        rng = np.random.default_rng(seed)
        state = thermal_ring_polymer(structure.positions, structure.get_masses(), n_beads, TEMPERATURE_K, rng)
        dynamics = Dynamics(TEMPERATURE_K, setting.timestep_fs, "BCOCB", remove_rotation=False)
        self._samples: Iterator[Sample] = simulate(state, potential, dynamics, rng, sys.maxsize, setting.sample_steps)
        next(self._samples)

    def turn(self, record: bool) -> None:
        """Move for about TURN_FS."""
        steps = self.setting.sample_steps
        count = max(1, round(TURN_FS / (steps * self.setting.timestep_fs)))
        seen, spent = np.zeros(3 + 2 * len(self._pairs)), 0.0
        for _ in range(count):
            begin = time.perf_counter()
            sample = next(self._samples)
            spent += time.perf_counter() - begin
            q = sample.ring_polymer.positions
            lengths = np.linalg.norm(q[:, self._pairs[:, 0]] - q[:, self._pairs[:, 1]], axis=2)
            found = sample.values(["potential_eV", "kinetic_virial_eV"])
            seen += np.array([1.0, *found.values(), *lengths.mean(axis=0), *(lengths**2).mean(axis=0)])
        if record:
            self.times_per_fs.append(1e3 * spent / (count * steps * self.setting.timestep_fs))
            self.sums.append(seen)

    def averages(self) -> dict[str, tuple[float, float]]:
        """Bond width in Å, potential and kinetic energy in eV, each with its jackknife error."""
        blocks = np.array([np.sum(part, axis=0) for part in np.array_split(self.sums, min(BLOCKS, len(self.sums)))])
        left = _averages(blocks.sum(axis=0) - blocks)
        n, whole = len(blocks), _averages(blocks.sum(axis=0)[None])[0]
        errors = np.sqrt((n - 1) * left.var(axis=0))
        return dict(
            zip(
                ("bond_width_A", "potential_eV", "kinetic_eV"),
                zip(whole.tolist(), errors.tolist(), strict=True),
                strict=True,
            )
        )


def _averages(sums: np.ndarray) -> np.ndarray:
    """(n, 3) from sums (n, 3 + 2 pairs)."""
    means = sums[:, 1:] / sums[:, :1]
    first, second = np.split(means[:, 2:], 2, axis=1)
    return np.column_stack([np.sqrt(second - first**2).mean(axis=1), means[:, :2]])


def main() -> int:
    """Move, print, write."""
    options = _options()
    structure = read(options.structure)
    slow, fast = (
        make_potential(load_model(name), structure, threads=options.threads) for name in (options.slow, options.fast)
    )
    _check(options.settings, fast, slow, structure, options.beads)
    turns = {True: max(2, round(1000 * options.length / TURN_FS)), False: round(1000 * options.warm_up / TURN_FS)}
    with single_threaded_blas():
        runs = [Moving(setting, slow, fast, structure, options.beads, options.seed) for setting in options.settings]
        for record in (False, True):
            for turn in range(turns[record]):
                for run in runs:
                    run.turn(record)
                if sys.stderr.isatty():
                    print(f"turn {turn + 1} of {turns[record]}", end="\r", file=sys.stderr)
    rows = [_row(run, runs[0]) for run in runs]
    options.output.mkdir(parents=True, exist_ok=True)
    table = as_table(rows)
    print(table)
    write_atomically(options.output / "fast_and_slow.txt", (table + "\n").encode())
    facts = {name: str(getattr(options, name)) for name in ("beads", "threads", "length", "seed")}
    facts |= {
        name: "/".join(Path(getattr(options, name)).parts[-2:]) for name in ("fast", "slow")
    }  # no path of this machine
    write_atomically(options.output / "fast_and_slow.json", to_json(facts | {"rows": rows}, indent=1).encode())
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", required=True, help="the small network")
    parser.add_argument("--slow", default="c20", help="the network of the plain run")
    parser.add_argument("--structure", default="inputs/c20/c20.xyz")
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--settings", nargs="+", type=Setting.of, default=DEFAULTS)
    parser.add_argument("--length", type=float, default=100.0, metavar="PS", help="length of each run")
    parser.add_argument("--warm-up", type=float, default=5.0, metavar="PS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/fast-and-slow"))
    return parser.parse_args()


def _check(settings: list[Setting], fast, slow, structure, n_beads: int) -> None:
    """Raise InputError for a setting that 'rpmd run' would refuse."""

    def difference(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (one, force), (other, forces) = slow(positions), fast(positions)
        return one - other, force - forces

    stiff, binding = (stiffest_frequency(of, structure.positions, structure.get_masses()) for of in (fast, difference))
    for setting in settings:
        dynamics = Dynamics(TEMPERATURE_K, setting.timestep_fs, "BCOCB")
        if setting.beads > n_beads or first_resonance(dynamics, n_beads, stiff, binding, setting.beads, setting.every):
            raise InputError(f"{setting} with P = {n_beads}: more beads than there are, or a resonance")


def _row(run: Moving, reference: Moving) -> dict:
    """Cost of a setting, how much faster it is than the reference, turn by turn, and its averages beside those of the reference."""
    ratios = np.array(reference.times_per_fs) / np.array(run.times_per_fs)
    low, median, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    ours, theirs = run.averages(), reference.averages()
    apart = {
        name: 0.0
        if run is reference
        else (ours[name][0] - theirs[name][0]) / float(np.hypot(ours[name][1], theirs[name][1]))
        for name in ours
    }
    return {
        "setting": str(run.setting), "ms_per_fs": float(np.median(run.times_per_fs)), "times_faster": median,
        "times_faster_quartiles": [low, high], "averages": ours, "standard_errors_apart": apart,
    }  # fmt: skip


def as_table(rows: list[dict]) -> str:
    """A row for each setting."""
    lines = []
    for row in rows:
        low, high = row["times_faster_quartiles"]
        cells = [row["setting"], f"{row['ms_per_fs']:.3f}", f"{row['times_faster']:.2f} ({low:.2f}–{high:.2f})"]
        for name, (value, error) in row["averages"].items():
            cells += [with_error(value, error), f"{row['standard_errors_apart'][name]:+.1f}"]
        lines.append(cells)
    header = ["setting", "ms/fs", "times faster", "bond width / Å", "σ", "potential / eV", "σ", "kinetic / eV", "σ"]
    return aligned(header, lines, left=1)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
