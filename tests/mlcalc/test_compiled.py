"""Compiled code where none of it can be kept: an installation that is read alone, and a home that is none."""

import os
import subprocess
import sys

# Numba asks each place whether it can be written; none can.
CODE = """
from numba.core.caching import CacheImpl, InTreeCacheLocator
InTreeCacheLocator.ensure_cache_path = lambda self: (_ for _ in ()).throw(PermissionError("read-only"))
from mlcalc.common.compiled import njit

@njit(cache=True, error_model="numpy")
def twice(x):
    return 2 * x

@njit(cache=True)
def thrice(x):
    return 3 * x

assert (twice(2), thrice(2)) == (4, 6)
"""


def run(folder, **environment) -> subprocess.CompletedProcess:
    kept = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    script = folder / "script.py"
    script.write_text(CODE)
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    return subprocess.run(
        [sys.executable, str(script)], env=kept | {"PYTHONPATH": root} | environment, capture_output=True, text=True, cwd=folder
    )  # fmt: skip


def test_one_note_where_nothing_can_be_kept(tmp_path):
    done = run(tmp_path, HOME="/dev/null/nobody")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("note: no writable folder for compiled code")
    assert done.stderr.count("\n") == 1


def test_nothing_is_kept_in_the_current_folder(tmp_path):
    done = run(tmp_path, HOME="~")  # what "~" stands for where a user has no home
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_a_folder_of_the_users_is_used(tmp_path):
    done = run(tmp_path, HOME="/dev/null/nobody", NUMBA_CACHE_DIR=str(tmp_path / "kept"))
    assert done.returncode == 0 and not done.stderr
    assert len(list((tmp_path / "kept").rglob("*.nbc"))) == 2
