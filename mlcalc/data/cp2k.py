"""CP2K as an ASE calculator: isolated molecules, with a complete CP2K input file as the level of theory."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from mlcalc.common.errors import InputError
from mlcalc.structures.electronic_state import ElectronicState

# eV per Hartree in CP2K's shell: CODATA 2006 (its src/common/physcon.F), 0.3 meV off ASE's for a C20.
CP2K_HARTREE = 27.21138386
_LARGEST_INPUT = 1 << 24  # bytes


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
