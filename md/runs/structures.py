"""The start of a run from a structure file: what is kept, what is refused, and what a run folder stores."""

from io import StringIO
from pathlib import Path

import numpy as np
from ase import Atoms

from md.dynamics.clamped import Clamped, constraint_of
from md.potentials import Model, electronic_state, set_bead_masses
from mlcalc.common.errors import InputError, note
from mlcalc.structures.structure_files import read_last

# Columns that ASE keeps as they are, and whose unit no file says.
_VELOCITIES = {"velocities", "velocity", "velo", "vel"}


def read_start(structure: str | Path, model: Model | None, quiet: bool = False, momenta: str = "thermal") -> Atoms:
    """The start of a run: read_structure, with the masses of the model's beads if the file has none, and momenta if they are used.

    Raises:
        InputError: As read_structure; ``momenta = "structure"`` without momenta, or with momenta of held atoms.
    """
    atoms, found = _read_bare(structure, quiet)
    if model is not None:
        set_bead_masses(atoms, model.domain, quiet)
    if momenta == "structure":
        atoms.set_momenta(_momenta_of(found, atoms, structure), apply_constraint=False)
    elif not quiet:
        for name in sorted(found.arrays.keys() & {"momenta", *_VELOCITIES}):
            if found.arrays[name].any():
                note(
                    f'{structure}: its {name} are not used, the start is drawn at the temperature (momenta = "thermal")'
                )
    return _rounded(atoms)


def _momenta_of(found: Atoms, atoms: Atoms, source: object) -> np.ndarray:
    """(N, 3) start momenta of a structure, u Å / ASE time."""
    if name := next(iter(_VELOCITIES & found.arrays.keys()), None):
        raise InputError(
            f'{source}: momenta = "structure", and a column {name} of unknown unit: expected a column momenta, in u Å per ASE unit '
            "of time"
        )
    if not found.has("momenta"):
        raise InputError(
            f'{source}: momenta = "structure", but it has no momenta (a column momenta of extxyz, for one)'
        )
    momenta = found.arrays["momenta"]
    if momenta.shape != atoms.positions.shape or momenta.dtype.kind not in "fi" or not np.isfinite(momenta).all():
        raise InputError(f'{source}: momenta = "structure", and they are not three finite numbers for each atom')
    if momenta[Clamped.of(atoms).mask].any():
        raise InputError(f'{source}: momenta = "structure", and atoms that a constraint holds have momenta')
    return momenta


def read_structure(path: str | Path, quiet: bool = False) -> Atoms:
    """A structure in any format that ASE reads, as stored in a run folder.

    Keeps elements, positions, masses, cell, held atoms, charge and multiplicity; of several structures the last, with a note unless
    ``quiet``.

    Raises:
        InputError: The file is missing or malformed, contradicts itself, or has a constraint other than FixAtoms.
    """
    return _rounded(_read_bare(path, quiet)[0])


def _read_bare(path: str | Path, quiet: bool) -> tuple[Atoms, Atoms]:
    """What a run folder stores of a structure, and everything that its file holds."""
    found = read_last(path, quiet)
    atoms = Atoms(
        found.numbers, found.positions, masses=found.arrays.get("masses"), cell=found.cell, pbc=found.pbc,
        constraint=constraint_of(found, path), info=electronic_state(found, str(path)).info,
    )  # fmt: skip
    return atoms, found


def _rounded(atoms: Atoms) -> Atoms:
    """The structure as read from its own text."""
    from ase.io import iread

    return next(iread(StringIO(as_extxyz(atoms)), format="extxyz")) if len(atoms) else atoms


def as_extxyz(atoms: Atoms) -> str:
    """Text of a structure, as stored in run folders; read_structure reproduces it unchanged."""
    from ase.io import write

    text = StringIO()
    write(text, atoms, format="extxyz")
    return text.getvalue()
