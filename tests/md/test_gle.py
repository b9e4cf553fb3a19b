"""Generalised Langevin thermostats: the file format, what is refused, and that the prescribed covariances come out."""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from scipy.linalg import expm, solve_discrete_lyapunov

from md.dynamics.gle import Gle, check_gle, parse_gle, read_gle
from md.dynamics.integrators import in_modes, make_laws
from md.dynamics.normal_modes import to_modes
from md.dynamics.ring_polymer import HBAR, thermal_ring_polymer
from md.dynamics.thermostat_step import apply_thermostat
from md.observables.statistics import block_average
from md.potentials import Harmonic
from md.simulation import Dynamics, simulate
from mlcalc.common.errors import InputError

EXAMPLE = Path(__file__).parents[2] / "inputs" / "gle" / "example.txt"
PIGLET = """# made up for this test
# A MATRIX: (femtoseconds^-1)
# Matrix for normal mode 0
0.05 0.02
-0.02 0.10
# Matrix for normal mode 1
  0.20  0.10
 -0.05  0.30

# C MATRIX: (K)
# Matrix for normal mode 0
600 0
0 600
# Matrix for normal mode 1
400 30
30 900
"""
MASS = 12.011


def test_the_example():
    gle = read_gle(EXAMPLE, 8, 300.0)
    assert gle.covariance is None
    assert gle.drift.shape == (1, 3, 3)
    assert gle.drift[0, 0, 1] * units.fs == pytest.approx(0.040)


def test_a_matrix_for_every_mode():
    gle = parse_gle(PIGLET)
    check_gle(gle, 2, 300.0)
    np.testing.assert_allclose(gle.drift[1] * units.fs, [[0.2, 0.1], [-0.05, 0.3]])
    np.testing.assert_allclose(gle.covariance[1] / units.kB, [[400, 30], [30, 900]])


@pytest.mark.parametrize(
    ("unit", "in_fs"),
    [
        ("seconds^-1", 1e-15), ("picoseconds^-1", 1e-3), ("femtoseconds^-1", 1.0),
        ("atomic time units^-1", 1.0 / 2.4188843265864e-2),
    ],
)  # fmt: skip
def test_units_of_rates(unit, in_fs):
    assert parse_gle(f"# A MATRIX: ({unit})\n3.0").drift[0, 0, 0] * units.fs == pytest.approx(3.0 * in_fs, rel=1e-9)


@pytest.mark.parametrize(("unit", "ev"), [("K", 8.617333262e-5), ("eV", 1.0), ("atomic energy units", 27.211386246)])
def test_units_of_covariances(unit, ev):
    text = f"# A MATRIX: (seconds^-1)\n1.0\n# C MATRIX: ({unit})\n2.0"
    assert parse_gle(text).covariance[0, 0, 0] == pytest.approx(2.0 * ev, rel=1e-6)  # of older constants


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("A MATRIX", "B MATRIX"), "no line with 'A MATRIX"),
        (("(K)", "(degrees)"), "unit 'degrees' of C MATRIX: expected one of K, eV"),
        (("0.05 0.02", "0.05 O.02"), "line 4: '0.05 O.02': expected a row of numbers"),
        (("0.05 0.02", "0.05"), "expected square matrices"),
        (("600 0\n0 600\n", "600\n"), "expected square matrices"),
        (("0.05 0.02", "nan 0.02"), "not finite"),
        (("-0.02 0.10", "0.02 -0.10"), "normal mode 0: A has an eigenvalue with real part"),
        (("400 30", "400 31"), "normal mode 1: C is not symmetric"),
        (("30 900", "30 -900"), "normal mode 1: C is not positive definite"),
        (("  0.20  0.10", "  0.001  0.10"), "normal mode 1: A C + C Aᵀ, the noise, is not positive definite"),
        (("600 0\n0 600", "500 0\n0 500"), "C is for 250 K with 2 beads: expected temperature_K = 300"),
    ],
)
def test_refusals(change, message, tmp_path):
    path = tmp_path / "gle.txt"
    path.write_text(PIGLET.replace(*change))
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace("+", r"\+")) as caught:
        read_gle(path, 2, 300.0)
    assert str(path) in str(caught.value)


def test_matrices_for_other_modes_and_missing_files(tmp_path):
    with pytest.raises(InputError, match="matrices for 2 normal modes: expected 1, or one for each of the 8 beads"):
        check_gle(parse_gle(PIGLET), 8, 300.0)
    with pytest.raises(InputError, match="not a readable file"):
        read_gle(tmp_path / "none.txt", 2, 300.0)


def test_one_step_keeps_the_covariance():
    """T Σ Tᵀ + S Sᵀ = Σ, and T = exp(−tD)."""
    gle = parse_gle(PIGLET)
    laws = make_laws(Dynamics(300.0, 0.7, "BAOAB", "GLE", gle=gle), 2)
    for k in range(2):
        t, s = laws.damping[k], laws.noise[k]
        np.testing.assert_allclose(t, expm(-0.7 * units.fs * gle.drift[k]), rtol=1e-12)
        np.testing.assert_allclose(t @ gle.covariance[k] @ t.T + s @ s.T, gle.covariance[k], rtol=1e-12, atol=1e-15)


