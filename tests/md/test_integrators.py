"""Laws of motion against exact results: linear maps, other programs' classical limit, order in the time step."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet
from scipy.linalg import solve_discrete_lyapunov

from md.dynamics.integrators import SPLITTINGS, Modes, apply_segment, make_laws, word_of
from md.dynamics.ring_polymer import RingPolymer, thermal_ring_polymer
from md.observables.estimators import conserved
from md.potentials import AseForces, Harmonic, Morse
from md.simulation import Dynamics, simulate
from mlcalc.common.errors import InputError
from mlcalc.vibrations import HBAR, position_variance

MASS = 12.011
HIGHEST_C20_MODE = 1394.0 * units.invcm  # eV
MORSE = Morse(depth=4.0, width=2.0, length=1.3)


def stationary_spread(integrator: str, n_beads: int, timestep_fs: float) -> float:
    """⟨q²⟩ that a splitting samples for a harmonic oscillator: its linear map is read off, its covariance solved for."""
    dynamics = Dynamics(300.0, timestep_fs, integrator, remove_com=False)
    laws = make_laws(dynamics, n_beads)
    stiffness = MASS * (HIGHEST_C20_MODE / HBAR) ** 2
    size = 2 * n_beads

    def matrix(letter: int) -> np.ndarray:
        columns = []
        for unit in np.eye(size):
            q, p, silence = np.zeros((3, n_beads, 1, 3))
            q[:, 0, 0], p[:, 0, 0] = unit[:n_beads], unit[n_beads:]
            modes = Modes(q, p, -stiffness * q, np.array([MASS]), np.zeros((n_beads, 0, 1, 3)))
            one = laws._replace(word=np.array([letter]))
            apply_segment(0, modes, one, silence.reshape(1, -1), np.empty_like(q), modes.forces)
            columns.append(np.concatenate([q[:, 0, 0], p[:, 0, 0]]))
        return np.array(columns).T

    noise = np.zeros((size, size))
    noise[n_beads:, n_beads:] = np.diag(MASS * laws.noise[:, 0, 0] ** 2)
    step, added = np.eye(size), np.zeros((size, size))
    for letter in laws.word:
        m = matrix(int(letter))
        step, added = m @ step, m @ added @ m.T + (noise if letter == 2 else 0.0)
    covariance = solve_discrete_lyapunov(step, added)
    return covariance[:n_beads, :n_beads].trace() / n_beads


@pytest.mark.parametrize(
    ("integrator", "timestep_fs", "expected", "digits"),
    [
        ("OBABO", 0.5, 0.0049, 1e-4), ("OBABO", 1.0, 0.020, 1e-3), ("OBABO", 2.0, 0.088, 1e-3), ("OBABO", 4.0, 0.69, 1e-2),
        ("BAOAB", 0.5, 0.0006, 1e-4), ("BAOAB", 1.0, 0.0024, 1e-4), ("BAOAB", 2.0, 0.0099, 1e-4), ("BAOAB", 4.0, 0.043, 1e-3),
        ("BCOCB", 0.5, 0.0, 1e-10), ("BCOCB", 2.0, 0.0, 1e-10), ("BCOCB", 4.0, 0.0, 1e-10),
    ],
)  # fmt: skip
def test_time_step_error_of_the_spread(integrator, timestep_fs, expected, digits):
    """Relative error of ⟨q²⟩ at P = 8 against published-formula values, to their last printed digit."""
    exact = position_variance(np.array([HIGHEST_C20_MODE]), 300.0, 8)[0] / MASS
    error = abs(stationary_spread(integrator, 8, timestep_fs) / exact - 1.0)
    assert error == pytest.approx(expected, abs=digits)


@pytest.mark.parametrize("integrator", SPLITTINGS)
@pytest.mark.parametrize("thermostat", ["PILE-L", "none"])
def test_no_time_moves_nothing(integrator, thermostat):
    state = thermal_ring_polymer(np.eye(3)[:2], np.array([12.0, 1.0]), 5, 300.0, np.random.default_rng(1))
    state.positions[:] += np.random.default_rng(2).normal(size=state.positions.shape)
    q = state.positions.copy()
    dynamics = Dynamics(300.0, 0.0, integrator, thermostat)
    frames = [s.ring_polymer.positions.copy() for s in simulate(state, MORSE, dynamics, np.random.default_rng(3), 20)]
    np.testing.assert_allclose(frames[1], q, rtol=0, atol=1e-14)  # to normal modes and back
    assert np.array_equal(frames[1], frames[20])


def test_one_bead_without_thermostat_is_velocity_verlet():
    """The same trajectory as ASE's integrator: 500 steps of a Morse molecule agree to the growth of rounding errors."""
    from ase.calculators.morse import MorsePotential

    atoms = Atoms("CO", [[0.0, 0.0, 0.0], [0.1, 0.2, 1.4]])
    atoms.calc = MorsePotential(epsilon=4.0, rho0=6.0, r0=1.3, rcut1=50.0, rcut2=60.0)
    momenta = np.random.default_rng(4).normal(0.0, 1.0, (2, 3))
    momenta -= momenta.mean(axis=0)
    atoms.set_momenta(momenta)
    state = RingPolymer(atoms.positions[None].copy(), momenta[None].copy(), atoms.get_masses())
    potential = AseForces(atoms, atoms.calc)
    dynamics = Dynamics(300.0, 0.5, "OBABO", "none", remove_com=False)
    for _ in simulate(state, potential, dynamics, np.random.default_rng(0), 500, every=500):
        pass
    VelocityVerlet(atoms, 0.5 * units.fs).run(500)
    np.testing.assert_allclose(state.positions[0], atoms.positions, atol=1e-9)
    np.testing.assert_allclose(state.momenta[0], atoms.get_momenta(), atol=1e-9)


