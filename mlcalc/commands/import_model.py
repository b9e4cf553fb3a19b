"""The command ``mlcalc import``."""

import argparse
from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_place


def add_import(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    parser = commands.add_parser(
        "import", help="turn another program's checkpoint into a model file", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Import a trained network. Nothing in a checkpoint is executed.",
        epilog="examples:\n  mlcalc import schnetpack best_model --energy-unit eV --length-unit Ang -o model.safetensors\n"
        "  mlcalc import schnet-tf force_model -o teacher.safetensors",
    )  # fmt: skip
    parser.add_argument(
        "format", choices=("schnetpack", "schnet-tf"),
        help="schnetpack: SchNetPack 2, best_model; schnet-tf: original SchNet, folder of a TensorFlow V2 checkpoint",
    )  # fmt: skip
    parser.add_argument("source", metavar="CHECKPOINT")
    parser.add_argument(
        "--energy-unit", help="unit of SchNetPack's model, which records none: eV, meV, Hartree, kcal/mol, kJ/mol"
    )
    parser.add_argument("--length-unit", help="likewise: Ang, Bohr, nm")
    parser.add_argument(
        "--elements", nargs="+", metavar="SYMBOL",
        help="elements of the training set, which checkpoints do not record (default: schnet-tf: C; schnetpack: the elements of "
        "its single-atom energies, or all)",
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
    elements = tuple(options.elements) if options.elements else None
    given = {"--energy-unit": options.energy_unit, "--length-unit": options.length_unit}
    if options.format == "schnet-tf":
        if wrong := [name for name, unit in given.items() if unit]:
            raise InputError(f"{wrong[0]}: an original SchNet is in kcal/mol and Å; expected no units")
        from mlcalc.importers.schnet_tf import import_schnet_tf

        return import_schnet_tf(options.source, elements or ("C",))
    if missing := [name for name, unit in given.items() if not unit]:
        raise InputError(f"{' and '.join(missing)} missing: SchNetPack's file records no units; see --help")
    from mlcalc.importers.schnetpack import import_schnetpack

    model = import_schnetpack(options.source, options.energy_unit, options.length_unit, elements)
    if elements is None:
        print(
            f"elements: {len(model.config.elements)}, as far as the file records them; --elements names those of the training set"
        )
    return model
