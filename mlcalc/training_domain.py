"""What a training set says about where a model may be used: elements, distances, charge, multiplicity, masses of beads."""

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from mlcalc.dataset import Dataset
from mlcalc.domain import check_elements
from mlcalc.electronic_state import check_state
from mlcalc.errors import InputError
from mlcalc.pairs import half_pairs

_ISOTOPE_U = 0.1  # a bead whose mass is nearer than this to that of its element may as well be an atom


def domain_of(dataset: Dataset, frames: np.ndarray, cutoff: float | None) -> dict:
    """The domain of a model file, from the training frames alone.

    Elements that have no neighbour within the cutoff in any of them are ``lone_elements``: the model knows the energy of the free
    atom, and no more.

    Raises:
        InputError: Frames of more than one charge or multiplicity, which a network that sees neither cannot tell apart.
    """
    rows = np.concatenate([np.arange(dataset.offsets[k], dataset.offsets[k + 1]) for k in frames])
    bonded = _bonded_elements(dataset, frames, cutoff)
    lone = sorted(set(dataset.numbers[rows].tolist()) - bonded)
    domain = {"elements": sorted(bonded)} | ({"lone_elements": lone} if lone else {})
    return domain | distance_range(dataset, frames, cutoff) | state_of(dataset) | _bead_masses(dataset, rows)


def check_known(dataset: Dataset, elements, domain: dict) -> None:
    """Raise InputError for structures that a model does not serve; distances may be any: errors on them are what is asked for."""
    for k, count in enumerate(dataset.counts):
        where, numbers = f"{dataset.contents[0].name}: structure {k + 1}", dataset.numbers[dataset.atoms_of(k)]
        check_elements(numbers, elements, domain, where)
        if count > 1:  # free atoms have states of their own
            check_state(numbers, dataset.states[k], domain, where)


def distance_range(dataset: Dataset, frames: np.ndarray, cutoff: float | None) -> dict[str, float]:
    """The training domain in distances, Å: smallest pair, largest nearest neighbour, largest pair (within the cutoff)."""
    smallest, largest, largest_nearest = np.inf, 0.0, 0.0
    for frame in frames:
        first, second, distance = _pairs(dataset, frame, cutoff)
        if not len(first):
            continue
        nearest = np.full(dataset.counts[frame], np.inf)
        np.minimum.at(nearest, first, distance)
        np.minimum.at(nearest, second, distance)
        smallest, largest = min(smallest, distance.min()), max(largest, distance.max())
        largest_nearest = max(largest_nearest, nearest[np.isfinite(nearest)].max())
    if not np.isfinite(smallest):  # free atoms alone
        return {}
    return {
        "min_distance_A": float(smallest),
        "max_nearest_distance_A": float(largest_nearest),
        "max_distance_A": float(largest),
    }


def state_of(dataset: Dataset) -> dict[str, int]:
    """The charge, and the multiplicity where all frames say the same one; free atoms have states of their own and do not count.

    Raises:
        InputError: See domain_of.
    """
    states = [state for state, count in zip(dataset.states, dataset.counts, strict=True) if count > 1]
    charges = [state.charge or 0 for state in states]
    if len(set(charges)) > 1:
        counts = ", ".join(f"charge {q} in {charges.count(q)}" for q in sorted(set(charges)))
        raise InputError(f"{counts} structures: this network knows no charges; train a model for each")
    said = {state.multiplicity for state in states} - {None}
    spins: dict[tuple, set] = {}
    for k, count in enumerate(dataset.counts):
        if count > 1 and dataset.states[k].multiplicity is not None:
            spins.setdefault(tuple(np.sort(dataset.numbers[dataset.atoms_of(k)])), set()).add(
                dataset.states[k].multiplicity
            )
    if mixed := next((sorted(found) for found in spins.values() if len(found) > 1), None):
        raise InputError(
            f"structures of one composition with the multiplicities {' and '.join(map(str, mixed))}: this network knows no spins; "
            "train a model for each"
        )
    domain = {"charge": charges[0]} if charges else {}
    return domain | ({"multiplicity": said.pop()} if len(said) == 1 else {})


def _bonded_elements(dataset: Dataset, frames: np.ndarray, cutoff: float | None) -> set[int]:
    found: set[int] = set()
    everything = set(dataset.numbers.tolist())
    for frame in frames:
        if found == everything:
            break
        first, second, distance = _pairs(dataset, frame, cutoff)
        near = distance < (cutoff or np.inf)
        numbers = dataset.numbers[dataset.atoms_of(frame)]
        found |= set(numbers[first[near]].tolist()) | set(numbers[second[near]].tolist())
    return found


def _pairs(dataset: Dataset, frame: int, cutoff: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    positions = dataset.positions[dataset.atoms_of(frame)]
    pairs = half_pairs(positions, cutoff, dataset.cells[frame], dataset.pbc[frame])
    distance = np.linalg.norm(positions[pairs.second] - positions[pairs.first] + pairs.shift, axis=1)
    return pairs.first, pairs.second, distance


def _bead_masses(dataset: Dataset, rows: np.ndarray) -> dict[str, dict[str, float]]:
    """Masses (u) of beads, which formats without masses lose: those of data without energies, as force matching has them.

    Masses beside energies are isotopes: they are the dynamics' affair and no property of a potential.
    """
    if np.isfinite(dataset.energies).any() or np.isnan(dataset.masses[rows]).any():
        return {}
    found = {}
    for z in np.unique(dataset.numbers[rows]):
        masses = dataset.masses[rows][dataset.numbers[rows] == z]
        if np.ptp(masses) > 1e-6:
            return {}
        found[chemical_symbols[z]] = float(masses[0])
    differ = any(abs(mass - atomic_masses[chemical_symbols.index(name)]) > _ISOTOPE_U for name, mass in found.items())
    return {"bead_masses_u": found} if differ else {}
