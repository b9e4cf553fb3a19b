"""Tokens of SMILES, and the vocabulary that numbers them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mlcalc.common.errors import InputError

# Schwaller et al., ACS Cent. Sci. 5, 1572 (2019), doi:10.1021/acscentsci.9b00576: the expression that the field shares.
TOKEN = re.compile(
    r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>|\*|\$|\%[0-9]{2}|[0-9])"
)
PAD, REG, SEP, MASK = "<PAD>", "<REG>", "<SEP>", "<MASK>"
SPECIAL = (PAD, REG, SEP, MASK)  # numbers 0 to 3


def tokenize(smiles: str) -> list[str]:
    """Tokens of a SMILES string; joined, they are the string.

    Raises:
        InputError: A character that belongs to no token.
    """
    tokens = TOKEN.findall(smiles)
    if "".join(tokens) != smiles:
        place = _first_foreign(smiles)
        raise InputError(f"{_shown(smiles)}: {smiles[place]!r}, character {place + 1}, begins no token of SMILES")
    return tokens


def _first_foreign(smiles: str) -> int:
    place = 0
    while found := TOKEN.match(smiles, place):
        place = found.end()
    return place


def is_atom(token: str) -> bool:
    """Whether a token of SMILES is an atom."""
    return token[0] in "[*" or token[0].isalpha()


class Vocabulary(NamedTuple):
    """Tokens that a network knows; the number of a token is its place. ``SPECIAL`` come first."""

    tokens: tuple[str, ...]

    def numbers(self, tokens: Sequence[str], smiles: str) -> list[int]:
        """Numbers of tokens.

        Raises:
            InputError: A token that the network has never seen; the message names it and the SMILES.
        """
        table = _numbers(self.tokens)
        if unknown := sorted({token for token in tokens if token not in table}):
            raise InputError(
                f"{_shown(smiles)}: token {', '.join(unknown[:3])} was never seen in training; "
                f"the network knows {len(self.tokens) - len(SPECIAL)} tokens"
            )
        return [table[token] for token in tokens]


_TABLES: dict[tuple[str, ...], dict[str, int]] = {}


def _numbers(tokens: tuple[str, ...]) -> dict[str, int]:
    if tokens not in _TABLES:
        _TABLES[tokens] = {token: number for number, token in enumerate(tokens)}
    return _TABLES[tokens]


def vocabulary_of(molecules: Iterable[Sequence[str]], least: int = 1) -> Vocabulary:
    """The vocabulary of tokenized molecules: tokens that at least so many of them hold, the most frequent first."""
    counts = Counter(token for tokens in molecules for token in set(tokens))
    kept = sorted((token for token, count in counts.items() if count >= least), key=lambda t: (-counts[t], t))
    return Vocabulary((*SPECIAL, *kept))


def check_vocabulary(tokens: Sequence[str], source: str) -> Vocabulary:
    """The vocabulary of a file; InputError unless it begins with SPECIAL and holds every token once, each a token of SMILES."""
    kept = tuple(tokens)
    are_tokens = all(isinstance(token, str) and TOKEN.fullmatch(token) for token in kept[len(SPECIAL) :])
    if kept[: len(SPECIAL)] != SPECIAL or len(set(kept)) != len(kept) or not are_tokens:
        raise InputError(
            f"{source}: vocabulary: expected {', '.join(SPECIAL)}, then tokens of SMILES without repetition"
        )
    return Vocabulary(kept)


def _shown(smiles: str) -> str:
    return repr(smiles if len(smiles) <= 80 else smiles[:77] + "…")
