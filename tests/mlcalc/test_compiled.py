"""Compiled code where none of it can be kept: an installation that is read alone, and a home that is none."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])

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
    return subprocess.run(
        [sys.executable, str(script)], env=kept | {"PYTHONPATH": ROOT} | environment, capture_output=True, text=True, cwd=folder
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


CALLER = """
import sys
import callee
from mlcalc.common.compiled import njit

@njit(cache=True)
def outer(x):
    return callee.inner(x) + 1

print(outer(int(sys.argv[1]) if sys.argv[1].isdigit() else float(sys.argv[1])), sum(outer.stats.cache_hits.values()))
"""
CALLEE = """
from mlcalc.common.compiled import njit

STEP = {}

@njit(cache=True)
def inner(x):
    return x * STEP
"""
MAKER = """
from functools import cache

from numba.extending import intrinsic

from mlcalc.common.compiled import njit

@cache
def step():
    return {}

@intrinsic
def times(typing, x):
    def generate(context, builder, signature, arguments):
        return builder.mul(arguments[0], context.get_constant(x, step()))

    return x(x), generate

@njit(cache=True)
def inner(x):
    return times(x)
"""


@pytest.fixture
def caller(tmp_path):
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "callee.py").write_text(CALLEE.format(10))
    return tmp_path


def start(folder, argument: str = "1", **options) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": ROOT, "NUMBA_CACHE_DIR": str(folder / "kept")}
    command = [sys.executable, str(folder / "caller.py"), argument]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def printed(process: subprocess.Popen) -> list[str]:
    out, error = process.communicate()
    assert process.returncode == 0, error
    return out.split()


def test_an_edit_of_a_function_that_is_called(caller):
    """Code that holds an inlined callee is not used any more when the callee's file changes, and used when nothing does."""
    assert printed(start(caller)) == ["11", "0"]
    assert printed(start(caller)) == ["11", "1"]
    (caller / "callee.py").write_text(CALLEE.format(20))
    assert printed(start(caller)) == ["21", "0"]


def test_an_edit_of_a_function_that_makes_code(caller):
    """An intrinsic and the tables that it reads count as what is called."""
    for step, expected in ((10, "11"), (20, "21")):
        (caller / "callee.py").write_text(MAKER.format(step))
        assert printed(start(caller)) == [expected, "0"]
        assert printed(start(caller)) == [expected, "1"]


def test_a_full_disk_costs_a_note(caller):
    """Files limited to less than compiled code takes: the value is right, nothing is left behind."""
    process = start(caller, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)))
    out, error = process.communicate()
    assert (process.returncode, out.split()) == (0, ["11", "0"])
    assert error.startswith("note: compiled code cannot be kept in") and error.count("\n") == 1
    assert not list((caller / "kept").rglob("*.nbc*"))


def test_processes_that_compile_at_once(caller):
    """Two signatures saved at the same time are two files: each process finds its own next time."""
    for process in [start(caller, "1"), start(caller, "1.5")]:
        printed(process)
    assert printed(start(caller, "1")) == ["11", "1"]
    assert printed(start(caller, "1.5")) == ["16.0", "1"]
