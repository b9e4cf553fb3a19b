"""The commands ``python -m analysis chain``, ``conformations`` and ``mutations``."""

import argparse
from pathlib import Path

from analysis.command_options import add_discard, add_json, check_discard, number, share, show
from analysis.figure_path import figure_path
from mlcalc.common.errors import InputError, note
from mlcalc.common.settings import check_range

_CONTACT_A, _FRAMES, _MOST = 8.0, 40, 5000


def add_chain(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "chain", help="relevance of pairs and triples of residues of a protein of one bead each",
        description="Explain networks of a chain of beads (GNN-LRP, without the priors of the chain, whose energies are printed "
        "beside): a map of the 2-body relevance of residues next to distances and contacts, sums by separation along the chain and "
        "by secondary structure, the strongest pairs and triples; errors over frames, and over networks if there are several.",
        epilog="example:\n  python -m analysis chain runs/painn/model.safetensors runs/so3net/model.safetensors "
        "runs/ntl9/frames.xyz \\\n    --secondary inputs/ntl9/secondary.toml -o residues.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_sources(command)
    command.add_argument(
        "--secondary", type=Path, metavar="FILE.toml",
        help="helices, strands and core, see the documentation (default: those of more than half of the frames by the rule P-SEA)",
    )  # fmt: skip
    _add_contact(command)
    command.add_argument(
        "--html", action="store_true", help="also write OUT.html, to turn the map on the structure in a browser"
    )
    _add_output(command)
    command.set_defaults(command=_chain)


def _add_sources(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "models", nargs="+", metavar="MODEL", help="shipped model name or model file; several are compared"
    )
    command.add_argument(
        "frames",
        type=Path,
        metavar="FRAMES",
        help="file of structures, or run folder of 'rpmd run', of one chain of beads",
    )
    _add_sequence(command)
    command.add_argument(
        "--frames",
        type=int,
        default=_FRAMES,
        dest="most",
        metavar="N",
        help=f"at most so many frames, evenly spaced (default: {_FRAMES})",
    )
    command.add_argument(
        "--discard", type=share, metavar="SHARE", help="of a run, left out at its start (default: 0.1)"
    )
    command.add_argument(
        "--gamma", type=number, default=0.0, metavar="γ", help="default: 0, see the documentation of relevance"
    )
    command.add_argument("--rule", help="as of 'relevance': conserving, gradient or published")


def _add_sequence(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--sequence", metavar="LETTERS", help="one-letter codes (default: those that the structures carry)"
    )


def _add_contact(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--contact",
        type=number,
        default=_CONTACT_A,
        metavar="Å",
        help=f"largest distance of residues in contact (default: {_CONTACT_A:g})",
    )


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.png", help="figure; its numbers go beside it"
    )
    add_json(command)


def _read(options: argparse.Namespace):
    """The chain, and models by their names."""
    from analysis.chain.frames import read_chain
    from analysis.model_names import model_names
    from mlcalc.model_file import load_model

    names = model_names(options.models)
    models = {name: load_model(model) for name, model in zip(names, options.models, strict=True)}
    return read_chain(options.frames, options.sequence, options.most, options.discard), models


def _chain(options: argparse.Namespace) -> None:
    path = figure_path([], options.output, "chain.png")
    check_range("--contact", options.contact, 0.0, open_low=True)
    chain, models = _read(options)
    from tqdm import tqdm

    from analysis.chain import report
    from analysis.chain.figure import chain_figure
    from analysis.chain.residues import explain_chain
    from analysis.chain.secondary import common_structure, read_secondary
    from analysis.chain.view import chain_page

    if options.secondary is None:
        secondary, origin = common_structure(chain.positions), "P-SEA, in more than half of the frames"
    else:
        secondary, origin = read_secondary(options.secondary, len(chain.sequence)), options.secondary.name
    with tqdm(total=len(models) * len(chain.positions), unit="frame", disable=None) as bar:
        found = [
            explain_chain(model, name, chain, options.gamma, options.rule, bar.update) for name, model in models.items()
        ]
    result = report.Report(chain, found, options.gamma, options.contact, secondary, origin)
    page = chain_page(result) if options.html else None
    if options.html and page is None:
        note("no HTML, which needs chemiscope: pip install 'mlcalc[notebooks]'")
    others = {} if page is None else {"html": page}
    paths = report.write_files(result, chain_figure(result), path, **others)
    show(report.as_json(result) if options.json else report.as_text(result), paths, options.json)