def test_frequency_dependent_temperatures():
    """⟨q²⟩ and ⟨p²⟩ of oscillators of both modes against the stationary covariance of the step as a linear map."""
    gle, stiffness, n_atoms, t = parse_gle(PIGLET), 20.0, 100, 0.5 * units.fs
    dynamics, rng = Dynamics(300.0, 0.5, "OBABO", "GLE", remove_com=False, gle=gle), np.random.default_rng(3)
    state = thermal_ring_polymer(np.zeros((n_atoms, 3)), np.full(n_atoms, MASS), 2, 300.0, rng, auxiliaries=1)
    series, laws = {(k, what): [] for k in range(2) for what in "qp"}, make_laws(dynamics, 2)
    for sample in simulate(state, Harmonic(stiffness), dynamics, rng, 20_000, 10):
        if sample.step >= 2000:
            for what, beads in (("q", state.positions), ("p", state.momenta)):
                modes = np.empty_like(beads)
                to_modes(laws.transform, beads, modes)
                for k in range(2):
                    series[k, what].append((modes[k] ** 2).mean())
    ring = 2.0 * 2 * units.kB * 300.0 / HBAR * np.array([0.0, 1.0])
    for k in range(2):
        c, s, w = np.cos(ring[k] * t), np.sin(ring[k] * t), ring[k]
        flow = np.array([[c, t * np.sinc(w * t / np.pi) / MASS, 0.0], [-w * s * MASS, c, 0.0], [0.0, 0.0, 1.0]])
        kick, friction, gained = np.eye(3), np.eye(3), np.zeros((3, 3))
        kick[1, 0] = -stiffness * t / 2
        friction[1:, 1:] = expm(-t / 2 * gle.drift[k])
        gained[1:, 1:] = MASS * (gle.covariance[k] - friction[1:, 1:] @ gle.covariance[k] @ friction[1:, 1:].T)
        middle = kick @ flow @ kick
        covariance = solve_discrete_lyapunov(
            friction @ middle @ friction, friction @ middle @ gained @ middle.T @ friction.T + gained
        )
        for what, exact in (("q", covariance[0, 0]), ("p", covariance[1, 1])):
            found = block_average(series[k, what])
            assert found.error < 0.03 * exact
            assert abs(found.value - exact) < 4.0 * found.error, (k, what)


def test_the_extra_momenta_go_on_where_they_were():
    """Two runs of ten steps are one of twenty, but for the rounding of a turn to normal modes and back."""
    gle = read_gle(EXAMPLE, 3, 300.0)
    dynamics, ends = Dynamics(300.0, 0.5, "BAOAB", "GLE", remove_com=False, gle=gle), []
    for parts in ((20,), (10, 10)):
        rng = np.random.default_rng(4)
        state = thermal_ring_polymer(np.eye(3), np.full(3, MASS), 3, 300.0, rng, auxiliaries=2)
        for steps in parts:
            for _ in simulate(state, Harmonic(5.0), dynamics, rng, steps, steps):
                pass
        ends.append(state)
    np.testing.assert_allclose(ends[0].positions, ends[1].positions, rtol=0, atol=1e-13)
    np.testing.assert_allclose(ends[0].auxiliary, ends[1].auxiliary, rtol=1e-12)


def test_missing_extra_momenta_are_a_mistake_of_the_caller():
    state = thermal_ring_polymer(np.eye(3), np.full(3, MASS), 2, 300.0, np.random.default_rng(5))
    dynamics = Dynamics(300.0, 0.5, thermostat="GLE", gle=Gle(np.eye(3)[None]))
    with pytest.raises(ValueError, match=r"auxiliary momenta of shape .* needs \(2, 2, 3, 3\)"):
        next(simulate(state, Harmonic(1.0), dynamics, np.random.default_rng(6), 1))


@pytest.mark.parametrize("size", [1, 3])
def test_one_step_against_matrices(size):
    """O by compiled loops and by einsum: x ← T x + S √m ξ for x = (p, extra momenta)."""
    rng, n_beads, masses = np.random.default_rng(7), 4, np.array([1.0, 12.0, 16.0])
    gle = read_gle(EXAMPLE, n_beads, 300.0)
    dynamics = Dynamics(300.0, 0.5, "BAOAB", "GLE" if size > 1 else "PILE-L", remove_com=False, gle=gle)
    laws, state = make_laws(dynamics, n_beads), thermal_ring_polymer(np.eye(3), masses, n_beads, 300.0, rng, size - 1)
    modes, noise = in_modes(state, laws), rng.standard_normal((n_beads, size, 3, 3))
    before = np.concatenate([modes.momenta[:, None], modes.auxiliary], axis=1)
    after = np.einsum("kab,kbic->kaic", laws.damping, before)
    after += np.einsum("kab,kbic,i->kaic", laws.noise, noise, np.sqrt(masses))
    taken = apply_thermostat(modes, laws, noise.ravel())
    np.testing.assert_allclose(modes.momenta, after[:, 0], atol=1e-13)
    np.testing.assert_allclose(modes.auxiliary, after[:, 1:], atol=1e-13)
    energies = [(p[:, 0] ** 2 / (2 * masses[:, None])).sum() for p in (before, after)]
    assert taken == pytest.approx(energies[0] - energies[1])
