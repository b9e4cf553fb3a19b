"""The wheel holds all that a user needs and nothing else, and works where there is no checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.test_house import tracked

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the files that git knows: a build folder left behind must not find its way in."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = out.glob("*.whl")
    return found


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = [path for path in tracked() if path.parts[0] in ("mlcalc", "md", "analysis")]
    expected = {str(path) for path in packaged if "notebooks" not in path.parts}
    inside = {name for name in names if ".dist-info" not in name}
    assert expected <= inside
    assert {name.split("/")[0] for name in inside} == {"mlcalc", "md", "analysis"}
    assert any(name.endswith("LICENSE") for name in names)


@pytest.mark.slow
def test_installed_without_a_checkout(wheel, tmp_path):
    """Unpacked elsewhere, it finds its models and reads an input. (A run would compile for half a minute.)"""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import mlcalc, mlcalc.cli, analysis.runs.universe\n"
        "from md.runs.config import read_settings\n"
        "from md.runs.preparation import prepare\n"
        "assert mlcalc.__file__.startswith(sys.path[0]), mlcalc.__file__\n"
        f"prepare(read_settings({str(ROOT / 'inputs' / 'c20' / 'rpmd.toml')!r}, {{}}))\n"
        "sys.exit(mlcalc.cli.main(['info']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "c20-large" in done.stdout
