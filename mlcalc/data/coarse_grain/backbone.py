"""The backbone of a protein: which peptide bonds are cis, and which residues are D. Dynamics of nanoseconds changes neither.

A peptide bond is cis where |ω| < 90°, the dihedral angle Cα C N Cα. A residue is L where
(N − Cα) · (C − Cα) × (Cβ − Cα) is positive.
"""

from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.data.coarse_grain.chain_priors import dihedral_angles
from mlcalc.data.coarse_grain.residues import letter_of

# Of torsions held at their start, kJ/mol: above what springs that pull Cα atoms can do, with a period of 0.1 ps.
_HELD = 1000.0


class Backbone(NamedTuple):
    """Atoms (n, 4) of peptide bonds, Cα C N Cα, and of centres, N Cα C Cβ; for each the residues that a message names."""

    peptides: np.ndarray
    centres: np.ndarray
    between: list[str]
    residues: list[str]

    def cis(self, atoms: np.ndarray) -> np.ndarray:
        """(n,) whether each peptide bond is cis, at positions (n_atoms, 3)."""
        bonds = np.diff(atoms[self.peptides], axis=1)
        return np.abs(dihedral_angles(bonds)[:, 0]) < 0.5 * np.pi

    def is_l(self, atoms: np.ndarray) -> np.ndarray:
        """(n,) whether each residue is L, not D."""
        nitrogen, centre, carbon, beta = np.moveaxis(atoms[self.centres], 1, 0)
        return np.einsum("ij,ij->i", nitrogen - centre, np.cross(carbon - centre, beta - centre)) > 0

    def check(self, atoms: np.ndarray, start: np.ndarray) -> None:
        """Raise InputError where peptide bonds or residues at positions (n_atoms, 3) are not as at the start."""
        kinds = (
            (self.cis, self.between, "the peptide bond of", "trans", "cis"),
            (self.is_l, self.residues, "residue", "D", "L"),
        )
        for kind, names, what, no, yes in kinds:
            now, before = kind(atoms), kind(start)
            for k in np.flatnonzero(now != before):
                was, has = (yes, no) if before[k] else (no, yes)
                raise InputError(
                    f"{what} {names[k]} has become {has}, {was} before: expected no change; other starts, or a longer pull_ps"
                )

    def holding(self, start: np.ndarray, strength: str):
        """OpenMM's force that holds each ω near 0° or 180°, as at the start; ``strength``: global parameter, 0 to 1."""
        import openmm

        force = openmm.CustomTorsionForce(f"{strength}*{_HELD}*(1-cos(theta-theta0))")
        force.addGlobalParameter(strength, 0.0)
        force.addPerTorsionParameter("theta0")
        for atoms, is_cis in zip(self.peptides.tolist(), self.cis(start), strict=True):
            force.addTorsion(*atoms, [0.0 if is_cis else np.pi])
        return force


def backbone_of(topology) -> Backbone:
    """The backbone of an OpenMM topology; bonds to caps, and residues without Cβ, are left out."""
    places = {
        residue.index: {atom.name: atom.index for atom in residue.atoms()}
        for residue in topology.residues() if letter_of(residue.name)
    }  # fmt: skip
    names = {residue.index: f"{residue.name} {residue.id}" for residue in topology.residues()}
    peptides, between = [], []
    for one, two in topology.bonds():
        one, two = (one, two) if one.name == "C" else (two, one)
        first, second = one.residue.index, two.residue.index
        if (one.name, two.name) == ("C", "N") and first != second and {first, second} <= places.keys():
            peptides.append([places[first]["CA"], one.index, two.index, places[second]["CA"]])
            between.append(f"{names[first]} and {names[second]}")
    with_beta = [index for index, atoms in places.items() if "CB" in atoms]
    centres = [[places[index][name] for name in ("N", "CA", "C", "CB")] for index in with_beta]
    shape = (-1, 4)
    return Backbone(
        np.array(peptides, dtype=int).reshape(shape), np.array(centres, dtype=int).reshape(shape), between,
        [names[index] for index in with_beta],
    )  # fmt: skip
