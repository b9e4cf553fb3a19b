"""Compile the plugin for the installed LAMMPS, and check it against our calculator."""

import os
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

from mlcalc.common.errors import InputError
from mlcalc.lammps.components import HEADER, components_header
from mlcalc.lammps.installation import Lammps

# Vectors of this processor; the sums of matrix products stay in the order in which they are written.
_OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-shared", "-fPIC")


def find_compiler() -> str:
    """The C++ compiler: ``CXX``, else g++, else clang++.

    Raises:
        InputError: There is none.
    """
    named = os.environ.get("CXX")
    for name in [named] if named else ["g++", "clang++"]:
        if found := shutil.which(name):
            return found
    if named:
        raise InputError(f"CXX = {named!r}: no such compiler")
    raise InputError("no C++ compiler: install g++ (Debian: apt install g++), or name yours in CXX")


def compile_plugin(lammps: Lammps, path: Path) -> None:
    """Write the plugin; words of ``CXXFLAGS`` come behind our options and may change them.

    Raises:
        InputError: No compiler; it stopped, and its first error is quoted.
    """
    sources = sorted(str(source) for source in _source_folder().glob("*.cpp"))
    version = f"-DMLCALC_LAMMPS_VERSION={lammps.version}"
    command = [find_compiler(), *_OPTIONS, *os.environ.get("CXXFLAGS", "").split(), version, *lammps.flags, *sources]
    with tempfile.TemporaryDirectory(prefix="mlcalc-lammps-") as folder:
        Path(folder, HEADER).write_text(components_header(), encoding="utf-8")
        command += [f"-I{folder}", f"-I{_source_folder()}"]
        done = subprocess.run([*command, "-o", str(path)], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        raise InputError(f"{command[0]} stopped: {lines[0]}")


def _source_folder() -> Path:
    return Path(str(resources.files("mlcalc"))) / "lammps" / "plugin"
