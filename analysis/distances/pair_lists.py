"""Pairs of atoms that a user names: ``3-5,4-5`` on the command line, or a TOML file with named groups."""

import difflib
import re
from pathlib import Path

import numpy as np
from ase import Atoms

from analysis.structure.bond_names import pair_name
from mlcalc.common.errors import InputError
from mlcalc.common.settings import read_toml

_RESERVED = "all"  # the name of the distribution of all pairs


def read_pairs(text: str, structure: Atoms) -> dict[str, np.ndarray]:
    """Groups of pairs for PairDistances.

    Args:
        text: ``I-J,K-L`` with atom indices from 0, each pair its own group, named by its atoms (``O3–H5``); or the path of a
            file that ends in .toml with a table ``[groups]`` of names and lists of pairs: ``"O-H" = [[3, 5], [4, 5]]``.
        structure: N atoms.

    Returns:
        Name → (n_pairs, 2) atom indices, i < j.

    Raises:
        InputError: Malformed text; an index out of range, an atom paired with itself, a pair twice in a group, a name used twice.
    """
    if text.endswith(".toml"):
        groups = _read_groups(Path(text))
    else:
        groups = {part: [_parse(part)] for part in text.split(",")}
    found: dict[str, np.ndarray] = {}
    for name, pairs in groups.items():
        where = f"{text}: group {name!r}" if text.endswith(".toml") else f"--pairs {name}"
        checked = [_check(pair, structure, where) for pair in pairs]
        if len(set(checked)) < len(checked):
            raise InputError(f"{where}: a pair of atoms is given twice: expected each once")
        title = name if text.endswith(".toml") else pair_name(structure.get_chemical_symbols(), checked[0])
        if title in found:
            raise InputError(f"{where}: {title} is given twice: expected each pair once")
        found[title] = np.array(checked)
    return found


def _parse(part: str) -> list[int]:
    match = re.fullmatch(r"\s*(\d+)-(\d+)\s*", part)
    if match is None:
        raise InputError(
            f"--pairs {part!r}: expected pairs of atom indices from 0, as in 3-5,4-5, or a file that ends in .toml"
        )
    return [int(index) for index in match.groups()]


def _read_groups(path: Path) -> dict[str, list]:
    table = read_toml(path)
    for key in table:
        if key != "groups":
            near = difflib.get_close_matches(key, ["groups"], n=1)
            hint = "did you mean [groups]?" if near else "expected only the table [groups]"
            raise InputError(f"{path}: unknown key {key!r}; {hint}")
    groups = table.get("groups")
    if not isinstance(groups, dict) or not groups:
        raise InputError(
            f'{path}: expected a table [groups] with names and lists of pairs, as in "O-H" = [[3, 5], [4, 5]]'
        )
    for name, pairs in groups.items():
        if not name.strip() or name == _RESERVED:
            raise InputError(f"{path}: group {name!r}: expected another name; {_RESERVED!r} denotes all pairs")
        if not isinstance(pairs, list) or not pairs or not all(map(_is_pair, pairs)):
            raise InputError(f"{path}: group {name!r} = {pairs!r}: expected a list of pairs, as in [[3, 5], [4, 5]]")
    return groups


def _is_pair(pair) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(type(index) is int for index in pair)


def _check(pair: list[int], structure: Atoms, where: str) -> tuple[int, int]:
    i, j = sorted(pair)
    if i < 0 or j >= len(structure):
        wrong = i if i < 0 else j
        raise InputError(f"{where}: no atom {wrong}: expected indices from 0 to {len(structure) - 1}")
    if i == j:
        raise InputError(f"{where}: atom {i} with itself: expected two atoms")
    return i, j
