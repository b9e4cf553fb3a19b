"""The command ``mlcalc priors``."""

import argparse
from pathlib import Path


def add_priors(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    command = commands.add_parser(
        "priors", help="priors of a chain of beads, for training", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write a file of priors (bonds, angles, dihedral angles, repulsion) for the key priors_file of mlcalc train:\n"
        "fitted to frames of one chain by Boltzmann inversion, or read from a published archive of arrays.",
        epilog="examples:\n  mlcalc priors runs/ntl9/frames.xyz --temperature 350 --cutoff 12 -o runs/ntl9/priors.json\n"
        "  mlcalc priors --published prior_mlcg.npz --sequence MKVIFLKD --cutoff 12 -o priors.json",
    )  # fmt: skip
    command.add_argument(
        "frames", nargs="*", type=Path, metavar="FRAMES.xyz", help="beads in their order along the chain"
    )
    command.add_argument("--temperature", type=float, metavar="K", help="of the frames")
    command.add_argument("--cutoff", type=float, required=True, metavar="ANGSTROM", help="of the network")
    command.add_argument(
        "--excluded", type=int, default=3, metavar="N", help="beads up to N apart do not repel (default: 3)"
    )
    command.add_argument("--orders", type=int, default=4, metavar="N", help="of a dihedral angle (default: 4)")
    command.add_argument("--published", type=Path, metavar="PRIOR.npz", help="read this archive instead of frames")
    command.add_argument("--sequence", default="", help="of --published: one-letter codes of its residues")
    command.add_argument("--energy-unit", default="kcal/mol", help="of --published (default: kcal/mol)")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="PRIORS.json")
    command.set_defaults(command=_priors)


def _priors(options) -> int:
    from mlcalc.common.errors import InputError
    from mlcalc.priors.prior_file import write_priors

    if bool(options.frames) == bool(options.published):
        raise InputError("expected frames to fit to, or --published PRIOR.npz, and not both")
    if options.published:
        from mlcalc.importers.chain_prior import read_chain_prior

        priors = read_chain_prior(options.published, options.sequence, options.cutoff, options.energy_unit)
        origin = f"read from {options.published.name}"
    else:
        priors, origin = _fitted(options)
    write_priors(priors, origin, options.output)
    print(f"{options.output}: " + ", ".join(map(str, priors.values())))
    return 0


def _fitted(options):
    from mlcalc.common.errors import InputError
    from mlcalc.data.coarse_grain.chain_priors import fit_chain_priors
    from mlcalc.training.dataset import read_dataset

    if options.temperature is None:
        raise InputError("expected --temperature, of the frames")
    data = read_dataset(options.frames)
    numbers = data.numbers.reshape(len(data), -1) if len(set(data.counts.tolist())) == 1 else None
    if numbers is None or (numbers != numbers[0]).any() or data.pbc.any():
        raise InputError(f"{options.frames[0]}: expected frames of one chain, its beads in one order, without a cell")
    positions = data.positions.reshape(*numbers.shape, 3)
    settings = options.temperature, options.cutoff, options.excluded, options.orders
    origin = f"fitted to {len(data)} frames of {', '.join(path.name for path in options.frames)} at {options.temperature:g} K"
    return fit_chain_priors(positions, numbers[0], *settings), origin
