"""The trials: each takes a working folder and the options, and returns the header and rows of a table and whether it passed."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from md.files.checkpoint import NEWEST, read_checkpoint
from tests.soak.runs import CASES, INPUTS, RPMD, Case, compare, finish, killed_run

Table = tuple[list[str], list[list[str]], bool]
_KILLS_PER_RUN = 10
_SHORT = Case(
    "short", "run", "c20/rpmd.toml",
    {"beads": 4, "steps": 6000, "equilibration_steps": 100, "checkpoint_every_steps": 500, "trajectory_every_steps": 5},
)  # fmt: skip
_JUMPS = """
import random, time
original, rng = time.time, random.Random(1)
time.time = lambda: original() + rng.uniform(-1e6, 1e6)
import sys; from md.cli import main; sys.exit(main())
"""


def kills(place: Path, options) -> Table:
    """Kill and resume runs of every kind up to a number of kills."""
    rng, rows, total, good = random.Random(options.seed), [], 0, True
    for case in CASES:
        finish(case.line(place / f"reference {case.name}"))
    for number in range(options.number):
        if total >= options.number:
            break
        case, folder = CASES[number % len(CASES)], place / f"run{number}"
        here = killed_run(case, folder, rng, min(_KILLS_PER_RUN, options.number - total))
        found = compare(folder, place / f"reference {case.name}")
        total, good = total + here, good and found == (0, 0, True)
        rows.append([case.name, str(here), str(found.lost), str(found.doubled), "yes" if found.same else "NO"])
        print(f"{total} kills: {case.name}, {here} here, bit-identical: {rows[-1][-1]}", flush=True)
    rows.append(["all", str(total), *(str(sum(int(row[n]) for row in rows)) for n in (2, 3)), "yes" if good else "NO"])
    return ["run", "kills survived", "frames lost", "frames doubled", "bit-identical"], rows, good


def disk(place: Path, options) -> Table:
    """Fill the disk, free space, resume."""
    finish(_SHORT.line(place / "reference"))
    needed = sum(path.stat().st_size for path in (place / "reference").iterdir())
    rows, good = [], True
    for share in (0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        folder = place / f"disk{share}"
        folder.mkdir()
        size = int(share * needed)
        mounted = _mount(folder, size)
        line = _SHORT.line(folder / "run")
        # Without permission to mount, limit every file to a share of the largest.
        limit = int(share * max(path.stat().st_size for path in (place / "reference").iterdir()))
        starved = subprocess.run(
            line,
            capture_output=True,
            text=True,
            preexec_fn=None if mounted else lambda limit=limit: _limit_files(limit),
        )
        said = starved.returncode == 8 and "Traceback" not in starved.stderr
        if mounted:
            subprocess.run(["mount", "-o", f"remount,size={2 * needed}", str(folder)], check=True)
        finish(line)
        found = compare(folder / "run", place / "reference")
        good = good and said and found == (0, 0, True)
        rows.append([
            f"{size} bytes" if mounted else f"files of {limit} bytes", str(starved.returncode), str(found.lost),
            str(found.doubled), "yes" if found.same else "NO",
        ])  # fmt: skip
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)
    return ["disk", "exit code", "frames lost", "frames doubled", "bit-identical after resume"], rows, good


def _mount(folder: Path, size: int) -> bool:
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    return os.geteuid() == 0 and subprocess.run(line, capture_output=True).returncode == 0


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def corruption(place: Path, options) -> Table:
    """Flip one bit in every byte of the newest checkpoint; resume at intervals."""
    finish(_SHORT.line(place / "reference"))
    finish(_SHORT.line(place / "run", steps=5800))
    good_bytes = (place / "run" / NEWEST).read_bytes()
    noticed = resumed = 0
    every = max(1, len(good_bytes) // 8)
    for at in range(len(good_bytes)):
        damaged = bytearray(good_bytes)
        damaged[at] ^= 1 << (at % 8)
        (place / "run" / NEWEST).write_bytes(bytes(damaged))
        checkpoint, warning = read_checkpoint(place / "run")
        noticed += warning is not None and checkpoint.step < 5800
        if at % every == 0:
            shutil.copytree(place / "run", place / f"run{at}")
            finish([*RPMD, "resume", str(place / f"run{at}"), "--steps", "6000", "--no-figure"])
            resumed += compare(place / f"run{at}", place / "reference") == (0, 0, True)
    n_resumed = len(range(0, len(good_bytes), every))
    rows = [[str(len(good_bytes)), str(noticed), str(n_resumed), str(resumed)]]
    header = ["bytes damaged, one at a time", "noticed", "resumed", "bit-identical"]
    return header, rows, noticed == len(good_bytes) and resumed == n_resumed


def clock(place: Path, options) -> Table:
    """Run under unusual clocks, time zones and locales."""
    finish(_SHORT.line(place / "reference"))
    surroundings = {
        "a clock that jumps by days": ([sys.executable, "-P", "-c", _JUMPS], {}),
        "TZ = Pacific/Kiritimati": (RPMD, {"TZ": "Pacific/Kiritimati"}),
        "LC_ALL = C, no UTF-8 mode": (RPMD, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        "LC_ALL = tr_TR.UTF-8": (RPMD, {"LC_ALL": "tr_TR.UTF-8"}),
        "PYTHONHASHSEED = 1": (RPMD, {"PYTHONHASHSEED": "1"}),
        "one thread": (RPMD, {"NUMBA_NUM_THREADS": "1"}),
    }
    rows, good = [], True
    for number, (name, (program, variables)) in enumerate(surroundings.items()):
        line = _SHORT.line(place / f"run{number}")[len(RPMD) :]
        done = subprocess.run([*program, *line], env=os.environ | variables, capture_output=True, text=True)
        same = done.returncode == 0 and compare(place / f"run{number}", place / "reference") == (0, 0, True)
        good = good and same
        rows.append([name, str(done.returncode), "yes" if same else "NO"])
    return ["surroundings", "exit code", "bit-identical"], rows, good


def memory(place: Path, options) -> Table:
    """Call the calculator and the potential of a run 10 000 times; the first 1000 may allocate."""
    from ase.io import read

    from md.potentials import find_model, load_model, make_potential
    from mlcalc import SchNetCalculator

    atoms = read(INPUTS / "c20" / "c20.xyz")
    calculator, rng = SchNetCalculator("c20"), np.random.default_rng(options.seed)
    potential = make_potential(load_model(find_model("c20")), atoms)
    beads = np.repeat(atoms.positions[None], 8, axis=0)

    def calculate() -> None:
        shaken = atoms.copy()
        shaken.positions += rng.normal(0.0, 0.02, shaken.positions.shape)
        shaken.calc = calculator
        shaken.get_forces()

    rows, good = [], True
    for name, call in (("calculator", calculate), ("potential, P = 8", lambda: potential(beads))):
        for _ in range(1000):
            call()
        before = _resident_bytes()
        for _ in range(9000):
            call()
        grown = _resident_bytes() - before
        good = good and grown < 1 << 20
        rows.append([name, "10000", f"{grown / 1024:.0f}"])
    return ["object", "calls", "growth of the last 9000 / KiB"], rows, good


def _resident_bytes(process: int | str = "self") -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hour(place: Path, options) -> Table:
    """Run for an hour, with a record of memory and rate; then check the folder, and that it can be resumed."""
    import json

    folder, seconds = place / "run", 60.0 * options.minutes
    line = [
        *RPMD,
        "run",
        str(INPUTS / "c20" / "rpmd.toml"),
        "--beads",
        "8",
        "--steps",
        "1000000000",
        "--output",
        str(folder),
    ]
    line += ["--set", "trajectory_every_steps=200", "--max-walltime", str(seconds), "--no-figure"]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    looks: list[tuple[float, int, int]] = []
    while process.poll() is None:
        time.sleep(min(10.0, seconds / 30))
        try:
            step = json.loads((folder / "status.json").read_text())["step"]
            looks.append((time.monotonic(), step, _resident_bytes(process.pid)))
        except OSError as error:  # not begun yet, or ended since
            if error.errno not in (errno.ENOENT, errno.ESRCH):
                raise
    third = len(looks) // 3
    grown = np.mean([look[2] for look in looks[-third:]]) - np.mean([look[2] for look in looks[third : 2 * third]])
    rates = [
        (part[-1][1] - part[0][1]) / (part[-1][0] - part[0][0])
        for part in (looks[third : 2 * third], looks[2 * third :])
    ]
    checked = subprocess.run([*RPMD, "check", str(folder)], capture_output=True, text=True)
    status = json.loads((folder / "status.json").read_text())
    finish([*RPMD, "resume", str(folder), "--steps", str(status["step"] + 1000), "--no-figure"])
    good = process.returncode == 75 and checked.returncode == 0 and grown < 4 << 20
    row = [
        f"{options.minutes:g}", str(status["step"]), f"{rates[0]:.0f}", f"{rates[1]:.0f}", f"{grown / 1024:.0f}",
        str(process.returncode), "intact" if checked.returncode == 0 else "WRONG",
    ]  # fmt: skip
    header = ["minutes", "steps", "steps/s, 2nd third", "3rd third", "growth between them / KiB", "exit code", "folder"]
    return header, [row], good
