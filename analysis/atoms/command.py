"""The command ``python -m analysis atoms``."""

import argparse
from pathlib import Path

from analysis.command_options import add_json, show
from analysis.figure_path import figure_path
from mlcalc.common.files import check_regular


def add_atoms(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "atoms", help="energies and charges that networks give to single atoms, and how far networks agree on them",
        description="Split energies into those of atoms: each atom's share of the network and of its priors, without the constant "
        "of its element; by element and by environment (an atom and its bonded neighbours). A partition is not unique: with "
        "several models, of other seeds, the command says how much of it depends on the model. Of models with a readout of "
        "charges, the same for these, beside the charges that the file carries.",
        epilog="example:  python -m analysis atoms molecules.xyz --model net1/model.safetensors --model net2/model.safetensors "
        "-o atoms.png",
    )  # fmt: skip
    command.add_argument("structures", type=Path, metavar="STRUCTURES", help="file of structures that ASE reads")
    command.add_argument(
        "--model", action="append", required=True, help="shipped model name or model file; again for several"
    )
    command.add_argument(
        "--shells", type=int, choices=(1, 2), default=1,
        help="of bonded neighbours in an environment; 2 tells functional groups apart: O(C(C,H)) in an aldehyde (default: 1)",
    )  # fmt: skip
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png",
        help="figure; tables and numbers go beside it, those of all atoms to OUT.npz",
    )  # fmt: skip
    add_json(command)
    command.set_defaults(command=_atoms)


def _atoms(options: argparse.Namespace) -> None:
    path = figure_path([], options.output, "atoms.png")
    check_regular(options.structures)
    from analysis.atoms import report
    from analysis.atoms.charges import atom_charges
    from analysis.atoms.energies import atom_energies
    from analysis.atoms.figure import atoms_figure
    from analysis.figures import write_beside
    from analysis.model_names import model_names
    from mlcalc.model_file import load_model
    from mlcalc.structures.structure_files import read_atoms

    names = model_names(options.model)
    models = {name: load_model(model) for name, model in zip(names, options.model, strict=True)}
    frames = read_atoms(options.structures)
    found = atom_energies(models, frames, str(options.structures), options.shells)
    charges = atom_charges(models, frames, str(options.structures), options.shells)
    text, numbers = report.as_text(found, charges), report.as_json(found, charges)
    figure, arrays = atoms_figure(found, charges, frames[0]), report.as_npz(found, charges)
    paths = write_beside(path, figure, text, numbers, npz=arrays)
    show(numbers if options.json else text, paths, options.json)
