"""Engines: a string such as ``tblite:GFN2-xTB`` names a level of theory and becomes an ASE calculator.

    tblite:METHOD     extended tight binding (GFN2-xTB, GFN1-xTB, IPEA1-xTB); pip install 'mlcalc[label]'
    cp2k:INPUT_FILE   DFT by CP2K through ASE's shell interface; the input file is the level of theory
    schnet:MODEL      another network: the name of a shipped model, or a model file
    ase:NAME          a calculator of ASE by its registered name, with its default settings (such as ase:emt)
    ENGINE + schnet:MODEL    an engine and a network that was trained as a correction to it (mlcalc label --subtract)

A new engine is one function and one row of ``FAMILIES``.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.calculators.mixing import SumCalculator

from mlcalc.common.errors import InputError
from mlcalc.structures.electronic_state import ElectronicState, check_state, electronic_state

# eV per Hartree in CP2K's shell: CODATA 2006 (its src/common/physcon.F), 0.3 meV off ASE's for a C20.
CP2K_HARTREE = 27.21138386
_LARGEST_INPUT = 1 << 24  # bytes
TBLITE_METHODS = ("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")


def make_calculator(engine: str) -> Any:
    """The ASE calculator of an engine string.

    Raises:
        InputError: Unknown family, method, model or calculator; a missing file; a program that is not installed; a correction
            without the engine that it corrects.
    """
    engine, correction = _split(engine)
    family, argument = _parse(engine)
    if correction is None:
        return family.make(argument)
    from mlcalc.model_file import load_model

    return Corrected(family.make(argument), _schnet(load_model(correction).as_correction_to(engine)))


def set_state(engine: str, calculator: Any, atoms: Atoms, where: str = "the structure") -> ElectronicState:
    """Set a calculator of an engine to the charge and multiplicity that a structure gives; returns those of the labels.

    Raises:
        InputError: The engine cannot compute them, or the structure contradicts itself.
    """
    engine, correction = _split(engine)
    said = electronic_state(atoms, where)
    if correction is None:
        return _parse(engine)[0].set_state(calculator, atoms, said, where)
    _schnet_state(calculator.network, atoms, said, where)
    return _parse(engine)[0].set_state(calculator.engine, atoms, said, where)


def engine_fingerprint(engine: str) -> str:
    """SHA-256 of the engine string and of the content of its file, if it has one: equal if and only if the same level
    of theory. Raises InputError as :func:`make_calculator` does."""
    digest = hashlib.sha256(engine.encode())
    engine, correction = _split(engine)
    family, argument = _parse(engine)
    if family.file is not None:
        digest.update(family.file(argument).read_bytes())
    if correction is not None:
        digest.update(_schnet_file(correction).read_bytes())
    return digest.hexdigest()


class Corrected(SumCalculator):
    """An engine and the network that corrects it."""

    def __init__(self, engine: Calculator, network: Calculator):
        super().__init__([engine, network])
        self.engine, self.network = engine, network

    def close(self) -> None:
        """End what the engine has started."""
        if hasattr(self.engine, "close"):
            self.engine.close()


class Cp2k(Calculator):
    """Isolated molecules by CP2K, driven through ASE's shell interface by a complete CP2K input file.

    The file decides all settings: ASE adds none. Its coordinates and project name are ignored; the molecule's mean
    position is put at the centre of the cell that it gives as ``ABC`` (free boundary conditions need the density to
    vanish at the faces; the position of the atoms relative to the grid changes forces by 1 to 2 meV/Å at 400 Ry).
    ``calculate`` raises ``CalculationFailed`` when CP2K stops or its self-consistency does not converge; the shell does
    not report the latter, so its log is read.
    """

    implemented_properties = ["energy", "free_energy", "forces"]
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(self, input_file: str | Path):
        super().__init__()
        self._template, self._cell, self.state = _read_template(Path(input_file))
        self._command = _find_cp2k()
        self._shell: Any = None
        self._folder: tempfile.TemporaryDirectory | None = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Energy and forces by CP2K (ASE calls this)."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms.pbc.any():
            raise CalculationFailed("the cp2k engine labels isolated molecules only: pbc must be off")
        if "numbers" in system_changes:
            self.close()
        if self._shell is None:
            self._open()
        centred = self.atoms.positions - self.atoms.positions.mean(axis=0) + 0.5 * self._cell
        molecule = Atoms(self.atoms.numbers, centred, cell=self._cell)
        log = Path(self._folder.name, "cp2k.out")
        start = log.stat().st_size if log.exists() else 0
        molecule.calc = self._shell
        try:
            forces = molecule.get_forces()
        except (AssertionError, OSError, ValueError) as error:
            # ASE's shell reports every failure of its child as a failed assertion.
            raise CalculationFailed(f"CP2K stopped: {_last_words(log)}") from error
        report = log.read_bytes()[start:].decode(errors="replace")
        if "SCF run NOT converged" in report or "SCF run converged" not in report:
            raise CalculationFailed("CP2K: the self-consistency did not converge")
        energy = molecule.get_potential_energy() / CP2K_HARTREE * units.Hartree
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}

    def close(self) -> None:
        """End the CP2K process and remove its folder; the next calculation starts a new one."""
        shell, folder = self._shell, self._folder
        self._shell = self._folder = None
        if shell is not None:
            try:
                shell.close()
            finally:
                folder.cleanup()

    def _open(self) -> None:
        from ase.calculators.cp2k import CP2K

        self._folder = tempfile.TemporaryDirectory(prefix="mlcalc-cp2k-")
        silenced = dict.fromkeys(
            ("basis_set", "basis_set_file", "cutoff", "force_eval_method", "max_scf", "potential_file")
            + ("pseudo_potential", "poisson_solver", "xc", "print_level")
        )
        self._shell = CP2K(
            inp=self._template,
            label=str(Path(self._folder.name, "cp2k")),
            command=f"exec {self._command}",  # without exec, ending it would end ASE's shell, not CP2K
            stress_tensor=False,
            **silenced,
        )


def _read_template(path: Path) -> tuple[str, np.ndarray, ElectronicState]:
    """A CP2K input without what ASE writes itself (project, cell, coordinates), the cell's edges in Å, charge and multiplicity."""
    from ase.calculators.cp2k import parse_input

    if not os.path.isfile(path):
        raise InputError(f"engine 'cp2k:{str(path)[:200]}': no such CP2K input file")
    if (size := path.stat().st_size) > _LARGEST_INPUT:
        raise InputError(f"engine 'cp2k:{path}': {size} bytes: expected a CP2K input of at most {_LARGEST_INPUT}")
    try:
        root = parse_input(path.read_text(encoding="utf-8"))
        subsys = root.get_subsection("FORCE_EVAL/SUBSYS")
        cell = {line.split()[0].upper(): line.split()[1:] for line in subsys.get_subsection("CELL").keywords}
        edges = np.array([float(edge) for edge in cell["ABC"]])
        state = _cp2k_said(root.get_subsection("FORCE_EVAL/DFT").keywords)
    except (UnicodeDecodeError, IndexError, KeyError, ValueError) as error:
        raise InputError(
            f"engine 'cp2k:{path}': not a CP2K input for a molecule; expected sections that close and "
            "FORCE_EVAL/SUBSYS/CELL with ABC and three lengths in Å"
        ) from error
    if edges.shape != (3,) or not (edges > 0).all():
        raise InputError(f"engine 'cp2k:{path}': cell ABC {' '.join(cell['ABC'])}: expected three lengths in Å")
    subsys.subsections = [section for section in subsys.subsections if section.name not in ("CELL", "COORD")]
    settings = root.get_subsection("GLOBAL")
    settings.keywords = [line for line in settings.keywords if line.split()[0].upper() != "PROJECT"]
    return "\n".join(root.write()), edges, state


