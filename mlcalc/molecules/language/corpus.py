"""The SMILES of a pre-training: each molecule in several writings, as token numbers in one file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from tqdm import tqdm

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, write_atomically
from mlcalc.common.json_text import from_json, to_json
from mlcalc.common.safetensors_header import entries_of
from mlcalc.data.qm9 import PARTS, find_qm9
from mlcalc.molecules.language.inputs import REG_NUMBER
from mlcalc.molecules.language.tables import Refusal, read_smiles
from mlcalc.molecules.language.tokens import Vocabulary, check_vocabulary, vocabulary_of
from mlcalc.molecules.language.writing import canonical, molecule_of, random_writing
from mlcalc.molecules.toolkit import rdkit

QM9 = "qm9"  # in place of a file: the tables of the package qm9pack


class Corpus(NamedTuple):
    """Molecules as token numbers.

    ``numbers``: all inputs, one behind the other, int16; ``bounds`` (n_molecules · n_writings + 1,): where each begins, the
    writings of a molecule side by side, its canonical one first.
    """

    vocabulary: Vocabulary
    writings: int
    numbers: np.ndarray
    bounds: np.ndarray

    def __len__(self) -> int:
        return (len(self.bounds) - 1) // self.writings

    def input(self, molecule: int, writing: int = 0) -> np.ndarray:
        """``<REG>`` and the tokens of a molecule in one of its writings."""
        k = molecule * self.writings + writing
        return self.numbers[self.bounds[k] : self.bounds[k + 1]]

    def lengths(self) -> np.ndarray:
        """Tokens of each molecule, canonically written."""
        return np.diff(self.bounds)[:: self.writings]


def files_of(names: Sequence[str], folder: Path) -> list[Path]:
    """The files behind the names of a configuration in a folder."""
    return [
        path for name in names for path in ([find_qm9() / part for part in PARTS] if name == QM9 else [folder / name])
    ]


def build_corpus(
    paths: Sequence[Path], writings: int, window: int, least: int, seed: int
) -> tuple[Corpus, list[Refusal]]:
    """Read, write and number the molecules of files, each once.

    Args:
        least: Molecules that must hold a token for it to be learnt; molecules with rarer ones are refused.
        seed: Of the random writings.

    Raises:
        InputError: A file that cannot be read; no molecule left.
    """
    rdkit()
    tokens: dict[str, list[list[str]]] = {}
    places: dict[str, tuple[str, int]] = {}
    refused = []
    rows = [(path, line, smiles) for path in paths for line, smiles in read_smiles(path)]
    for path, line, smiles in tqdm(rows, unit="molecule", disable=None, desc="reading"):
        try:
            molecule = molecule_of(smiles)
            first = canonical(molecule)
            if len(first.tokens) > window - 1:
                raise InputError(f"{smiles[:80]!r}: {len(first.tokens)} tokens: expected at most {window - 1}")
        except InputError as error:
            refused.append(Refusal(str(path), line, str(error)))
            continue
        if first.smiles not in tokens:
            others = [_random_tokens(molecule, seed * writings + k, window) for k in range(1, writings)]
            tokens[first.smiles] = [first.tokens, *(other or first.tokens for other in others)]
            places[first.smiles] = str(path), line
    vocabulary = vocabulary_of((all_of[0] for all_of in tokens.values()), least)
    return _numbered(tokens, places, vocabulary, writings, refused)


def _random_tokens(molecule: Any, seed: int, window: int) -> list[str] | None:
    """Tokens of a random writing; None where the canonical one stands for it.

    Random writings need more ring numbers and brackets at times, and bonds that no token stands for, such as dative ones.
    """
    try:
        tokens = random_writing(molecule, seed).tokens
    except InputError:
        return None
    return tokens if len(tokens) < window else None


def _numbered(
    tokens, places, vocabulary: Vocabulary, writings: int, refused: list[Refusal]
) -> tuple[Corpus, list[Refusal]]:
    # Random writings have bracket atoms of their own, such as the other of [C@H] and [C@@H]: they count where they are known.
    table = {token: number for number, token in enumerate(vocabulary.tokens)}
    inputs: list[list[int]] = []
    for smiles, all_of in tokens.items():
        if missing := [token for token in all_of[0] if token not in table]:
            path, line = places[smiles]
            refused.append(Refusal(path, line, f"{smiles!r}: token {missing[0]} is in too few molecules to be learnt"))
            continue
        known = [t if all(token in table for token in t) else all_of[0] for t in all_of]
        inputs += [[REG_NUMBER, *(table[token] for token in t)] for t in known]
    if not inputs:
        raise InputError(
            f"none of {len(refused)} rows can be used, the first because of {refused[0].reason if refused else '–'}"
        )
    bounds = np.concatenate([[0], np.cumsum([len(one) for one in inputs])])
    return Corpus(vocabulary, writings, np.concatenate(inputs).astype(np.int16), bounds), refused


def save_corpus(corpus: Corpus, path: Path) -> None:
    """Write a corpus, atomically."""
    header = {"vocabulary": corpus.vocabulary.tokens, "writings": corpus.writings}
    write_atomically(path, save({"numbers": corpus.numbers, "bounds": corpus.bounds}, {"corpus": to_json(header)}))


def load_corpus(path: Path) -> Corpus:
    """Read a corpus; InputError for a file that is none, or damaged."""
    try:
        content = check_regular(path).read_bytes()
        entries, arrays = from_json(entries_of(content)["corpus"]), load(content)
        corpus = Corpus(
            check_vocabulary(entries["vocabulary"], str(path)), entries["writings"], arrays["numbers"], arrays["bounds"]
        )
        sound = (
            type(corpus.writings) is int and corpus.writings > 0 and corpus.numbers.dtype == np.int16
            and (len(corpus.bounds) - 1) % corpus.writings == 0 and len(corpus) > 0
            and corpus.bounds[0] == 0 and corpus.bounds[-1] == len(corpus.numbers) and (np.diff(corpus.bounds) > 0).all()
            and corpus.numbers.min() >= 0 and corpus.numbers.max() < len(corpus.vocabulary.tokens)
        )  # fmt: skip
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable corpus: {error}") from error
    if not sound:
        raise InputError(f"{path}: not a readable corpus: its numbers do not fit together")
    return corpus


def batches_by_length(lengths: np.ndarray, tokens: int, seed: int) -> Iterator[np.ndarray]:
    """Endless batches of indices: of about equal lengths, at most so many tokens with padding, shuffled anew in each epoch.

    Args:
        lengths: (n,) tokens of each input; tokens: of a batch.
    """
    for epoch in range(1 << 53):
        rng = np.random.default_rng([seed, epoch])
        batches = []
        # Sorted within parts of an epoch, so that batches differ from one epoch to the next.
        for part in np.array_split(rng.permutation(len(lengths)), -(-int(lengths.sum()) // (50 * tokens))):
            ordered = part[np.argsort(lengths[part], kind="stable")]
            start = 0
            for end in range(1, len(ordered) + 1):
                if end == len(ordered) or (end + 1 - start) * lengths[ordered[end]] > tokens:
                    batches.append(ordered[start:end])
                    start = end
        for k in rng.permutation(len(batches)):
            yield batches[k]


def reasons(refused: Sequence[Refusal]) -> str:
    """How many rows were refused, and the most frequent kinds of reasons."""
    kinds = Counter(
        "several fragments" if "fragments" in reason else "too long" if "tokens: expected" in reason
        else "rare token" if "too few molecules" in reason else "never seen token" if "never seen" in reason
        else "temperature" if "temperature" in reason else "no solubility" if ": solubility" in reason else "unreadable"
        for _, _, reason in refused
    )  # fmt: skip
    return f"{len(refused)} rows refused" + (
        f" ({', '.join(f'{n} {kind}' for kind, n in kinds.most_common())})" if kinds else ""
    )
