"""Ten molecules and a crystal, each learnt by one command: labels, time, error of forces, stability and frequencies in one table.

    python inputs/learn/ten_molecules.py run --molecules water_dimer ethanol
    python inputs/learn/ten_molecules.py report

For each molecule 'run' learns it (mlcalc learn, everything chosen by the program), moves P beads for 100 ps with all guards, labels
beads of that motion, and measures the network on them. Give an interrupted command again: it resumes. The folders stay in
data/, the numbers go to reference/molecules, from where the report draws.
"""

import argparse
import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from ase.io import read
from matplotlib.figure import Figure

import md.cli
import mlcalc.cli
from analysis.figures import OKABE_ITO, STYLE, write_beside
from mlcalc.common.errors import InputError, run_command
from mlcalc.common.files import make_folder, write_atomically
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.data.labelling import label_file
from mlcalc.learn.explore import Run, findings
from mlcalc.learn.settings import PLAN_FILE, LearnSettings, read_plan
from mlcalc.training.evaluation import evaluate

HERE = Path(__file__).parent
DATA, NUMBERS = HERE / "data", HERE / "reference" / "molecules"
INPUTS, XTB = HERE.parent, "tblite:GFN2-xTB"
LENGTH_PS, FRAMES, BEADS = 100.0, 50, 2  # of the run; of its frames, and beads of each, to measure the error on
TARGET_MEV_A, TARGET_MINUTES = 10.0, 60.0
_ENDED = (0, 3)  # codes of mlcalc learn: converged or not
_GUARDS = (0, *range(3, 8), *range(9, 12))  # of rpmd: finished, or stopped by a guard
_SIGNAL, _FEWEST = 128, 4


class Molecule(NamedTuple):
    """A row of the table: its name there, the structure to start from, and the engine."""

    title: str
    structure: Path
    engine: str = XTB


MOLECULES = {
    "water_dimer": Molecule("water dimer", HERE / "molecules" / "water_dimer.xyz"),
    "ethanol": Molecule("ethanol", HERE / "molecules" / "ethanol.xyz"),
    "malonaldehyde": Molecule("malonaldehyde", INPUTS / "malonaldehyde" / "malonaldehyde.xyz"),
    "acetylacetone": Molecule("acetylacetone", INPUTS / "acac" / "acac.xyz"),
    "benzene": Molecule("benzene", HERE / "molecules" / "benzene.xyz"),
    "glycine": Molecule("glycine", HERE / "molecules" / "glycine.xyz"),
    "formic_acid_dimer": Molecule("formic acid dimer", HERE / "molecules" / "formic_acid_dimer.xyz"),
    "dimethyl_ether": Molecule("dimethyl ether", HERE / "molecules" / "dimethyl_ether.xyz"),
    "carbon_dioxide": Molecule("CO2", HERE / "molecules" / "carbon_dioxide.xyz"),
    "protonated_water_dimer": Molecule("H5O2+", HERE / "molecules" / "protonated_water_dimer.xyz"),
    "copper": Molecule("copper, periodic", HERE / "molecules" / "copper.xyz", "ase:emt"),
}


