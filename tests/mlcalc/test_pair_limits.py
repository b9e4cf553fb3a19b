"""Shortest distances by pair of elements: recorded from training, calibrated for quantum tails, found by both backends."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from scipy.stats import norm

from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.common.errors import InputError
from mlcalc.geometry.domain import check_structure, pair_limits, pair_name, shortest_allowed
from mlcalc.model_file import load_model, save_model
from mlcalc.torch_potential import TorchPotential
from tests.conftest import SCHNETPACK_DIALECT, random_model

DOMAIN = {
    "min_distance_A": 0.8, "max_nearest_distance_A": 1.6, "min_distances_A": {"C-C": 1.2, "C-H": 0.8},
}  # fmt: skip


def test_limits_of_pairs_and_of_old_files():
    """Pairs that were never seen, and all pairs of a model that records one number, have the general limit."""
    np.testing.assert_allclose(pair_limits(DOMAIN, (1, 6)), [[0.72, 0.6], [0.6, 1.08]])
    np.testing.assert_allclose(pair_limits(DOMAIN, (6, 1)), [[1.08, 0.6], [0.6, 0.72]])
    old = {"min_distance_A": 0.8}
    np.testing.assert_allclose(pair_limits(old, (1, 6)), np.full((2, 2), shortest_allowed(old)))
    beads = {"min_distance_A": 3.0, "min_distances_A": {"H-H": 3.0}, "bead_masses_u": {"H": 18.0}}
    assert pair_limits(beads, (1,))[0, 0] == pytest.approx(
        2.7
    )  # a bead that is called H has no zero-point motion of hydrogen


def test_structures_are_refused_by_the_limit_of_their_pair():
    ethane = molecule("C2H6")
    arguments = ethane.numbers, None, None, (1, 6), DOMAIN
    check_structure(arguments[0], ethane.positions, *arguments[1:])
    close = ethane.positions.copy()
    close[1] = close[0] + 1.05 * (close[1] - close[0]) / np.linalg.norm(close[1] - close[0])
    with pytest.raises(
        InputError, match=r"atoms 0 and 1 are 1.050 Å apart.*smallest distance of C-C 1.200 Å, allowed from 1.080"
    ):
        check_structure(arguments[0], close, *arguments[1:])
    acid = Atoms("C2", [[0, 0, 0], [0, 0, 1.05]])
    check_structure(
        acid.numbers, acid.positions, None, None, (1, 6), {"min_distance_A": 0.8, "max_nearest_distance_A": 1.6}
    )


@pytest.mark.parametrize("periodic", [False, True])
def test_both_backends_find_the_pair_that_is_nearest_to_its_limit(periodic):
    """Against a loop over all pairs and nearest images."""
    rng = np.random.default_rng(4)
    cell, pbc = (np.diag([9.0, 9.5, 10.0]), np.ones(3, bool)) if periodic else (None, None)
    numbers, positions = rng.choice([1, 6], 14), rng.uniform(0, 8.9, (3, 14, 3))
    model = random_model(SCHNETPACK_DIALECT)
    limits = np.array([[1.0, 2.2], [2.2, 3.0]])
    best = np.inf
    for replica, frame in enumerate(positions):
        atoms = Atoms(numbers, frame, cell=cell, pbc=pbc)
        distances = atoms.get_all_distances(mic=periodic)
        kinds = (numbers == 6).astype(int)
        ratios = distances / limits[kinds[:, None], kinds[None]] + np.diag(np.full(14, np.inf))
        if ratios.min() < best:
            i, j = sorted(np.unravel_index(ratios.argmin(), ratios.shape))
            best, expected = ratios.min(), (distances[i, j], limits[kinds[i], kinds[j]], replica, i, j)
    for potential in (
        SchNetKernel(model, numbers, "float64", 1, cell, pbc),
        TorchPotential(model, numbers, "float64", cell, pbc),
    ):
        potential(positions)
        found = potential.closest_pair(limits)
        assert (found.replica, *sorted((found.first, found.second))) == expected[2:]
        np.testing.assert_allclose((found.distance, found.limit), expected[:2], rtol=1e-9)
        assert found.smallest == potential.smallest_distance()
    lonely = SchNetKernel(model, numbers[:1], "float64", 1)
    lonely(positions[:, :1])
    assert lonely.closest_pair(limits).distance == np.inf


def quantum_width(reduced_mass, wavenumber, temperature=300.0, n_beads=32):
    """Å, standard deviation of a harmonic bond at finite P, σ² = (k_B T/μ) Σ_k 1/(ω² + ω_k²)."""
    hbar = units._hbar * units.J * units.second
    kT, omega = units.kB * temperature, wavenumber * units.invcm / hbar
    ring = 2 * n_beads * kT / hbar * np.sin(np.pi * np.arange(n_beads) / n_beads)
    return np.sqrt((kT / reduced_mass / (omega**2 + ring**2)).sum())


@pytest.mark.parametrize(
    ("pair", "length", "reduced_mass", "wavenumber"),
    [
        ("H-O", 0.96, 0.948, 3700.0),
        ("C-H", 1.09, 0.930, 3100.0),
        ("C-C", 1.46, 6.0, 1450.0),
        ("C-O", 1.22, 6.857, 1750.0),
    ],
)
def test_a_healthy_run_seldom_breaches(pair, length, reduced_mass, wavenumber):
    """Closed form: the bond is a Gaussian of quantum width, and the training set 2000 such samples. At P = 32, 100 ps of 0.5 fs
    breach with a probability below 2 % per bond, though every bead of every step counted as independent; at 0.9 of the shortest
    distance for all, those with hydrogen do so for certain.
    """
    width = quantum_width(reduced_mass, wavenumber)
    if pair == "H-O":
        assert width == pytest.approx(0.069, abs=0.002)
    shortest = length - width * norm.isf(1 - 0.5 ** (1 / 2000))
    assert (length - shortest) / width == pytest.approx(3.4, abs=0.1)  # the median of the extreme of 2000
    elements = (1, 6, 8)
    a, b = ({"H": 0, "C": 1, "O": 2}[symbol] for symbol in pair.split("-"))
    limit = pair_limits({"min_distance_A": shortest, "min_distances_A": {pair: shortest}}, elements)[a, b]
    n_beads_in_all = 200_000 * 32
    assert n_beads_in_all * norm.cdf((limit - length) / width) < 0.02
    if "H" in pair:
        assert n_beads_in_all * norm.cdf((0.9 * shortest - length) / width) > 1.0


def test_files_keep_them_and_refuse_others(tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(random_model(SCHNETPACK_DIALECT, domain=DOMAIN | {"free_elements": [1]}), path)
    assert load_model(path).domain["min_distances_A"] == DOMAIN["min_distances_A"]
    for bad in ([1.0], {"C-C": -1.0}, {"C-C": "1"}):
        with pytest.raises(InputError, match="unreadable domain.*min_distances_A"):
            save_model(random_model(SCHNETPACK_DIALECT, domain=DOMAIN | {"min_distances_A": bad}), path)


def test_files_keep_those_of_every_pair_of_elements(tmp_path):
    """7 021 pairs of 118 elements; the rest of the domain may not be as long."""
    names = sorted({pair_name(a, b) for a in range(1, 119) for b in range(1, a + 1)})
    domain = DOMAIN | {"min_distances_A": {name: 1.0 + 0.1 / 3 * k for k, name in enumerate(names)}}
    path = tmp_path / "net.safetensors"
    save_model(random_model(SCHNETPACK_DIALECT, domain=domain), path)
    assert load_model(path).domain == domain
    with pytest.raises(InputError, match="expected at most 8000"):
        save_model(random_model(SCHNETPACK_DIALECT, domain=domain | {"correction_to": "x" * 8000}), path)
    with pytest.raises(InputError, match="expected at most 8000"):
        save_model(random_model(SCHNETPACK_DIALECT, domain=domain | {"min_distances_A": ["x"] * 8000}), path)


def test_a_folder_of_a_training_is_a_model(tmp_path):
    (tmp_path / "net").mkdir()
    save_model(random_model(SCHNETPACK_DIALECT), tmp_path / "net" / "model.safetensors")
    assert load_model(tmp_path / "net").config == SCHNETPACK_DIALECT
    with pytest.raises(InputError, match="no such file"):
        load_model(tmp_path)
