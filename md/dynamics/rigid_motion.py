"""Translation and rotation of a ring polymer as a rigid body, in normal modes.

An isolated molecule conserves the total momentum and angular momentum of all beads together. Holding them at zero removes
degrees of freedom: three for translation; for rotation the rank of the inertia tensor of all beads (three; two for a linear
molecule at P = 1; none for an atom at P = 1).

O must then sample momenta without rotation. Projecting the rotation out after friction and noise does not achieve this if modes
have different frictions; so a thermal rotation is added before, which makes the momenta canonical, and removed after.
"""

import numpy as np

from mlcalc.common.compiled import njit

_LINEAR = 1e-10  # moments of inertia below this share of the largest are rounding errors


@njit(cache=True)
def centre_of_mass_part(momenta, masses):
    """The part of momenta (N, 3) that moves the centre of mass: m_i/M Σ p."""
    part = np.empty_like(momenta)
    for axis in range(3):
        velocity = momenta[:, axis].sum() / masses.sum()
        for i in range(len(masses)):
            part[i, axis] = masses[i] * velocity
    return part


@njit(cache=True)
def relative_to_centre(positions, masses):
    """Positions (P, N, 3) in normal modes about the centre of mass of all beads; a shift of all beads changes only mode 0."""
    relative = positions.copy()
    for axis in range(3):
        relative[0, :, axis] -= (masses * positions[0, :, axis]).sum() / masses.sum()
    return relative


@njit(cache=True)
def inertia(positions, masses):
    """Inertia tensor (3, 3), u Å², of positions (K, N, 3) about the origin: Σ m (|r|² − r rᵀ)."""
    tensor = np.zeros((3, 3))
    for k in range(positions.shape[0]):
        for i in range(positions.shape[1]):
            r = positions[k, i]
            square = r[0] ** 2 + r[1] ** 2 + r[2] ** 2
            for a in range(3):
                tensor[a, a] += masses[i] * square
                for b in range(3):
                    tensor[a, b] -= masses[i] * r[a] * r[b]
    return tensor


@njit(cache=True)
def inverse_moments(tensor, power):
    """Principal axes (columns) and moments to the power −``power`` of an inertia tensor; 0 where nothing can turn."""
    moments, axes = np.linalg.eigh(tensor)
    inverse = np.zeros(3)
    for k in range(3):
        if moments[k] > _LINEAR * moments[2]:
            inverse[k] = moments[k] ** -power
    return axes, inverse


@njit(cache=True)
def add_rotation(momenta, positions, masses, velocity):
    """p ← p + m ω × r, with angular velocity ω (3,) and positions about the centre of mass."""
    x, y, z = velocity
    for k in range(momenta.shape[0]):
        for i in range(momenta.shape[1]):
            m, r = masses[i], positions[k, i]
            momenta[k, i, 0] += m * (y * r[2] - z * r[1])
            momenta[k, i, 1] += m * (z * r[0] - x * r[2])
            momenta[k, i, 2] += m * (x * r[1] - y * r[0])


@njit(cache=True)
def angular_momentum(positions, momenta):
    """Σ r × p, (3,)."""
    total = np.zeros(3)
    for k in range(positions.shape[0]):
        for i in range(positions.shape[1]):
            r, p = positions[k, i], momenta[k, i]
            total[0] += r[1] * p[2] - r[2] * p[1]
            total[1] += r[2] * p[0] - r[0] * p[2]
            total[2] += r[0] * p[1] - r[1] * p[0]
    return total


@njit(cache=True)
def remove_rotation(positions, momenta, masses):
    """Remove the overall rotation of the ring polymer from the momenta; both (P, N, 3) in normal modes, momenta in place."""
    relative = relative_to_centre(positions, masses)
    axes, inverse = inverse_moments(inertia(relative, masses), 1.0)
    velocity = axes @ (inverse * (axes.T @ angular_momentum(relative, momenta)))
    add_rotation(momenta, relative, masses, -velocity)


@njit(cache=True)
def add_thermal_rotation(positions, momenta, masses, thermal_energy, normals):
    """Add a rotation drawn at a thermal energy per degree of freedom (eV) with three standard normal numbers."""
    relative = relative_to_centre(positions, masses)
    axes, inverse = inverse_moments(inertia(relative, masses), 0.5)
    add_rotation(momenta, relative, masses, axes @ (inverse * normals * np.sqrt(thermal_energy)))
