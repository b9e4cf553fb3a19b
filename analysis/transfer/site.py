"""The three atoms of a proton transfer: find them in a run, or read them from the command line."""

import re
from typing import NamedTuple

import numpy as np
from ase import Atoms

from analysis.runs.run import Run
from analysis.runs.universe import bead_frames
from analysis.structure.bond_names import pair_name
from analysis.structure.equivalence import Likeness
from analysis.structure.molecules import bonded_pairs
from md.dynamics.clamped import Clamped
from mlcalc.common.errors import InputError
from mlcalc.geometry.minimum_image import lattice_of, minimum_images
from mlcalc.structures.xyz_text import ISOTOPES

_ELEMENTS = (7, 8, 9, 16)  # N, O, F, S hold a proton that moves
_NEAR_A = 2.5  # mean distance of proton and acceptor in a hydrogen bond, at most
_FRAMES = 100  # of the run, for mean distances
_NAMED = 4  # possibilities in a message
_EXPECTED = "expected --atoms DONOR,H,ACCEPTOR, indices from 0"


class Site(NamedTuple):
    """Indices of the atom that holds the proton at the start, the proton, and the atom that may take it."""

    donor: int
    proton: int
    acceptor: int

    def named(self, symbols: list[str]) -> str:
        """``O5–H11···O3``, atoms by element and index."""
        return f"{pair_name(symbols, (self.donor, self.proton))}···{symbols[self.acceptor]}{self.acceptor}"


def read_site(text: str, structure: Atoms) -> Site:
    """Parse ``DONOR,H,ACCEPTOR``.

    Raises:
        InputError: Not three indices of different atoms of the structure, or the second is no hydrogen.
    """
    if not re.fullmatch(r"\s*\d+\s*,\s*\d+\s*,\s*\d+\s*", text):
        raise InputError(f"--atoms {text!r}: expected three atom indices from 0, DONOR,H,ACCEPTOR, as in 5,11,3")
    site = Site(*(int(index) for index in text.split(",")))
    if max(site) >= len(structure) or len(set(site)) < 3:
        raise InputError(f"--atoms {text}: expected three different indices from 0 to {len(structure) - 1}")
    if structure.numbers[site.proton] != 1:
        symbol = structure.get_chemical_symbols()[site.proton]
        raise InputError(
            f"--atoms {text}: atom {site.proton} is {symbol}: expected DONOR,H,ACCEPTOR, the second a hydrogen"
        )
    return site


def find_site(run: Run) -> Site:
    """The only hydrogen on N, O, F or S with a second such atom within 2.5 Å, in the mean over the run.

    Raises:
        InputError: There is none, or more than one possibility.
    """
    structure = run.structure
    numbers, symbols = structure.numbers, structure.get_chemical_symbols()
    holders = np.flatnonzero(np.isin(numbers, _ELEMENTS))
    held = [
        (donor, proton)
        for pair in bonded_pairs(structure).tolist()
        for donor, proton in (pair, pair[::-1])
        if numbers[proton] == 1 and donor in holders
    ]
    distances = _mean_distances(run, [proton for _, proton in held], holders)
    found = {
        (proton, frozenset((donor, acceptor))): Site(donor, proton, acceptor)  # halfway, a proton is bonded to both
        for (donor, proton), row in zip(held, distances, strict=True)
        for acceptor, distance in zip(holders.tolist(), row, strict=True)
        if acceptor != donor and distance < _NEAR_A
    }
    sites = list(found.values())
    if len(sites) == 1:
        return sites[0]
    if not sites:
        raise InputError(
            f"{run}: no hydrogen on N, O, F or S has a second such atom within {_NEAR_A:g} Å in the mean over the run: {_EXPECTED}"
        )
    named = ", ".join(site.named(symbols) for site in sites[:_NAMED]) + (" …" if len(sites) > _NAMED else "")
    raise InputError(f"{run}: {len(sites)} protons and acceptors are possible ({named}): {_EXPECTED}")


def _mean_distances(run: Run, protons: list[int], holders: np.ndarray) -> np.ndarray:
    """(n_protons, n_holders) Å, between centroids, in the mean over frames spread along the run."""
    frames = np.unique(np.linspace(0, run.n_frames - 1, _FRAMES).astype(int))
    total = np.zeros((len(protons), len(holders)))
    for frame in frames:
        positions, cells = bead_frames(run, [frame])
        centroid = positions[0].mean(axis=0)
        vectors = centroid[protons, None] - centroid[holders]
        if cells is not None and vectors.size:
            vectors = minimum_images(vectors, lattice_of(cells[0], run.structure.pbc))
        total += np.linalg.norm(vectors, axis=-1)
    return total / len(frames)


def symmetric(structure: Atoms, site: Site) -> bool:
    """Whether donor and acceptor are equivalent by a permutation of identical nuclei, so that p(δ) = p(−δ) exactly.

    Nuclei are identical if they have the same element and mass; held atoms are identical to none.
    """
    held = Clamped.of(structure).mask
    facts = [
        (number, round(mass, 4), index if fixed else -1)
        for index, (number, mass, fixed) in enumerate(
            zip(structure.numbers.tolist(), structure.get_masses().tolist(), held.tolist(), strict=True)
        )
    ]
    kinds = sorted(set(facts))
    marked = Atoms(numbers=[kinds.index(fact) for fact in facts], positions=structure.positions)
    donor, proton, acceptor = site
    bonds = {(min(pair), max(pair)) for pair in bonded_pairs(structure).tolist()}
    bonds |= {(min(atom, proton), max(atom, proton)) for atom in (donor, acceptor)}
    likeness = Likeness(marked, np.array(sorted(bonds)))
    return likeness.key((donor, proton)) == likeness.key((acceptor, proton))


def isotope(mass: float) -> str:
    """Name of a hydrogen nucleus with this mass in u: H, D, T, or ``H of 5 u``."""
    known = {"H": 1.008} | ISOTOPES
    near = [name for name, value in known.items() if abs(value - mass) < 0.01]
    return near[0] if near else f"H of {mass:g} u"
