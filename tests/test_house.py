"""The house rules that a machine can check: which way imports run, and what the repository's top level holds."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mlcalc", "md", "analysis")
# md meets potentials in one place and its command line; the rest of mlcalc that it may know is of files and structures.
TOOLS_FOR_MD = ("mlcalc.common", "mlcalc.structures")
DOORS_OF_MD = {"md.potentials", "md.cli"}


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


def modules() -> dict[str, set[str]]:
    """Module → modules of this project that it imports, wherever in it."""
    paths = [path.relative_to(ROOT) for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    return {
        name: {
            f"{module}.{part}" if f"{module}.{part}" in names else module
            for module, part in imports(ROOT / path)
            if package(module) in (*PACKAGES, "tests")
        }
        for name, path in names.items()
        if "notebooks" not in name
    }


MODULES = modules()


def folder(module: str) -> str:
    """A module's folder below its package; modules at the top of a package stand for themselves."""
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 else module


@pytest.mark.parametrize("name", sorted(MODULES))
def test_packages_import_one_way(name):
    known = {package(module) for module in MODULES[name]}
    above = {"mlcalc": {"md", "analysis", "tests"}, "md": {"analysis", "tests"}, "analysis": {"tests"}}[package(name)]
    assert not known & above
    if package(name) == "md" and name not in DOORS_OF_MD:
        others = {m for m in MODULES[name] if package(m) == "mlcalc" and not m.startswith(TOOLS_FOR_MD)}
        assert not others, "md meets networks through md.potentials"


@pytest.mark.parametrize("root", PACKAGES)
def test_folders_import_one_way(root):
    """No circle of folders, nor of the modules beside them."""
    graph: dict[str, set[str]] = {}
    for name, imported in MODULES.items():
        if package(name) == root and folder(name) != root:
            below = {folder(module) for module in imported if package(module) == root} - {root, folder(name)}
            graph.setdefault(folder(name), set()).update(below)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = error.args[1]
        ties = [
            f"{name} → {module}"
            for one, other in zip(circle[1:], circle[:-1], strict=True)
            for name in sorted(MODULES)
            for module in sorted(MODULES[name])
            if folder(name) == one and folder(module) == other
        ]
        pytest.fail(f"{' ← '.join(circle)}: {'; '.join(ties)}")


def test_modules_import_one_way():
    """No circle within a folder either, whether an import waits in a function or not."""
    graph = {name: {module for module in imported if module != name} for name, imported in MODULES.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" ← ".join(error.args[1]))


def is_command(module: str) -> bool:
    return module in ("mlcalc.cli", "md.cli", "analysis.__main__") or bool(re.search(r"\.commands?(\.|$)", module))


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not is_command(name)))
def test_only_commands_import_commands(name):
    assert not [module for module in MODULES[name] if is_command(module)]


def test_no_module_is_left_to_git_to_ignore():
    """A folder named like one of .gitignore would be missing from every clone."""
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", *PACKAGES]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert not [path for path in listed if path.endswith(".py")]


@pytest.mark.parametrize("path", ["mlcalc.labels", "md.config", "analysis.universe", "analysis.lrp"])
def test_old_paths_are_the_new_modules(path):
    """Of those that documents of version 0.1 named."""
    import importlib

    assert importlib.import_module(path).__name__ in MODULES


def tracked() -> list[Path]:
    """Files of the repository: those that git tracks; in a downloaded archive, those that .gitignore does not name."""
    with suppress(OSError):  # no git here
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
        if listed.returncode == 0 and listed.stdout:
            return [Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()]
    return sorted(unpacked(ROOT))


def unpacked(root: Path) -> Iterator[Path]:
    """Files below a folder that is no checkout, without what .gitignore names and without virtual environments."""
    patterns = (root / ".gitignore").read_text(encoding="utf-8").split()

    def ignored(path: Path, slash: str) -> bool:
        return any(
            fnmatch((path.as_posix() if "/" in pattern.rstrip("/") else path.name) + slash, pattern.removeprefix("/"))
            for pattern in patterns
        )

    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [
            name
            for name in folders
            if not (name == ".git" or ignored(here / name, "/") or (root / here / name / "pyvenv.cfg").exists())
        ]
        yield from (here / name for name in files if not ignored(here / name, ""))


def test_an_archive_holds_what_git_tracks(tmp_path):
    """The same files are listed with and without git, beside what installing, testing and running leave behind."""
    expected = tracked()
    left = [
        "build/lib/x.py",
        "runs/c20/run.log",
        "mlcalc/__pycache__/x.pyc",
        "mlcalc.egg-info/PKG-INFO",
        "inputs/c20/data/x.xyz",
    ]
    for path in [*expected, *map(Path, left), Path("env/pyvenv.cfg"), Path("env/lib/x.py")]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((ROOT / path).read_bytes() if path.name == ".gitignore" else b"")
    assert sorted(unpacked(tmp_path)) == sorted(expected)


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
