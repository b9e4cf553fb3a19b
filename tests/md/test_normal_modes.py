"""The free ring polymer: its normal modes and its exact motion."""

import numpy as np
import pytest
from scipy.linalg import expm

from md.dynamics.normal_modes import cayley_propagator, exact_propagator, mode_frequencies, transform_matrix

EVERY_P = range(1, 65)


@pytest.mark.parametrize("n_beads", EVERY_P)
def test_transform_is_orthonormal_and_diagonalises_the_springs(n_beads):
    transform, omega = transform_matrix(n_beads), 0.7 * n_beads
    # Σ_j ω_P²(q_j − q_{j+1})²/2 as a matrix; P = 1 has no spring, P = 2 has two between the same beads.
    step = np.eye(n_beads) - np.roll(np.eye(n_beads), 1, axis=1)
    springs = omega**2 * step.T @ step
    np.testing.assert_allclose(transform @ transform.T, np.eye(n_beads), atol=1e-13)
    frequencies = mode_frequencies(n_beads, omega)
    np.testing.assert_allclose(
        transform @ springs @ transform.T, np.diag(frequencies**2), atol=1e-12 * max(1.0, frequencies.max() ** 2)
    )


def test_first_mode_is_the_centroid():
    beads = np.random.default_rng(0).normal(size=(8, 5))
    np.testing.assert_allclose(transform_matrix(8)[0] @ beads, np.sqrt(8) * beads.mean(axis=0), rtol=1e-14)


@pytest.mark.parametrize("n_beads", [1, 2, 7, 8])
def test_propagator_is_the_matrix_exponential(n_beads):
    frequencies, timestep = mode_frequencies(n_beads, 3.0), 0.11
    for omega, increment in zip(frequencies, exact_propagator(frequencies, timestep), strict=True):
        exact = expm(timestep * np.array([[0.0, 1.0], [-(omega**2), 0.0]]))
        np.testing.assert_allclose(np.eye(2) + increment, exact, atol=1e-13)


@pytest.mark.parametrize("n_beads", [1, 2, 7, 8])
def test_two_cayley_steps_are_the_cayley_map(n_beads):
    """(1 − ΔtA/2)⁻¹(1 + ΔtA/2), reversible, of determinant one, and the exact flow to third order."""
    timestep = 0.11
    for omega, increment in zip(
        mode_frequencies(n_beads, 3.0), cayley_propagator(mode_frequencies(n_beads, 3.0), timestep / 2), strict=True
    ):
        a = timestep * np.array([[0.0, 1.0], [-(omega**2), 0.0]])
        half = np.eye(2) + increment
        np.testing.assert_allclose(half @ half, np.linalg.solve(np.eye(2) - a / 2, np.eye(2) + a / 2), atol=1e-14)
        assert np.linalg.det(half) == pytest.approx(1.0, abs=1e-14)
        flip = np.diag([1.0, -1.0])
        np.testing.assert_allclose(flip @ half @ flip @ half, np.eye(2), atol=1e-14)
        assert np.abs(half @ half - expm(a)).max() < (max(omega, 1.0) * timestep) ** 3 * max(omega, 1.0)


@pytest.mark.parametrize("propagator", [exact_propagator, cayley_propagator])
def test_propagator_of_no_time_is_nothing(propagator):
    assert not propagator(mode_frequencies(8, 3.0), 0.0).any()
