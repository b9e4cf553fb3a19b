"""The engine family ``ase``: a calculator that ASE knows by name, or a class or function by its importable name.

    ase:emt
    ase:ase.calculators.lj.LennardJones {"sigma": 3.4, "epsilon": 0.0104, "rc": 9.0}
    ase:mace.calculators.mace_mp {"model": "small", "device": "cpu", "default_dtype": "float64"}

A name without a dot is one of ASE's, a name with a dot is imported; arguments are one JSON object. Nothing is evaluated as code,
but a calculator that is imported, or gets arguments (such as ``command``), can run any program: such an engine is used only where
the user names it, never because a folder from elsewhere does.
"""

import importlib
import re
from typing import Any

from ase.calculators.calculator import BaseCalculator

from mlcalc.common.errors import InputError
from mlcalc.common.json_text import from_json

_SYNTAX = re.compile(r"(?P<name>[^\s{]+)(?:\s+(?P<arguments>\{.*\}))?\s*", re.DOTALL)
_EXAMPLE = """ase:emt or ase:ase.calculators.lj.LennardJones {"sigma": 3.4}"""


def make_ase_calculator(argument: str) -> Any:
    """The calculator of ``NAME`` or ``NAME {JSON}``.

    Raises:
        InputError: Neither syntax, JSON that is not strict, a name that ASE or Python does not know, a call that fails or gives no
            calculator.
    """
    name, arguments = _parts(argument)
    make = _imported(argument, name) if "." in name else _registered(argument, name)
    try:
        calculator = make(**arguments)
    except Exception as error:  # a foreign calculator may raise anything when its program or settings are missing
        settings = "these arguments" if arguments else "its default settings"
        raise InputError(
            f"engine 'ase:{argument}': cannot be created with {settings}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(calculator, BaseCalculator):
        raise InputError(
            f"engine 'ase:{argument}': {name} gives a {type(calculator).__name__}: expected an ASE calculator"
        )
    return calculator


def runs_code(argument: str) -> bool:
    """Whether the argument names code to import, or gives arguments; InputError as make_ase_calculator."""
    name, arguments = _parts(argument)
    return "." in name or bool(arguments)


def _parts(argument: str) -> tuple[str, dict]:
    found = _SYNTAX.fullmatch(argument)
    if found is None:
        raise InputError(f"engine 'ase:{argument}': expected a name, or a name and a JSON object, such as {_EXAMPLE}")
    if found["arguments"] is None:
        return found["name"], {}
    try:
        return found["name"], from_json(found["arguments"])
    except InputError as error:
        raise InputError(f"engine 'ase:{argument}': its arguments: {error}") from error


def _registered(argument: str, name: str) -> Any:
    from ase.calculators.calculator import get_calculator_class, names

    if name not in names:
        raise InputError(
            f"engine 'ase:{argument}': ASE has no calculator of that name; names are emt, lj, morse …; others by their importable "
            f"name, such as {_EXAMPLE}"
        )
    try:
        return get_calculator_class(name)
    except Exception as error:
        raise InputError(f"engine 'ase:{argument}': cannot be imported: {type(error).__name__}: {error}") from error


def _imported(argument: str, name: str) -> Any:
    """The object of a dotted name: a module, then attributes of it."""
    parts = name.split(".")
    if not all(part.isidentifier() and not part.startswith("_") for part in parts):
        raise InputError(f"engine 'ase:{argument}': {name!r} is no importable name, such as {_EXAMPLE}")
    for count in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:count])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise _not_imported(argument, error) from error  # the module is there, and lacks another one
            continue
        except Exception as error:  # importing runs foreign code
            raise _not_imported(argument, error) from error
        for part in parts[count:]:
            if not hasattr(found, part):
                raise InputError(f"engine 'ase:{argument}': {found.__name__} has no {part!r}")
            found = getattr(found, part)
        return found
    raise InputError(f"engine 'ase:{argument}': there is no module {parts[0]!r}; is its package installed?")


def _not_imported(argument: str, error: Exception) -> InputError:
    return InputError(f"engine 'ase:{argument}': cannot be imported: {type(error).__name__}: {error}")
