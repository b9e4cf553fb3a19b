"""The prior of a protein of Cα beads in an archive of NumPy arrays, with the names of the package mlcg.

Arrays (float32; energies in a unit that the caller names, lengths in Å), with n beads in each of several configurations::

    models.bonds.model.{k, x0}         (Σ(n−1),)          k (r − x0)²
    models.angles.model.{ks, v_0}      (4, T, T, T), (T, T, T)    v_0 + Σ_n ks[n−1] cosⁿθ, by the types of the three beads
    models.dihedrals.model.{k1s, k2s, v_0}  (Σ(n−3), m)   v_0 + Σ_n k1_n sin nφ + k2_n cos nφ; v_0 in its first column
    models.non_bonded.model.sigma      (T, T)             (σ/r)⁶
    config{c}.atom_types               (n,)               types; residues in the alphabetical order of one-letter codes, A 1 … Y 20
    config{c}.nl.non_bonded            (2, n_pairs)       pairs that repel

Source: Charron et al., Nat. Chem. 17, 1284 (2025), doi:10.1038/s41557-025-01874-0, whose package mlcg holds these forms.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular
from mlcalc.common.zip_files import open_zip
from mlcalc.data.coarse_grain.residues import LETTERS, bead_types, check_sequence
from mlcalc.priors import AnglePrior, BeadRepulsion, BondPrior, DihedralPrior
from mlcalc.structures.npz_files import read_array
from mlcalc.structures.unit_names import ENERGY_UNITS

_LARGEST = 1 << 24  # bytes
_MODELS = "models.{}.model.{}"


def read_chain_prior(path: str | Path, sequence: str, cutoff: float, energy_unit: str = "kcal/mol") -> dict[str, Any]:
    """Priors by name, eV and Å, of the configuration of a sequence.

    The first and the last bead have the types of termini, also in ``chain_types``, with the distances of their residues; types that
    the archive lacks do not repel. Repulsion ends smoothly from half of the cutoff on (mlcalc/priors/bead_repulsion.py); all else
    is as in the archive.

    Args:
        sequence: One-letter codes; cutoff: Å, of the network; energy_unit: a name in mlcalc.structures.unit_names.

    Raises:
        InputError: Not such an archive, no configuration of the sequence, or pairs that repel by another rule than by their places.
    """
    types = bead_types(check_sequence(sequence), False, False)
    if energy_unit not in ENERGY_UNITS:
        raise InputError(f"energy unit {energy_unit!r}: expected one of {', '.join(ENERGY_UNITS)}")
    unit = ENERGY_UNITS[energy_unit]
    arrays = _read(path)
    try:
        place, before = _configuration(arrays, types, path)
        return _priors(arrays, place, before, types, sequence, cutoff, unit)
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not the prior of a chain: {error}") from error


def _read(path: str | Path) -> dict[str, np.ndarray]:
    try:
        size = check_regular(path).stat().st_size
        with open_zip(Path(path), _LARGEST) as archive:
            return {
                name.removesuffix(".npy"): read_array(archive, name, max(_LARGEST, size)) for name in archive.namelist()
            }
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an archive of arrays: {error}") from error


def _configuration(arrays: dict, types: np.ndarray, path) -> tuple[int, list[int]]:
    """Number of the configuration of these types, and the numbers of beads of those before it."""
    before: list[int] = []
    while (found := arrays.get(f"config{len(before)}.atom_types")) is not None:
        if np.array_equal(found, types):
            return len(before), before
        before.append(len(found))
    raise InputError(f"{path}: {len(before)} configurations, none of this sequence of {len(types)} residues")


def _priors(arrays, place: int, before: list[int], types, sequence: str, cutoff: float, unit: float) -> dict[str, Any]:
    n = len(types)

    def mine(kind: str, name: str, span: int) -> np.ndarray:
        start = sum(length - span for length in before)
        found = np.asarray(arrays[_MODELS.format(kind, name)], dtype=float)[start : start + n - span]
        if len(found) != n - span:
            raise InputError(f"{name} of {kind}: {len(found)} rows: expected {n - span}")
        return found

    def rows(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(float(value) for value in row) for row in table)

    triples = types[:-2], types[1:-1], types[2:]
    powers = np.asarray(arrays[_MODELS.format("angles", "ks")], dtype=float)[:, *triples]
    constants = np.asarray(arrays[_MODELS.format("angles", "v_0")], dtype=float)[triples]
    if len(powers) != 4:
        raise InputError(f"ks of angles: {len(powers)} powers: expected 4")
    chain_types = tuple(bead_types(sequence).tolist())
    cosines, sines = mine("dihedrals", "k2s", 3), mine("dihedrals", "k1s", 3)
    return {
        "bonds": BondPrior(
            tuple((2.0 * unit * mine("bonds", "k", 1)).tolist()), tuple(mine("bonds", "x0", 1).tolist()), cutoff, chain_types
        ),
        "angles": AnglePrior(rows(unit * np.vstack([constants, powers]).T), cutoff, chain_types),
        "dihedrals": DihedralPrior(
            tuple((unit * mine("dihedrals", "v_0", 3)[:, 0]).tolist()), rows(unit * cosines), rows(unit * sines), cutoff,
            chain_types,
        ),
        "bead_repulsion": _repulsion(arrays, place, types, sequence, cutoff, unit),
    }  # fmt: skip


def _repulsion(arrays, place: int, types: np.ndarray, sequence: str, cutoff: float, unit: float) -> BeadRepulsion:
    pairs = np.sort(arrays[f"config{place}.nl.non_bonded"], axis=0)
    apart = pairs[1] - pairs[0]
    excluded = int(apart.min()) - 1
    expected = np.triu_indices(len(types), excluded + 1)
    if {*map(tuple, pairs.T.tolist())} != {*zip(*(index.tolist() for index in expected), strict=True)}:
        raise InputError("nl.non_bonded: expected all pairs from some number of places apart along the chain")
    with_ends = bead_types(sequence)
    used = sorted({int(z) for z in (*with_ends, *range(1, len(LETTERS) + 1))})
    ends = {int(with_ends[0]): int(types[0]), int(with_ends[-1]): int(types[-1])}
    residues = [ends.get(z, z) for z in used]
    sigma = np.asarray(arrays[_MODELS.format("non_bonded", "sigma")], dtype=float)[np.ix_(residues, residues)]
    table = tuple(tuple(float(d) for d in row) for row in np.maximum(sigma, sigma.T))
    return BeadRepulsion(unit, tuple(used), table, len(types), excluded, cutoff)
