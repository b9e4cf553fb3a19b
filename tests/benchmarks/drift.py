"""Measures how well the kernel conserves energy in float32 and float64: microcanonical ring-polymer MD of C20.

    python -m tests.benchmarks.drift --model c20 --beads 8 --length 100 -o runs/drift

Both precisions start from one thermalised state. A line is fitted to the conserved quantity; its slope is the drift, and the
residual is the fluctuation due to the time step. The error of the slope takes the means of blocks as independent: if the quantity
wanders it is too small, which the figure shows. Writes a table, JSON and a figure.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from ase.io import read
from matplotlib.figure import Figure

from md.dynamics.ring_polymer import RingPolymer, thermal_ring_polymer
from md.observables.estimators import conserved
from md.simulation import Dynamics, simulate
from mlcalc import load_model
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.common.threads import single_threaded_blas
from mlcalc.potential import Potential, build_potential

EVERY = 20  # steps between records
TEMPERATURE_K, TIMESTEP_FS = 300.0, 0.5
THERMALISATION_STEPS = 10_000


def main() -> int:
    """Run, print, write."""
    options = _options()
    model, structure = load_model(options.model), read(options.structure)
    steps, rows, series = round(1000 * options.length / TIMESTEP_FS), [], {}
    with single_threaded_blas():
        start = thermalised(
            build_potential(model, structure.numbers, "float64"), structure, options.beads, options.seed
        )
        for precision in ("float32", "float64"):
            state = RingPolymer(*(array.copy() for array in start[:4]))
            series[precision] = energies(build_potential(model, structure.numbers, precision), state, steps, precision)
            rows.append({"precision": precision, "beads": options.beads, "model": options.model, "length_ps": options.length}
                        | drift(series[precision], len(structure)))  # fmt: skip
    options.output.mkdir(parents=True, exist_ok=True)
    table = as_table(rows)
    print(table)
    write_atomically(options.output / "drift.txt", (table + "\n").encode())
    write_atomically(options.output / "drift.json", to_json(rows, indent=1).encode())
    draw(series, f"C20 with {options.model}, P = {options.beads}").savefig(options.output / "drift.png", dpi=150)
    print(options.output / "drift.png")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="c20")
    parser.add_argument("--structure", default="inputs/c20/c20.xyz")
    parser.add_argument("--beads", type=int, default=8)
    parser.add_argument("--length", type=float, default=100.0, metavar="PS", help="length of each trajectory")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/drift"))
    return parser.parse_args()


def thermalised(potential: Potential, structure, n_beads: int, seed: int) -> RingPolymer:
    """A ring polymer after 5 ps with PILE-L."""
    rng = np.random.default_rng(seed)
    state = thermal_ring_polymer(structure.positions, structure.get_masses(), n_beads, TEMPERATURE_K, rng)
    dynamics = Dynamics(TEMPERATURE_K, TIMESTEP_FS)
    for _ in simulate(state, potential, dynamics, rng, THERMALISATION_STEPS, THERMALISATION_STEPS):
        pass
    return state


def energies(potential: Potential, state: RingPolymer, steps: int, label: str) -> np.ndarray:
    """(n, 2) time in ps and conserved quantity in eV of a microcanonical trajectory."""
    dynamics, records = Dynamics(TEMPERATURE_K, TIMESTEP_FS, thermostat="none"), []
    for sample in simulate(state, potential, dynamics, np.random.default_rng(0), steps, EVERY):
        records.append((1e-3 * sample.time_fs, conserved(sample)))
        if sample.step % 20_000 == 0:
            print(f"{label}: {records[-1][0]:.0f} ps", file=sys.stderr, flush=True)
    return np.array(records)


def drift(series: np.ndarray, n_atoms: int) -> dict:
    """Slope of a line through the means of 50 blocks, its standard error, and the fluctuation within them."""
    blocks = np.array_split(series, 50)
    time, energy = np.array([block.mean(axis=0) for block in blocks]).T
    (slope, _), covariance = np.polyfit(time, energy, 1, cov=True)
    return {
        "drift_meV_per_atom_ns": 1e6 * slope / n_atoms,
        "drift_error_meV_per_atom_ns": 1e6 * float(np.sqrt(covariance[0, 0])) / n_atoms,
        "fluctuation_meV_per_atom": 1e3 * float(np.sqrt(np.mean([block[:, 1].var() for block in blocks]))) / n_atoms,
    }


def as_table(rows: list[dict]) -> str:
    """One row per precision."""
    return aligned(
        ["precision", "P", "length / ps", "drift / meV/atom/ns", "fluctuation / meV/atom"],
        [
            [
                row["precision"], str(row["beads"]), f"{row['length_ps']:g}",
                with_error(row["drift_meV_per_atom_ns"], row["drift_error_meV_per_atom_ns"]),
                f"{row['fluctuation_meV_per_atom']:.4f}",
            ]
            for row in rows
        ],
        left=1,
    )  # fmt: skip


def draw(series: dict[str, np.ndarray], title: str) -> Figure:
    """Means of 50 blocks of the conserved quantity against time, and the spread within them."""
    figure = Figure(figsize=(6.0, 3.2), layout="constrained")
    axes = figure.subplots()
    for (precision, data), color, shape in zip(series.items(), ("#D55E00", "#0072B2"), "os", strict=True):
        blocks = np.array_split(data, 50)
        time, energy = np.array([block.mean(axis=0) for block in blocks]).T
        spread = 1e3 * np.array([block[:, 1].std() for block in blocks])
        change = 1e3 * (energy - data[:, 1].mean())
        axes.fill_between(time, change - spread, change + spread, color=color, alpha=0.2, lw=0)
        axes.plot(time, change, shape + "-", color=color, ms=3, lw=1, label=precision)
    axes.set(xlabel="time / ps", ylabel="conserved energy − mean / meV", title=title)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2,
                title="means of 2 % of the run each; bands: ±1 standard deviation")  # fmt: skip
    return figure


if __name__ == "__main__":
    sys.exit(main())
