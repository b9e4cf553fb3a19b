"""The commands ``python -m analysis solubility`` and ``explanations``."""

import argparse
from pathlib import Path

from analysis.command_options import add_json, show
from analysis.figure_path import figure_path
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice, check_range

_METHODS = ("rollout", "lrp", "gradient", "shapley")


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("--model", type=Path, required=True, metavar="MODEL", help="of 'mlcalc molecules finetune'")
    command.add_argument(
        "--solvent", default="water", help="water, ethanol, benzene or acetone, if trained (default: water)"
    )
    command.add_argument("--seed", type=int, default=0, help="of permutations and random writings (default: 0)")


def add_solubility(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "solubility", help="which atoms of a molecule a predicted solubility comes from",
        description="Relevances of the atoms of molecules for a predicted solubility: a table, and a picture coloured by atom. "
        "rollout: attention × gradient, without sign; lrp: LRP for Transformers; gradient: gradient × input; shapley: Shapley "
        "values of atoms hidden behind <MASK>. All but rollout have a sign. Which to trust: python -m analysis explanations.",
        epilog="example:  python -m analysis solubility CCO c1ccccc1O --method shapley --model runs/aqsoldb -o phenol.png",
    )  # fmt: skip
    command.add_argument("smiles", nargs="+", metavar="SMILES")
    command.add_argument("--method", default="shapley", metavar="M", help=f"{', '.join(_METHODS)} (default: shapley)")
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.png", help="also draw; the numbers go beside the picture"
    )
    _add_model(command)
    add_json(command)
    command.set_defaults(command=_solubility)


def _solubility(options: argparse.Namespace) -> None:
    check_choice("--method", options.method, _METHODS)
    check_range("--seed", options.seed, 0, 2**32 - 1)
    path = figure_path([], options.output, "solubility.png") if options.output else None
    from analysis.figures import write_beside
    from analysis.molecules.language.figure import relevance_figure
    from analysis.molecules.language.report import as_json, as_text, explain
    from mlcalc.molecules.language.model_file import load_language_model
    from mlcalc.molecules.toolkit import rdkit

    rdkit()
    model = load_language_model(options.model, "solubility")
    found = [explain(model, smiles, options.solvent, options.method, options.seed) for smiles in options.smiles]
    text, numbers = as_text(found, options.solvent), as_json(found, options.solvent)
    paths = write_beside(path, relevance_figure(found, options.solvent), text, numbers) if path else []
    show(numbers if options.json else text, paths, options.json)


def add_explanations(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "explanations", help="which way of explaining solubilities deserves trust",
        description="Judge the methods of 'python -m analysis solubility' on molecules of a file: curves of hiding and uncovering "
        "atoms, signs against Crippen's contributions to logP, stability over writings, each beside chance.",
        epilog="example:  python -m analysis explanations esol.csv --model runs/aqsoldb --number 100 -o explanations.txt",
    )  # fmt: skip
    command.add_argument("file", type=Path, metavar="FILE.csv", help="with a column of SMILES")
    command.add_argument(
        "--number", type=int, default=100, metavar="N", help="molecules, chosen at random (default: 100)"
    )
    command.add_argument(
        "--writings", type=int, default=5, metavar="N", help="random ones of each molecule (default: 5)"
    )
    command.add_argument(
        "-o", "--output", type=Path, metavar="OUT.txt", help="write the table, and its numbers beside it"
    )
    _add_model(command)
    add_json(command)
    command.set_defaults(command=_explanations)


def _explanations(options: argparse.Namespace) -> None:
    check_range("--number", options.number, 2, 100_000)
    check_range("--writings", options.writings, 2, 1000)
    check_range("--seed", options.seed, 0, 2**31)
    from mlcalc.common.files import check_place, write_atomically

    if options.output and check_place(options.output).suffix != ".txt":
        raise InputError(f"--output {options.output}: expected a name that ends in .txt")
    from analysis.molecules.language.judgement import as_json, as_text, judge
    from mlcalc.molecules.language.model_file import load_language_model
    from mlcalc.molecules.language.tables import read_smiles
    from mlcalc.molecules.toolkit import rdkit

    rdkit()
    model = load_language_model(options.model, "solubility")
    smiles = [one for _, one in read_smiles(options.file)]
    found = judge(model, smiles, options.solvent, options.number, options.writings, options.seed)
    text, numbers = as_text(found), as_json(found)
    paths = []
    if options.output:
        paths = [options.output, options.output.with_suffix(".json")]
        for path, content in zip(paths, (text + "\n", numbers), strict=True):
            write_atomically(path, content.encode())
    show(numbers if options.json else text, paths, options.json)
