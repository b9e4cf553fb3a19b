"""Slow components on fewer beads and at fewer steps: closed forms of maps, energies, motion and its limits."""

import numpy as np
import pytest
from ase import units
from scipy.linalg import solve_discrete_lyapunov

from md.components.contracted import ContractedPotential
from md.components.split import Component, SplitPotential
from md.dynamics.integrators import SPLITTINGS
from md.dynamics.normal_modes import contraction, kept_modes, mode_frequencies
from md.dynamics.ring_polymer import HBAR, RingPolymer, ring_frequency, thermal_ring_polymer
from md.dynamics.stability import first_resonance
from md.observables.estimators import conserved
from md.potentials import Harmonic, Morse
from md.simulation import Dynamics, point_of, simulate
from mlcalc.common.errors import InputError
from mlcalc.vibrations import position_variance
from tests.md.crystals import Crystal

MASS, T = 12.011, 300.0
MORSE = Morse(depth=4.0, width=2.0, length=1.3)
FIRM, LOOSE = Harmonic(5.0), Harmonic(1.5)


def ring(n_beads: int, seed: int = 0, width: float = 0.1) -> np.ndarray:
    """Beads of a diatomic."""
    return np.array([[0, 0, 0], [0, 0, 1.3]]) + np.random.default_rng(seed).normal(0.0, width, (n_beads, 2, 3))


@pytest.mark.parametrize("n_beads", [1, 2, 5, 8])
def test_ends_of_the_contraction(n_beads):
    """All beads: the identity. One: the centroid. Any number: a ring at one point stays there."""
    assert np.array_equal(contraction(n_beads, n_beads), np.eye(n_beads))
    np.testing.assert_allclose(contraction(n_beads, 1), np.full((1, n_beads), 1.0 / n_beads), atol=1e-15)
    for fewer in range(1, n_beads + 1):
        np.testing.assert_allclose(contraction(n_beads, fewer).sum(axis=1), 1.0, atol=1e-14)


