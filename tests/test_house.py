"""The house rules that a machine can check: which way imports run, and what the repository's top level holds."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# md meets networks in one file and its command line; these are of files and structures, and know no network.
TOOLS_FOR_MD = {
    "mlcalc.compiled",
    "mlcalc.electronic_state",
    "mlcalc.errors",
    "mlcalc.files",
    "mlcalc.json_text",
    "mlcalc.settings",
    "mlcalc.structure_files",
    "mlcalc.tables",
}
DOORS_OF_MD = {"potentials.py", "cli.py"}


def imports(path: Path) -> set[tuple[str, str]]:
    """(module, name) pairs that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def package(module: str) -> str:
    return module.partition(".")[0]


@pytest.mark.parametrize("path", sorted((ROOT / "mlcalc").rglob("*.py")), ids=lambda path: path.name)
def test_mlcalc_knows_nobody(path):
    assert not {package(module) for module, _ in imports(path)} & {"md", "analysis", "tests"}


@pytest.mark.parametrize("path", sorted((ROOT / "md").rglob("*.py")), ids=lambda path: path.name)
def test_md_knows_mlcalc_through_its_doors(path):
    found = imports(path)
    assert not {package(module) for module, _ in found} & {"analysis", "tests"}
    if path.name not in DOORS_OF_MD:
        others = {
            (module, name) for module, name in found if package(module) == "mlcalc" and module not in TOOLS_FOR_MD
        }
        assert not others


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").rglob("*.py")), ids=lambda path: path.name)
def test_analysis_imports_no_tests(path):
    assert "tests" not in {package(module) for module, _ in imports(path)}


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_top_level():
    visible = {path.parts[0] for path in tracked() if not path.parts[0].startswith(".")}
    papers = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff"}
    assert visible == {"pyproject.toml", *papers, "docs", "mlcalc", "md", "tests", "inputs", "analysis"}


def test_nothing_heavy_and_nothing_that_executes_on_loading():
    for path in tracked():
        assert (ROOT / path).stat().st_size < 5_000_000, path
        if path.suffix == ".py" and path.parts[0] in ("mlcalc", "md", "analysis"):
            modules = {package(module) for module, _ in imports(ROOT / path)}
            assert not modules & {"pickle", "marshal", "shelve", "dill"}, path
            called = {node.id for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.Name)}
            assert not called & {"eval", "exec"}, path
