"""Atoms of a protein for OpenMM: from a PDB file, or an extended chain built from its sequence; hydrogens are added."""

import random
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular
from mlcalc.data.coarse_grain.dynamics import ONE_WAY
from mlcalc.data.coarse_grain.residues import check_sequence, letter_of, parse_mutation

CAPS = ("ACE", "NME", "NHE")  # ends without Cα
_LONGEST_A = 2.0  # of a peptide bond; it is 1.33 Å
_PH, _SEED = 7.0, 1
# Engh and Huber's ideal backbone, Å and degrees; φ, ψ of an extended chain.
_LENGTHS = {"N": 1.329, "CA": 1.458, "C": 1.525}
_ANGLES = {"N": 117.2, "CA": 121.7, "C": 111.0}  # C–N, N–CA, CA–C with the bond before
_PHI, _PSI, _OMEGA = -120.0, 130.0, 180.0
_THREE = {
    "A": "ALA", "C": "CYS", "D": "ASP", "E": "GLU", "F": "PHE", "G": "GLY", "H": "HIS", "I": "ILE", "K": "LYS", "L": "LEU",
    "M": "MET", "N": "ASN", "P": "PRO", "Q": "GLN", "R": "ARG", "S": "SER", "T": "THR", "V": "VAL", "W": "TRP", "Y": "TYR",
}  # fmt: skip


def read_protein(path: str | Path, force_field, mutations: Sequence[str] = ()):
    """Topology and positions (n_atoms, 3) nm of one chain of a PDB file, hydrogens and the last oxygen added where missing.

    Args:
        force_field: openmm.app.ForceField, whose names hydrogens get.
        mutations: Residues to exchange, as K12M, by the numbers of the file; side chains are rebuilt.

    Raises:
        InputError: PDBFixer is not installed; a file that is none; an unknown residue, a missing heavy atom, a break of the chain;
            a mutation of a residue that the file does not have.
    """
    fixer = _fixer(check_regular(path))
    _check(fixer, path)
    if mutations:
        _mutate(fixer, path, mutations)
    return _completed(fixer, force_field)


def _mutate(fixer, path, mutations: Sequence[str]) -> None:
    chain = next(chain for chain in fixer.topology.chains() if len(list(chain.residues())))
    numbered, changes = {residue.id: residue for residue in chain.residues()}, []
    for before, number, after in map(parse_mutation, mutations):
        residue = numbered.get(str(number))
        if residue is None or letter_of(residue.name) != before:
            found = "no such residue" if residue is None else _named(residue)
            raise InputError(
                f"mutation {before}{number}{after}: {path} has {found}: expected {_THREE[before]} {number}"
            )
        changes.append(f"{residue.name}-{number}-{_THREE[after]}")
    fixer.applyMutations(changes, chain.id)
    fixer.findMissingResidues()
    fixer.findMissingAtoms()


