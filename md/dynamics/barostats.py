"""Barostats: the cell as a degree of freedom, one row of BAROSTATS each.

=========  ===========================================================  ===============
symbol     meaning                                                      unit
=========  ===========================================================  ===============
h, V       cell vectors, volume                                         Å, Å³
W, p_h     inertia and momentum of a piston; v = p_h / W                u Å², eV × time
p          external pressure                                            eV/Å³
q̃₀, p̃₀     centroid mode of positions and momenta, see normal_modes.py
c          1 if the centre of mass is held at rest, else 0
=========  ===========================================================  ===============

The centroids move with the cell, and the rings keep their size:

    dq̃₀/dt = p̃₀/m + v q̃₀,   dp̃₀/dt = f̃₀ − v p̃₀,   dh/dt = v h,
    dp_h/dt = Σ p̃₀²/m − Σ_j [tr dV_j/dε + Σ_i (q_ij − q̄_i)·f_ij] − 3P p V + 3(1 + c) P k_B T,

with the strain ε of a bead and its cell. Where the lengths of a cell along x, y and z change by themselves, each axis has a p_h and
a v of its own, whose equation is the share of that axis in the last line. They conserve

    H + P p V − (1 + c) P k_B T ln V + Σ p_h²/2W,

and with thermostats sample volumes by exp(−βpV) Z(V), where Z(V) counts all positions in the cell: the second k_BT ln V stands
for the centre of mass that is held, so that an ideal gas has ⟨V⟩ = (N + 1) k_BT/p in either case. Three lengths are sampled
likewise, uniformly in each.

A moves the centroids and the cell at constant v, exactly; B kicks the piston with the atoms, and integrates the kinetic term
while the momenta change; O acts on p_h with friction 1/τ where it acts on the centroids. Without O the enthalpy is constant.

Sources: Bussi, Zykova-Timan, Parrinello, J. Chem. Phys. 130, 074101 (2009), doi:10.1063/1.3073889; for ring polymers Ceriotti,
More, Manolopoulos, Comput. Phys. Commun. 185, 1019 (2014), doi:10.1016/j.cpc.2013.10.027; Martyna, Hughes, Tuckerman, J. Chem.
Phys. 110, 3275 (1999), doi:10.1063/1.478193.
"""

import math
from typing import NamedTuple

import numpy as np
from ase import units

from md.dynamics.settings import Dynamics
from mlcalc.common.compiled import njit

_SMALL = 1e-3  # of a strain, below which sinh(x)/x is its series


class Piston(NamedTuple):
    """The laws of the cell.

    Attributes:
        momenta: Number of p_h: 0 for a cell that does not change, 1 for its size, 3 for its lengths along x, y and z.
        inertia: W/N, u Å².
        pressure: P p, eV/Å³.
        jacobian: (1 + c) P k_B T, eV.
        flow: Duration of one A, ASE time.
        damping, noise: exp(−t/τ) and S of one O, p_h ← exp(−t/τ) p_h + S √W ξ.
    """

    momenta: int
    inertia: float
    pressure: float
    jacobian: float
    flow: float
    damping: float
    noise: float


# Number of momenta of the cell: its size, or its lengths along x, y and z each by itself.
BAROSTATS = {"none": 0, "isotropic": 1, "orthorhombic": 3}


