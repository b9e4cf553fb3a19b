"""Engines: a string such as ``tblite:GFN2-xTB`` names a level of theory and becomes an ASE calculator.

    tblite:METHOD     extended tight binding (GFN2-xTB, GFN1-xTB, IPEA1-xTB); pip install 'mlcalc[label]'
    cp2k:INPUT_FILE   DFT by CP2K through ASE's shell interface; the input file is the level of theory
    schnet:MODEL      another network: the name of a shipped model, or a model file
    ase:NAME          a calculator of ASE by its registered name, with its default settings (such as ase:emt)
    ase:NAME {JSON}   the same with arguments, or a calculator by its importable name (mlcalc/data/ase_engine.py)
    ENGINE + schnet:MODEL    an engine and a network that was trained as a correction to it (mlcalc label --subtract)

A new engine is one function and one row of ``FAMILIES``.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.calculators.mixing import SumCalculator

from mlcalc.common.errors import InputError
from mlcalc.data import ase_engine
from mlcalc.data.cp2k import Cp2k
from mlcalc.structures.electronic_state import ElectronicState, check_state, electronic_state

TBLITE_METHODS = ("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")


def make_calculator(engine: str) -> Any:
    """The ASE calculator of an engine string.

    Raises:
        InputError: Unknown family, method, model or calculator; a missing file; a program that is not installed; a correction
            without the engine that it corrects.
    """
    engine, family, argument, correction = _parse(engine)
    if correction is None:
        return family.make(argument)
    from mlcalc.model_file import load_model

    return Corrected(family.make(argument), _schnet(load_model(correction).as_correction_to(engine)))


def set_state(engine: str, calculator: Any, atoms: Atoms, where: str = "the structure") -> ElectronicState:
    """Set a calculator of an engine to the charge and multiplicity that a structure gives; returns those of the labels.

    Raises:
        InputError: The engine cannot compute them, or the structure contradicts itself.
    """
    said = electronic_state(atoms, where)
    if isinstance(calculator, Corrected):
        _schnet_state(calculator.network, atoms, said, where)
        calculator = calculator.engine
    return _parse(engine).family.set_state(calculator, atoms, said, where)


def engine_fingerprint(engine: str) -> str:
    """SHA-256 of the engine string and of the content of its file, if it has one: equal if and only if the same level
    of theory. Raises InputError as :func:`make_calculator` does."""
    digest = hashlib.sha256(engine.encode())
    _, family, argument, correction = _parse(engine)
    try:
        if family.file is not None:
            digest.update(family.file(argument).read_bytes())
        if correction is not None:
            digest.update(_schnet_file(correction).read_bytes())
    except OSError as error:
        raise InputError(f"engine {engine!r}: its file cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def is_repeatable(engine: str) -> bool:
    """Whether equal positions give equal bits, whatever was computed before, where forget_history is called between."""
    return _parse(engine).family.forget is not None


def forget_history(engine: str, calculator: Any) -> None:
    """Make a calculator of an engine begin its next structure anew, if its family can."""
    forget = _parse(engine).family.forget
    if forget is not None:
        forget(calculator.engine if isinstance(calculator, Corrected) else calculator)


def runs_code(engine: str) -> bool:
    """Whether an engine string names code to run, and so may come only from the user; InputError as make_calculator."""
    _, family, argument, _ = _parse(engine)
    return family.code is not None and family.code(argument)


class Corrected(SumCalculator):
    """An engine and the network that corrects it."""

    def __init__(self, engine: Calculator, network: Calculator):
        super().__init__([engine, network])
        self.engine, self.network = engine, network

    def close(self) -> None:
        """End what the engine has started."""
        if hasattr(self.engine, "close"):
            self.engine.close()


def _tblite(method: str) -> Calculator:
    if method not in TBLITE_METHODS:
        raise InputError(f"engine 'tblite:{method}': expected one of {', '.join(TBLITE_METHODS)}")
    try:
        from tblite.ase import TBLite
    except ImportError as error:
        raise InputError("engine tblite: not installed; pip install 'mlcalc[label]'") from error
    return TBLite(method=method, verbosity=0)


def _schnet(model: Any) -> Calculator:  # a name, a path or a loaded Model
    from mlcalc.calculator import NetworkCalculator

    return NetworkCalculator(model, threads=1)


def _schnet_file(model: str) -> Path:
    from mlcalc.model_file import find_model

    return find_model(model)


def _tblite_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    said = {"charge": state.charge or 0, "multiplicity": state.multiplicity}
    if any(calculator.parameters.get(key) != value for key, value in said.items()):
        calculator.set(**said)
    return state


def _tblite_forget(calculator: Any) -> None:
    calculator.set(cache_api=False)  # otherwise reset keeps the charges, which are the first guess
    calculator.reset()


def _nothing_to_forget(calculator: Any) -> None:
    """A network remembers nothing."""


def _cp2k_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    return check_state(atoms.numbers, state, calculator.state.info, where, "the CP2K input file computes")


def _schnet_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    return check_state(atoms.numbers, state, calculator.model.domain, where)


def _ground_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    return check_state(atoms.numbers, state, {}, where, "calculators of ASE compute")


class Family(NamedTuple):
    """A row of the table.

    Attributes:
        make: Argument to calculator.
        set_state: Sets a calculator to the charge and multiplicity that a structure gives; returns those of the labels, raises
            InputError where it cannot.
        file: Argument to the file (if any) whose content is the level of theory.
        forget: Makes a calculator begin its next structure as a new one would, so that equal positions give equal bits whatever was
            computed before; None where that is not known.
        code: Whether an argument names code, which must not run because a file from elsewhere says so; None if none does.
    """

    make: Callable[[str], Calculator]
    set_state: Callable[[Any, Atoms, ElectronicState, str], ElectronicState]
    file: Callable[[str], Path] | None = None
    forget: Callable[[Any], None] | None = None
    code: Callable[[str], bool] | None = None


FAMILIES = {
    "tblite": Family(_tblite, _tblite_state, forget=_tblite_forget),
    "cp2k": Family(Cp2k, _cp2k_state, Path),
    "schnet": Family(_schnet, _schnet_state, _schnet_file, forget=_nothing_to_forget),
    "ase": Family(ase_engine.make_ase_calculator, _ground_state, code=ase_engine.runs_code),
}


class _Engine(NamedTuple):
    """An engine string in parts: without its correction, its row and argument, and the model that corrects it (None: no model)."""

    name: str
    family: Family
    argument: str
    correction: str | None


def _parse(engine: str) -> _Engine:
    corrected = re.fullmatch(r"(.+) \+ schnet:(.+)", engine)
    name, correction = (corrected[1], corrected[2]) if corrected else (engine, None)
    family, colon, argument = name.partition(":")
    if family not in FAMILIES or not colon or not argument:
        raise InputError(
            f"engine {name!r}: expected tblite:METHOD, cp2k:INPUT_FILE, schnet:MODEL, ase:NAME or ase:NAME {{JSON}} "
            "(for example tblite:GFN2-xTB)"
        )
    return _Engine(name, FAMILIES[family], argument, correction)
