"""The command ``mlcalc export``."""

import argparse
from pathlib import Path


def add_export(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    export = commands.add_parser(
        "export", help="write a network for engines that read metatomic's models",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write a SchNet or PaiNN as a model of metatomic (pip install 'mlcalc[metatomic]').",
        epilog="example:\n  mlcalc export metatomic acac -o acac.pt",
    )  # fmt: skip
    formats = export.add_subparsers(required=True, metavar="FORMAT")
    metatomic = formats.add_parser(
        "metatomic", help="TorchScript with metatomic's interface", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write weights, repulsion, constant energies and the shortest distances of a model in TorchScript, which\n"
        "metatomic's engines evaluate without mlcalc: ASE, i-PI and others. Positions and energies are float64.",
        epilog="example:\n  mlcalc export metatomic acac -o acac.pt",
    )  # fmt: skip
    metatomic.add_argument("models", nargs="+", metavar="MODEL", help="a shipped name or a file; one")
    metatomic.add_argument("-o", "--output", type=Path, required=True, metavar="MODEL.pt")
    metatomic.add_argument(
        "--precision", choices=("float32", "float64"), default="float32", help="of the network (default: float32)"
    )
    metatomic.set_defaults(command=_metatomic)


def _metatomic(options) -> int:
    from mlcalc.common.errors import InputError, note
    from mlcalc.common.files import check_place, write_atomically
    from mlcalc.exportable import left_out
    from mlcalc.metatomic.export import as_metatomic, summary
    from mlcalc.model_file import load_model
    from mlcalc.model_summary import describe

    if len(options.models) > 1:
        raise InputError(f"{len(options.models)} models, a committee: the export to metatomic takes one")
    if check_place(options.output).suffix != ".pt":
        raise InputError(f"--output {options.output}: expected a name that ends in .pt")
    model = load_model(options.models[0])
    content = as_metatomic(model, Path(options.models[0]).stem, options.precision)
    write_atomically(options.output, content)
    for text in left_out(model, "metatomic"):
        note(text)
    print(f"{options.output}: {describe(model)}")
    print(summary(model))
    return 0
