"""The domain of a model, from its training set: elements, distances, charge, multiplicity, masses of beads."""

import math
from collections import Counter

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from mlcalc.common.errors import InputError
from mlcalc.geometry.domain import check_elements, pair_limits, pair_name
from mlcalc.geometry.pairs import half_pairs
from mlcalc.model import Model
from mlcalc.priors import check_atoms
from mlcalc.structures.electronic_state import check_state
from mlcalc.training.alike_frames import alike_frames
from mlcalc.training.dataset import Dataset, said_of

_ISOTOPE_U = 0.1  # a bead whose mass is nearer than this to that of its element counts as an atom


def domain_of(dataset: Dataset, frames: np.ndarray, cutoff: float | None) -> dict:
    """The domain of a model file, from only the training frames.

    Elements that have no neighbour within the cutoff in any of them are ``lone_elements``: the model has the energy of the free
    atom, and nothing else. ``free_elements`` are those of structures of one atom, whatever else they appear in.

    Raises:
        InputError: Frames of more than one charge or multiplicity, which a network without these inputs cannot distinguish;
            corrections to more than one engine.
    """
    rows = np.concatenate([np.arange(dataset.offsets[k], dataset.offsets[k + 1]) for k in frames])
    bonded = _bonded_elements(dataset, frames, cutoff)
    lone = sorted(set(dataset.numbers[rows].tolist()) - bonded)
    alone = [k for k in frames if dataset.counts[k] == 1 and not len(_pairs(dataset, k, cutoff)[0])]
    free = sorted({int(dataset.numbers[dataset.offsets[k]]) for k in alone})
    domain = {"elements": sorted(bonded)} | ({"lone_elements": lone} if lone else {})
    domain |= {"free_elements": free} if free else {}
    domain |= distance_range(dataset, frames, cutoff) | state_of(dataset) | _bead_masses(dataset, rows)
    corrected = corrected_engine(dataset)
    return domain | ({"correction_to": corrected} if corrected else {})


def automatic_repulsion(dataset: Dataset, domain: dict, cutoff: float) -> float | None:
    """Å, the cutoff of the nuclear repulsion of a network that learns these energies of molecules; None for no repulsion.

    The smallest distance at which the model may be evaluated, rounded down to 0.01 Å: the repulsion changes neither what the
    network learns nor where it may extrapolate. (Begun at the shortest distance of training, it would add 1.6 eV/Å to O–H bonds
    that are only 0.03 Å shorter.) None for periodic data, for corrections and for forces without energies (coarse-grained beads
    repel in other ways), and for free atoms.
    """
    shortest = domain.get("min_distance_A", math.inf)
    if dataset.pbc.any() or not np.isfinite(dataset.energies).any() or shortest >= cutoff:
        return None
    if "bead_masses_u" in domain or "correction_to" in domain:
        return None
    return math.floor(100.0 * float(pair_limits(domain, domain["elements"]).min())) / 100.0 or None


def corrected_engine(dataset: Dataset) -> str | None:
    """The engine to which the labels are corrections, as ``mlcalc label --subtract`` writes them; None for labels in full.

    Raises:
        InputError: The frames differ in it.
    """
    marks = [said_of(info, "correction_to") for info in dataset.info]
    counts = Counter(None if mark is None else str(mark) for mark in marks)
    if len(counts) > 1:
        said = ", ".join(
            f"{f'corrections to {name}' if name else 'labels in full'} in {n}" for name, n in counts.items()
        )
        raise InputError(f"{said} structures: expected one kind")
    return next(iter(counts), None)


def check_known(dataset: Dataset, elements, domain: dict) -> None:
    """Raise InputError for structures that a model does not serve; any distance is allowed, so that errors can be measured."""
    for k, count in enumerate(dataset.counts):
        where, numbers = f"{dataset.contents[0].name}: structure {k + 1}", dataset.numbers[dataset.atoms_of(k)]
        check_elements(numbers, elements, domain, where)
        if count > 1:  # free atoms have their own states
            check_state(numbers, dataset.states[k], domain, where)


