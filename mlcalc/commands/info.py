"""The command ``mlcalc info``."""

import argparse


def add_info(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    info = commands.add_parser(
        "info", help="summary of a model", epilog="example:\n  mlcalc info c20",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Architecture, domain, origin and recorded errors of a model; without one, the shipped models.",
    )  # fmt: skip
    info.add_argument("model", nargs="?", metavar="MODEL", help="default: list the shipped models")
    info.add_argument("--json", action="store_true", help="print JSON: everything in the file except the weights")
    info.set_defaults(command=_info)


def _info(options) -> int:
    from mlcalc.model_file import find_model, load_model, shipped_models
    from mlcalc.model_summary import as_json, as_text, describe

    if options.model is None:
        for name in shipped_models():
            print(f"{name}: {describe(load_model(name))}")
        return 0
    model = load_model(options.model)
    print(as_json(model) if options.json else as_text(options.model, find_model(options.model), model))
    return 0