def energy_wiggle(timestep_fs: float) -> float:
    state = thermal_ring_polymer(
        np.array([[0, 0, 0], [0, 0, 1.3]]), np.full(2, 12.0), 4, 300.0, np.random.default_rng(5)
    )
    steps = round(40.0 / timestep_fs)
    dynamics = Dynamics(300.0, timestep_fs, "OBABO", "none")
    energies = [conserved(s) for s in simulate(state, MORSE, dynamics, np.random.default_rng(0), steps)]
    return float(np.std(energies))


def test_energy_error_is_of_second_order():
    """Halving the time step quarters the wiggle of the conserved energy, to the next order (some percent)."""
    assert energy_wiggle(0.2) / energy_wiggle(0.1) == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("n_beads", [1, 3, 8])
def test_centre_of_mass_stays(n_beads):
    state = thermal_ring_polymer(np.eye(3), np.array([12.0, 1.0, 16.0]), n_beads, 300.0, np.random.default_rng(6))
    before = state.masses @ state.positions.mean(axis=0) / state.masses.sum()
    for _ in simulate(state, Harmonic(0.0), Dynamics(300.0, 0.5), np.random.default_rng(7), 200, 200):
        pass
    np.testing.assert_allclose(state.masses @ state.positions.mean(axis=0) / state.masses.sum(), before, atol=1e-12)


