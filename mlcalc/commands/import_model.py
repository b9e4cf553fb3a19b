"""The command ``mlcalc import``."""

import argparse
from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place
from mlcalc.importers import IMPORTERS


def add_import(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    parser = commands.add_parser(
        "import", help="turn another program's checkpoint into a model file", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Import a trained network. Nothing in a checkpoint is executed.",
        epilog="examples:\n  mlcalc import schnetpack best_model --energy-unit eV --length-unit Ang -o model.safetensors\n"
        "  mlcalc import schnet-tf force_model -o teacher.safetensors",
    )  # fmt: skip
    parser.add_argument(
        "format", choices=tuple(IMPORTERS), help="; ".join(f"{name}: {row.what}" for name, row in IMPORTERS.items()),
    )  # fmt: skip
    parser.add_argument("source", metavar="CHECKPOINT")
    parser.add_argument(
        "--energy-unit", help="unit of SchNetPack's model, which records none: eV, meV, Hartree, kcal/mol, kJ/mol"
    )
    parser.add_argument("--length-unit", help="likewise: Ang, Bohr, nm")
    parser.add_argument(
        "--elements", nargs="+", metavar="SYMBOL",
        help="elements of the training set, which checkpoints do not record (default: schnet-tf: C; schnetpack: the elements of "
        "its single-atom energies, or all; dtnn-7ib: H C N O F)",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="MODEL.safetensors")
    parser.set_defaults(command=_import)


def _import(options) -> int:
    from mlcalc.model_file import save_model
    from mlcalc.model_summary import describe

    output = Path(options.output)
    if check_place(output).suffix != ".safetensors":
        raise InputError(f"--output {output}: expected a name that ends in .safetensors")
    model = _imported(options)
    save_model(model, output)
    print(f"{output}: {describe(model)}")
    return 0


def _imported(options):
    elements, importer = tuple(options.elements) if options.elements else None, IMPORTERS[options.format]
    given = {"--energy-unit": options.energy_unit, "--length-unit": options.length_unit}
    wrong = [name for name, unit in given.items() if bool(unit) == importer.has_units]
    if wrong and importer.has_units:
        raise InputError(f"{wrong[0]}: checkpoints of {options.format} have units of their own; expected no units")
    if wrong:
        raise InputError(f"{' and '.join(wrong)} missing: checkpoints of {options.format} carry no units; see --help")
    model = importer.read(options.source, elements, options.energy_unit, options.length_unit)
    if elements is None and not importer.has_units:
        print(
            f"elements: {len(model.config.elements)}, all that the file names; --elements for those of the training set"
        )
    return model
