"""The command ``mlcalc sample``."""

import argparse
from pathlib import Path

from mlcalc.commands.engine_help import ENGINES


def add_sample(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    sample = commands.add_parser(
        "sample", help="make structures with a potential", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make structures of one molecule: harmonic draws at P beads, Langevin dynamics, and\n"
        "copies of its structures that are scaled, have a few atoms pushed out of place or are\nturned about bonds.",
        epilog=f"{ENGINES}\n\nexample:\n  mlcalc sample normal-modes c20.xyz --engine schnet:c20 --beads 8 -n 500 -o frames.xyz\n"
        "(structures from real ring-polymer MD: rpmd run, then rpmd frames)",
    )  # fmt: skip
    sample.add_argument("method", choices=("normal-modes", "md", "compressed", "pushed", "turned"))
    sample.add_argument("structure", metavar="STRUCTURE.xyz")
    sample.add_argument("--engine", required=True, help="see below; structures with energies record its name")
    for name, kind, default, metavar, text in (
        ("--count", int, 100, "N", "number of structures"),
        ("--temperature", float, 300.0, "K", "of the draws or the dynamics"),
        ("--beads", _beads, 8, "P", "of the harmonic draws; 1 is classical, inf the quantum limit"),
        ("--trajectories", int, 4, "N", "independent MD trajectories that share the count"),
        ("--timestep-fs", float, 0.5, "fs", "of the dynamics"),
        ("--stride", int, 100, "N", "MD steps between structures; the first 1000 steps of each trajectory are left out"),
        ("--seed", int, 0, "N", "of the random numbers"),
    ):  # fmt: skip
        short = ["-n"] if name == "--count" else []
        help_text = f"{text} (default: {default})"
        sample.add_argument(*short, name, type=kind, default=default, metavar=metavar, help=help_text)
    for name, range_, text in (
        ("--scales", (0.85, 1.05), "factors of compressed structures"),
        ("--push-A", (0.15, 0.6), "shortest and longest shift of pushed atoms, Å"),
    ):
        help_text = f"{text} (default: {range_[0]} {range_[1]})"
        sample.add_argument(name, type=float, nargs=2, default=range_, metavar=("LOW", "HIGH"), help=help_text)
    sample.add_argument("-o", "--output", required=True, metavar="OUT.xyz")
    sample.set_defaults(command=_sample)


def _beads(text: str) -> int | None:
    return None if text == "inf" else int(text)


def _sample(options) -> int:
    from mlcalc.data.sampling import LangevinSettings, SampleSettings, sample_to_file

    settings = SampleSettings(
        options.count, options.temperature, options.beads, options.trajectories, tuple(options.scales),
        tuple(options.push_A), options.seed,
        LangevinSettings(timestep_fs=options.timestep_fs, stride=options.stride),
    )  # fmt: skip
    made = sample_to_file(options.method, options.engine, Path(options.structure), Path(options.output), settings)
    print(f"{len(made)} structures written to {options.output}")
    return 0