def _cp2k_said(keywords: list[str]) -> ElectronicState:
    """Charge and multiplicity of the DFT section of a CP2K input."""
    values = dict(line.upper().split()[:2] for line in keywords if len(line.split()) > 1)
    spin = values.get("MULTIPLICITY", values.get("MULTIP", 0))
    return ElectronicState(int(values.get("CHARGE", 0)), int(spin) or None)  # 0: CP2K's code for the lowest


def _find_cp2k() -> str:
    from ase.config import cfg

    if command := cfg.get("ASE_CP2K_COMMAND"):
        return command
    for program in ("cp2k_shell.psmp", "cp2k_shell.ssmp", "cp2k_shell.popt", "cp2k_shell"):
        if shutil.which(program):
            return program
    raise InputError(
        "engine cp2k: no cp2k_shell on the PATH; install CP2K (Debian: apt install --no-install-recommends cp2k "
        "cp2k-data) or set ASE_CP2K_COMMAND"
    )


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    errors = [line.strip(" *") for line in lines if "ERROR" in line or "ABORT" in line]
    return errors[-1] if errors else "no message in its output"


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


def _ase(name: str) -> Calculator:
    from ase.calculators.calculator import get_calculator_class, names

    if name not in names:
        raise InputError(f"engine 'ase:{name}': ASE has no calculator of that name; names are emt, lj, morse …")
    try:
        return get_calculator_class(name)()
    except Exception as error:  # a foreign calculator may raise anything when its program or settings are missing
        raise InputError(f"engine 'ase:{name}': cannot be created with its default settings: {error}") from error


def _tblite_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    said = {"charge": state.charge or 0, "multiplicity": state.multiplicity}
    if any(calculator.parameters.get(key) != value for key, value in said.items()):
        calculator.set(**said)
    return state


def _cp2k_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    return check_state(atoms.numbers, state, calculator.state.info, where, "the CP2K input file computes")


def _schnet_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    return check_state(atoms.numbers, state, calculator.model.domain, where)


def _ground_state(calculator: Any, atoms: Atoms, state: ElectronicState, where: str) -> ElectronicState:
    return check_state(atoms.numbers, state, {}, where, "calculators of ASE with default settings compute")


class Family(NamedTuple):
    """A row of the table.

    Attributes:
        make: Argument to calculator.
        set_state: Sets a calculator to the charge and multiplicity that a structure gives; returns those of the labels, raises
            InputError where it cannot.
        file: Argument to the file (if any) whose content is the level of theory.
    """

    make: Callable[[str], Calculator]
    set_state: Callable[[Any, Atoms, ElectronicState, str], ElectronicState]
    file: Callable[[str], Path] | None = None


FAMILIES = {
    "tblite": Family(_tblite, _tblite_state),
    "cp2k": Family(Cp2k, _cp2k_state, Path),
    "schnet": Family(_schnet, _schnet_state, _schnet_file),
    "ase": Family(_ase, _ground_state),
}


def _split(engine: str) -> tuple[str, str | None]:
    """An engine, and the model that corrects it."""
    found = re.fullmatch(r"(.+) \+ schnet:(.+)", engine)
    return (found[1], found[2]) if found else (engine, None)


def _parse(engine: str) -> tuple[Family, str]:
    name, colon, argument = engine.partition(":")
    if name not in FAMILIES or not colon or not argument:
        raise InputError(
            f"engine {engine!r}: expected tblite:METHOD, cp2k:INPUT_FILE, schnet:MODEL or ase:NAME "
            "(for example tblite:GFN2-xTB)"
        )
    return FAMILIES[name], argument
