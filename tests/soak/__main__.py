"""Long trials of the guarantees of runs: kill them, fill their disk, damage them, and compare the results bit for bit.

    python -m tests.soak kills --number 100
    python -m tests.soak all

kills       SIGKILL at random moments, then resume: P = 1, P = 8, metadynamics, trajectories and constant pressure in turn
disk        a disk that becomes full, at many sizes (a small tmpfs as root, else a limit on the size of files), then resume
corruption  one bit of the newest checkpoint flipped, byte by byte
clock       a clock that jumps back and forth, other time zones and locales
memory      10 000 calls of the calculator, and of the potential of a run
hour        an hour of C20 at P = 8: memory, rate, limits, and a check of its folder

Each trial prints a table; the exit code is 1 if a guarantee is broken. Working folders are removed unless --keep gives a place.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from mlcalc.common.tables import aligned
from tests.soak import trials

TRIALS = {
    "kills": trials.kills, "disk": trials.disk, "corruption": trials.corruption, "clock": trials.clock,
    "memory": trials.memory, "hour": trials.hour,
}  # fmt: skip


def main() -> int:
    """Run the requested trials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=[*TRIALS, "all"])
    parser.add_argument("--number", type=int, default=100, help="number of kills (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of the trial 'hour' (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    good = True
    for name in TRIALS if options.trial == "all" else [options.trial]:
        with tempfile.TemporaryDirectory() as temporary:
            place = Path(temporary) if options.keep is None else options.keep / name
            place.mkdir(parents=True, exist_ok=True)
            header, rows, passed = TRIALS[name](place, options)
        print(f"\n{name}: {'passed' if passed else 'BROKEN'}\n{aligned(header, rows, left=1)}", flush=True)
        good = good and passed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
