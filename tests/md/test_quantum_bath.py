"""The adaptive quantum thermal bath: its noise, harmonic and leaking vibrations, OpenMM's bath beside it."""

import numpy as np
import pytest
from ase import units

from md.dynamics.quantum_bath import QuantumBath, thermal_energy
from md.dynamics.ring_polymer import HBAR, thermal_ring_polymer
from md.dynamics.settings import Dynamics
from md.observables.statistics import Mean, block_average
from md.simulation import Point, point_of, simulate
from mlcalc.common.errors import InputError
from mlcalc.vibrations import vibrational_energy

T = 300.0
KT = units.kB * T


def omega_of(wavenumber: float | np.ndarray) -> np.ndarray:
    """1 / ASE time, from cm⁻¹."""
    return np.asarray(wavenumber) * units.invcm / HBAR


def settings(**keys) -> Dynamics:
    """A bath at 300 K without anything held at rest."""
    return Dynamics(
        **(
            {"temperature_K": T, "timestep_fs": 0.5, "integrator": "BAOAB", "thermostat": "adQTB", "remove_com": False}
            | keys
        )
    )


def positions_of(potential, masses, dynamics, steps, skip, seed) -> tuple[np.ndarray, QuantumBath]:
    """Positions (steps − skip, N, 3) of a run from the origin, and its bath."""
    rng = np.random.default_rng(seed)
    state = thermal_ring_polymer(np.zeros((len(masses), 3)), masses, 1, T, rng)
    bath = QuantumBath(dynamics, masses, rng)
    found = [
        s.ring_polymer.positions[0].copy() for s in simulate(state, potential, dynamics, bath, steps) if s.step > skip
    ]
    return np.array(found), bath


def test_thermal_energy_is_that_of_an_oscillator():
    wavenumbers = np.array([5.0, 200.0, 1500.0, 4000.0])
    for omega, wavenumber in zip(omega_of(wavenumbers), wavenumbers, strict=True):
        expected = vibrational_energy(np.array([wavenumber * units.invcm]), T, None)
        assert thermal_energy(omega, T) == pytest.approx(float(np.sum(expected)), rel=1e-12)
    assert thermal_energy(np.zeros(1), T)[0] == pytest.approx(KT)


