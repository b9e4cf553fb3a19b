"""The command ``mlcalc train``."""

import argparse
from pathlib import Path


def add_train(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    train = commands.add_parser(
        "train", help="train a network", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train a network on energies and forces, configured by a TOML file.",
        epilog="example (--resume continues where it stopped):\n  mlcalc train inputs/c20/train.toml -o runs/train",
        add_help=False,
    )  # fmt: skip
    train.add_argument("-h", "--help", action=_HelpWithKeys, help="show this help message and exit")
    train.add_argument("config", metavar="CONFIG.toml")
    train.add_argument(
        "-o", "--output", metavar="FOLDER", help="default: the name of the config, in the current folder"
    )
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="any key")
    train.add_argument("--init", metavar="MODEL", help="start from the weights of this model")
    train.add_argument("--resume", action="store_true", help="resume the training in the output folder")
    train.set_defaults(command=_train)


class _HelpWithKeys(argparse._HelpAction):
    """Help with the keys of the TOML file; listing them needs imports that other commands do not wait for."""

    def __call__(self, parser, namespace, values, option_string=None):
        from mlcalc.common.settings import describe_keys
        from mlcalc.training.settings import TrainingSettings

        parser.epilog += f"\n\nkeys of the file and their defaults:\n{describe_keys(TrainingSettings)}"
        super().__call__(parser, namespace, values, option_string)


def _train(options) -> int:
    from mlcalc.common.settings import parse_assignment
    from mlcalc.training.start import train

    output = Path(options.output or Path(options.config).stem)
    overrides = dict(parse_assignment(text) for text in options.assignments)
    model = train(options.config, output, options.init, options.resume, overrides)
    print(f"model: {model}\nlearning curve: {output / 'learning_curve.png'}")
    return 0
