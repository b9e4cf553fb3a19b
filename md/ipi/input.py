"""Read force fields, outputs and the system from an input of i-PI (XML) or a RESTART file."""

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular

_LARGEST = 1 << 30  # bytes: a RESTART holds all positions
Element = ElementTree.Element


class ForceField(NamedTuple):
    """A force field.

    Attributes:
        kind: The element: ffsocket, ffdirect …; name: The attribute.
        wraps: Whether i-PI moves every atom into the cell; None if the input does not say, so that the version of i-PI decides.
        parameters: Those in braces, as text.
        element: The element, for its other contents.
    """

    kind: str
    name: str
    wraps: bool | None
    parameters: dict[str, str]
    element: Element


class Trajectory(NamedTuple):
    """An output of i-PI with one frame every ``stride`` steps.

    Attributes:
        name: Name of its files, after the prefix; quantity: positions, x_centroid …; unit: The unit in the input, or "".
        format: xyz, ase, pdb or bin; stride: Steps between frames; cell_unit: Unit of the cell, or "".
        bead: The bead that is written; −1 for all, −k for every k-th.
    """

    name: str
    quantity: str
    unit: str
    format: str
    stride: int
    cell_unit: str
    bead: int

    def paths(self, prefix: str, n_beads: int) -> list[Path]:
        """The files of all beads, as i-PI names them."""
        width = int(1 + math.floor(math.log(n_beads) / math.log(10)))  # i-PI's formula, rounding included
        ending = {"ase": "extxyz"}.get(self.format, self.format)
        return [Path(f"{prefix}{self.name}_{bead:0{width}d}.{ending}") for bead in range(n_beads)]


def read_root(path: str | Path) -> Element:
    """The root element of an input; InputError if it is not an input of i-PI."""
    if (size := check_regular(path).stat().st_size) > _LARGEST:
        raise InputError(f"{path}: {size} bytes: expected an input of i-PI of at most {_LARGEST}")
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, UnicodeDecodeError, LookupError, ValueError) as error:
        raise InputError(f"{path}: not an input of i-PI ({error})") from error
    if root.tag != "simulation":
        raise InputError(f"{path}: not an input of i-PI: <{root.tag}> where <simulation> was expected")
    return root


def force_fields(root: Element) -> list[ForceField]:
    """All force fields, including nested ones."""
    found = []
    for element in root.iter():
        if element.tag.startswith("ff"):
            text = (element.findtext("parameters") or "").strip().strip("{}")
            pairs = (entry.partition(":") for entry in text.split(","))
            parameters = {key.strip(): value.strip() for key, colon, value in pairs if colon}
            found.append(ForceField(element.tag, element.get("name", "").strip(), _truth(element), parameters, element))
    return found


def _truth(element: Element) -> bool | None:
    text = element.get("pbc")
    if text is None:
        return None
    if text.strip().upper() not in ("TRUE", "FALSE"):
        raise InputError(f"pbc={text!r} in <{element.tag}> of i-PI's input: expected 'True' or 'False'")
    return text.strip().upper() == "TRUE"


def the_system(root: Element, path: str | Path) -> Element:
    """The only system; InputError if there are several or none."""
    systems = root.findall("system")
    if len(systems) != 1 or root.find("system_template") is not None:
        count = "a <system_template>" if root.find("system_template") is not None else f"{len(systems)} <system>"
        raise InputError(f"{path}: {count}: expected one system; leave one <system> in a copy of the input")
    return systems[0]


def output_prefix(root: Element, path: Path) -> str:
    """The prefix of output files, including their folder and the final dot or underscore."""
    output, system = root.find("output"), the_system(root, path)
    prefix = (output.get("prefix", "i-pi") if output is not None else "i-pi").strip()
    names = f"{prefix}." if prefix else ""
    own = system.get("prefix", "").strip()
    return str(path.parent / (names + (f"{own}_" if own else "") + "x"))[:-1]


def trajectories(root: Element) -> list[Trajectory]:
    """All outputs with frames, in the order of the input; InputError for a malformed number."""
    found = []
    for element in root.findall("output/trajectory"):
        text = (element.text or "").strip()
        unit = re.search(r"\{([^}]*)\}", text)
        words = {key: element.get(key, default).strip() for key, default in _WORDS.items()}
        try:
            stride, bead = int(words["stride"]), int(words["bead"])
        except ValueError as error:
            raise InputError(f"<trajectory filename={words['filename']!r}> of i-PI's input: {error}") from error
        found.append(
            Trajectory(
                words["filename"], re.split(r"[({]", text)[0].strip(), unit.group(1).strip() if unit else "",
                words["format"], stride, words["cell_units"], bead,
            )
        )  # fmt: skip
    return found


_WORDS = {"filename": "traj", "format": "xyz", "stride": "1", "cell_units": "", "bead": "-1"}  # i-PI's defaults


def property_files(root: Element) -> list[str]:
    """Names of the tables of properties, after the prefix."""
    return [element.get("filename", "out").strip() for element in root.findall("output/properties")]


def count_beads(system: Element, path: str | Path) -> int:
    """P; InputError if the input does not give it."""
    for name in ("initialize", "beads"):
        element = system.find(name)
        text = element.get("nbeads", "").strip() if element is not None else ""
        if text.isdigit() and int(text) > 0:
            return int(text)
    raise InputError(f"{path}: no nbeads='…' in <initialize>")


def quantity(system: Element, name: str, dimension: str) -> float:
    """The number in the only element of this name in a system, in atomic units.

    Raises:
        InputError: No such element, several different ones, a malformed number, or a unit unknown to i-PI.
    """
    values = {_number(element, name, dimension) for element in system.iter(name)}
    if len(values) != 1:
        raise InputError(f"{len(values)} different <{name}> of a single system in i-PI's input: expected one")
    return values.pop()


def _number(element: Element, name: str, dimension: str) -> float:
    from ipi.utils.units import unit_to_internal

    unit = element.get("units", "atomic_unit").strip()
    try:
        return float(unit_to_internal(dimension, unit, float(element.text or "")))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"<{name} units={unit!r}>{element.text}</{name}> of i-PI's input: expected a {dimension}"
        ) from error