def run(
    name: str, data: Path, numbers: Path, options: list[str], length_ps: float = LENGTH_PS, n_frames: int = FRAMES
) -> None:
    """Learn a molecule of the table, move it and measure the network, or resume that, and write its numbers.

    Args:
        data: Folder for everything that is made; numbers: folder of the file to write.
        options: Further words of ``mlcalc learn``.
        length_ps: Of the run with P beads; n_frames: of its frames to label beads of.

    Raises:
        InputError: A command failed; its message is on stderr.
    """
    result, folder = numbers / f"{name}.json", data / name
    if result.is_file():
        print(f"{name}: done, {result}")
        return
    make_folder(folder)
    molecule, learned = MOLECULES[name], folder / "learned"
    words = ["learn", str(molecule.structure), "--engine", molecule.engine, "-o", str(learned), *options]
    _call(mlcalc.cli.main, words, _ENDED)
    settings = read_plan(learned / PLAN_FILE)
    every = max(1, round(1e3 * length_ps / settings.timestep_fs) // (2 * n_frames))
    found = _numbers(name, learned, settings)
    found |= _motion(settings, learned, folder / "run", length_ps, every)
    found |= _errors(settings, learned, folder, round(1e3 * found["run_ps"] / settings.timestep_fs) // every)
    make_folder(numbers)
    write_atomically(result, to_json(found, indent=1).encode() + b"\n")
    print(f"{name}: {result}")


def _call(main: Callable[[list[str]], int], words: list[str], allowed: Collection[int] = (0,)) -> None:
    """Run a command of mlcalc or rpmd; KeyboardInterrupt if a signal ended it, InputError for a code that is not allowed."""
    code = main(words)
    if code >= _SIGNAL:
        raise KeyboardInterrupt(code)
    if code not in allowed:
        raise InputError(f"'{words[0]}' ended with code {code}: {' '.join(words)}")


def _numbers(name: str, learned: Path, settings: LearnSettings) -> dict:
    """What the folder of learning says."""
    result = json.loads((learned / "result.json").read_text(encoding="utf-8"))
    kept = ("converged", "reasons", "rounds", "labels", "vibrations", "lower_minimum")
    return {key: result[key] for key in kept} | {
        "molecule": name, "engine": settings.engine, "atoms": len(read(learned / "minimum.xyz")), "minutes": result["seconds"] / 60,
        "most_labels": settings.labels, "beads": settings.beads, "timestep_fs": settings.timestep_fs,
        "temperature_K": settings.temperature_K,
    }  # fmt: skip


def _motion(settings: LearnSettings, learned: Path, folder: Path, length_ps: float, every: int) -> dict:
    """How far P beads moved, and which guard stopped them."""
    steps = round(1e3 * length_ps / settings.timestep_fs)
    words = [
        "run",
        str(learned / "rpmd.toml"),
        "--beads",
        str(settings.beads),
        "--steps",
        str(steps),
        "--output",
        str(folder),
    ]
    words += ["--no-figure", "--set", "bond_guard=record", "--set", f"trajectory_every_steps={every}"]
    _call(md.cli.main, words, _GUARDS)
    seen = findings(Run(folder, settings.temperature_K, 1, settings.beads))
    return {
        "run_ps": 1e-3 * settings.timestep_fs * seen["steps"], "guard": seen["guard"], "asked_ps": length_ps,
        "records_with_other_bonds": seen["records_with_other_bonds"],
    }  # fmt: skip


def _errors(settings: LearnSettings, learned: Path, folder: Path, recorded: int) -> dict:
    """Error of the network on newly labelled beads of every other recorded frame of the run; no training has seen any."""
    if recorded < _FEWEST:
        return {"fresh": 0, "fresh_failed": 0, "mae_meV_A": None, "mae_error_meV_A": None}
    frames = folder / "fresh.xyz"
    if not frames.is_file():
        words = ["frames", str(folder / "run"), "--beads-per-frame", str(min(BEADS, settings.beads)), "-o", str(frames)]
        _call(md.cli.main, [*words, "--skip", "1", "--every", "2"])
    labels = label_file(frames, settings.engine, folder / "fresh-labels.xyz", settings.jobs)
    total = evaluate(learned / "models" / "model-1.safetensors", labels.output).total
    return {
        "fresh": total.frames, "fresh_failed": len(labels.failures), "mae_meV_A": 1e3 * total.force_mae_eV_per_A,
        "mae_error_meV_A": 1e3 * total.force_mae_error_eV_per_A,
    }  # fmt: skip


def report(numbers: Path, figure_path: Path) -> str:
    """Draw the figure beside its table and numbers, and return the table.

    Raises:
        InputError: No numbers yet.
    """
    of = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(numbers.glob("*.json"))}
    found = [of[name] for name in MOLECULES if name in of]
    if not found:
        raise InputError(f"{numbers}: no numbers yet; run a molecule first")
    header = [
        "molecule", "atoms", "P", "labels", "minutes", "force MAE / meV/Å", "ps without a guard", "Δν̃ mean / cm⁻¹", "most",
        "converged",
    ]  # fmt: skip
    good = [row for row in found if row["guard"] is None]
    notes = [
        f"{len(good)} of {len(found)} moved {found[0]['asked_ps']:g} ps with P beads without a guard; "
        f"{sum(row['converged'] for row in found)} converged",
        "force MAE: of components, on newly labelled beads of that motion, ± one standard error; Δν̃: against the engine",
    ]
    notes += [f"{MOLECULES[row['molecule']].title}: {row['guard']}" for row in found if row["guard"]]
    notes += [f"{MOLECULES[row['molecule']].title}: {reason}" for row in found for reason in row["reasons"]]
    text = "\n".join([aligned(header, [_row(row) for row in found], left=1), *notes])
    write_beside(figure_path, _figure(found), text, to_json(found, indent=1))
    return text


def _row(row: dict) -> list[str]:
    vibrations = row["vibrations"] or {}
    return [
        MOLECULES[row["molecule"]].title, str(row["atoms"]), str(row["beads"]), str(row["labels"]), f"{row['minutes']:.0f}",
        "–" if row["mae_meV_A"] is None else with_error(row["mae_meV_A"], row["mae_error_meV_A"]), f"{row['run_ps']:.1f}",
        *(f"{vibrations[key]:.1f}" if vibrations else "–" for key in ("mean_cm-1", "largest_cm-1")),
        "yes" if row["converged"] else "no",
    ]  # fmt: skip


def _figure(found: list[dict]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.6 + 0.28 * len(found)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        places = np.arange(len(found))[::-1]
        colours = [OKABE_ITO[0] if row["guard"] is None else OKABE_ITO[1] for row in found]
        errors = [row["mae_error_meV_A"] or 0.0 for row in found]
        left.barh(places, [row["mae_meV_A"] or 0.0 for row in found], xerr=errors, color=colours, height=0.6)
        left.axvline(TARGET_MEV_A, color="0.4", linestyle=":", linewidth=1)
        left.set(xlabel="force MAE of fresh beads / meV Å$^{-1}$")
        left.set_yticks(places, [MOLECULES[row["molecule"]].title for row in found])
        right.barh(places, [row["minutes"] for row in found], color=colours, height=0.6)
        right.axvline(TARGET_MINUTES, color="0.4", linestyle=":", linewidth=1)
        right.set(xlabel="minutes of learning")
        for place, row in zip(places, found, strict=True):
            right.annotate(
                f"{row['labels']} labels", (row["minutes"], place), (4, 0), textcoords="offset points", va="center", fontsize=7,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            )  # fmt: skip
        right.margins(x=0.25)
        if any(row["guard"] for row in found):
            left.set_title("orange: stopped by a guard")
    return figure


def main() -> None:
    """Run molecules, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--molecules", nargs="+", choices=MOLECULES, default=list(MOLECULES))
    parser.add_argument("--data", type=Path, default=DATA, help="folder of what is made (default: inputs/learn/data)")
    parser.add_argument("--options", default=[], nargs=argparse.REMAINDER, help="last: further options of mlcalc learn")
    options = parser.parse_args()
    sys.exit(run_command("ten_molecules.py", lambda: _run_or_report(options)))


def _run_or_report(options: argparse.Namespace) -> None:
    if options.what == "report":
        print(report(NUMBERS, HERE / "reference" / "ten_molecules"))
    for name in options.molecules if options.what == "run" else ():
        run(name, options.data, NUMBERS, options.options)


if __name__ == "__main__":
    main()
