"""The command ``mlcalc coarse-grain``."""

import argparse
from pathlib import Path


def add_coarse_grain(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    command = commands.add_parser(
        "coarse-grain", help="all-atom MD of a liquid or a protein, mapped onto beads",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Simulate a liquid or a protein with OpenMM and write positions of and forces on beads, the centres of mass of\n"
        "molecules or Cα atoms: data for training on forces alone. Run the same command again to resume; a larger number of frames\n"
        "adds to those made. Keys of a liquid: molecule, count, box_A, bead; of a protein: protein or sequence, starts, forces.",
        epilog="examples:\n  mlcalc coarse-grain inputs/methane/all_atom.toml -o runs/methane -j 2\n"
        "  mlcalc coarse-grain inputs/ntl9/all_atom.toml -o runs/ntl9 -j 2",
    )  # fmt: skip
    command.add_argument("config", type=Path, metavar="CONFIG.toml")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    command.add_argument("-j", "--jobs", type=int, default=1, help="worker processes (default: 1)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="assignments", help="any key")
    command.add_argument(
        "--noise-floor",
        type=int,
        metavar="N",
        help="instead, measure the scatter of forces at fixed beads in N frames, and the correlation of frames",
    )
    command.add_argument(
        "--samples",
        type=int,
        default=50,
        metavar="M",
        help="of --noise-floor: per simulation, 0.2 ps apart (default: 50)",
    )
    command.set_defaults(command=_coarse_grain)


def _coarse_grain(options) -> int:
    from tqdm import tqdm

    from mlcalc.common.settings import parse_assignment
    from mlcalc.data.coarse_grain.all_atom import BLOCK_FRAMES, coarse_grain

    overrides = dict(parse_assignment(text) for text in options.assignments)
    if options.noise_floor is not None:
        return _noise_floor(options, overrides)
    with tqdm(unit="frame", disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total * BLOCK_FRAMES
            bar.update(done * BLOCK_FRAMES - bar.n)

        print(coarse_grain(options.config, options.output, options.jobs, overrides, show))
    return 0


def _noise_floor(options, overrides: dict) -> int:
    from mlcalc.common.tables import with_error
    from mlcalc.data.coarse_grain.all_atom import read_settings
    from mlcalc.data.coarse_grain.force_noise import force_autocorrelation, force_noise

    settings = read_settings(options.config, overrides)
    noise = force_noise(settings, options.output, options.noise_floor, options.samples)
    rmse, mae = with_error(1e3 * noise.rmse, 1e3 * noise.rmse_error), with_error(1e3 * noise.mae, 1e3 * noise.mae_error)
    print(f"scatter of force components at {noise.configurations} arrangements of fixed beads, in meV/Å:")
    print(f"RMSE {rmse}, MAE {mae}; no model has lower errors, apart from the small contribution of the ties")
    again = with_error(*force_autocorrelation(settings, options.output))
    print(f"autocorrelation of forces one frame ({settings.frame_interval_ps:g} ps) apart: {again}")
    return 0
