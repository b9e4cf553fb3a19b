"""Solubilities as a network reads them, and their division into training, validation and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.molecules.language.corpus import reasons
from mlcalc.molecules.language.inputs import solute_numbers, solvent_numbers
from mlcalc.molecules.language.settings import FinetuningSettings
from mlcalc.molecules.language.tables import Refusal, Solubility, read_solubilities
from mlcalc.molecules.language.tokens import Vocabulary
from mlcalc.molecules.language.writing import molecule_of, random_writing
from mlcalc.molecules.toolkit import rdkit


class Solubilities(NamedTuple):
    """Molecules of a training, n of them: entries, token numbers of each writing and of the solvent, values (n,) log10(mol/L)."""

    entries: list[Solubility]
    inputs: list[list[list[int]]]
    solvents: list[list[int]]
    values: np.ndarray


class Split(NamedTuple):
    """Indices of molecules."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def read_dataset(
    settings: FinetuningSettings, folder: Path, vocabulary: Vocabulary, window: int
) -> tuple[Solubilities, list[Refusal], int]:
    """The files of a configuration, each molecule once for each solvent.

    Returns:
        Solubilities, rows refused, and how many rows repeated a molecule of their file (their values are averaged).

    Raises:
        InputError: A file that cannot be read, or two files of one solvent that share a molecule.
    """
    entries: dict[tuple[str, str], Solubility] = {}
    refused, repeated = [], 0
    for name, solvent in zip(settings.data, settings.solvents, strict=True):
        table = read_solubilities(folder / name, solvent, settings.smiles_key, settings.value_key)
        refused += table.refused
        repeated += table.repeated
        for entry in table.molecules:
            if (other := entries.get((entry.writing.smiles, solvent))) is not None:
                raise InputError(
                    f"{entry.place}: {entry.writing.smiles[:80]!r} in {solvent} is in {other.place} too: expected once"
                )
            entries[entry.writing.smiles, solvent] = entry
    kept, inputs = [], []
    for entry in entries.values():
        try:
            inputs.append(writings_of(entry, settings, vocabulary, window))
            kept.append(entry)
        except InputError as error:
            path, _, line = entry.place.rpartition(": line ")
            refused.append(Refusal(path, int(line), str(error)))
    if len(kept) < 10:
        raise InputError(f"{len(kept)} molecules, {len(refused)} rows refused: expected at least 10 molecules")
    solvents = [solvent_numbers(entry.solvent, vocabulary) for entry in kept]
    return Solubilities(kept, inputs, solvents, np.array([entry.log_s for entry in kept])), refused, repeated


def described(data: Solubilities, refused: list[Refusal], repeated: int) -> str:
    """What read_dataset has found, in one line."""
    return f"{len(data.entries)} molecules, {repeated} rows repeat one and are averaged; {reasons(refused)}"


def writings_of(
    entry: Solubility, settings: FinetuningSettings, vocabulary: Vocabulary, window: int
) -> list[list[int]]:
    """Token numbers of the canonical SMILES, and of random ones as far as the network can read them."""
    room = window - len(solvent_numbers(entry.solvent, vocabulary))
    numbers = [solute_numbers(entry.writing, vocabulary, room)]
    molecule = molecule_of(entry.writing.smiles)
    for k in range(1, settings.writings):
        try:
            numbers.append(
                solute_numbers(random_writing(molecule, settings.seed * settings.writings + k), vocabulary, room)
            )
        except InputError:  # a ring number or a bracket atom that the canonical writing does without
            numbers.append(numbers[0])
    return numbers


def groups_of(entries: Sequence[Solubility], kind: str) -> list[str]:
    """What stays on one side of a split: the molecule, whatever its solvent, or its Bemis–Murcko scaffold.

    Molecules without rings share one scaffold, the empty one. J. Med. Chem. 39, 2887 (1996), doi:10.1021/jm9602928.
    """
    if kind == "random":
        return [entry.writing.smiles for entry in entries]
    rdkit()
    from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

    return [MurckoScaffoldSmiles(mol=molecule_of(entry.writing.smiles)) for entry in entries]


def split_groups(groups: Sequence[str], test_share: float, validation_share: float, rng: np.random.Generator) -> Split:
    """Divide molecules so that no group is on two sides; groups above half the test set are for training alone."""
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    names = sorted(members)
    wanted = {"test": test_share * len(groups), "validation": validation_share * len(groups)}
    most = max(1, int(min(wanted.values()) / 2))
    parts: dict[str, list[int]] = {"test": [], "validation": [], "train": []}
    for k in rng.permutation(len(names)):
        indices = members[names[k]]
        open_parts = [part for part, size in wanted.items() if len(parts[part]) < size and len(indices) <= most]
        parts[open_parts[0] if open_parts else "train"] += indices
    for part, indices in parts.items():
        if len(indices) < 2:
            raise InputError(
                f"{len(indices)} molecules for {part}: expected at least 2; take more data or another split"
            )
    return Split(*(np.array(sorted(parts[part])) for part in ("train", "validation", "test")))


def split_of(data: Solubilities, settings: FinetuningSettings, kind: str, seed: int) -> Split:
    """The split of this kind (one of SPLITS) and seed."""
    groups = groups_of(data.entries, kind)
    return split_groups(groups, settings.test_share, settings.validation_share, np.random.default_rng([seed, 3]))
