"""The ``convergence`` command: energies, bond widths and heat capacities against the number of beads."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from ase import Atoms, units
from matplotlib.figure import Figure

from analysis.distances.run_distances import RunDistances, analyse
from analysis.distances.run_pairs import PairChoice, all_bonds, choose_pairs
from analysis.figures import OKABE_ITO, STYLE, write_beside
from analysis.harmonic import harmonic_distances, is_engine, reference_calculator, reference_modes
from analysis.runs.properties import Properties, read_runs
from analysis.runs.run import Run
from md.files.run_status import read_status
from md.observables.statistics import Mean, block_average
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.modes import needed_beads
from mlcalc.vibrations import NormalModes, heat_capacity, vibrational_energy

# Quantity → heading with unit.
QUANTITIES = {
    "energy_eV": "energy above the minimum / eV",
    "bond_std_A": "std of bonds / Å",
    "heat_capacity_kB": "heat capacity / k_B",
}
_ROTATIONS = 1.5  # k_B: a molecule that can rotate is treated as a classical top


@dataclass(frozen=True)
class Convergence:
    """Runs that differ in their number of beads.

    Attributes:
        beads: (n,) numbers of beads, ascending.
        found: Quantity of QUANTITIES → a Mean for each number of beads; unrecorded quantities are missing.
        harmonic: The same in the harmonic approximation of the same model; the last entry is the quantum limit, and an entry is
            None where matrices of GLE prescribe other distributions than those of rings. None for an engine that is not quick.
        temperature_K: Temperature of all runs.
        needed: βħω of the stiffest vibration; None likewise.
    """

    beads: list[int]
    found: dict[str, list[Mean]]
    harmonic: dict[str, list[float | None]] | None
    temperature_K: float
    needed: float | None


def converge(folders: list[Path], discard: float) -> Convergence:
    """Analyse runs of one molecule, one model and one temperature.

    Raises:
        InputError: Any error of analyse; fewer than two numbers of beads, several temperatures, or no minimum.
    """
    properties = read_runs(folders, discard, pooled=True)[::-1]
    distances = analyse(folders, discard, pooled=True, choose=_all_bonds)[::-1]
    temperatures = {item.run.temperature_K for item in properties}
    beads = [item.run.n_beads for item in properties]
    if len(temperatures) > 1 or len(set(beads)) < max(2, len(beads)):
        raise InputError(
            f"runs with beads {beads} at {sorted(temperatures)} K: expected different numbers of beads, at least two, with one "
            "model at one temperature"
        )
    run = properties[0].run
    modes, minimum = _reference(run)
    found = {
        "energy_eV": [_energy(item, minimum) for item in properties],
        "bond_std_A": [item.moments["bonds", "beads"].std for item in distances if ("bonds", "beads") in item.moments],
        "heat_capacity_kB": [item.means["heat_capacity_kB"] for item in properties if "heat_capacity_kB" in item.means],
    }
    found = {name: values for name, values in found.items() if len(values) == len(beads)}
    rotations = _ROTATIONS if run.rotates else 0.0
    if modes is None:
        return Convergence(beads, found, None, run.temperature_K, None)
    harmonic = _harmonic(modes, distances, [item.run for item in properties], rotations)
    return Convergence(beads, found, harmonic, run.temperature_K, needed_beads(modes, run.temperature_K))


def _reference(run: Run) -> tuple[NormalModes | None, float]:
    """Normal modes and energy in eV of the minimum near the start; of an engine that is not quick, the energy that the run found.

    Raises:
        InputError: No minimum.
    """
    try:
        modes = reference_modes(run.structure, run.model)
    except InputError:
        minimum = read_status(run.folders[0]).get("minimum_eV") if is_engine(run.model) else None
        if minimum is None:
            raise
        return None, float(minimum)
    relaxed = modes.atoms.copy()
    relaxed.calc = reference_calculator(run.model, run.structure)
    return modes, relaxed.get_potential_energy()


def _all_bonds(structure: Atoms) -> PairChoice:
    return choose_pairs(structure, automatic=all_bonds)._replace(watch=None)


def _energy(item: Properties, minimum: float) -> Mean:
    """Mean of V + K by the centroid-virial estimator, above the minimum; InputError without that estimator."""
    if "kinetic_virial_eV" not in item.series:
        raise InputError(
            f"{item.run}: thermostat {item.run.thermostat} records no kinetic energy of thermal centroids: expected runs of a "
            "thermostat that holds the temperature"
        )
    return block_average(item.series["potential_eV"] + item.series["kinetic_virial_eV"] - minimum)


def _harmonic(
    modes: NormalModes, distances: list[RunDistances], runs: list[Run], rotations: float
) -> dict[str, list[float | None]]:
    temperature_K, pairs = runs[0].temperature_K, distances[0].pairs.get("bonds")

    def series(value: Callable[[int | None], float]) -> list[float | None]:
        return [*(None if run.quantum_gle else value(run.n_beads) for run in runs), value(None)]

    return {
        "energy_eV": series(
            lambda p: vibrational_energy(modes.energies, temperature_K, p) + rotations * units.kB * temperature_K
        ),
        "bond_std_A": [] if pairs is None else series(lambda p: harmonic_distances(modes, pairs, temperature_K, p).std),
        "heat_capacity_kB": series(lambda p: heat_capacity(modes.energies, temperature_K, p) / units.kB + rotations),
    }


def verdict(result: Convergence) -> list[str]:
    """Sentences on whether the largest number of beads suffices."""
    largest = result.beads[-1]
    if result.harmonic is None or result.needed is None:
        return ["No harmonic reference for this engine: compare the last rows, and see mlcalc modes --engine."]
    if result.harmonic["energy_eV"][len(result.beads) - 1] is None:
        return [f"P = {largest} has matrices of GLE that stand for more beads: compare its row with the last one."]
    sentences = [
        f"P = {largest} {'resolves' if largest > result.needed else 'does NOT resolve'} the stiffest vibration: "
        f"βħω = {result.needed:.1f} at {result.temperature_K:g} K."
    ]
    for name, heading in QUANTITIES.items():
        if name in result.found:
            limit, there = result.harmonic[name][-1], result.harmonic[name][len(result.beads) - 1]
            what = heading.partition(" /")[0]
            sentences.append(
                f"At P = {largest} the {what} is {there / limit - 1.0:+.2%} off the quantum limit in the harmonic approximation."
            )
    return sentences


def as_text(result: Convergence) -> str:
    """Table with harmonic values, and the verdict."""
    header, rows = ["P"], [[str(p)] for p in result.beads] + [["∞"]]
    for name, means in result.found.items():
        header += [QUANTITIES[name], "harmonic"]
        digits = 4 if name != "heat_capacity_kB" else 2
        references = (
            ["–" if value is None else f"{value:.{digits}f}" for value in result.harmonic[name]]
            if result.harmonic
            else ["–"] * len(rows)
        )
        for row, mean, reference in zip(rows, [*means, None], references, strict=True):
            row += [with_error(mean.value, mean.error) if mean else "–", reference]
    return "\n".join([aligned(header, rows), "±: one standard error. harmonic: the same model with its energy quadratic about the "
                      "minimum, and a classical top if it can rotate.", *verdict(result)])  # fmt: skip


def as_json(result: Convergence) -> str:
    """The same as JSON; the harmonic lists end with the quantum limit."""
    return to_json(
        {
            "beads": result.beads, "temperature_K": result.temperature_K, "beta_hbar_omega_max": result.needed,
            "found": {name: [mean._asdict() for mean in means] for name, means in result.found.items()},
            "harmonic": {name: result.harmonic[name] for name in result.found} if result.harmonic else None,
            "verdict": verdict(result),
        },
        indent=1,
    )  # fmt: skip


def convergence_figure(result: Convergence) -> Figure:
    """A panel per quantity against P with error bars; harmonic values dashed, their limit dotted."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(result.found), 2.8), layout="constrained")
        panels = figure.subplots(1, len(result.found), squeeze=False)[0]
        for axes, (name, means) in zip(panels, result.found.items(), strict=True):
            if result.harmonic:
                *harmonic, limit = result.harmonic[name]
                axes.axhline(limit, color="0.6", lw=1, ls=":", label="harmonic, P → ∞")
                axes.plot(result.beads, np.array(harmonic, dtype=float), "--", color="0.3", lw=1, label="harmonic")
            axes.errorbar(
                result.beads, [mean.value for mean in means], [mean.error for mean in means], fmt="o", ms=4, capsize=2,
                color=OKABE_ITO[0], label="ring polymer, ±1 standard error",
            )  # fmt: skip
            axes.set(xscale="log", xlabel="beads P", ylabel=QUANTITIES[name].replace("k_B", "$k_B$"))
            axes.set_xticks(result.beads, result.beads)
            axes.minorticks_off()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def write_files(result: Convergence, figure_path: Path) -> list[Path]:
    """Write figure, table and numbers beside each other (figures.write_beside); returns their paths."""
    return write_beside(figure_path, convergence_figure(result), as_text(result), as_json(result))
