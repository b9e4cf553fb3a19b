"""Molecules from SMILES by RDKit, and the ways to write them: canonical and random."""

from typing import Any, NamedTuple

from mlcalc.common.errors import InputError
from mlcalc.molecules.language.tokens import is_atom, tokenize
from mlcalc.molecules.toolkit import rdkit

_LONGEST = 2000  # characters of a SMILES that is read at all
# The four solvents and what the second segment says of them.
SOLVENTS = {"water": "O", "ethanol": "CCO", "benzene": "c1ccccc1", "acetone": "CC(C)=O"}


class Writing(NamedTuple):
    """A SMILES string of a molecule, its tokens, and for each atom token in turn the index of the atom in the molecule."""

    smiles: str
    tokens: list[str]
    atoms: list[int]

    @property
    def atom_places(self) -> list[int]:
        """Places of the atom tokens among all tokens, in the order of ``atoms``."""
        return [place for place, token in enumerate(self.tokens) if is_atom(token)]


def molecule_of(smiles: str) -> Any:
    """The RDKit molecule of a SMILES string; atoms in the order of the string.

    Raises:
        InputError: Empty, too long, unreadable, a salt or other mixture, or without atoms.
    """
    shown = repr(smiles if len(smiles) <= 80 else smiles[:77] + "…")
    if len(smiles) > _LONGEST:
        raise InputError(f"{shown}: {len(smiles)} characters: expected a SMILES string of at most {_LONGEST}")
    if not smiles.strip() or smiles.split() != [smiles]:
        raise InputError(f"{shown}: expected a SMILES string without spaces")
    tokenize(smiles)
    if "." in smiles:
        raise InputError(
            f"{shown}: {smiles.count('.') + 1} fragments: expected one molecule, without counter-ions or solvent"
        )
    Chem = rdkit()
    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None:
        raise InputError(f"{shown}: RDKit cannot read it; expected a SMILES string of a possible molecule")
    if not molecule.GetNumAtoms():
        raise InputError(f"{shown}: expected at least one atom")
    if any(atom.GetAtomicNum() == 0 for atom in molecule.GetAtoms()):
        raise InputError(f"{shown}: expected atoms of known elements, not * or ?")
    return molecule


def canonical(molecule: Any) -> Writing:
    """RDKit's canonical SMILES of a molecule."""
    return _written(molecule, {})


def random_writing(molecule: Any, seed: int) -> Writing:
    """A SMILES string that begins at a random atom and turns at random; the same seed gives the same string."""
    Chem = rdkit()
    order = _shuffled(molecule.GetNumAtoms(), seed)
    renumbered = Chem.RenumberAtoms(molecule, order)
    written = _written(renumbered, {"canonical": False, "rootedAtAtom": 0})
    return written._replace(atoms=[order[atom] for atom in written.atoms])


def _shuffled(count: int, seed: int) -> list[int]:
    import numpy as np

    return np.random.default_rng(seed).permutation(count).tolist()


def _written(molecule: Any, how: dict[str, Any]) -> Writing:
    smiles = rdkit().MolToSmiles(molecule, **how)
    order = list(molecule.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    return Writing(smiles, tokenize(smiles), order)
