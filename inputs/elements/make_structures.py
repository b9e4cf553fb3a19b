"""Make small molecules of 36 main-group elements: python inputs/elements/make_structures.py OUT.xyz [--seed N]

Every element gets the same surroundings, as far as its number of electrons allows closed shells: AXn with X = H, F, Cl, CH3, OH and
n = 1, 3 for odd and 2, 4 for even atomic numbers, AX or AX2 with an =O or =S, and A–B with each other element, with a hydrogen on A
where the number of electrons would be odd. Choosing molecules by valence would write groups of the periodic table into the data;
here a network has only energies and forces to learn them from. Lengths are sums of covalent radii (ase.data), stretched at random,
shapes are drawn from those below, and atoms are displaced. Many of these molecules (LiF3, Cs–Be–H) are no chemistry, but have an
energy.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii
from ase.io import write

# By period, groups 1, 2 and 13 to 17; noble gases form too few bonds.
ELEMENTS = [
    "H", "Li", "Be", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ga", "Ge", "As", "Se", "Br",
    "Rb", "Sr", "In", "Sn", "Sb", "Te", "I", "Cs", "Ba", "Tl", "Pb", "Bi", "Po", "At",
]  # fmt: skip
_THIRD, _SIXTH = np.sqrt(1 / 3), np.sqrt(3) / 2
_TETRAHEDRON = [
    [_THIRD, _THIRD, _THIRD],
    [_THIRD, -_THIRD, -_THIRD],
    [-_THIRD, _THIRD, -_THIRD],
    [-_THIRD, -_THIRD, _THIRD],
]
# By number of neighbours, unit vectors to them: linear or bent, planar or pyramidal, tetrahedral or square.
SHAPES = {
    1: [[[0, 0, 1]]],
    2: [[[0, 0, 1], [0, 0, -1]], [[0, _SIXTH, 0.5], [0, -_SIXTH, 0.5]]],
    3: [[[1, 0, 0], [-0.5, _SIXTH, 0], [-0.5, -_SIXTH, 0]], _TETRAHEDRON[:3]],
    4: [_TETRAHEDRON, [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]],
}  # fmt: skip
RADICALS = {
    "H": "H",
    "F": "F",
    "Cl": "Cl",
    "CH3": "C H H H",
    "OH": "O H",
}  # odd numbers of electrons; the first atom binds
_COPIES = 2  # of each molecule, with other shapes and lengths
_STRETCH, _SHIFT = (0.95, 1.3), 0.06  # of the sums of radii; Å, standard deviation of each coordinate
_CLOSEST = 0.8  # of the sum of covalent radii, for all pairs
_TRIES = 200


def substituent(name: str, centre: str, direction: np.ndarray, stretch: float, rng) -> tuple[list[str], np.ndarray]:
    """Symbols and positions (n, 3) Å of a substituent in a direction from its centre, turned about it at random."""
    symbols = RADICALS.get(name, name).split()
    length = stretch * bond(centre, symbols[0])
    positions = [length * direction]
    if len(symbols) > 1:
        across = np.cross(direction, rng.normal(size=3))
        across /= np.linalg.norm(across)
        other = np.cross(direction, across)
        for turn in 2 * np.pi * np.arange(len(symbols) - 1) / (len(symbols) - 1):
            outward = direction / 3 + np.sqrt(8) / 3 * (np.cos(turn) * across + np.sin(turn) * other)  # tetrahedral
            positions.append(positions[0] + bond(symbols[0], "H") * outward)
    return symbols, np.array(positions)


def bond(one: str, other: str) -> float:
    """Å, the sum of two covalent radii."""
    return covalent_radii[atomic_numbers[one]] + covalent_radii[atomic_numbers[other]]


def draw(centre: str, around: list[str], rng) -> Atoms:
    """A molecule of a centre and its substituents by name, distorted; drawn again while two atoms are too close."""
    for _ in range(_TRIES):
        shapes = SHAPES[len(around)]
        directions = np.array(shapes[rng.integers(len(shapes))], dtype=float)[rng.permutation(len(around))]
        symbols, positions = [centre], [np.zeros((1, 3))]
        common = rng.uniform(*_STRETCH)
        for name, direction in zip(around, directions, strict=True):
            found = substituent(name, centre, direction, common * rng.uniform(0.95, 1.05), rng)
            symbols, positions = symbols + found[0], [*positions, found[1]]
        atoms = Atoms(symbols, np.concatenate(positions))
        atoms.positions += rng.normal(0.0, _SHIFT, atoms.positions.shape)
        radii = covalent_radii[atoms.numbers]
        rows, columns = np.triu_indices(len(atoms), 1)
        distances = atoms.get_all_distances()[rows, columns]
        if (distances > _CLOSEST * (radii[rows] + radii[columns])).all():
            assert atoms.numbers.sum() % 2 == 0, atoms
            return atoms
    raise RuntimeError(f"no {centre} with {', '.join(around)} without a clash in {_TRIES} tries")


def recipes() -> list[tuple[str, list[str]]]:
    """Centre and substituents of each molecule."""
    found = []
    for centre in ELEMENTS:
        odd = atomic_numbers[centre] % 2
        for name in RADICALS:
            found += [(centre, [name] * n) for n in ((1, 3) if odd else (2, 4))]
            found += [(centre, [name] * (1 if odd else 2) + [double]) for double in "OS"]
    for place, one in enumerate(ELEMENTS):
        for other in ELEMENTS[place:]:
            lacking = (atomic_numbers[one] + atomic_numbers[other]) % 2
            found.append((one, [other] + ["H"] * lacking))
    return found


def main() -> None:
    """Write the molecules."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, metavar="OUT.xyz")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, frames = np.random.default_rng(options.seed), []
    for number, (centre, around) in enumerate(recipes()):
        for _ in range(_COPIES):
            atoms = draw(centre, around, rng)
            # Copies of a molecule share this name: 'mlcalc train' keeps them together when it holds some out.
            atoms.info["trajectory"] = f"molecule {number}"
            frames.append(atoms)
    write(options.output, frames, format="extxyz")
    print(f"{len(frames)} structures of {len(ELEMENTS)} elements, {max(map(len, frames))} atoms at most")


if __name__ == "__main__":
    main()
