"""The command ``mlcalc coarse-grain``."""

import argparse
import time
from pathlib import Path


def add_coarse_grain(commands) -> None:
    """Add the command to the sub-parsers of ``mlcalc``."""
    command = commands.add_parser(
        "coarse-grain", help="all-atom MD of a liquid or a protein, mapped onto beads",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Simulate a liquid or a protein with OpenMM and write positions of and forces on beads, which are centres of\n"
        "mass of molecules, or Cα atoms: data for training on forces alone. Run the same command again to resume; a larger\n"
        "number of frames adds to those made. Keys of a liquid: molecule, count, box_A, bead; of a protein: protein or sequence,\n"
        "starts, forces.",
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
        help="instead, the scatter of forces at fixed beads: of a liquid, measured in N frames, with the correlation of frames; "
        "of a protein with mean forces, as recorded in all frames (any N)",
    )
    command.add_argument(
        "--so-far", action="store_true", help="instead, write frames.xyz of what an unfinished run has made"
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
    from mlcalc.data.coarse_grain.all_atom import BLOCK_FRAMES, coarse_grain, join_so_far

    overrides = dict(parse_assignment(text) for text in options.assignments)
    if options.noise_floor is not None:
        return _noise_floor(options, overrides)
    if options.so_far:
        print(join_so_far(options.config, options.output, overrides))
        return 0
    with tqdm(unit="frame", disable=None) as bar:
        began: list[tuple[int, float]] = []

        def show(done: int, total: int) -> None:
            bar.total = total * BLOCK_FRAMES
            bar.update(done * BLOCK_FRAMES - bar.n)
            began.append((done, time.monotonic()))
            if bar.disable:  # no terminal: lines for a log
                (first, start), (last, now) = began[0], began[-1]
                left = f", {(now - start) / (last - first) * (total - last) / 60:.0f} min left" if last > first else ""
                print(f"{done * BLOCK_FRAMES} of {total * BLOCK_FRAMES} frames{left}", flush=True)

        print(coarse_grain(options.config, options.output, options.jobs, overrides, show))
    return 0


def _noise_floor(options, overrides: dict) -> int:
    from mlcalc.common.tables import with_error
    from mlcalc.data.coarse_grain.all_atom import read_settings
    from mlcalc.data.coarse_grain.force_noise import force_autocorrelation, force_noise, mean_force_noise
    from mlcalc.data.coarse_grain.protein import ProteinSettings

    settings = read_settings(options.config, overrides)
    if isinstance(settings, ProteinSettings):
        found = mean_force_noise(settings, options.output)
        print(f"root mean squares of force components in {found.frames} frames, in meV/Å:")
        for what, value, error in (
            ("plain forces about their mean", found.plain, found.plain_error),
            ("mean forces about theirs", found.mean, found.mean_error),
        ):
            print(f"  {what}: {with_error(1e3 * value, 1e3 * error)}")
        print(f"  mean forces themselves: {1e3 * found.forces:.0f}")
        return 0
    noise = force_noise(settings, options.output, options.noise_floor, options.samples)
    rmse, mae = with_error(1e3 * noise.rmse, 1e3 * noise.rmse_error), with_error(1e3 * noise.mae, 1e3 * noise.mae_error)
    print(f"scatter of force components at {noise.configurations} arrangements of fixed beads, in meV/Å:")
    print(f"RMSE {rmse}, MAE {mae}; no model has lower errors, apart from the small contribution of the ties")
    again = with_error(*force_autocorrelation(settings, options.output))
    print(f"autocorrelation of forces one frame ({settings.frame_interval_ps:g} ps) apart: {again}")
    return 0
