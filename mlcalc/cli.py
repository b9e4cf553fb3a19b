"""The command line ``mlcalc``. Heavy imports wait for their command."""

import argparse
import sys

from mlcalc.commands.coarse_grain import add_coarse_grain
from mlcalc.commands.data import add_data
from mlcalc.commands.evaluate import add_evaluate
from mlcalc.commands.export import add_export
from mlcalc.commands.import_model import add_import
from mlcalc.commands.info import add_info
from mlcalc.commands.label import add_label
from mlcalc.commands.lammps import add_lammps
from mlcalc.commands.learn import add_learn
from mlcalc.commands.modes import add_modes
from mlcalc.commands.molecules import add_molecules
from mlcalc.commands.priors import add_priors
from mlcalc.commands.relax import add_relax
from mlcalc.commands.sample import add_sample
from mlcalc.commands.train import add_train
from mlcalc.common.completion import add_completion
from mlcalc.common.errors import run_command

# In the order of the help.
_COMMANDS = (
    add_learn, add_data, add_label, add_sample, add_coarse_grain, add_priors, add_train, add_evaluate, add_modes, add_relax,
    add_import, add_lammps, add_export, add_molecules, add_info,
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (0 done, 1 some structures failed, 2 bad input, 3 not converged, 130 interrupted)."""
    options = _parser().parse_args(arguments)
    return run_command("mlcalc", lambda: options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlcalc", description="Neural-network potentials: label, train, evaluate, import."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    return add_completion(parser)


if __name__ == "__main__":
    sys.exit(main())