def build_protein(sequence: str, force_field):
    """As read_protein, for an extended chain of this sequence of one-letter codes, with free ends."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chain.pdb"
        path.write_text(backbone_pdb(check_sequence(sequence)), encoding="ascii")
        fixer = _fixer(path)
    fixer.findMissingResidues()
    fixer.findMissingAtoms()
    return _completed(fixer, force_field)


def backbone_pdb(sequence: str) -> str:
    """PDB lines of N, CA, C, O of an extended chain of L-residues of a sequence of one-letter codes."""
    places = [np.array([0.0, 0.0, 0.0]), np.array([1.458, 0.0, 0.0])]
    places.append(places[1] + 1.525 * np.array([-np.cos(np.radians(111.0)), np.sin(np.radians(111.0)), 0.0]))
    turns = {"N": _PSI, "CA": _OMEGA, "C": _PHI}
    for _ in sequence[1:]:
        for name in ("N", "CA", "C"):
            a, b, c = places[-3:]
            places.append(_next(a, b, c, _LENGTHS[name], _ANGLES[name], turns[name]))
    lines, serial = [], 0
    for k, letter in enumerate(sequence):
        n, ca, c = places[3 * k : 3 * k + 3]
        oxygen = _next(n, ca, c, 1.231, 120.5, _PSI + 180.0)
        for name, place in (("N", n), ("CA", ca), ("C", c), ("O", oxygen)):
            serial += 1
            x, y, z = place
            lines.append(
                f"ATOM  {serial:5d}  {name:<3s} {_THREE[letter]} A{k + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
                f"          {name[0]:>2s}"
            )
    return "\n".join([*lines, "TER", "END", ""])


def _next(a, b, c, length: float, angle: float, dihedral: float) -> np.ndarray:
    """(3,) Å at this distance from c, angle with b and dihedral angle with a, b, degrees."""
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    theta, phi = np.radians(angle), np.radians(dihedral)
    across = np.cos(phi) * np.cross(normal, along) + np.sin(phi) * normal
    return c + length * (-np.cos(theta) * along + np.sin(theta) * across)


def _fixer(path: Path):
    try:
        from pdbfixer import PDBFixer
    except ImportError as error:
        raise InputError("PDBFixer is not installed; pip install 'mlcalc[protein]'") from error
    try:
        return PDBFixer(filename=str(path))
    except Exception as error:  # its readers may raise anything
        raise InputError(f"{path}: not a readable PDB file: {error}") from error


def _check(fixer, path) -> None:
    """Raise InputError unless the file holds one chain of known residues, complete but for hydrogens, in its order."""
    chains = [chain for chain in fixer.topology.chains() if len(list(chain.residues()))]
    if len(chains) != 1:
        raise InputError(f"{path}: {len(chains)} chains: expected one protein without anything else")
    residues = list(fixer.topology.residues())
    for residue in residues:
        if letter_of(residue.name) is None and residue.name not in CAPS:
            raise InputError(
                f"{path}: {_named(residue)}: expected the 20 residues, their protonation states, {', '.join(CAPS)}"
            )
    fixer.findMissingResidues()
    fixer.findMissingAtoms()
    for residue, atoms in fixer.missingAtoms.items():
        raise InputError(f"{path}: {_named(residue)}: missing atoms {', '.join(atom.name for atom in atoms)}")
    places = {atom.index: place for atom, place in zip(fixer.topology.atoms(), _in_nm(fixer.positions), strict=True)}
    for one, two in zip(residues, residues[1:], strict=False):
        ends = [
            atom.index for residue, name in ((one, "C"), (two, "N")) for atom in residue.atoms() if atom.name == name
        ]
        apart = 10.0 * np.linalg.norm(places[ends[0]] - places[ends[1]]) if len(ends) == 2 else np.inf
        if not apart < _LONGEST_A:
            raise InputError(
                f"{path}: the chain breaks between {_named(one)} and {_named(two)}: C and N are {apart:.2f} Å apart, expected "
                f"less than {_LONGEST_A:g}"
            )


def _named(residue) -> str:
    return f"residue {residue.name} {residue.id}"


def _in_nm(positions) -> np.ndarray:
    import openmm

    return np.array(positions.value_in_unit(openmm.unit.nanometer))


def _completed(fixer, force_field):
    """Topology and positions (n_atoms, 3) nm with the atoms that were found missing, and hydrogens; always the same ones."""
    from openmm import app

    with _one_way() as platform:
        fixer.platform = platform
        fixer.addMissingAtoms(seed=_SEED)
        model = app.Modeller(fixer.topology, fixer.positions)
        try:
            model.addHydrogens(force_field, pH=_PH, platform=platform)
        except Exception as error:  # of any kind, where the force field lacks a residue
            raise InputError(f"hydrogens cannot be added: {error}") from error
    return model.topology, _in_nm(model.positions)


@contextmanager
def _one_way():
    """OpenMM's CPU platform, on one thread that sums forces in one order; hydrogens are placed with Python's global generator."""
    import openmm

    platform, state = openmm.Platform.getPlatformByName("CPU"), random.getstate()
    before = {name: platform.getPropertyDefaultValue(name) for name in ONE_WAY}
    random.seed(_SEED)
    try:
        for name, value in ONE_WAY.items():
            platform.setPropertyDefaultValue(name, value)
        yield platform
    finally:
        random.setstate(state)
        for name, value in before.items():
            platform.setPropertyDefaultValue(name, value)
