"""Explorations: ring polymers and classical nuclei on the committee, at the temperature of interest and above, by ``rpmd``."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.io import read

from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import from_json
from mlcalc.common.settings import toml_value
from mlcalc.data.distortions import closest_contact, displaced
from mlcalc.data.labelling import write_frames
from mlcalc.geometry.domain import CLOSEST
from mlcalc.learn.processes import RPMD, Command, check_codes, run_all
from mlcalc.learn.settings import LearnSettings

_FRAMES = 100  # of each run
_RECORD = 20  # steps between evaluations of the committee, at most
_BEADS = 4  # of each frame
WARM_UP = 0.2  # of a run: what comes before is no equilibrium
_GUARDS = range(3, 12)  # exit codes of rpmd when a guard stopped a run (docs/reliability.md), and 8
_STOPPED = "where a guard stopped an exploration"


class Run(NamedTuple):
    """An exploration: its run folder, temperature, start (1: the minimum) and number of beads."""

    folder: Path
    temperature_K: float
    start: int
    beads: int


def runs_of(settings: LearnSettings, folder: Path) -> list[Run]:
    """All explorations of a round."""
    return [
        Run(folder / f"{temperature:g}K-{start}" / f"P{beads}", temperature, start, beads)
        for temperature in settings.temperatures
        for start in range(1, settings.starts + 1)
        for beads in settings.bead_counts
    ]


def explore(
    settings: LearnSettings, folder: Path, models: list[str], starts: list[Atoms], limit_eV_A: float, seed: int
) -> None:
    """Move beads of every temperature, start and P, until the end or until a guard stops them.

    Args:
        folder: Of the round; models: files in it, the first of which moves the atoms.
        starts: The minimum, and further structures. That beads lie below the minimum is only recorded: a molecule may have lower
            ones, and a hole of the network shows in the labels of fresh structures.
        limit_eV_A: Disagreement that stops a run.

    Raises:
        InputError, OSError: rpmd could not begin, or not write.
    """
    commands = []
    for number, (run, first) in enumerate(_groups(settings, folder, starts)):
        name = run.folder.parent.name
        write_frames([first], folder / f"{name}.xyz")
        every = max(1, min(_RECORD, settings.explore_steps // _FRAMES))
        keys = {
            "structure": f"{name}.xyz", "model": models[0], "committee": tuple(models[1:]),
            "max_disagreement_eV_A": float(limit_eV_A), "beads": settings.bead_counts,
            "temperature_K": run.temperature_K, "timestep_fs": settings.timestep_fs, "integrator": "BCOCB",
            "steps": settings.explore_steps, "seed": seed + number, "threads": 1, "bond_guard": "record",
            "energy_guard": "record" if run.start == 1 else "off", "properties_every_steps": every,
            "trajectory_every_steps": every * max(1, settings.explore_steps // _FRAMES // every),
        }  # fmt: skip
        text = "".join(f"{key} = {toml_value(value)}\n" for key, value in keys.items())
        write_atomically(folder / f"{name}.toml", text.encode())
        arguments = ["run", folder / f"{name}.toml", "--no-figure", "--output", run.folder.parent]
        commands.append(Command(RPMD, arguments, folder / f"{name}.log"))
    check_codes(commands, run_all(commands, settings.jobs), _GUARDS)


def _groups(settings: LearnSettings, folder: Path, starts: list[Atoms]) -> Iterator[tuple[Run, Atoms]]:
    """The runs that one command makes, by the first of them, with their start."""
    for run in runs_of(settings, folder):
        if run.beads == settings.bead_counts[0]:
            yield run, starts[(run.start - 1) % len(starts)]


def findings(run: Run) -> dict:
    """What became of a run: whether it finished, what a guard said, and in how many records bonds differed."""
    status = from_json((run.folder / "status.json").read_bytes())
    spoke = status.get("error") or (
        f"atoms were closer than in training in {status['steps_too_close']} steps"
        if status.get("steps_too_close")
        else None
    )
    return {
        "run": f"{run.folder.parent.name}/{run.folder.name}", "temperature_K": run.temperature_K, "beads": run.beads,
        "steps": status.get("step", 0), "guard": spoke, "below_minimum_eV": status.get("below_minimum_eV") or 0.0,
        "records_with_other_bonds": (status.get("bonds_changed") or {}).get("records", 0),
    }  # fmt: skip


def collect(settings: LearnSettings, folder: Path, seed: int) -> list[Atoms]:
    """Beads that the explorations of a round visited, and those where guards stopped them.

    ``info`` has temperature_K, beads, step, bead and trajectory. Beads with atoms on top of each other are left out: they are no
    molecules, and a committee need not know them, since the domain guard does.
    """
    commands, outputs = [], []
    for beads in settings.bead_counts:
        runs = [run for run in runs_of(settings, folder) if run.beads == beads and findings(run)["steps"] > 0]
        if runs:
            outputs.append(folder / f"visited-P{beads}.xyz")
            few = ["--beads-per-frame", str(min(_BEADS, beads)), "--seed", str(seed)]
            arguments = ["frames", *(run.folder for run in runs), *few, "-o", outputs[-1]]
            commands.append(Command(RPMD, arguments, folder / "frames.log"))
    check_codes(commands, run_all(commands, settings.jobs))
    frames = [atoms for path in outputs for atoms in read(path, ":")]
    for run in runs_of(settings, folder):
        frames += _breach(run)
    return [atoms for atoms in frames if closest_contact(atoms).relative > CLOSEST]


def _breach(run: Run) -> list[Atoms]:
    path = run.folder / "breach.xyz"
    if not path.is_file():
        return []
    facts = {"sampling": _STOPPED, "temperature_K": run.temperature_K, "beads": run.beads}
    return [
        displaced(atoms, atoms.positions, facts | {"step": atoms.info["step"], "bead": atoms.info["bead"]})
        for atoms in read(path, ":")
        if np.isfinite(atoms.positions).all()
    ]


def at_equilibrium(settings: LearnSettings, frames: list[Atoms]) -> list[int]:
    """Indices of the frames of the temperature of interest that come after the first fifth of their run."""
    begin = WARM_UP * settings.explore_steps
    return [
        k
        for k, atoms in enumerate(frames)
        if atoms.info["sampling"] != _STOPPED
        and np.isclose(atoms.info["temperature_K"], settings.temperature_K)
        and atoms.info["step"] >= begin
    ]
