"""O of a splitting word: the step of a thermostat on the momenta of all normal modes, exact for its share of the time step.

Arguments are those of integrators.Modes and integrators.Laws, whose letters are used here.
"""

import numpy as np
from scipy.linalg import expm

from md.dynamics.rigid_motion import add_thermal_rotation, centre_of_mass_part, remove_rotation
from md.dynamics.thermostats import Thermostat
from mlcalc.common.compiled import njit


def ornstein_uhlenbeck(thermostat: Thermostat, duration: float, thermal_energy: float) -> tuple[np.ndarray, np.ndarray]:
    """T and S of Laws; S is the symmetric root."""
    damping = expm(-duration * thermostat.drift)
    gained = thermostat.covariance - damping @ thermostat.covariance @ damping.transpose(0, 2, 1)
    squares, axes = np.linalg.eigh(gained)
    # The noise may have rank one: rounding makes its zeros ±tiny.
    roots = np.sqrt(thermal_energy * np.maximum(squares, 0.0))
    return damping, np.ascontiguousarray((axes * roots[:, None, :]) @ axes.transpose(0, 2, 1))


@njit(cache=True)
def apply_thermostat(modes, laws, normals):
    """O: the exact motion of thermostats.py over its share of the time step; returns the kinetic energy (eV) removed."""
    p, masses = modes.momenta, modes.masses
    n_beads, n_atoms, _ = p.shape
    size = laws.damping.shape[1]
    used = n_beads * size * n_atoms * 3
    noise = normals[:used].reshape(n_beads, size, n_atoms, 3)
    before = ring_polymer_kinetic_energy(modes)
    if laws.remove_rotation:
        add_thermal_rotation(modes.positions, p, masses, laws.thermal_energy, normals[used:])
    if size == 1:
        add_white_noise(modes, laws, noise)
    else:
        add_coloured_noise(modes, laws, noise)
    if laws.rescaling < 1.0:
        rescale_centroid(modes, laws, noise[0, 0])
    stop_rigid_motion(modes, laws)
    return before - ring_polymer_kinetic_energy(modes)


@njit(cache=True)
def stop_rigid_motion(modes, laws):
    """Hold the total momentum and the total angular momentum at zero, where the laws say so."""
    if laws.remove_com:
        modes.momenta[0] -= centre_of_mass_part(modes.momenta[0], modes.masses)
    if laws.remove_rotation:
        remove_rotation(modes.positions, modes.momenta, modes.masses)


@njit(cache=True)
def add_white_noise(modes, laws, noise):
    """p̃_k ← T p̃_k + S √m ξ with normals ξ (P, 1, N, 3)."""
    p = modes.momenta
    for i in range(p.shape[1]):
        root = np.sqrt(modes.masses[i])
        for k in range(p.shape[0]):
            damping, strength = laws.damping[k, 0, 0], laws.noise[k, 0, 0] * root
            for axis in range(3):
                p[k, i, axis] = damping * p[k, i, axis] + strength * noise[k, 0, i, axis]


@njit(cache=True)
def add_coloured_noise(modes, laws, noise):
    """x ← T x + S √m ξ for x = (p̃_k, its extra momenta), with normals ξ (P, 1 + A, N, 3)."""
    p, extra = modes.momenta, modes.auxiliary
    n_beads, size, n_atoms, _ = noise.shape
    x = np.empty(size)
    for i in range(n_atoms):
        root = np.sqrt(modes.masses[i])
        for k in range(n_beads):
            for axis in range(3):
                x[0] = p[k, i, axis]
                for a in range(1, size):
                    x[a] = extra[k, a - 1, i, axis]
                for a in range(size):
                    new = 0.0
                    for b in range(size):
                        new += laws.damping[k, a, b] * x[b] + laws.noise[k, a, b] * root * noise[k, b, i, axis]
                    if a == 0:
                        p[k, i, axis] = new
                    else:
                        extra[k, a - 1, i, axis] = new


@njit(cache=True)
def rescale_centroid(modes, laws, normals):
    """Stochastic velocity rescaling of the centroid; uses one of the normals (N, 3) per degree of freedom."""
    p, masses = modes.momenta[0], modes.masses
    twice_kinetic = 0.0
    for i in range(len(masses)):
        for axis in range(3):
            twice_kinetic += p[i, axis] ** 2 / masses[i]
    freedom = normals.size - 3 * laws.remove_com
    if twice_kinetic == 0.0 or freedom < 1:
        return
    squares, used = 0.0, 0
    for normal in normals.flat:
        if used < freedom:
            squares += normal**2
            used += 1
    c, first = laws.rescaling, normals[0, 0]
    share = (1.0 - c) * laws.thermal_energy / twice_kinetic
    scale = np.sqrt(c + share * squares + 2.0 * first * np.sqrt(c * share))
    if first + np.sqrt(c / share) < 0.0:
        scale = -scale
    p *= scale


@njit(cache=True)
def ring_polymer_kinetic_energy(state):
    """Σ p²/2m over all beads (or modes), eV: kinetic energy of the ring polymer, not of the quantum nuclei."""
    p, masses = state.momenta, state.masses
    total = 0.0
    for i in range(p.shape[1]):
        squares = 0.0
        for j in range(p.shape[0]):
            for axis in range(3):
                squares += p[j, i, axis] ** 2
        total += squares / (2.0 * masses[i])
    return total
