"""Groups and periods of the periodic table (IUPAC), by atomic number."""

NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
F_BLOCK = 0  # stands for a group of the elements that have no number: La to Yb, Ac to No


def period(number: int) -> int:
    """1 to 7, of an atomic number from 1 to 118."""
    return next(row for row, last in enumerate(NOBLE_GASES) if number <= last)


def group(number: int) -> int:
    """1 to 18, of an atomic number from 1 to 118; F_BLOCK for La to Yb and Ac to No, which count as one."""
    row = period(number)
    place, left = number - NOBLE_GASES[row - 1], NOBLE_GASES[row] - number
    if place <= 2 and left:  # not helium
        return place
    if left < 16:  # from the end: p and d block
        return 18 - left
    return F_BLOCK
