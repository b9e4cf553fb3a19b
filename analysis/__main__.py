"""``python -m analysis``: numbers and figures from run folders."""

import argparse
import sys

from analysis.atoms.command import add_atoms
from analysis.chain.command import add_chain, add_conformations, add_mutations
from analysis.convergence.command import add_convergence
from analysis.distances.command import add_distances
from analysis.embeddings.command import add_embeddings
from analysis.free_energy.command import add_free_energy
from analysis.ipi.command import add_from_ipi
from analysis.isotopes.command import add_isotopes
from analysis.liquid.command import add_liquid
from analysis.molecules.language.command import add_explanations, add_solubility
from analysis.networks.command import add_networks
from analysis.probe.command import add_probe
from analysis.relevance.command import add_relevance
from analysis.runs.command import add_properties
from analysis.spectrum.command import add_spectrum
from analysis.transfer.command import add_transfer
from mlcalc.common.errors import run_command

# In the order of the help.
_COMMANDS = (
    add_distances, add_transfer, add_free_energy, add_isotopes, add_properties, add_convergence, add_spectrum, add_relevance,
    add_probe, add_atoms, add_embeddings, add_networks, add_liquid, add_chain, add_conformations, add_mutations,
    add_solubility, add_explanations, add_from_ipi,
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 after bad input)."""
    options = _parser().parse_args(arguments)
    return run_command("python -m analysis", lambda: options.command(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Numbers and figures from run folders.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in _COMMANDS:
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
