"""The command ``python -m analysis probe``."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.command_options import add_json, number, show
from analysis.figure_path import figure_path
from mlcalc.common.errors import InputError, note
from mlcalc.common.files import check_place, check_regular, write_atomically

if TYPE_CHECKING:
    from analysis.probe.comparison import Comparison

_LEVEL = 3.7  # Å⁻², of the figures in J. Chem. Phys. 148, 241722 (2018)
_SPACING, _CUBE_SPACING = 0.2, 0.3


def add_probe(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "probe", help="energy of a probe atom around a molecule that does not feel it",
        description="Draw the local chemical potential of a network: the energy of a probe atom that receives messages from a "
        "molecule without changing it, on the surface Σ‖r − r_i‖⁻² = LEVEL around its atoms i. Probes are an extrapolation: "
        "the table says how much of the surface is nearer to an atom than distances in training. Several molecules or models "
        "are compared side by side.",
        epilog="example:  python -m analysis probe inputs/acac/acac.xyz --model acac --atom H -o acac_H.png",
    )  # fmt: skip
    command.add_argument(
        "molecules", nargs="+", type=Path, metavar="MOLECULE.xyz", help="files with one structure each, not periodic"
    )
    command.add_argument(
        "--model", action="append", required=True, help="shipped model name or model file; again for several"
    )
    command.add_argument("--atom", required=True, metavar="ELEMENT", help="chemical symbol of the probe")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png", help="figure; its numbers go beside it"
    )
    command.add_argument(
        "--level", type=number, default=_LEVEL, metavar="Å⁻²", help=f"of the surface (default: {_LEVEL})"
    )
    command.add_argument(
        "--spacing", type=number, default=_SPACING, metavar="Å", help=f"of points on the surface (default: {_SPACING})"
    )
    command.add_argument("--html", action="store_true", help="also write OUT.html, to turn the surface in a browser")
    command.add_argument("--cube", type=Path, metavar="OUT.cube", help="also write the energies (eV) on a grid")
    command.add_argument(
        "--cube-spacing", type=number, metavar="Å", help=f"of the grid of --cube (default: {_CUBE_SPACING})"
    )
    add_json(command)
    command.set_defaults(command=_probe)


def _probe(options: argparse.Namespace) -> None:
    path = figure_path([], options.output, "probe.png")
    for molecule in options.molecules:
        check_regular(molecule)
    several = len(options.molecules) > 1 or len(options.model) > 1
    if several and (options.html or options.cube):
        raise InputError("--html and --cube: for one molecule and one model; leave them out to compare several")
    _check_cube(options)
    found = _potentials(options)
    (_compare if several else _draw_one)(options, path, found)


def _potentials(options: argparse.Namespace) -> "Comparison":
    from analysis.model_names import model_names
    from analysis.probe.comparison import Comparison
    from analysis.probe.report import LocalPotential, local_potential, read_molecule
    from mlcalc.model_file import load_model

    names, of_molecules = model_names(options.model), list[list[LocalPotential]]()
    models = [load_model(model) for model in options.model]
    molecules = [read_molecule(molecule) for molecule in options.molecules]
    for path, atoms in zip(options.molecules, molecules, strict=True):
        of_molecules.append([])
        for name, file, model in zip(names, options.model, models, strict=True):
            try:
                found = local_potential(model, atoms, options.atom, options.level, options.spacing, name)
            except InputError as error:
                raise InputError(f"{path} with the model {file}: {error}") from error
            of_molecules[-1].append(found)
    return Comparison([path.stem for path in options.molecules], names, of_molecules)


def _compare(options: argparse.Namespace, path: Path, compared: "Comparison") -> None:
    from analysis.figures import write_beside
    from analysis.probe import comparison

    text, numbers = comparison.as_text(compared), comparison.as_json(compared)
    paths = write_beside(path, comparison.comparison_figure(compared), text, numbers)
    show(numbers if options.json else text, paths, options.json)


def _draw_one(options: argparse.Namespace, path: Path, compared: "Comparison") -> None:
    from analysis.figures import write_beside
    from analysis.probe import report
    from analysis.probe.figure import probe_figure
    from analysis.probe.view import web_page

    ((found,),) = compared.found
    cube = (
        report.as_cube(found, _CUBE_SPACING if options.cube_spacing is None else options.cube_spacing)
        if options.cube
        else None
    )
    others = {"npz": report.as_npz(found)}
    if options.html:
        page = web_page(found)
        if page is None:
            note("no HTML, which needs chemiscope: pip install 'mlcalc[notebooks]'")
        else:
            others["html"] = page
    text, numbers = report.as_text(found), report.as_json(found)
    paths = write_beside(path, probe_figure(found), text, numbers, **others)
    if cube is not None:
        write_atomically(options.cube, cube)
        paths.append(options.cube)
    show(numbers if options.json else text, paths, options.json)


def _check_cube(options: argparse.Namespace) -> None:
    if options.cube is None:
        if options.cube_spacing is not None:
            raise InputError("--cube-spacing: an option of --cube only; leave it out")
        return
    if options.cube.suffix != ".cube":
        raise InputError(f"--cube {options.cube}: expected a name that ends in .cube")
    check_place(options.cube)
