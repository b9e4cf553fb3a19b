"""The harmonic reference: closed form, Monte Carlo twin, and the numbers of the authors' C20 network."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from analysis.distances.pair_distances import bonded_pairs
from analysis.harmonic import harmonic_distances
from mlcalc.common.errors import InputError
from mlcalc.modes import relaxed_modes
from mlcalc.vibrations import HBAR, modes_of_hessian, position_covariance, position_variance
from tests.analysis.run_folders import dodecahedron
from tests.conftest import SCHNETPACK_DIALECT, random_model

C20_NETWORKS = Path(__file__).parents[3] / "shared" / "data" / "schnet_tf_c20"


def springs(atoms: Atoms, constant: float):
    """Normal modes of a molecule whose atoms are all joined by springs (eV/Å²) at rest."""
    n = len(atoms)
    matrix = np.zeros((n, 3, n, 3))
    for i in range(n):
        for j in range(i):
            u = atoms.positions[j] - atoms.positions[i]
            block = constant * np.outer(u, u) / (u @ u)
            matrix[i, :, i] += block
            matrix[j, :, j] += block
            matrix[i, :, j] -= block
            matrix[j, :, i] -= block
    return modes_of_hessian(atoms, matrix.reshape(3 * n, 3 * n))


@pytest.mark.parametrize("beads", [1, 8, None])
def test_diatomic(beads):
    atoms = Atoms("CO", [[0.1, 0.2, 0.3], [0.1, 1.0, 1.1]])
    reduced = 1 / (1 / atoms.get_masses()).sum()
    reference = harmonic_distances(springs(atoms, 30.0), np.array([[0, 1]]), 300.0, beads)
    energy = HBAR * np.sqrt(30.0 / reduced)
    assert reference.std == pytest.approx(np.sqrt(position_variance([energy], 300.0, beads)[0] / reduced))
    assert reference.mean == pytest.approx(atoms.get_distance(0, 1))  # a stretch has no component across the bond


def test_against_sampled_structures():
    """The first-order width and second-order mean against 100,000 structures drawn from the harmonic distribution."""
    rng = np.random.default_rng(0)
    atoms = Atoms("CHNO", [[0, 0, 0], [1.1, 0, 0.1], [-0.3, 1.2, 0], [0.2, 0.3, 1.3]])
    modes = springs(atoms, 8.0)
    pairs = np.array([[0, 1], [2, 3], [1, 3]])
    reference = harmonic_distances(modes, pairs, 300.0, 4)
    values, vectors = np.linalg.eigh(position_covariance(modes, 300.0, 4))
    shifts = rng.standard_normal((100_000, 12)) @ (vectors * np.sqrt(values.clip(0))).T
    positions = atoms.positions + shifts.reshape(-1, 4, 3)
    sampled = np.linalg.norm(positions[:, pairs[:, 1]] - positions[:, pairs[:, 0]], axis=-1)
    # With relative fluctuations of 10 %, what is left out is of relative order (σ/r)² = 1 % for σ and (σ/r)⁴ for r.
    np.testing.assert_allclose(reference.stds, sampled.std(axis=0), rtol=0.03)
    np.testing.assert_allclose(reference.means, sampled.mean(axis=0), atol=1.5e-3)
    assert reference.means[0] > atoms.get_distance(0, 1) + 0.01  # so that the second order was put to the test


def test_density_is_normalised_with_the_right_moments():
    reference = harmonic_distances(springs(dodecahedron(), 10.0), bonded_pairs(dodecahedron()), 300.0, 8)
    r = np.linspace(0.5, 2.5, 4001)
    density = reference.density(r)
    step = r[1] - r[0]
    assert density.sum() * step == pytest.approx(1.0)
    assert (r * density).sum() * step == pytest.approx(reference.mean)


def test_relaxed_modes_of_a_network():
    """A diatomic of a random network: force-free, and ω² = V″/μ with V″ from energies along the bond."""
    model = random_model(SCHNETPACK_DIALECT, seed=5)  # has a well at 1.16 Å
    modes = relaxed_modes(Atoms("C2", [[0, 0, 0], [0, 0, 1.5]]), model)
    from mlcalc import SchNetCalculator

    atoms = modes.atoms.copy()
    atoms.calc = SchNetCalculator(model, dtype="float64")
    assert np.abs(atoms.get_forces()).max() < 1e-4
    length, step = atoms.get_distance(0, 1), 0.005
    energies = []
    for shift in (-step, 0, step):
        atoms.set_distance(0, 1, length + shift)
        energies.append(atoms.get_potential_energy())
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / step**2
    # Both are finite differences of step 0.005 Å: their errors of order (step²/24)·V⁗ are some 1e-4 of V″.
    expected = HBAR * np.sqrt(curvature / (atoms.get_masses()[0] / 2))
    np.testing.assert_allclose(modes.energies, [expected], rtol=1e-3)


def test_unknown_element_is_an_input_error():
    with pytest.raises(InputError, match="relax"):
        relaxed_modes(Atoms("Ne2", [[0, 0, 0], [0, 0, 2.0]]), random_model(SCHNETPACK_DIALECT))


@pytest.mark.skipif(not C20_NETWORKS.exists(), reason="needs the original C20 networks in ../shared/data")
def test_c20_reference_numbers():
    """Standard deviations of C20's bonds and ten largest distances at 300 K, against an independent computation."""
    from ase.io import read

    from mlcalc.importers.schnet_tf import import_schnet_tf

    modes = relaxed_modes(read(C20_NETWORKS / "C20.xyz"), import_schnet_tf(C20_NETWORKS / "energy_model"))
    # The reference is quoted to 0.1 cm⁻¹.
    np.testing.assert_allclose(modes.wavenumbers[[0, -1]], [139.6, 1377.8], atol=0.15)
    assert modes.zero_point_energy / (units.kcal / units.mol) == pytest.approx(69.41, abs=0.01)
    first, second = np.triu_indices(20, 1)
    order = np.argsort(modes.atoms.get_all_distances()[first, second])
    all_pairs = np.stack([first, second], axis=1)
    for beads, bonds, largest in (
        (1, 0.0370, 0.1087),
        (8, 0.0531, 0.1176),
        (32, 0.0543, 0.1180),
        (None, 0.0543, 0.1180),
    ):
        # Quoted to four decimals.
        assert harmonic_distances(modes, bonded_pairs(modes.atoms), 300.0, beads).std == pytest.approx(bonds, abs=6e-5)
        assert harmonic_distances(modes, all_pairs[order[-10:]], 300.0, beads).std == pytest.approx(largest, abs=6e-5)
