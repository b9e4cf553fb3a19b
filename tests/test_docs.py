"""The documentation keeps its word: it builds without a warning, its Python runs, its commands are understood."""

import ast
import contextlib
import importlib.util
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from sphinx.ext.napoleon import Config, GoogleDocstring

import analysis.__main__
import md.cli
import mlcalc.cli
from tests.test_house import tracked

ROOT = Path(__file__).parents[1]
PARSERS = {
    "rpmd": md.cli._parser,
    "mlcalc": mlcalc.cli._parser,
    "python -m analysis": analysis.__main__._parser,
}
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(text: str, *languages: str) -> list[str]:
    """Fenced code of these languages in a page."""
    return re.findall(rf"^```(?:{'|'.join(languages)})\n(.*?)^```", text, re.S | re.M)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """(program, arguments) of our own programs in shell code."""
    found = []
    for line in re.sub(r"\$\w+", "1", text.replace("\\\n", " ")).splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";&|<>()")
        words.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in words:
            if set(word) <= set(";&|<>()") or word == "do":
                parts.append([])
            else:
                parts[-1].append(word)
        for part in parts:
            for program in PARSERS:
                if part[: len(program.split())] == program.split():
                    found.append((program, part[len(program.split()) :]))
    return found


def test_shell_code_is_taken_apart():
    code = (
        'for s in 1 2; do mlcalc train a.toml \\\n  --set seed=$s; done\ncd x && rpmd run "b c.toml" # rpmd nothing\n'
    )
    assert commands(code) == [("mlcalc", ["train", "a.toml", "--set", "seed=1"]), ("rpmd", ["run", "b c.toml"])]


@pytest.mark.parametrize(
    "path", [p for p in tracked() if p.suffix == ".md" or p.parts[-2:-1] == ("notebooks",)], ids=str
)
def test_commands_are_understood(path):
    """In documents, and in the heads of notebooks."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.suffix == ".py":
        text = re.sub(r"^# ?", "", text, flags=re.M)
    for program, arguments in commands("".join(blocks(text, "sh", "bash"))):
        complaint = io.StringIO()
        try:
            with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(io.StringIO()):
                PARSERS[program]().parse_args(arguments)
        except SystemExit as end:
            assert end.code == 0, f"{program} {shlex.join(arguments)}: {complaint.getvalue()}"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Where a reader would be: the inputs, a run, a structure and an imported network."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "inputs").symlink_to(ROOT / "inputs")
    shutil.copy(ROOT / "inputs" / "c20" / "c20.xyz", folder / "structure.xyz")
    shutil.copy(ROOT / "mlcalc" / "models" / "c20.safetensors", folder / "mine.safetensors")
    short = ["--steps", "400", "--threads", "1", "--no-figure", "--output", str(folder / "runs" / "c20")]
    assert md.cli.main(["run", str(ROOT / "inputs" / "c20" / "rpmd.toml"), *short]) == 0
    return folder


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page.read_text(), "python")], ids=lambda page: page.stem
)
def test_python_runs(page, place):
    code = "\n".join(blocks(page.read_text(encoding="utf-8"), "python"))
    # Two workers need a main module that they may import.
    (place / "page.py").write_text('if __name__ == "__main__":\n' + re.sub(r"^(?=.)", "    ", code, flags=re.M))
    done = subprocess.run([sys.executable, "page.py"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if page.stem == "ase":
        rows = re.findall(r"^from the (?:stress|energies): *\[(.*?)\] GPa", done.stdout, re.M | re.S)
        stress, energies = ([float(word) for word in row.split()] for row in rows)
        assert stress[0] > 0.5
        assert all(abs(a - b) < 0.05 + 0.05 * a for a, b in zip(stress, energies, strict=True))


def docstrings(path: Path):
    """Name and docstring of a file, its classes and its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", path.stem), text


def test_docstrings_are_understood():
    """What test_pages_build finds in docstrings of the reference, in a tenth of its time."""
    keep_bars, wrong = runpy.run_path(str(ROOT / "docs" / "conf.py"))["_keep_bars"], []
    settings = {"report_level": 2, "halt_level": 5, "warning_stream": False}
    modules = re.findall(r"^\.\. automodule:: (\S+)", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.M)
    for module in modules:
        for name, text in docstrings(Path(importlib.util.find_spec(module).origin)):
            # Roles are Sphinx's own.
            lines = re.sub(r":\w+:(?=`)", "", text).splitlines()
            lines = GoogleDocstring(lines, Config(napoleon_use_ivar=True)).lines()
            keep_bars(None, "", name, None, None, lines)
            page = publish_doctree("\n".join(lines), settings_overrides=settings)
            wrong += [
                f"{module}, {name}: {message.astext()}"
                for message in page.findall(nodes.system_message)
                if message["level"] > 1
            ]
    assert len(modules) > 100
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
def test_pages_build(tmp_path):
    """With warnings as errors: every docstring of the reference is understood, every link inside leads somewhere."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api.html").read_text(encoding="utf-8")
    assert "mlcalc.calculator.SchNetCalculator" in reference
    assert "analysis.distances.gyration.RingPolymerGyration" in reference


def test_every_page_is_in_the_contents():
    listed = "\n".join(blocks((ROOT / "docs" / "index.md").read_text(encoding="utf-8"), r"\{toctree\}")).split()
    assert {page.stem for page in PAGES} - {"index"} <= set(listed)


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.stem)
def test_files_that_pages_name_exist(page):
    """Links, and paths in backquotes that begin with a folder of the repository."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(r"`((?:mlcalc|md|analysis|inputs|tests|docs)/[\w./-]+)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
