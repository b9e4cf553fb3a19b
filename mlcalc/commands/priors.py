"""The command ``mlcalc priors``."""

import argparse
import math
from pathlib import Path

# Options that apply to only one source of priors. Where None is no value, it says that the option was not given.
_OF_FRAMES = {"temperature": None, "excluded": None, "orders": None}
_OF_PUBLISHED = {"sequence": None, "energy_unit": None}
_EXCLUDED, _ORDERS, _ENERGY_UNIT = 3, 4, "kcal/mol"


def add_priors(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    command = commands.add_parser(
        "priors", help="priors of a chain of beads, for training", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write a file of priors (bonds, angles, dihedral angles, repulsion) for the key priors_file of mlcalc train:\n"
        "fitted to frames of one chain by Boltzmann inversion, or read from a published archive of arrays.",
        epilog="examples:\n  mlcalc priors runs/ntl9/frames.xyz --cutoff 12 -o runs/ntl9/priors.json\n"
        "  mlcalc priors --published prior_mlcg.npz --sequence MKVIFLKD --cutoff 12 -o priors.json",
    )  # fmt: skip
    command.add_argument(
        "frames", nargs="*", type=Path, metavar="FRAMES.xyz", help="beads in their order along the chain"
    )
    command.add_argument("--cutoff", type=float, required=True, metavar="ANGSTROM", help="of the network")
    _add_of_frames(command)
    _add_of_published(command)
    command.add_argument("-o", "--output", type=Path, required=True, metavar="PRIORS.json")
    command.set_defaults(command=_priors)


def _add_of_frames(command) -> None:
    command.add_argument(
        "--temperature", type=float, metavar="K", help="of FRAMES (default: the temperature_K that all of them state)"
    )
    command.add_argument(
        "--excluded", type=int, metavar="N", help=f"of FRAMES: beads up to N apart do not repel (default: {_EXCLUDED})"
    )
    command.add_argument("--orders", type=int, metavar="N", help=f"of FRAMES: of a dihedral angle (default: {_ORDERS})")


def _add_of_published(command) -> None:
    command.add_argument("--published", type=Path, metavar="PRIOR.npz", help="read this archive instead of frames")
    command.add_argument("--sequence", help="of --published: one-letter codes of its residues")
    command.add_argument("--energy-unit", help=f"of --published (default: {_ENERGY_UNIT})")


def _priors(options) -> int:
    from mlcalc.common.errors import InputError
    from mlcalc.common.options import refuse_unused
    from mlcalc.priors.prior_file import write_priors

    if bool(options.frames) == bool(options.published):
        raise InputError("expected frames to fit to, or --published PRIOR.npz, and not both")
    if options.published:
        refuse_unused(options, _OF_FRAMES, "for FRAMES only")
        priors, origin = _published(options)
    else:
        refuse_unused(options, _OF_PUBLISHED, "of --published only")
        priors, origin = _fitted(options)
    write_priors(priors, origin, options.output)
    print(f"{options.output}: " + ", ".join(map(str, priors.values())))
    return 0


def _published(options):
    from mlcalc.importers.chain_prior import read_chain_prior

    unit = _ENERGY_UNIT if options.energy_unit is None else options.energy_unit
    priors = read_chain_prior(options.published, options.sequence or "", options.cutoff, unit)
    return priors, f"read from {options.published.name}"


def _fitted(options):
    from mlcalc.common.errors import InputError
    from mlcalc.data.coarse_grain.chain_priors import fit_chain_priors
    from mlcalc.training.dataset import read_dataset

    data = read_dataset(options.frames)
    types = data.numbers.reshape(len(data), -1) if len(set(data.counts.tolist())) == 1 else None
    if types is None or (types != types[0]).any() or data.pbc.any():
        raise InputError(f"{options.frames[0]}: expected frames of one chain, its beads in one order, without a cell")
    temperature_K = _temperature(data, options.temperature)
    excluded = _EXCLUDED if options.excluded is None else options.excluded
    n_orders = _ORDERS if options.orders is None else options.orders
    priors = fit_chain_priors(
        data.positions.reshape(*types.shape, 3), types[0], temperature_K, options.cutoff, excluded, n_orders
    )
    names = ", ".join(path.name for path in options.frames)
    return priors, f"fitted to {len(data)} frames of {names} at {temperature_K:g} K"


def _temperature(data, given: float | None) -> float:
    """Temperature of frames, K: given, or the one that all of them state; InputError for frames that state another."""
    from mlcalc.common.errors import InputError

    stated = [_stated_temperature(data, k) for k in range(len(data))]
    expected = stated[0] if given is None else given
    for k, found in enumerate(stated):
        if expected is None or (found is None and given is None):
            raise InputError(f"{data.place_of(k)} has no temperature_K: expected --temperature, of the frames")
        if found is not None and not math.isclose(found, expected, rel_tol=1e-6):
            where = f"{data.place_of(k)} has the temperature_K {found:g}"
            if given is None:
                raise InputError(f"{where}, the first {expected:g}: expected frames of one temperature")
            raise InputError(f"--temperature {given:g}: {where}: expected that of the frames; leave it out")
    return float(expected)


def _stated_temperature(data, frame: int) -> float | None:
    import numpy as np

    from mlcalc.common.errors import InputError
    from mlcalc.training.dataset import said_of

    found = said_of(data.info[frame], "temperature_K")
    value = np.asarray(found)
    if found is not None and (value.dtype.kind not in "iuf" or value.size != 1):
        raise InputError(f"{data.place_of(frame)} has the temperature_K {found}: expected a number")
    return None if found is None else float(value.item())
