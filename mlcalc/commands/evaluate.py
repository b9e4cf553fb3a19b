"""The command ``mlcalc evaluate``."""

import argparse
from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json


def add_evaluate(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    evaluate = commands.add_parser(
        "evaluate", help="errors of a model on labelled structures", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="MAE and RMSE of energies and forces with error bars, by kind of structure, and a parity plot.",
        epilog="example:\n  mlcalc evaluate c20 inputs/c20/pbe_d3_test.xyz",
    )  # fmt: skip
    evaluate.add_argument("model", metavar="MODEL")
    evaluate.add_argument("data", nargs="+", metavar="DATA.xyz", help="several files share one zero of energy")
    evaluate.add_argument("-o", "--output", metavar="PARITY.png", help="default: parity-MODEL-DATA.png here")
    evaluate.add_argument("--group-by", nargs="*", default=("sampling", "temperature_K", "beads"), metavar="KEY")
    evaluate.add_argument("--precision", choices=("float32", "float64"), default="float32")
    evaluate.add_argument("--energy-key", default="", metavar="NAME", help="name of the energies, if not energy")
    evaluate.add_argument("--forces-key", default="", metavar="NAME", help="name of the forces, if not forces")
    evaluate.add_argument(
        "--energy-unit",
        default="",
        metavar="UNIT",
        help="unit of the energies; forces are in that unit per Å (default: as the file states, or eV)",
    )
    evaluate.add_argument("--record", action="store_true", help="also record the errors in the model file")
    evaluate.add_argument("--json", action="store_true", help="print JSON instead of the table")
    evaluate.set_defaults(command=_evaluate)


def _evaluate(options) -> int:
    from mlcalc.common.files import check_place
    from mlcalc.common.settings import check_choice
    from mlcalc.model_file import find_model
    from mlcalc.structures.labels import LabelNames
    from mlcalc.structures.unit_names import ENERGY_UNITS
    from mlcalc.training.evaluation import as_text, evaluate, record

    plot = (
        options.output or f"parity-{Path(options.model).stem}-{'-'.join(Path(name).stem for name in options.data)}.png"
    )
    if check_place(plot).suffix != ".png":
        raise InputError(f"--output {plot}: expected a name that ends in .png")
    if options.energy_unit:
        check_choice("--energy-unit", options.energy_unit, ENERGY_UNITS)
    names = LabelNames(options.energy_key, options.forces_key, options.energy_unit)
    evaluation = evaluate(options.model, options.data, tuple(options.group_by), plot, options.precision, names)
    if options.record:
        record(evaluation, find_model(options.model))
    print(to_json(evaluation.as_dict(), indent=1) if options.json else f"{as_text(evaluation)}\nparity plot: {plot}")
    return 0
