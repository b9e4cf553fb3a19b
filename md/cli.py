"""The command line ``rpmd``: run · resume · check · check-forces · info · converge · real-time · ipi-… · frames · estimators.

Heavy imports wait until they are needed.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from md.ipi.commands import add_ipi_commands
from md.runs.commands import add_inspection_commands
from mlcalc.common.completion import add_completion
from mlcalc.common.errors import EXIT_INTERRUPTED, InputError, run_command, say

_RUN_EXAMPLE = """examples:
  rpmd run inputs/c20/rpmd.toml
  rpmd run inputs/c20/rpmd.toml --beads 32 --steps 20000 --output runs/p32
  rpmd run inputs/c20/rpmd.toml --set timestep_fs=0.25 --set integrator=BAOAB
  rpmd run inputs/c20/rpmd.toml --engine tblite:GFN2-xTB --threads 4 --steps 200
  rpmd run INPUT.toml --set 'potential=[{model = "large.safetensors", beads = 4, every_steps = 4}]'

A run already in the output folder is resumed bit for bit; --steps extends it, --overwrite starts again from the beginning.

keys of the input and their defaults (units are part of the name):
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code, for runs one of endings.Exit or 128 + a signal."""
    options = _parser().parse_args(arguments)
    return run_command("rpmd", lambda: options.command(options))


def _parser() -> argparse.ArgumentParser:
    from md.guards.endings import describe_codes
    from md.runs.config import describe_keys

    parser = argparse.ArgumentParser(
        prog="rpmd", description="Ring-polymer molecular dynamics on a network or any engine."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    run = commands.add_parser(
        "run", help="run an input", description="Run ring-polymer MD from a TOML input.",
        epilog=_RUN_EXAMPLE + describe_keys() + "\n\nexit codes:\n" + describe_codes(), formatter_class=raw,
    )  # fmt: skip
    run.add_argument("--beads", type=int, metavar="P", help="only this number of beads, written to --output itself")
    run.set_defaults(command=_run)
    converge = commands.add_parser(
        "converge", help="a series of runs that shows how many beads suffice",
        description="Run an input with several numbers of beads and compare energies, bond widths and heat capacities against P.",
        epilog="example:\n  rpmd converge inputs/c20/rpmd.toml --beads 1,4,8,16,32,64 --output runs/convergence",
        formatter_class=raw,
    )  # fmt: skip
    converge.add_argument("--beads", type=_bead_list, default=(1, 4, 8, 16, 32, 64), metavar="P,P,…")
    converge.set_defaults(command=_converge)
    real_time = commands.add_parser(
        "real-time", help="trajectories in real time for spectra",
        description="Run many independent trajectories from thermalised starts under T-RPMD or at constant energy; record the "
        "velocities of their centroids and compute the vibrational density of states.",
        epilog="example:\n  rpmd real-time inputs/c20/spectrum.toml --set trajectories=32", formatter_class=raw,
    )  # fmt: skip
    real_time.add_argument(
        "--beads", type=int, metavar="P", help="only this number of beads, written to --output itself"
    )
    real_time.set_defaults(command=_real_time)
    for command in (run, converge, real_time):
        _add_run_options(command)
    _add_check_forces(commands, raw)
    resume = commands.add_parser(
        "resume", help="resume a run",
        description="Resume a run, or all runs in a folder, from the last checkpoint; the result is bit for bit that of an "
        "uninterrupted run.",
        epilog="example:\n  rpmd resume runs/c20\n  rpmd resume runs/c20/P8 --steps 200000\n"
        "  rpmd resume runs/c20/P8 --set domain_guard=record\n\nexit codes:\n" + describe_codes(),
        formatter_class=raw,
    )  # fmt: skip
    resume.add_argument("run", metavar="RUN", type=Path)
    resume.add_argument("--steps", type=int, help="total time steps of production (default: those of the run's input)")
    resume.add_argument(
        "--engine", help="the run's engine, to be repeated if it names code (a dotted ase:NAME, or arguments)"
    )
    resume.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments",
        help="a key that does not affect computed results: guards and limits, threads, checkpoints",
    )  # fmt: skip
    _add_end_options(resume)
    resume.set_defaults(command=_resume)
    add_inspection_commands(commands, raw)
    add_ipi_commands(commands, raw)
    estimators = commands.add_parser(
        "estimators", help="the table of estimators", description="List all estimators: unit, formula, source.",
        epilog="example:\n  rpmd estimators | grep -A 2 heat_capacity", formatter_class=raw,
    )  # fmt: skip
    estimators.set_defaults(command=_estimators)
    _add_frames(commands, raw)
    return add_completion(parser)


def _add_frames(commands, raw) -> None:
    frames = commands.add_parser(
        "frames", help="bead snapshots of runs as extxyz",
        description="Write bead snapshots of one run, or of several one after the other, as structures, for 'mlcalc label'.",
        epilog="example:\n  rpmd frames runs/c20/P8 --every 5 --beads-per-frame 2 -o frames.xyz", formatter_class=raw,
    )  # fmt: skip
    frames.add_argument("runs", metavar="RUN", nargs="+", type=Path)
    frames.add_argument("-o", "--output", required=True, metavar="FRAMES.xyz")
    frames.add_argument("--skip", type=int, default=0, help="number of frames to skip at the start")
    frames.add_argument("--every", type=int, default=1, help="take every n-th frame")
    frames.add_argument("--beads-per-frame", type=int, help="beads drawn from each frame (default: all)")
    frames.add_argument("--seed", type=int, default=0, help="seed of the random draw of beads")
    frames.add_argument(
        "--disagreement", type=float, metavar="LIMIT",
        help="only beads whose forces the run's committee disagrees on by more than this, in eV/Å",
    )  # fmt: skip
    frames.add_argument(
        "--most", type=int, metavar="N",
        help="upper limit on the beads of a run; the most different ones are kept (default: 100 with --disagreement, else all)",
    )  # fmt: skip
    frames.set_defaults(command=_frames)


def _add_run_options(command) -> None:
    _add_input_options(command)
    command.add_argument("--steps", type=int, help="time steps of production")
    command.add_argument("--temperature", type=float, metavar="K", dest="temperature_K")
    command.add_argument("--output", metavar="FOLDER")
    command.add_argument("--overwrite", action="store_true", help="replace a run that the output folder holds")
    _add_end_options(command)


def _add_input_options(command) -> None:
    command.add_argument("input", metavar="INPUT.toml")
    command.add_argument("--model", help="shipped model name or model file")
    command.add_argument(
        "--engine", help="instead of a model: tblite:GFN2-xTB, cp2k:INPUT_FILE, ase:NAME, 'ase:IMPORTABLE.NAME {JSON}'"
    )
    command.add_argument("--seed", type=int)
    command.add_argument(
        "--threads", type=int, help="threads of the compiled kernel, or worker processes of an engine (0: all)"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="any other key"
    )


def _add_check_forces(commands, raw) -> None:
    command = commands.add_parser(
        "check-forces", help="forces against finite differences of the energy",
        description="Compare the forces of an input's model or engine with differences of its energy, for beads at and around the "
        "start; the exit code is 1 if they disagree. Writes nothing.",
        epilog="example:\n  rpmd check-forces inputs/c20/rpmd.toml --engine tblite:GFN2-xTB --coordinates 6", formatter_class=raw,
    )  # fmt: skip
    _add_input_options(command)
    for name, kind, default, text in (
        ("--check-beads", int, 4, "beads to check; the first is the start"),
        ("--displacement", float, 0.05, "standard deviation of the coordinates of the other beads, Å"),
        ("--coordinates", int, 12, "coordinates of each bead, drawn at random; four energies each"),
        ("--step", float, 0.01, "step of the differences, Å"),
        ("--tolerance", float, 0.01, "largest difference allowed, eV/Å, beside 0.5 %% of the bead's largest force"),
    ):
        command.add_argument(name, type=kind, default=default, help=f"{text} (default: {default})")
    command.set_defaults(command=_check_forces)


def _add_end_options(command) -> None:
    command.add_argument(
        "--max-walltime", type=_wall_time, metavar="[H:]M:S",
        help="stop within this time, with a checkpoint and exit code 75, so that a queue can start 'rpmd resume'",
    )  # fmt: skip
    command.add_argument("--no-figure", action="store_true", help="skip the analysis at the end")


def _bead_list(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers of beads such as 1,4,8") from None


def _frames(options) -> int:
    from md.runs.frames import Choice, bead_structures
    from mlcalc.data.labelling import write_frames

    if options.skip < 0 or options.every < 1:
        raise InputError(f"--skip {options.skip} --every {options.every}: expected at least 0 and at least 1")
    choice = Choice(
        options.skip, options.every, options.beads_per_frame, options.seed, options.disagreement, options.most
    )
    structures = []
    for run in options.runs:
        of_run, found = bead_structures(run, choice)
        structures += of_run
        print(found if len(options.runs) == 1 else f"{run}: {found}")
    write_frames(structures, Path(options.output))
    print(f"{len(structures)} structures written to {options.output}")
    return 0


def _run(options) -> int:
    return _finish("distances", options, *_simulate(options))


def _resume(options) -> int:
    from md.guards.endings import StopRequest
    from md.runs.start import resume
    from mlcalc.common.settings import parse_assignment

    overrides = dict(parse_assignment(text) for text in options.assignments)
    with StopRequest(options.max_walltime) as stop:
        ended = resume(options.run, options.steps, stop, overrides, options.engine)
    return _finish("distances", options, *ended)


def _converge(options) -> int:
    return _finish("convergence", options, *_simulate(options, heat_capacity=True))


def _real_time(options) -> int:
    from md.runs.identity import REAL_TIME

    return _finish("spectrum", options, *_simulate(options, REAL_TIME))


def _estimators(options) -> int:
    from md.observables.averages import DERIVED
    from md.observables.estimators import ALWAYS, ESTIMATORS

    print(
        "columns of properties.csv and quantities derived from them; means over the beads, energies of all atoms together\n"
    )
    for name, row in (ESTIMATORS | DERIVED).items():
        formula = " ".join((row.function.__doc__ or "").split())
        needs = "" if row.needs == ALWAYS or isinstance(row.needs, tuple) else f" [{row.needs}]"
        print(f"{name}: {row.label} / {row.unit}{needs}\n    {formula}\n    {row.reference}")
    return 0


def _check_forces(options) -> int:
    from md.runs.force_check import Trial, as_text, check_forces

    trial = Trial(options.check_beads, options.displacement, options.coordinates, options.step, options.tolerance)
    found, symbols = check_forces(_settings(options), trial)
    print(as_text(found, symbols))
    return 0 if all(item.good for item in found) else 1


def _simulate(options, kind: str = "run", **keys) -> tuple[int, list[Path]]:
    from md.guards.endings import StopRequest
    from md.runs.start import run

    settings = _settings(options, **keys)
    with StopRequest(options.max_walltime) as stop:
        return run(settings, stop, options.overwrite, kind)


def _settings(options, **keys):
    """RunSettings of an input and of the options that override it."""
    from md.runs.config import read_settings
    from mlcalc.common.settings import parse_assignment

    named = ("model", "engine", "beads", "steps", "temperature_K", "seed", "threads", "output")
    overrides = keys | dict(parse_assignment(text) for text in options.assignments)
    overrides |= {key: value for key in named if (value := getattr(options, key, None)) is not None}
    return read_settings(options.input, overrides)


def _wall_time(text: str) -> float:
    from md.guards.endings import seconds_of

    try:
        return seconds_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected [[days-]hours:]minutes:seconds, or seconds") from None


def _finish(command: str, options, code: int, folders: list[Path]) -> int:
    """Make the table and figure of finished runs; a failure here does not change the exit code of the runs, an interrupt does."""
    if code or options.no_figure:
        return code
    # A separate process keeps matplotlib and MDAnalysis out of the simulation: md never imports analysis.
    # -P: a folder "analysis" in the current directory must not shadow this package.
    arguments = ["-m", "analysis", command, *map(str, folders)]
    done = subprocess.run([sys.executable, "-P", *arguments], check=False, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.splitlines()
    reason = lines.pop().removeprefix("python -m analysis: error: ") if done.returncode and lines else ""
    for line in lines:
        say(line)
    if done.returncode:
        later = shlex.join(["python", *arguments])
        reason = reason or f"exit code {done.returncode}"
        say(
            f"rpmd: note: the run is finished, but its table and figure are missing ({reason}); make them with: {later}"
        )
    return EXIT_INTERRUPTED if done.returncode in (EXIT_INTERRUPTED, -signal.SIGINT) else code


if __name__ == "__main__":
    sys.exit(main())
