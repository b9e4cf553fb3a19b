"""Copies of structures that motion does not visit: scaled, with atoms pushed out of place, turned about bonds."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mlcalc.common.errors import InputError
from mlcalc.geometry.bonds import find_bonds
from mlcalc.structures.electronic_state import electronic_state

_CLOSEST = 0.65  # of the sum of covalent radii (C–C 0.99 Å): least distance of pushed atoms
_CLEAR = 1.6  # of the same sum (H–H 0.99, C–C 2.43 Å): least distance to which a turn may bring two atoms
_MOST_PUSHED = 3  # atoms of one structure
_MOST_TURNED = 2  # bonds of one structure


def compress(frames: list[Atoms], scales: tuple[float, float], rng: np.random.Generator) -> list[Atoms]:
    """Copies of molecules scaled about their centre by factors drawn uniformly from ``scales``.

    They supply short distances that dynamics never visits, where a network trained without them could collapse.

    Raises:
        InputError: Unless 0 < smallest ≤ largest scale.
    """
    low, high = scales
    if not 0 < low <= high < np.inf:
        raise InputError(f"scales = {low!r}, {high!r}: expected two positive factors, the smaller first")
    scaled = []
    for atoms, scale in zip(frames, rng.uniform(low, high, len(frames)), strict=True):
        centre = atoms.positions.mean(axis=0)
        source = atoms.info.get("sampling", "given structures")
        info = atoms.info | {"sampling": f"uniformly scaled: {source}", "scale": float(scale)}
        scaled.append(displaced(atoms, centre + scale * (atoms.positions - centre), info))
    return scaled


def push(frames: list[Atoms], push_A: tuple[float, float], rng: np.random.Generator) -> list[Atoms]:
    """Copies of molecules in which one to three atoms were shifted in random directions by lengths uniform in ``push_A``.

    Single stretched and squeezed bonds, as in a molecule about to break: they teach a network that breaking costs energy,
    which trajectories of an intact molecule never show. Shifts that bring two atoms closer than 0.65 times the sum of
    their covalent radii are drawn again.

    Raises:
        InputError: Unless 0 < shortest ≤ longest shift; no admissible shift in a thousand draws.
    """
    low, high = push_A
    if not 0 < low <= high < np.inf:
        raise InputError(f"push_A = {low!r}, {high!r}: expected two positive lengths in Å, the shorter first")
    return [_push_one(atoms, low, high, rng) for atoms in frames]


def turn(frames: list[Atoms], rng: np.random.Generator) -> list[Atoms]:
    """Copies of molecules that are turned about one or two bonds by angles uniform in a circle.

    Trajectories at 300 K stay in one conformer; these copies supply the others and what lies between them. Any bond that joins two
    parts otherwise separate serves, those to a single atom excepted. Turns that bring two atoms closer than they were and closer
    than 1.6 times the sum of their covalent radii are drawn again.

    Raises:
        InputError: No such bond; a periodic structure; no admissible turn in a thousand draws.
    """
    return [_turn_one(atoms, rng) for atoms in frames]


def shift_molecules(frames: list[Atoms], scales: tuple[float, float], rng: np.random.Generator) -> list[Atoms]:
    """Copies of clusters in which one molecule is shifted along its shortest distance to the others.

    That distance is multiplied by a factor drawn uniformly from ``scales``: contacts that are closer and wider than in motion.

    Raises:
        InputError: Unless 0 < smallest ≤ largest scale; a periodic structure, or one molecule only.
    """
    low, high = scales
    if not 0 < low <= high < np.inf:
        raise InputError(f"scales = {low!r}, {high!r}: expected two positive factors, the smaller first")
    return [_shift_one(atoms, rng.uniform(low, high), rng) for atoms in frames]


def molecules_of(atoms: Atoms) -> np.ndarray:
    """(N,) number of the molecule of each atom, joined by bonds as geometry.bonds.find_bonds sees them."""
    bonds = find_bonds(atoms)
    return _joined(bonds.first, bonds.second, len(atoms))


def _joined(first: np.ndarray, second: np.ndarray, n_atoms: int) -> np.ndarray:
    """(n_atoms,) number of the part that each atom belongs to, where these pairs are joined."""
    graph = coo_array((np.ones(len(first)), (first, second)), 2 * (n_atoms,))
    return connected_components(graph, directed=False)[1]


class Contact(NamedTuple):
    """The closest pair of atoms, and its distance relative to the sum of their covalent radii."""

    first: int
    second: int
    relative: float


def closest_contact(atoms: Atoms) -> Contact:
    """The closest pair of at least two atoms, relative to their covalent radii; of nearest images if periodic."""
    radii = covalent_radii[atoms.numbers]
    relative = atoms.get_all_distances(mic=bool(atoms.pbc.any())) / (radii[:, None] + radii)
    np.fill_diagonal(relative, np.inf)
    first, second = np.unravel_index(relative.argmin(), relative.shape)
    return Contact(int(first), int(second), float(relative[first, second]))


def displaced(atoms: Atoms, positions: np.ndarray, info: dict) -> Atoms:
    """A structure of the same atoms, with the same masses, charge and multiplicity where they are given."""
    frame = Atoms(atoms.numbers, positions, masses=atoms.arrays.get("masses"), cell=atoms.cell, pbc=atoms.pbc)
    if not frame.pbc.any():
        frame.positions -= frame.positions.mean(axis=0)
    frame.info.update(electronic_state(atoms).info | info)
    return frame


def _push_one(atoms: Atoms, low: float, high: float, rng: np.random.Generator) -> Atoms:
    for _ in range(1000):
        pushed = atoms.copy()
        chosen = rng.choice(len(atoms), min(int(rng.integers(1, _MOST_PUSHED + 1)), len(atoms)), replace=False)
        directions = rng.standard_normal((len(chosen), 3))
        lengths = rng.uniform(low, high, (len(chosen), 1))
        pushed.positions[chosen] += lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        if len(atoms) == 1 or closest_contact(pushed).relative > _CLOSEST:
            source = atoms.info.get("sampling", "given structures")
            info = atoms.info | {"sampling": f"1 to {_MOST_PUSHED} atoms pushed by {low:g} to {high:g} Å: {source}"}
            return displaced(atoms, pushed.positions, info)
    raise InputError(f"push_A = {low!r}, {high!r}: every push brings atoms too close together; expected smaller ones")


def _shift_one(atoms: Atoms, scale: float, rng: np.random.Generator) -> Atoms:
    part = molecules_of(atoms)
    if atoms.pbc.any() or not part.any():
        raise InputError(
            f"{atoms.get_chemical_formula()}: expected an isolated cluster of several molecules whose distances can change"
        )
    mine = np.flatnonzero(part == rng.integers(part.max() + 1))
    others = np.setdiff1d(np.arange(len(atoms)), mine)
    apart = atoms.positions[mine][:, None] - atoms.positions[others]
    distances = np.linalg.norm(apart, axis=2)
    nearest = np.unravel_index(distances.argmin(), distances.shape)
    shifted = atoms.positions.copy()
    shifted[mine] += (scale - 1.0) * apart[nearest]
    source = atoms.info.get("sampling", "given structures")
    return displaced(atoms, shifted, atoms.info | {"sampling": f"a molecule shifted: {source}", "scale": float(scale)})


class _Axis(NamedTuple):
    """A bond between ``fixed`` and ``turned``, and the atoms (n,) on the side of the latter, the smaller one."""

    fixed: int
    turned: int
    side: np.ndarray


def _turn_one(atoms: Atoms, rng: np.random.Generator) -> Atoms:
    axes, before = _axes(atoms), atoms.get_all_distances()
    radii = covalent_radii[atoms.numbers]
    least = np.minimum(_CLEAR * (radii[:, None] + radii), before * (1.0 - 1e-9))
    for _ in range(1000):
        turned = atoms.copy()
        for k in rng.choice(len(axes), int(rng.integers(1, min(_MOST_TURNED, len(axes)) + 1)), replace=False):
            _rotate(turned.positions, axes[k], rng.uniform(-np.pi, np.pi))
        if (turned.get_all_distances() >= least).all():
            source = atoms.info.get("sampling", "given structures")
            return displaced(atoms, turned.positions, atoms.info | {"sampling": f"turned about bonds: {source}"})
    raise InputError("turned: every turn about a bond brings atoms too close together")


def _axes(atoms: Atoms) -> list[_Axis]:
    """The bonds about which a molecule can be turned."""
    if atoms.pbc.any():
        raise InputError(f"turned: expected an isolated molecule, got pbc {atoms.pbc.tolist()}")
    bonds, axes = find_bonds(atoms), []
    for k, (first, second) in enumerate(zip(bonds.first, bonds.second, strict=True)):
        others = np.arange(len(bonds.first)) != k
        part = _joined(bonds.first[others], bonds.second[others], len(atoms))
        if part[first] == part[second]:
            continue  # in a ring
        ends = sorted(
            ((np.flatnonzero(part == part[end]), end) for end in (first, second)), key=lambda end: len(end[0])
        )
        if len(ends[0][0]) > 1:
            axes.append(_Axis(int(ends[1][1]), int(ends[0][1]), ends[0][0]))
    if not axes:
        raise InputError(
            f"turned: {atoms.get_chemical_formula()} has no bond outside rings with two atoms or more on either side"
        )
    return axes


def _rotate(positions: np.ndarray, axis: _Axis, angle: float) -> None:
    """Rotate the side of an axis about it, in place."""
    from scipy.spatial.transform import Rotation

    origin, along = positions[axis.fixed], positions[axis.turned] - positions[axis.fixed]
    rotation = Rotation.from_rotvec(angle * along / np.linalg.norm(along))
    positions[axis.side] = origin + rotation.apply(positions[axis.side] - origin)