@pytest.mark.parametrize(("n_beads", "fewer"), [(8, 3), (9, 5), (8, 4), (32, 4)])
def test_a_slow_path_is_kept(n_beads, fewer):
    """A path of few Fourier components is sampled at the P′ imaginary times; faster components vanish."""
    rng, times, wanted = np.random.default_rng(1), *(np.arange(1, n + 1) / n for n in (n_beads, fewer))
    a, b, mean = rng.normal(size=(3, n_beads // 2 + 1))

    def path(at: np.ndarray, orders: range) -> np.ndarray:
        return mean[0] + sum(a[k] * np.cos(2 * np.pi * k * at) + b[k] * np.sin(2 * np.pi * k * at) for k in orders)

    slow = range(1, (fewer + 1) // 2)
    found = contraction(n_beads, fewer) @ path(times, slow)
    np.testing.assert_allclose(found, path(wanted, slow), atol=1e-13)
    fast = range(fewer // 2 + 1, (n_beads + 1) // 2)
    np.testing.assert_allclose(contraction(n_beads, fewer) @ path(times, fast), mean[0], atol=1e-13)


def test_the_contraction_of_ipi():
    """The same matrix; i-PI's first bead, at imaginary time 0, is our last."""
    transforms = pytest.importorskip("ipi.utils.nmtransform")
    for n_beads in range(1, 13):
        for fewer in range(1, n_beads + 1):
            ours = np.roll(contraction(n_beads, fewer), 1, axis=(0, 1))
            np.testing.assert_allclose(ours, transforms.mk_rs_matrix(n_beads, fewer), atol=1e-14)


def test_energy_of_a_contracted_ring():
    """(P/P′) Σ V(q′), which on the centroid is P V(q̄); atoms at one point have the energy and forces of V."""
    q = ring(6)
    energies, forces = ContractedPotential(MORSE, 1)(q)
    energy, force = MORSE(q.mean(axis=0)[None])
    np.testing.assert_allclose(energies, energy[0])
    np.testing.assert_allclose(forces, np.broadcast_to(force, q.shape))
    four = ContractedPotential(MORSE, 4)
    assert four(q)[0].sum() == pytest.approx(1.5 * MORSE(np.tensordot(contraction(6, 4), q, 1))[0].sum())
    point = np.repeat(q[:1], 6, axis=0)
    for found, expected in zip(four(point), MORSE(point), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("fewer", [1, 2, 3, 4])
def test_forces_are_those_of_the_energy(fewer):
    potential = SplitPotential(FIRM, [Component(MORSE, 1.0, fewer), Component(LOOSE, -0.7, 2, 3)])
    q, h = ring(4), 1e-4
    forces = potential(q)[1].ravel()
    for coordinate, force in enumerate(forces):
        shift = np.zeros(q.size)
        shift[coordinate] = h
        ahead, behind = (potential(q + sign * shift.reshape(q.shape))[0].sum() for sign in (1, -1))
        assert force == pytest.approx(-(ahead - behind) / (2 * h), abs=1e-6)


def test_virials_are_those_of_the_energy():
    """Of a strain of cell and beads."""
    rng, cell, h = np.random.default_rng(2), 10.0 * np.eye(3), 1e-5
    crystal, other = (
        Crystal(rng.uniform(size=(3, 3)), 2.0, 1000.0, 0.1),
        Crystal(rng.uniform(size=(3, 3)), 1.0, 900.0, 0.3),
    )
    potential = SplitPotential(crystal, [Component(other, 0.5, 3)])
    q = rng.uniform(0.0, 10.0, (5, 3, 3))
    found = potential.evaluate(q, cell)
    for name, expected in zip(("energies", "forces"), potential(q, cell), strict=True):
        np.testing.assert_allclose(found[name], expected)
    for a in range(3):
        for b in range(3):
            strain = np.zeros((3, 3))
            strain[a, b] = h
            ahead, behind = (
                potential(q @ (np.eye(3) + sign * strain), cell @ (np.eye(3) + sign * strain))[0].sum()
                for sign in (1, -1)
            )
            if a == b:  # volumes of Crystal are exact for these
                assert found["virials"].sum(axis=0)[a, b] == pytest.approx((ahead - behind) / (2 * h), rel=1e-4)


@pytest.mark.parametrize(("integrator", "thermostat"), [("OBABO", "PILE-L"), ("BAOAB", "PILE-G"), ("BCOCB", "none")])
def test_a_sum_without_savings_is_the_plain_run(integrator, thermostat):
    """Components on all beads at every step: to rounding the run with their sum."""
    whole, parts = Harmonic(5.75), SplitPotential(FIRM, [Component(LOOSE, 0.5), Component(Harmonic(0.0), -1.0, 4)])
    found = []
    for potential in (whole, parts):
        rng = np.random.default_rng(3)
        state = thermal_ring_polymer(np.eye(3)[:2], np.array([12.0, 16.0]), 4, T, rng)
        *_, last = simulate(state, potential, Dynamics(T, 0.5, integrator, thermostat), rng, 200, 200)
        found.append((state.positions, state.momenta, list(last.properties.values())))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


# Motion with several time steps.


def linear(integrator: str, omega: float, fast: float, slow: float, timestep: float, every: int) -> np.ndarray:
    """The map of an outer step of one mode of (q, v), from the closed forms of its pieces; stiffnesses over mass."""

    def kick(stiffness: float, time: float) -> np.ndarray:
        return np.array([[1.0, 0.0], [-stiffness * time, 1.0]])

    def flow(time: float) -> np.ndarray:
        if integrator == "BCOCB":
            return np.array([[2.0, 2 * time], [-2 * time * omega**2, 2.0]]) / np.sqrt(4.0 + (2 * omega * time) ** 2)
        return np.array(
            [
                [np.cos(omega * time), time * np.sinc(omega * time / np.pi)],
                [-omega * np.sin(omega * time), np.cos(omega * time)],
            ]
        )

    inner = kick(fast, timestep / 2) @ flow(timestep / 2) @ flow(timestep / 2) @ kick(fast, timestep / 2)
    outer = kick(slow, every * timestep / 2)
    return outer @ np.linalg.matrix_power(inner, every) @ outer


@pytest.mark.parametrize("integrator", SPLITTINGS)
@pytest.mark.parametrize(("fewer", "every"), [(0, 4), (3, 5), (1, 2)])
def test_harmonic_motion(integrator, fewer, every):
    """Normal modes of a harmonic ring follow the product of maps; only those that are kept feel the slow force."""
    n_beads, timestep, weight = 5, 0.5, -0.4
    rng = np.random.default_rng(4)
    q, p = rng.normal(0.0, 0.1, (n_beads, 1, 3)), rng.normal(0.0, 3.0, (n_beads, 1, 3))
    state = RingPolymer(q.copy(), p.copy(), np.array([MASS]))
    potential = SplitPotential(FIRM, [Component(LOOSE, weight, fewer, every)])
    dynamics = Dynamics(T, timestep, integrator, "none", remove_com=False)
    steps = 12 * every
    for _ in simulate(state, potential, dynamics, rng, steps, every):
        pass
    spring = 2 * np.eye(n_beads) - np.roll(np.eye(n_beads), 1, axis=0) - np.roll(np.eye(n_beads), -1, axis=0)
    frequencies, modes = np.linalg.eigh(spring)
    frequencies = ring_frequency(n_beads, T) * np.sqrt(np.maximum(frequencies, 0.0))
    kept = [0, *range(1, fewer if fewer else n_beads)]
    for k in range(n_beads):
        slow = weight * LOOSE.force_constant / MASS if k in kept else 0.0
        step = linear(integrator, frequencies[k], FIRM.force_constant / MASS, slow, timestep * units.fs, every)
        start = np.array([modes[:, k] @ q[:, 0], modes[:, k] @ p[:, 0] / MASS])
        end = np.linalg.matrix_power(step, steps // every) @ start
        np.testing.assert_allclose(modes[:, k] @ state.positions[:, 0], end[0], rtol=0, atol=1e-12)
        np.testing.assert_allclose(modes[:, k] @ state.momenta[:, 0] / MASS, end[1], rtol=0, atol=1e-12)


def diatomic(seed: int = 5) -> RingPolymer:
    return thermal_ring_polymer(np.array([[0, 0, 0], [0, 0, 1.3]]), np.full(2, 12.0), 4, T, np.random.default_rng(seed))


def anharmonic(every: int) -> SplitPotential:
    return SplitPotential(
        MORSE, [Component(Morse(1.0, 1.5, 1.35), -0.5, 3, every), Component(LOOSE, 0.2, 0, 2 * every)]
    )


@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_motion_is_reversible(integrator):
    state, dynamics = diatomic(), Dynamics(T, 0.25, integrator, "none", remove_com=False)
    *_, first = simulate(state, anharmonic(3), dynamics, np.random.default_rng(0), 0, 6)
    q, p = state.positions.copy(), first.ring_polymer.momenta.copy()
    for _ in simulate(state, anharmonic(3), dynamics, np.random.default_rng(0), 120, 6):
        pass
    assert np.abs(state.positions - q).max() > 0.01
    state.momenta[:] *= -1.0
    for _ in simulate(state, anharmonic(3), dynamics, np.random.default_rng(0), 120, 6):
        pass
    np.testing.assert_allclose(state.positions, q, rtol=0, atol=1e-10)
    np.testing.assert_allclose(state.momenta, -p, rtol=0, atol=1e-10)


def test_conserved_energy_is_of_second_order():
    """Halving all time steps quarters its wiggle; the wiggle is that of the slow forces: a fourth of the inner step keeps it."""

    def wiggle(timestep_fs: float, every: int) -> float:
        dynamics = Dynamics(T, timestep_fs, "OBABO", "none")
        steps = round(40.0 / timestep_fs / (2 * every)) * 2 * every
        samples = simulate(diatomic(), anharmonic(every), dynamics, np.random.default_rng(0), steps, 2 * every)
        return float(np.std([conserved(sample) for sample in samples]))

    assert wiggle(0.1, 4) / wiggle(0.05, 4) == pytest.approx(4.0, rel=0.1)
    assert wiggle(0.025, 16) == pytest.approx(wiggle(0.1, 4), rel=0.3)
    assert wiggle(0.1, 4) > 3.0 * wiggle(0.1, 1)


def test_energy_at_constant_temperature_is_accounted_for():
    """The conserved energy of a thermostatted run stays, while the energy itself wanders."""
    rng, state = np.random.default_rng(6), diatomic()
    samples = simulate(state, anharmonic(2), Dynamics(T, 0.1), rng, 2000, 20)
    found = np.array([(sample.properties["conserved_eV"], sample.properties["potential_eV"]) for sample in samples])
    assert np.ptp(found[:, 0]) < 0.02 * np.ptp(found[:, 1])


@pytest.mark.parametrize("fewer", [1, 2, 3])
def test_spread_of_a_contracted_ring(fewer):
    """⟨q²⟩ is that of the Gaussian whose matrix holds springs, the fast wells, and the slow ones through the contraction."""
    n_beads, n_atoms, kT = 4, 200, units.kB * T
    potential, rng = (
        SplitPotential(Harmonic(30.0), [Component(Harmonic(40.0), 1.0, fewer)]),
        np.random.default_rng(7 + fewer),
    )
    state = thermal_ring_polymer(np.zeros((n_atoms, 3)), np.full(n_atoms, MASS), n_beads, T, rng)
    dynamics = Dynamics(T, 1.0, "BCOCB", centroid_time_fs=20.0, remove_com=False)
    squares = [
        (sample.ring_polymer.positions**2).mean() for sample in simulate(state, potential, dynamics, rng, 3000, 20)
    ][15:]
    spring = 2 * np.eye(n_beads) - np.roll(np.eye(n_beads), 1, axis=0) - np.roll(np.eye(n_beads), -1, axis=0)
    down = contraction(n_beads, fewer)
    matrix = (
        MASS * ring_frequency(n_beads, T) ** 2 * spring
        + 30.0 * np.eye(n_beads)
        + 40.0 * n_beads / fewer * down.T @ down
    )
    expected = kT * np.trace(np.linalg.inv(matrix))  # P kT Σ / P
    blocks = np.array([np.mean(block) for block in np.array_split(squares, 15)])
    error = blocks.std(ddof=1) / np.sqrt(15)
    assert error < 0.01 * expected
    assert abs(blocks.mean() - expected) < 4.0 * error
    whole = position_variance(np.array([HBAR * np.sqrt(70.0 / MASS)]), T, n_beads)[0] / MASS
    assert expected > whole + 4.0 * error  # what contraction leaves out shows


def stationary(
    word: str, ring: float, fast: float, slow: float, timestep: float, every: int, friction: float
) -> np.ndarray:
    """⟨q²⟩ and ⟨v²⟩ at outer steps of one mode for unit k_BT P/m: the covariance that the maps and the noise of M steps keep."""
    share = {letter: timestep / word.count(letter) for letter in "OABC" if letter in word}
    kick, flow, damped = np.eye(2), np.eye(2), np.eye(2)
    if "C" in word:
        double = 2 * share["C"]
        flow = np.array([[2.0, double], [-double * ring**2, 2.0]]) / np.sqrt(4.0 + (ring * double) ** 2)
    else:
        t = share["A"]
        flow = np.array(
            [[np.cos(ring * t), t * np.sinc(ring * t / np.pi)], [-ring * np.sin(ring * t), np.cos(ring * t)]]
        )
    damped[1, 1] = np.exp(-friction * share["O"])
    noise = np.diag([0.0, 1.0 - damped[1, 1] ** 2])
    total, added = np.eye(2), np.zeros((2, 2))
    for n in range(every):
        for place, letter in enumerate(word):
            if letter == "B":
                ends = (n == 0 and place == word.index("B")) or (n == every - 1 and place == word.rindex("B"))
                kick[1, 0] = -(fast + every * slow * ends) * share["B"]
            step = {"A": flow, "C": flow, "B": kick, "O": damped}[letter]
            total, added = step @ total, step @ added @ step.T + (noise if letter == "O" else 0.0)
    return np.diag(solve_discrete_lyapunov(total, added))


@pytest.mark.parametrize("integrator", SPLITTINGS)
def test_canonical_averages_with_several_time_steps(integrator):
    """Positions, momenta and the virial estimator at an outer step whose error shows, against their closed forms."""
    n_beads, n_atoms, fewer, every, kT = 4, 300, 3, 3, units.kB * T
    fast, slow, timestep, centroid_fs = 30.0, 25.0, 1.5, 20.0
    potential, rng = (
        SplitPotential(Harmonic(fast), [Component(Harmonic(slow), 1.0, fewer, every)]),
        np.random.default_rng(11),
    )
    state = thermal_ring_polymer(np.zeros((n_atoms, 3)), np.full(n_atoms, MASS), n_beads, T, rng)
    dynamics = Dynamics(T, timestep, integrator, centroid_time_fs=centroid_fs, remove_com=False)
    found = np.array([
        [(sample.ring_polymer.positions**2).mean(), sample.properties["temperature_K"], sample.properties["kinetic_virial_eV"]]
        for sample in simulate(state, potential, dynamics, rng, 3600, 18)
        if sample.step >= 360
    ])  # fmt: skip
    rings = mode_frequencies(n_beads, ring_frequency(n_beads, T))
    frictions = np.append(1.0 / (centroid_fs * units.fs), 2.0 * rings[1:])
    binding = np.where(np.isin(np.arange(n_beads), kept_modes(n_beads, fewer)), slow, 0.0)

    def expected(every: int, timestep: float) -> np.ndarray:
        q2, v2 = np.array([
            stationary(integrator, ring, fast / MASS, part / MASS, timestep * units.fs, every, friction)
            for ring, part, friction in zip(rings, binding, frictions, strict=True)
        ]).T  # fmt: skip
        q2 *= n_beads * kT / MASS
        virial = 1.5 * n_atoms * (kT + ((fast + binding) * q2)[1:].sum() / n_beads)
        return np.array([q2.mean(), T * v2.mean(), virial])

    blocks = np.array([block.mean(axis=0) for block in np.array_split(found, 15)])
    error = blocks.std(axis=0, ddof=1) / np.sqrt(15)
    assert (np.abs(blocks.mean(axis=0) - expected(every, timestep)) < 4.0 * error).all()
    assert (np.abs(blocks.mean(axis=0) - expected(1, 0.01)) > 4.0 * error).any()  # sees the time step


def test_the_first_resonance():
    """cos φ − (Ω_s²t/2Ω) sin φ = −1 with φ = Ωt, t the outer step, in the limit of small inner steps at P = 1."""
    stiff, slow, dynamics = 2.5, 0.5, Dynamics(T, 0.01, "OBABO", "none")
    found = first_resonance(dynamics, 1, stiff, slow, 0, 10_000)
    outer = found.every * 0.01 * units.fs
    angle = stiff * outer + 2.0 * np.arctan(slow**2 * outer / (2.0 * stiff))
    assert angle == pytest.approx(np.pi, rel=2e-3) and angle < np.pi
    assert found.frequency == pytest.approx(stiff, rel=1e-4)
    loose = first_resonance(dynamics, 1, 0.0, slow, 0, 10_000)
    assert loose.every * 0.01 * units.fs == pytest.approx(2.0 / slow, rel=2e-3)
    assert first_resonance(dynamics, 1, stiff, 0.0, 0, 10) is None


def test_contraction_lifts_the_limit():
    """Modes of the ring that feel no slow force are not driven by it."""
    dynamics, stiff = Dynamics(T, 0.25, "BCOCB"), 0.5
    limits = [first_resonance(dynamics, 16, stiff, 0.1, beads, 1000).every for beads in (0, 5, 3, 1)]
    assert limits == sorted(limits) and limits[0] * 4 < limits[-1]


@pytest.mark.parametrize(("integrator", "n_beads", "fewer"), [("OBABO", 1, 0), ("BAOAB", 8, 3), ("BCOCB", 8, 0)])
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_motion_agrees_with_the_limit(integrator, n_beads, fewer):
    """At the largest stable M oscillators stay for 20 000 steps; within the resonance they run away."""
    fast, slow = 40.0, 12.0
    dynamics = Dynamics(T, 0.2, integrator, "none", remove_com=False)
    found = first_resonance(dynamics, n_beads, np.sqrt(fast / MASS), np.sqrt(slow / MASS), fewer, 1000)

    def furthest(every: int) -> float:
        rng = np.random.default_rng(1)
        start = RingPolymer(rng.normal(0, 0.05, (n_beads, 4, 3)), np.zeros((n_beads, 4, 3)), np.full(4, MASS))
        potential = SplitPotential(Harmonic(fast), [Component(Harmonic(slow), 1.0, fewer, every)])
        steps = 20_000 // every * every
        for sample in simulate(start, potential, dynamics, rng, steps, every, guard=lambda *_: None):
            if not (size := np.abs(sample.ring_polymer.positions).max()) < 1e3:
                return np.inf
        return size

    assert furthest(found.every) < 10.0
    assert furthest(found.every + 1) == np.inf


def test_motion_resumes_at_outer_steps_to_the_bit():
    dynamics, potential = Dynamics(T, 0.5), anharmonic(2)
    rng, state = np.random.default_rng(8), diatomic()
    points = {}
    for sample in simulate(state, potential, dynamics, rng, 40, 4):
        points[sample.step] = point_of(sample), rng.bit_generator.state
    again, other = np.random.default_rng(), diatomic(1)
    begin, again.bit_generator.state = points[16]
    *_, last = simulate(other, anharmonic(2), dynamics, again, 40, 4, begin)
    for name, array in points[40][0].arrays().items():
        assert np.array_equal(array, point_of(last).arrays()[name]), name


def test_what_several_time_steps_do_not_fit():
    rng, dynamics = np.random.default_rng(0), Dynamics(T, 0.5)
    for word in ("OBAFBOOBAFBO", "BAOAFBBAOAFB"):
        with pytest.raises(InputError, match="expected an integrator with one F"):
            next(simulate(diatomic(), anharmonic(2), Dynamics(T, 0.5, word), rng, 4, 4))
    with pytest.raises(
        InputError, match="samples every 2 steps from step 0 on: expected multiples of the outer step, 4"
    ):
        next(simulate(diatomic(), anharmonic(2), dynamics, rng, 4, 2))
    with pytest.raises(ValueError, match="step 3 is within an outer step of 4"):
        anharmonic(2).at(3, ring(4))