def piston_of(dynamics: Dynamics, n_beads: int, share: dict[str, float], damped: bool) -> Piston:
    """The laws of the cell; W = 3N P k_B T τ² for its size, N P k_B T τ² for each length, with τ = ``barostat_time_fs``.

    Args:
        n_beads: P; share: Durations of the letters A and O; damped: Whether O acts on the centroids.
    """
    momenta = BAROSTATS[dynamics.barostat]
    if momenta == 0:
        return Piston(0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    thermal_energy, time = n_beads * units.kB * dynamics.temperature_K, dynamics.barostat_time_fs * units.fs
    damping = math.exp(-share["O"] / time) if damped else 1.0
    return Piston(
        momenta,
        3.0 / momenta * thermal_energy * time**2,
        n_beads * dynamics.pressure_GPa * units.GPa,
        (1.0 + dynamics.remove_com) * thermal_energy,
        share["A"],
        damping,
        math.sqrt(thermal_energy * (1.0 - damping**2)),
    )


def thermal_piston(dynamics: Dynamics, n_beads: int, n_atoms: int, rng: np.random.Generator) -> np.ndarray:
    """Momenta of the pistons drawn from Maxwell's distribution at P·T; (0,) without a barostat, where nothing is drawn."""
    piston = piston_of(dynamics, n_beads, {"A": 0.0, "O": 0.0}, False)
    width = np.sqrt(n_atoms * piston.inertia * n_beads * units.kB * dynamics.temperature_K)
    return width * rng.standard_normal(piston.momenta)


@njit(cache=True)
def volume_of(cell):
    """V of a cell (3, 3)."""
    volume = 0.0
    for axis in range(3):
        second, third = (axis + 1) % 3, (axis + 2) % 3
        volume += cell[0, axis] * (cell[1, second] * cell[2, third] - cell[1, third] * cell[2, second])
    return abs(volume)


@njit(cache=True)
def move_cell(modes, piston):
    """A of centroids and cell, in place of their free motion."""
    q, p, masses = modes.positions[0], modes.momenta[0], modes.masses
    for axis in range(3):
        strain = modes.piston[axis % piston.momenta] / (len(masses) * piston.inertia) * piston.flow
        grown = math.exp(strain)
        path = piston.flow * (1.0 + strain**2 / 6.0 if abs(strain) < _SMALL else math.sinh(strain) / strain)
        for i in range(len(masses)):
            q[i, axis] = grown * q[i, axis] + path / masses[i] * p[i, axis]
            p[i, axis] /= grown
        modes.cell[:, axis] *= grown


@njit(cache=True)
def push_piston(modes, piston, duration):
    """B of the pistons, before that of the atoms, whose forces change the kinetic term meanwhile."""
    q, p, f, masses = modes.positions, modes.momenta, modes.forces, modes.masses
    work = piston.jacobian - piston.pressure * volume_of(modes.cell)
    for axis in range(3):
        gained = work - modes.strain[axis]
        for i in range(len(masses)):
            momentum, force, spread = p[0, i, axis], f[0, i, axis], 0.0
            kinetic = momentum**2 + duration * momentum * force + duration**2 * force**2 / 3.0
            for k in range(1, q.shape[0]):
                spread += q[k, i, axis] * f[k, i, axis]
            gained += kinetic / masses[i] - spread
        modes.piston[axis % piston.momenta] += duration * gained


@njit(cache=True)
def thermalise_piston(modes, piston, normals):
    """O of the pistons with a standard normal number for each; returns the kinetic energy (eV) removed."""
    taken, inertia = 0.0, len(modes.masses) * piston.inertia
    for axis in range(piston.momenta):
        before = modes.piston[axis]
        modes.piston[axis] = piston.damping * before + piston.noise * math.sqrt(inertia) * normals[axis]
        taken += (before**2 - modes.piston[axis] ** 2) / (2.0 * inertia)
    return taken


def cell_energy(cell: np.ndarray, momenta: np.ndarray, piston: Piston, shape: tuple[int, int, int]) -> float:
    """p V − (1 + c) k_B T ln V + Σ p_h²/2PW, eV, with V in Å³, of a ring polymer of shape (P, N, 3); 0 without a barostat."""
    if piston.momenta == 0:
        return 0.0
    n_beads, n_atoms, _ = shape
    volume = float(volume_of(cell))
    kinetic = float(momenta @ momenta) / (2.0 * n_atoms * piston.inertia)
    return (piston.pressure * volume - piston.jacobian * math.log(volume) + kinetic) / n_beads
