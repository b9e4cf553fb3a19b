"""The elements of a checkpoint's training set, which the user names."""

from ase.data import atomic_numbers

from mlcalc.common.errors import InputError


def atomic_numbers_of(symbols: tuple[str, ...], n_rows: int) -> tuple[int, ...]:
    """Sorted atomic numbers; InputError for an unknown element, or one without a row in an embedding of ``n_rows`` rows from 0."""
    for symbol in symbols:
        if symbol not in atomic_numbers or symbol == "X":
            raise InputError(f"element {symbol!r}: expected chemical symbols such as H or C")
    numbers = tuple(sorted(atomic_numbers[symbol] for symbol in symbols))
    if max(numbers) >= n_rows:
        raise InputError(f"atomic number {max(numbers)}: the embedding has rows for 1 to {n_rows - 1}")
    return numbers
