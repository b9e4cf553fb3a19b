"""The command ``python -m analysis embeddings``."""

import argparse
from pathlib import Path

from analysis.command_options import add_json, show
from analysis.figure_path import figure_path
from mlcalc.common.settings import check_range

_SAMPLES, _MOST_SAMPLES = 9999, 10**7


def add_embeddings(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "embeddings", help="whether the vectors by which a network tells elements apart know the periodic table",
        description="Draw the vectors of the elements of models (embedding.weight) along their first two principal components, "
        "and test in all dimensions, by permutation, whether elements of one group or one period are nearer to each other than to "
        "others. Compare models of several seeds: each has a p-value of its own.",
        epilog="example:  python -m analysis embeddings net1/model.safetensors net2/model.safetensors -o embeddings.png",
    )  # fmt: skip
    command.add_argument("models", nargs="+", metavar="MODEL", help="shipped model name or model file")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png", help="figure; its numbers go beside it"
    )
    command.add_argument(
        "--elements", nargs="+", metavar="SYMBOL", help="look at these elements alone (default: all of each model)"
    )
    command.add_argument(
        "--permutations", type=int, default=_SAMPLES, metavar="N",
        help=f"random arrangements of the labels, where there are too many to count all (default: {_SAMPLES})",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of the random arrangements (default: 0)")
    add_json(command)
    command.set_defaults(command=_embeddings)


def _embeddings(options: argparse.Namespace) -> None:
    path = figure_path([], options.output, "embeddings.png")
    check_range("permutations", options.permutations, 1, _MOST_SAMPLES)
    check_range("seed", options.seed, 0)
    from analysis.embeddings import report
    from analysis.embeddings.figure import embeddings_figure
    from analysis.embeddings.vectors import element_vectors
    from analysis.figures import write_beside
    from analysis.model_names import model_names
    from mlcalc.model_file import load_model

    models = [
        element_vectors(load_model(model), name, options.elements)
        for model, name in zip(options.models, model_names(options.models), strict=True)
    ]
    found = report.compare(models, options.permutations, options.seed)
    text, numbers = report.as_text(found), report.as_json(found)
    paths = write_beside(path, embeddings_figure(found), text, numbers)
    show(numbers if options.json else text, paths, options.json)
