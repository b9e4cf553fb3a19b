"""Copies of potentials in a run folder, beside model.safetensors or engine.txt: of the committee and of [[potential]] tables."""

import hashlib
from pathlib import Path
from typing import Any

from md.files.layout import ENGINE, INPUT, MODEL
from md.files.received import opener
from mlcalc.common.settings import read_toml

_COMMITTEE, _SLOW = "committee-*.safetensors", "potential-*"
SUM = "sum:"  # begins what sum_of returns


def copies_of(folder: Path) -> list[Path]:
    """All copies that lie in a folder, those of the committee first, in order."""
    return [*sorted(folder.glob(_COMMITTEE)), *sorted(folder.glob(_SLOW))]


def copy_names(n_committee: int, n_slow: int) -> dict[str, str]:
    """File names of the copies for so many members and tables, by the keys of input_files.Inputs.contents."""
    names = {f"committee[{k}]": _COMMITTEE.replace("*", f"{k:03d}") for k in range(n_committee)}
    for k in range(n_slow):
        names |= {f"potential[{k}].model": _slow_name(k, "safetensors"), f"potential[{k}].engine": _slow_name(k, "txt")}
    return names


def _slow_name(k: int, ending: str) -> str:
    return _SLOW.replace("*", f"{k:03d}.{ending}")


def own_potentials(folder: Path) -> dict[str, Any]:
    """The keys of a run's settings that name potentials, with the copies in its folder."""
    found = read_toml(folder / INPUT)
    own: dict[str, Any] = {"committee": [str(path) for path in sorted(folder.glob(_COMMITTEE))]}
    if not found.get("engine"):
        own["model"] = str(folder / MODEL)
    if slow := found.get("potential"):
        own["potential"] = [
            table | {"model": str(folder / _slow_name(k, "safetensors"))} if _has_model(table) else table
            for k, table in enumerate(slow if isinstance(slow, list) else [slow])
        ]
    return own


def _has_model(table: Any) -> bool:
    return isinstance(table, dict) and bool(table.get("model"))


def sum_of(folder: Path) -> str:
    """A name of what moves a run with [[potential]] tables, the same for the same tables and files; "" for other runs."""
    found = read_toml(folder / INPUT)
    if not found.get("potential"):
        return ""
    tables = [{key: value for key, value in dict(table).items() if key != "model"} for table in found["potential"]]
    digest = hashlib.sha256(repr(tables).encode())
    for path in (folder / MODEL, folder / ENGINE, *sorted(folder.glob(_SLOW))):
        if path.exists():
            with open(path, "rb", opener=opener) as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"{SUM}{found.get('engine') or found['model']} and {len(tables)} slow components ({digest.hexdigest()[:12]})"