def test_same_seed_same_bits():
    def run(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        state = thermal_ring_polymer(np.eye(3)[:2], np.full(2, 12.0), 8, 300.0, rng)
        for _ in simulate(state, Harmonic(10.0), Dynamics(300.0, 0.5), rng, 50, 50):
            pass
        return state.positions

    assert np.array_equal(run(1), run(1))
    assert not np.array_equal(run(1), run(2))


@pytest.mark.parametrize("every", [1, 3, 7, 100])
def test_recording_does_not_change_the_motion(every):
    """Noise is drawn for many steps at once, but never beyond a sample: the generator stands where it would have stood."""
    rng, reference = np.random.default_rng(8), np.random.default_rng(8)
    state = thermal_ring_polymer(np.eye(3)[:2], np.full(2, 12.0), 4, 300.0, rng)
    for sample in simulate(state, MORSE, Dynamics(300.0, 0.5), rng, 21, every):
        last = sample.step
    start = thermal_ring_polymer(np.eye(3)[:2], np.full(2, 12.0), 4, 300.0, reference)
    for _ in simulate(start, MORSE, Dynamics(300.0, 0.5), reference, 21, 21):
        pass
    assert last == 21 - 21 % every
    assert np.array_equal(state.positions, start.positions)
    assert np.array_equal(state.momenta, start.momenta)
    assert rng.standard_normal() == reference.standard_normal()


@pytest.mark.parametrize("thermostat", ["none", "PILE-L", "PILE-G", "T-RPMD"])
@pytest.mark.parametrize(("once", "twice"), [("OBAFBO", "OBAFBOOBAFBO"), ("BAOAFB", "BAOAFBBAOAFB")])
def test_a_word_twice_is_two_steps_of_half_the_time(once, twice, thermostat):
    """To the bit, noise included; the heat is summed in another order."""
    found = []
    for word, steps, timestep_fs in ((once, 80, 0.25), (twice, 40, 0.5)):
        rng, calls = np.random.default_rng(10), []
        state = thermal_ring_polymer(np.array([[0, 0, 0], [0, 0, 1.3]]), np.array([12.0, 16.0]), 4, 300.0, rng)

        def potential(positions, calls=calls):
            calls.append(len(positions))
            return MORSE(positions)

        dynamics = Dynamics(300.0, timestep_fs, word, thermostat)
        *_, last = simulate(state, potential, dynamics, rng, steps, steps)
        assert len(calls) == 80 + 1  # one before the first step
        found.append((last.heat, state.positions, state.momenta, last.forces, rng.standard_normal()))
    (heat, *state_of_one), (other, *state_of_two) = found
    assert heat == pytest.approx(other, rel=1e-12)
    for one, two in zip(state_of_one, state_of_two, strict=True):
        assert np.array_equal(one, two)


def test_a_step_with_two_forces_conserves_energy_as_its_halves():
    """Velocity Verlet twice in a step of a harmonic well: the closed form of its map, after n steps of half the time."""
    stiffness, half, n = 5.0, 0.25 * units.fs, 60
    state = RingPolymer(np.full((1, 1, 3), 0.1), np.full((1, 1, 3), 0.7), np.array([MASS]))
    dynamics = Dynamics(300.0, 0.5, "BAFBBAFB", "none", remove_com=False)
    for _ in simulate(state, Harmonic(stiffness), dynamics, np.random.default_rng(0), n // 2, n):
        pass
    kick, flow = np.array([[1.0, 0.0], [-stiffness * half / 2, 1.0]]), np.array([[1.0, half / MASS], [0.0, 1.0]])
    q, p = np.linalg.matrix_power(kick @ flow @ kick, n) @ [0.1, 0.7]
    np.testing.assert_allclose(state.positions, q, rtol=1e-12)
    np.testing.assert_allclose(state.momenta, p, rtol=1e-12)


def test_the_table_of_words_is_one_of_words():
    for name, word in SPLITTINGS.items():
        assert word_of(name) == word_of(word) == word
        assert word.replace("F", "") == name


@pytest.mark.parametrize(
    "word",
    ["", "velocity", "BAB", "OBABOF", "FBAB", "BABFAB", "BAFBA", "BAFBAB", "AF", "BF", "BAFCFB", "BAFXB"],
)
def test_words_with_stale_forces_or_other_letters_are_refused(word):
    with pytest.raises(InputError, match="expected one of OBABO, BAOAB, BCOCB, or a word of") as caught:
        make_laws(Dynamics(300.0, 0.5, word, "none"), 2)
    assert repr(word) in str(caught.value)


def test_a_thermostat_without_its_letter_is_refused():
    assert make_laws(Dynamics(300.0, 0.5, "BAFB", "none"), 2).draws(5)[0] == 0
    with pytest.raises(InputError, match="has no O: expected thermostat = 'none', not 'PILE-L'"):
        make_laws(Dynamics(300.0, 0.5, "BAFB"), 2)


def test_compiled_normal_numbers_are_numpys():
    from md.simulation import _noise, standard_normal

    noise = _noise(standard_normal(np.random.default_rng(9)), (2, 3, 4, 3), range(10), 4)
    drawn = np.array([numbers.copy() for numbers in noise])
    np.testing.assert_allclose(drawn.ravel(), np.random.default_rng(9).standard_normal(drawn.size), rtol=1e-14)
