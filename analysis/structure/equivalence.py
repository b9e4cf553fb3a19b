"""Find pairs of atoms that are equivalent by symmetry, and check errors by their scatter.

Atoms are coloured by element and then, repeatedly, by the colours of their bonded neighbours (Weisfeiler, Leman 1968) until no new
colours appear. Pairs are equivalent if the graphs in which their two atoms are marked get the same colours. Colours cannot
distinguish graphs with identical neighbourhoods everywhere, such as some regular graphs; molecules are rarely of this kind.
"""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import chi2

_LARGE = 200  # atoms; pairs of larger molecules are distinguished only by the colours of their atoms
_ALIKE_A = 0.05  # distances at the start that differ by less count as the same
SIGNIFICANT = 1e-3


class Scatter(NamedTuple):
    """Means of equivalent pairs, compared with their errors.

    Attributes:
        pairs: (n, 2) atom indices; low, high: smallest and largest of their means, Å; claimed: root mean square of their errors, Å.
        factor: Ratio of the scatter to the claimed errors; 1 if the excess is not significant.
    """

    pairs: np.ndarray
    low: float
    high: float
    claimed: float
    factor: float


class Likeness:
    """Gives each pair of atoms a key that equivalent pairs share.

    Args:
        atoms: N atoms.
        bonds: (n, 2) atom indices.
    """

    def __init__(self, atoms: Atoms, bonds: np.ndarray):
        n_atoms = len(atoms)
        self._neighbours: list[list[int]] = [[] for _ in range(n_atoms)]
        for i, j in bonds.tolist():
            self._neighbours[i].append(j)
            self._neighbours[j].append(i)
        self._elements = atoms.numbers.tolist()
        graph = coo_array((np.ones(len(bonds)), tuple(bonds.T)), shape=(n_atoms, n_atoms))
        _, self._part = connected_components(graph, directed=False)
        self._colours = self._refined(range(n_atoms), {})

    def key(self, pair: tuple[int, int]) -> tuple:
        """The key of a pair of atoms, in either order."""
        i, j = pair
        ends = tuple(sorted((self._colours[i], self._colours[j])))
        atoms = np.flatnonzero(np.isin(self._part, self._part[[i, j]])).tolist()
        if len(atoms) > _LARGE:
            return ends
        marked = self._refined(atoms, {i: 1, j: 1})
        return ends, tuple(sorted(marked.values()))

    def _refined(self, atoms, marks: dict[int, int]) -> dict[int, int]:
        """Colour of each atom; equal neighbourhoods have equal numbers in all graphs."""
        colours = {atom: hash((self._elements[atom], marks.get(atom, 0))) for atom in atoms}
        n_colours = 0
        while len(set(colours.values())) > n_colours:
            n_colours = len(set(colours.values()))
            colours = {
                atom: hash((colours[atom], *sorted(colours[other] for other in self._neighbours[atom])))
                for atom in atoms
            }
        return colours


def alike_at_start(numbers: np.ndarray, distances: np.ndarray, pairs: list[tuple[int, int]]) -> list[int]:
    """A number for each pair, equal for pairs whose surroundings in a structure agree within 0.05 Å.

    Args:
        numbers: (N,) atomic numbers; distances: (N, N) Å.

    Surroundings are the pair's own distance and, element by element, the sorted sums of distances from its two atoms to each atom.
    """
    found: list[np.ndarray] = []
    result = []
    for i, j in pairs:
        sums = distances[i] + distances[j]
        here = np.concatenate([[distances[i, j]], sums[np.lexsort((sums, numbers))]])
        near = [k for k, other in enumerate(found) if np.abs(here - other).max() < _ALIKE_A]
        result.append(near[0] if near else len(found))
        if not near:
            found.append(here)
    return result


def scatter(pairs: np.ndarray, means: np.ndarray, errors: np.ndarray, significant: float = SIGNIFICANT) -> Scatter:
    """Compare means (n,) Å of equivalent pairs with their errors.

    χ² = Σ (d_p − d̄)²/ε² with ε the root mean square of the errors; if a larger χ² has a probability below ``significant``, the
    factor is √(χ²/(n − 1)), the scale factor of the Particle Data Group for disagreeing measurements.

    Source: Navas et al. (Particle Data Group), Phys. Rev. D 110, 030001 (2024), sect. 5.2.2, doi:10.1103/PhysRevD.110.030001.
    """
    claimed, n = float(np.sqrt(np.mean(np.square(errors)))), len(means)
    factor = 1.0
    if n > 1 and claimed > 0:
        square = float(np.square(means - means.mean()).sum()) / claimed**2
        if chi2.sf(square, n - 1) < significant:
            factor = float(np.sqrt(square / (n - 1)))
    return Scatter(pairs, float(means.min()), float(means.max()), claimed, factor)