@pytest.mark.parametrize("remove_com", [False, True])
def test_the_noise_has_the_spectrum(remove_com):
    """Across the seams of segments: periodograms of pieces that begin in the middle of a segment."""
    masses = np.array([1.008, 12.011] * 10)
    dynamics = settings(bath_segment_fs=400.0, bath_adaptation_ps=0.0, remove_com=remove_com)
    bath, n, pieces = QuantumBath(dynamics, masses, np.random.default_rng(1)), 800, []
    noise = []
    for _ in range(61):
        noise.append(bath._noise.copy())
        bath._end_segment(1.0)
    noise = np.concatenate(noise)[n // 2 :]
    if remove_com:
        np.testing.assert_allclose(np.einsum("i,tia->ta", np.sqrt(masses), noise), 0.0, atol=1e-10)
    pieces = noise[: len(noise) // n * n].reshape(-1, n, len(masses), 3) * np.hanning(n)[:, None, None]
    power = np.abs(np.fft.rfft(pieces, axis=1)) ** 2 / (np.hanning(n) ** 2).sum()
    found, omega = power.mean(axis=(0, 2, 3)), 2.0 * np.pi * np.fft.rfftfreq(n, 0.5 * units.fs)
    error = found * np.sqrt(2.0 / (len(pieces) * 3 * len(masses)))  # a window correlates neighbouring frequencies
    expected = thermal_energy(omega, T) / KT * (1.0 - remove_com / len(masses))
    seen = (omega > omega_of(100.0)) & (omega < omega_of(8000.0))
    deviation = (found - expected)[seen] / error[seen]
    assert np.abs(deviation).max() < 4.5 and np.abs(deviation.mean()) < 0.5
    assert found[omega > omega_of(12000.0)].max() < 1e-3 * found.max()


@pytest.mark.parametrize("timestep_fs", [0.5, 4.0])
@pytest.mark.parametrize("integrator", ["BAOAB", "BCOCB"])
def test_harmonic_vibrations_obey_the_theorem_at_any_step(integrator, timestep_fs):
    """The ratio of spectra that the bath measures is its friction, also where ωΔt = 1.1."""
    masses = np.repeat([1.0, 12.0], 20)
    stiffness = (masses * np.repeat(omega_of([1500.0, 400.0]), 20) ** 2)[:, None]
    dynamics = settings(integrator=integrator, timestep_fs=timestep_fs, bath_adaptation_ps=1e6, centroid_time_fs=60.0)
    rng = np.random.default_rng(3)
    state = thermal_ring_polymer(np.zeros((40, 3)), masses, 1, T, rng)
    bath = QuantumBath(dynamics, masses, rng)
    for _ in simulate(
        state, lambda q: (0.5 * (stiffness * q**2).sum(axis=(1, 2)), -stiffness * q), dynamics, bath, 24000, 24000
    ):
        pass
    cross, power = bath._spectra
    friction = 2.0 / (timestep_fs * units.fs) * np.tanh(0.5 * timestep_fs / 60.0)
    np.testing.assert_allclose(cross.sum(axis=1) / power.sum(axis=1), friction, rtol=0.02)


@pytest.mark.parametrize("integrator", ["BAOAB", "BCOCB"])
def test_harmonic_vibrations_have_their_quantum_width(integrator):
    """Against ⟨q²⟩ of an oscillator with friction under the noise of the bath, adapted or not: for it there is nothing to adapt."""
    wavenumbers, n, friction = [150.0, 600.0, 1600.0, 3400.0], 20, 1.0 / (100.0 * units.fs)
    masses = np.repeat([16.0, 12.0, 14.0, 1.0], n)
    stiffness = (masses * np.repeat(omega_of(wavenumbers), n) ** 2)[:, None]
    dynamics = settings(integrator=integrator, bath_adaptation_ps=5.0)
    q, bath = positions_of(
        lambda q: (0.5 * (stiffness * q**2).sum(axis=(1, 2)), -stiffness * q), masses, dynamics, 16000, 2000, 5
    )
    noise = np.linspace(0.0, omega_of(1e4), 400001)
    for k, omega in enumerate(omega_of(wavenumbers)):
        response = 2.0 * friction / ((omega**2 - noise**2) ** 2 + (friction * noise) ** 2) / np.pi
        expected = np.trapezoid(response * thermal_energy(noise, T), noise) / masses[n * k]
        found = block_average((q[:, n * k : n * k + n] ** 2).mean(axis=(1, 2)))
        assert found.error < 0.04 * expected
        assert abs(found.value - expected) < 4.0 * found.error, wavenumbers[k]
    assert (bath.violation() < 0.1).all() and (bath.at_limit() == 0.0).all()
    assert np.abs(bath.ratio.mean(axis=1) - 1.0).max() < 0.05


# Zero-point energy leaks from x, 3000 cm⁻¹, into y, 1500 cm⁻¹: V = ½k₁(x + ay²)² + ½k₂y² in all three directions.
LIGHT, HEAVY, STIFF, SOFT, COUPLING, PAIRS = 1.0, 1.5, 3000.0, 1500.0, 0.3, 30
STIFFNESS = LIGHT * omega_of(STIFF) ** 2, HEAVY * omega_of(SOFT) ** 2


def leaking(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies and forces of pairs; first all x, then all y."""
    (k1, k2), x, y = STIFFNESS, q[:, :PAIRS], q[:, PAIRS:]
    stretch = x + COUPLING * y**2
    forces = np.concatenate([-k1 * stretch, -k2 * y - 2.0 * COUPLING * k1 * stretch * y], axis=1)
    return 0.5 * (k1 * stretch**2 + k2 * y**2).sum(axis=(1, 2)), forces


def exact_widths(size: int = 40) -> np.ndarray:
    """⟨x²⟩ and ⟨y²⟩ of quantum mechanics, in a product basis of oscillators."""
    levels, energies = np.arange(size), []
    coordinates = []
    for mass, wavenumber in ((LIGHT, STIFF), (HEAVY, SOFT)):
        omega = omega_of(wavenumber)
        step = np.diag(np.sqrt(HBAR / (2.0 * mass * omega) * levels[1:]), 1)
        coordinates.append(step + step.T)
        energies.append(np.diag(HBAR * omega * (levels + 0.5)))
    (x, y), one = coordinates, np.eye(size)
    y2 = y @ y
    hamiltonian = np.kron(energies[0], one) + np.kron(one, energies[1])
    hamiltonian += 0.5 * STIFFNESS[0] * (2.0 * COUPLING * np.kron(x, y2) + COUPLING**2 * np.kron(one, y2 @ y2))
    values, states = np.linalg.eigh(hamiltonian)
    weights = np.exp(-(values - values[0]) / KT)
    weights /= weights.sum()
    return np.array(
        [weights @ np.einsum("ij,ij->j", states, square @ states) for square in (np.kron(x @ x, one), np.kron(one, y2))]
    )


def widths(q: np.ndarray) -> list[Mean]:
    """⟨x²⟩ and ⟨y²⟩ with errors, from positions (n, N, 3)."""
    return [block_average((part**2).mean(axis=(1, 2))) for part in (q[:, :PAIRS], q[:, PAIRS:])]


@pytest.mark.slow
def test_the_leak_is_stopped():
    """Without adaptation x loses an eighth of its zero-point width; with it both widths are right but for the shift γ/πω."""
    masses, exact = np.repeat([LIGHT, HEAVY], PAIRS), exact_widths()
    shift = 1.0 / (50.0 * units.fs) / (np.pi * omega_of([STIFF, SOFT]))
    plain, _ = positions_of(leaking, masses, settings(centroid_time_fs=50.0, bath_adaptation_ps=0.0), 80000, 20000, 7)
    np.testing.assert_allclose([mean.value for mean in widths(plain)] / exact, [0.88, 1.21], atol=0.02)
    q, bath = positions_of(leaking, masses, settings(centroid_time_fs=50.0), 160000, 40000, 8)
    for found, expected, lower in zip(widths(q), exact, shift, strict=True):
        assert found.error < 0.01 * expected
        assert abs(found.value / expected - (1.0 - lower)) < 4.0 * found.error / expected + 0.5 * lower
    assert (bath.at_limit() == 0.0).all()


@pytest.mark.slow
def test_openmm_has_the_same_bath():
    """Widths of the leaking pairs by OpenMM's QTBIntegrator (whose start takes minutes); its noise is corrected for friction."""
    openmm = pytest.importorskip("openmm")
    masses = np.repeat([LIGHT, HEAVY], PAIRS)
    shift = 1.0 / (50.0 * units.fs) / (np.pi * omega_of([STIFF, SOFT]))
    ours = widths(positions_of(leaking, masses, settings(centroid_time_fs=50.0), 160000, 40000, 9)[0])
    to_openmm = units.mol / units.kJ * 100.0  # eV/Å² → kJ/mol/nm²
    system = openmm.System()
    bond = " + ".join(f"({c}1 + a*{c}2^2)^2" for c in "xyz")
    force = openmm.CustomCompoundBondForce(2, f"0.5*k1*({bond}) + 0.5*k2*(x2^2 + y2^2 + z2^2)")
    for name, value in (("k1", STIFFNESS[0] * to_openmm), ("k2", STIFFNESS[1] * to_openmm), ("a", 10.0 * COUPLING)):
        force.addGlobalParameter(name, float(value))
    for mass in masses:
        system.addParticle(float(mass))
    for pair in range(PAIRS):
        force.addBond([pair, PAIRS + pair], [])
    system.addForce(force)
    integrator = openmm.QTBIntegrator(T, 20.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    integrator.setCutoffFrequency(float(omega_of(1e4) * 1e3 * units.fs))  # by default 2650 cm⁻¹
    integrator.setDefaultAdaptationRate(0.3)
    for index in range(len(masses)):
        integrator.setParticleType(index, index // PAIRS)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(np.zeros((len(masses), 3)))
    integrator.step(160000)
    frames = []
    for _ in range(12000):
        integrator.step(20)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    for mine, theirs, lower in zip(ours, widths(10.0 * np.array(frames)), shift, strict=True):
        error = np.hypot(mine.error, theirs.error)
        assert error < 0.01 * mine.value
        assert abs(mine.value - theirs.value) < 4.0 * error + lower * mine.value


@pytest.mark.parametrize("split", [37, 40, 120])
def test_it_resumes_to_the_bit(split):
    """Within a segment and at its end."""
    masses = np.array([1.0, 12.0, 1.0])
    stiffness = (masses * omega_of(1000.0) ** 2)[:, None]
    dynamics = settings(bath_segment_fs=20.0, bath_adaptation_ps=0.1, remove_com=True)

    def potential(q):
        return 0.5 * (stiffness * q**2).sum(axis=(1, 2)), -stiffness * q

    def started():
        rng = np.random.default_rng(4)
        state = thermal_ring_polymer(np.zeros((3, 3)), masses, 1, T, rng)
        return rng, state, QuantumBath(dynamics, masses, rng)

    _, state, bath = started()
    for _ in simulate(state, potential, dynamics, bath, 200, 200):
        pass
    rng, half, first = started()
    point, arrays, generator = None, {}, None
    for sample in simulate(half, potential, dynamics, first, split, split):
        point, arrays, generator = point_of(sample), first.arrays(), rng.bit_generator.state
    rng, rest, second = started()
    second.restore(arrays)
    rng.bit_generator.state = generator
    for _ in simulate(rest, potential, dynamics, second, 200, 200, Point.of(point.arrays())):
        pass
    np.testing.assert_array_equal(state.positions, rest.positions)
    for name, array in bath.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name], err_msg=name)


def test_a_damaged_state_is_refused():
    bath = QuantumBath(settings(bath_segment_fs=20.0), np.ones(2), np.random.default_rng(0))
    with pytest.raises(InputError, match="step 41 of segment 0 of a quantum bath: expected at most 40 steps"):
        bath.restore(bath.arrays() | {"bath_counts": np.array([41.0, 0.0, 0.0])})


def test_it_belongs_to_its_thermostat():
    state = thermal_ring_polymer(np.zeros((2, 3)), np.ones(2), 1, T, np.random.default_rng(0))
    with pytest.raises(TypeError, match="adQTB"):
        next(simulate(state, leaking, settings(), np.random.default_rng(0), 1))
    several = thermal_ring_polymer(np.zeros((2, 3)), np.ones(2), 4, T, np.random.default_rng(0))
    bath = QuantumBath(settings(), np.ones(2), np.random.default_rng(0))
    with pytest.raises(InputError, match="beads = 4: expected beads = 1"):
        next(simulate(several, leaking, settings(), bath, 1))
    with pytest.raises(InputError, match="expected BAOAB or BCOCB"):
        next(simulate(state, leaking, settings(integrator="OBABO"), bath, 1))
