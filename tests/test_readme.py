"""The README keeps its word: its Python runs, its commands exist, its files are there, it is short."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import PARSERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
NAMED = r"`(rpmd|mlcalc|python -m analysis) ([a-z-]+)"


def test_python_examples_run():
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("program", "command"), sorted(set(re.findall(NAMED, README + COMMANDS))))
def test_commands_that_are_named_exist(program, command):
    module = {"rpmd": "md.cli", "mlcalc": "mlcalc.cli", "python -m analysis": "analysis.__main__"}[program]
    code = f"import sys; from {module} import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "example" in done.stdout or command == "ipi-driver-path"  # which takes no arguments


def test_every_command_is_in_the_table():
    """What a program offers is a row of docs/commands.md."""
    rows = set(re.findall(r"^\| " + NAMED, COMMANDS, re.M))
    for program, parser in PARSERS.items():
        (actions,) = (action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
        assert {command for name, command in rows if name == program} == set(actions)


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_ci_runs_what_the_readme_prints():
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.S | re.M)
    assert blocks == [
        "pip install . && rpmd run inputs/c20/rpmd.toml --steps 20000\n",
        "pip install '.[test]' && pytest -n 2\n",
    ]
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script and "pip install ." not in script