def check_priors(dataset: Dataset, config, priors: dict) -> None:
    """Raise InputError unless priors fit a network of this configuration and structures to train it on.

    Batches of periodic structures, or of different sizes, are filled up with atoms (mlcalc/training/padding.py) that no chain has.
    """
    Model(config, {}, priors=priors)  # refuses a prior that reaches too far
    chains = [name for name, prior in priors.items() if hasattr(prior, "n_beads")]
    sizes = sorted(set(dataset.counts.tolist()))
    if chains and (len(sizes) > 1 or dataset.pbc.any()):
        raise InputError(
            f"{chains[0]}: structures of {', '.join(map(str, sizes[:5]))} atoms"
            f"{', with a cell' if dataset.pbc.any() else ''}: expected chains of one size without a cell"
        )
    for frames in alike_frames(dataset) if chains else ():
        check_atoms(priors, frames.numbers)


def distance_range(dataset: Dataset, frames: np.ndarray, cutoff: float | None) -> dict:
    """The training domain in distances, Å: smallest pair, largest nearest neighbour, largest pair (within the cutoff).

    ``min_distances_A``: The smallest by pair of elements, of those that come within the cutoff.
    """
    elements = np.unique(dataset.numbers)
    smallest, largest, largest_nearest = np.full((len(elements),) * 2, np.inf), 0.0, 0.0
    for frame in frames:
        first, second, distance = _pairs(dataset, frame, cutoff)
        if not len(first):
            continue
        nearest = np.full(dataset.counts[frame], np.inf)
        np.minimum.at(nearest, first, distance)
        np.minimum.at(nearest, second, distance)
        species = np.searchsorted(elements, dataset.numbers[dataset.atoms_of(frame)])
        np.minimum.at(smallest, (species[first], species[second]), distance)
        largest = max(largest, distance.max())
        largest_nearest = max(largest_nearest, nearest[np.isfinite(nearest)].max())
    if not np.isfinite(smallest).any():  # only free atoms
        return {}
    smallest = np.minimum(smallest, smallest.T)
    kinds = zip(*np.nonzero(np.triu(smallest < (cutoff or np.inf))), strict=True)
    of_kinds = {pair_name(elements[a], elements[b]): float(smallest[a, b]) for a, b in kinds}
    return {
        "min_distance_A": float(smallest.min()),
        "max_nearest_distance_A": float(largest_nearest),
        "max_distance_A": float(largest),
    } | ({"min_distances_A": dict(sorted(of_kinds.items()))} if of_kinds else {})


def state_of(dataset: Dataset) -> dict[str, int]:
    """The charge, and the multiplicity where all frames give the same one; free atoms have their own states and do not count.

    Raises:
        InputError: See domain_of.
    """
    states = [state for state, count in zip(dataset.states, dataset.counts, strict=True) if count > 1]
    charges = [state.charge or 0 for state in states]
    if len(set(charges)) > 1:
        counts = ", ".join(f"charge {q} in {charges.count(q)}" for q in sorted(set(charges)))
        raise InputError(f"{counts} structures: this network has no charges; train a model for each")
    said = {state.multiplicity for state in states} - {None}
    spins: dict[tuple, set] = {}
    for k, count in enumerate(dataset.counts):
        if count > 1 and dataset.states[k].multiplicity is not None:
            spins.setdefault(tuple(np.sort(dataset.numbers[dataset.atoms_of(k)])), set()).add(
                dataset.states[k].multiplicity
            )
    if mixed := next((sorted(found) for found in spins.values() if len(found) > 1), None):
        raise InputError(
            f"structures of one composition with the multiplicities {' and '.join(map(str, mixed))}: this network has no spins; "
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

    Masses beside energies are isotopes: they belong to the dynamics, not to the potential.
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