def add_conformations(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "conformations", help="size, native contacts and backbone of a moving chain of beads",
        description="How a chain of beads moves: radius of gyration, RMSD and fraction of native contacts along each run, maps of "
        "its contacts and of its backbone (angle and dihedral angle of Cα atoms), beside frames of a reference such as the "
        "all-atom simulation. A run stays near where it began for a while: start some folded and some extended.",
        epilog="example:\n  python -m analysis conformations runs/ntl9/folded runs/ntl9/extended --native folded.xyz \\\n"
        "    --beside inputs/ntl9/reference/frames.xyz -o conformations.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folder of 'rpmd run', or file of structures, of one chain",
    )
    command.add_argument(
        "--native", type=Path, required=True, metavar="FILE", help="the folded structure; of several, the first"
    )
    command.add_argument("--beside", type=Path, metavar="FRAMES", help="frames to compare maps with")
    _add_sequence(command)
    _add_contact(command)
    command.add_argument(
        "--frames", type=int, default=_MOST, dest="most", metavar="N",
        help=f"at most so many frames of each, evenly spaced (default: {_MOST})",
    )  # fmt: skip
    add_discard(command, "of each run, share at its start that means and maps leave out")
    _add_output(command)
    command.set_defaults(command=_conformations)


def _conformations(options: argparse.Namespace) -> None:
    path = figure_path([], options.output, "conformations.png")
    check_range("--contact", options.contact, 0.0, open_low=True)
    check_discard(options.discard)
    from analysis.chain import conformations_report as report
    from analysis.chain.conformations import Conformations
    from analysis.chain.frames import read_chain

    native = read_chain(options.native, options.sequence, 1, None)
    found = []
    for source in [*options.sources, *([options.beside] if options.beside else [])]:
        discard = options.discard if source.is_dir() else 0.0
        chain = read_chain(source, options.sequence or native.sequence, options.most, 0.0 if source.is_dir() else None)
        found.append(Conformations(chain, native.positions[0], options.contact, discard))
    beside = found.pop() if options.beside else None
    runs = any(source.is_dir() for source in (*options.sources, options.beside) if source)
    result = report.ConformationsReport(found, beside, options.discard if runs else 0.0)
    paths = report.write_files(result, path)
    show(report.as_json(result) if options.json else report.as_text(result), paths, options.json)


def add_mutations(commands) -> None:
    """Add the command to the sub-parsers."""
    command = commands.add_parser(
        "mutations", help="what another type of a bead would change, at fixed coordinates",
        description="Exchange the types of single beads of a chain at fixed coordinates: change of the energy of networks, of "
        "their priors and of the map of 2-body relevances. Nothing relaxes: this is no free energy of folding. ΔE of one set of "
        "frames contains a constant that forces leave undetermined; it cancels in the difference to another set (--against). Types "
        "where training never had them are an extrapolation.",
        epilog="examples:\n  python -m analysis mutations runs/painn/model.safetensors folded.xyz --mutate M12K -o m12k.png\n"
        "  python -m analysis mutations runs/painn/model.safetensors folded.xyz --against extended.xyz --scan A "
        "--residues 4,6,21 -o scan.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_sources(command)
    command.add_argument(
        "--mutate",
        action="append",
        default=[],
        metavar="K12M",
        help="letter, residue, letter; again for several, one at a time",
    )
    command.add_argument(
        "--scan", metavar="LETTER", help="exchange each residue of --residues for this one, one at a time"
    )
    command.add_argument(
        "--residues", type=_residues, metavar="5,8,…", help="of --scan (default: all that differ, but for free ends)"
    )
    command.add_argument(
        "--against", type=Path, metavar="FRAMES", help="other frames of the chain: prints the difference of ΔE"
    )
    _add_output(command)
    command.set_defaults(command=_mutations)


def _residues(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as 5,8") from None


def _mutations(options: argparse.Namespace) -> None:
    path = figure_path([], options.output, "mutations.png")
    if options.residues is not None and options.scan is None:
        raise InputError("--residues: an option of --scan only; leave it out")
    chain, models = _read(options)
    from tqdm import tqdm

    from analysis.chain import mutations_report as report
    from analysis.chain.frames import read_chain
    from analysis.chain.mutations import check_types_known, mutate_chain, parse_exchange, scan

    exchanges = [parse_exchange(text, chain) for text in options.mutate]
    exchanges += scan(options.scan, options.residues, chain) if options.scan is not None else []
    if not exchanges:
        raise InputError("expected at least one exchange: --mutate K12M, or --scan A")
    if twice := next((exchange for exchange in exchanges if exchanges.count(exchange) > 1), None):
        raise InputError(f"{twice}: given {exchanges.count(twice)} times: expected once")
    for name, model in models.items():
        check_types_known(model, name, exchanges)
    chains = [chain]
    if options.against is not None:
        discard = options.discard if options.against.is_dir() else None
        chains.append(read_chain(options.against, chain.sequence, options.most, discard))
        if (chains[1].numbers != chain.numbers).any():
            raise InputError(f"{options.against}: its beads are not those of {options.frames}")
    total = sum(len(item.positions) for item in chains) * len(models) * (1 + len(exchanges))
    with tqdm(total=total, unit="explanation", disable=None) as bar:
        found = [
            [
                mutate_chain(model, name, item, exchanges, options.gamma, options.rule, bar.update)
                for name, model in models.items()
            ]
            for item in chains
        ]
    against = (chains[1], found[1]) if len(chains) > 1 else None
    result = report.MutationReport(chain, exchanges, found[0], against, options.gamma)
    paths = report.write_files(result, path)
    show(report.as_json(result) if options.json else report.as_text(result), paths, options.json)
