"""Harmonic vibrations against closed forms, classical and quantum limits, and each other."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from mlcalc.common.errors import InputError
from mlcalc.vibrations import (
    HBAR,
    heat_capacity,
    hessian,
    modes_of_hessian,
    normal_modes,
    position_covariance,
    position_variance,
    vibrational_energy,
)

ENERGIES = np.array([0.012, 0.06, 0.173])  # eV: 97, 484 and 1395 cm⁻¹
BEADS = [1, 2, 3, 8, 64, None]


def springs(atoms, constant=20.0):
    """Independent harmonic bonds between all pairs: V = ½ k Σ (r − r₀)², at its minimum in ``atoms``."""
    first, second = np.triu_indices(len(atoms), 1)
    rest = np.linalg.norm(atoms.positions[second] - atoms.positions[first], axis=-1)

    def potential(q):
        vectors = q[:, second] - q[:, first]
        lengths = np.linalg.norm(vectors, axis=-1)
        pulls = (constant * (lengths - rest) / lengths)[..., None] * vectors
        forces = np.zeros_like(q)
        for pair, (i, j) in enumerate(zip(first, second, strict=True)):
            forces[:, i] += pulls[:, pair]
            forces[:, j] -= pulls[:, pair]
        return 0.5 * constant * ((lengths - rest) ** 2).sum(axis=-1), forces

    return potential


def test_diatomic_has_the_frequency_of_its_reduced_mass():
    atoms = Atoms("CO", [[0.1, 0.2, 0.3], [0.8, 0.9, 1.0]])
    modes = normal_modes(atoms, springs(atoms, 100.0))
    m1, m2 = atoms.get_masses()
    omega = np.sqrt(100.0 * (m1 + m2) / (m1 * m2))
    assert modes.energies.shape == (1,)  # linear: 3N − 5
    # The error of central differences at 0.005 Å, (step/length)²/2, is 1e-5 of the Hessian.
    assert modes.energies[0] == pytest.approx(HBAR * omega, rel=2e-5)
    assert modes.wavenumbers[0] == pytest.approx(HBAR * omega / units.invcm, rel=2e-5)
    assert modes.zero_point_energy == pytest.approx(0.5 * HBAR * omega, rel=2e-5)


def test_hbar_in_ase_units():
    # ħω of 1 cm⁻¹ is hc/cm; its angular frequency is 2πc/cm.
    assert units.invcm / HBAR == pytest.approx(2 * np.pi * units._c * 100 / units.second, rel=1e-12)


@pytest.mark.parametrize(("name", "expected"), [("CO2", 4), ("H2O", 3), ("CH4", 9), ("C6H6", 30)])
def test_number_of_modes(name, expected):
    atoms = molecule(name)
    atoms.rotate(37, (1, 2, 3))
    modes = normal_modes(atoms, springs(atoms))
    assert len(modes.energies) == expected
    overlap = np.tensordot(modes.vectors, modes.vectors, axes=([1, 2], [1, 2]))
    np.testing.assert_allclose(overlap, np.eye(expected), atol=1e-12)
    # No mode moves the centre of mass or turns the molecule (Eckart conditions).
    weighted = modes.vectors * np.sqrt(atoms.get_masses())[:, None]
    centred = atoms.positions - atoms.get_center_of_mass()
    assert np.abs(weighted.sum(axis=1)).max() < 1e-12
    assert np.abs(np.cross(centred, weighted).sum(axis=1)).max() < 1e-12


def test_hessian_of_a_quadratic_form_is_its_matrix():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(36, 36))
    matrix += matrix.T

    def potential(q):
        flat = q.reshape(len(q), -1)
        return 0.5 * np.einsum("pi,ij,pj->p", flat, matrix, flat), -(flat @ matrix).reshape(q.shape)

    # Differences of a linear force are exact; rounding (1e-15 × 10) is divided by the step.
    np.testing.assert_allclose(hessian(potential, rng.normal(size=(12, 3))), matrix, atol=1e-11)


def test_unstable_mode_is_negative_and_has_no_spread():
    atoms = molecule("H2O")
    modes = modes_of_hessian(atoms, -hessian(springs(atoms), atoms.positions))
    assert (modes.energies < 0).all()
    assert modes.zero_point_energy == 0.0
    with pytest.raises(InputError, match="minimum"):
        position_covariance(modes, 300.0, 8)


def test_one_bead_is_classical():
    kT = units.kB * 300.0
    np.testing.assert_allclose(position_variance(ENERGIES, 300.0, 1), kT * (HBAR / ENERGIES) ** 2, rtol=1e-13)
    assert vibrational_energy(ENERGIES, 300.0, 1) == pytest.approx(3 * kT, rel=1e-13)
    assert heat_capacity(ENERGIES, 300.0, 1) == pytest.approx(3 * units.kB, rel=1e-13)


def test_many_beads_are_quantum():
    # The error of P beads is (βħω)²/12P² relative at worst: 3e-6 at P = 1000 for 0.173 eV, far less for the others.
    for function in (vibrational_energy, heat_capacity):
        assert function(ENERGIES, 300.0, 1000) == pytest.approx(function(ENERGIES, 300.0, None), rel=1e-4)
    half = 0.5 * ENERGIES / (units.kB * 300.0)
    quantum = 0.5 * HBAR**2 / ENERGIES / np.tanh(half)
    np.testing.assert_allclose(position_variance(ENERGIES, 300.0, None), quantum, rtol=1e-14)
    np.testing.assert_allclose(position_variance(ENERGIES, 300.0, 1000), quantum, rtol=1e-5)


@pytest.mark.parametrize("beads", [1, 2, 3, 8, 32])
def test_variance_is_the_sum_over_the_ring_polymers_modes(beads):
    """⟨q²⟩ = (1/P) Σ_k 1/β_P(ω² + ω_k²): the independent, mode-by-mode route to the same number."""
    kT, omega = units.kB * 300.0, ENERGIES / HBAR
    ring = 2 * beads * kT / HBAR * np.sin(np.arange(beads) * np.pi / beads)
    expected = kT * (1 / (omega[:, None] ** 2 + ring**2)).sum(axis=1)
    np.testing.assert_allclose(position_variance(ENERGIES, 300.0, beads), expected, rtol=1e-12)


@pytest.mark.parametrize("beads", BEADS)
def test_heat_capacity_is_the_derivative_of_the_energy(beads):
    step = 0.05
    up, down = (vibrational_energy(ENERGIES, 300.0 + sign * step, beads) for sign in (1, -1))
    # Central differences: relative error about (step/T)² = 3e-8, rounding 1e-16 × 300/step.
    assert heat_capacity(ENERGIES, 300.0, beads) == pytest.approx((up - down) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("beads", BEADS)
def test_potential_energy_is_half_of_the_energy(beads):
    modes = normal_modes(molecule("CH4"), springs(molecule("CH4")))
    matrix = hessian(springs(modes.atoms), modes.atoms.positions)
    potential = 0.5 * np.trace(matrix @ position_covariance(modes, 300.0, beads))
    assert potential == pytest.approx(0.5 * vibrational_energy(modes.energies, 300.0, beads), rel=1e-9)


def test_cold_limit_is_finite():
    assert vibrational_energy(ENERGIES, 0.1, None) == pytest.approx(0.5 * ENERGIES.sum(), rel=1e-12)
    assert heat_capacity(ENERGIES, 0.1, None) == pytest.approx(0.0, abs=1e-100)
    assert np.isfinite(heat_capacity(ENERGIES, 0.1, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: position_variance(ENERGIES, 0.0, 8), "temperature_K = 0.0"),
        (lambda: position_variance(ENERGIES, float("nan"), 8), "temperature_K = nan"),
        (lambda: position_variance(ENERGIES, 300.0, 0), "beads = 0"),
        (lambda: position_variance(ENERGIES, 300.0, 2.5), "beads = 2.5"),
        (lambda: hessian(springs(molecule("H2O")), molecule("H2O").positions, -0.1), "step_A = -0.1"),
        (lambda: hessian(lambda q: (q, q * np.nan), np.zeros((2, 3))), "not finite"),
        (lambda: modes_of_hessian(Atoms("C"), np.zeros((3, 3))), "1 atoms"),
        (lambda: modes_of_hessian(molecule("H2O"), np.zeros((3, 3))), "shape"),
        (lambda: modes_of_hessian(Atoms("C2", pbc=True, cell=[5] * 3), np.zeros((6, 6))), "pbc"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
