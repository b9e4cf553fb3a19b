"""Harmonic vibrations of a molecule, classical, quantum and at a finite number of ring-polymer beads.

With s = βħω/2P, u = asinh s, c = √(1 + s²), an oscillator of angular frequency ω represented by P beads has, exactly,

    E_P = (ħω/2) coth(Pu)/c,    ⟨q²⟩ = (ħ/2ω) coth(Pu)/c   (q mass-weighted: q = √m x),
    C_P = k_B (βħω/2)² [csch²(Pu)/c² + (s/P) coth(Pu)/c³].

P = 1 is the classical oscillator (E = k_BT, C = k_B, ⟨q²⟩ = k_BT/ω²); P → ∞ (``beads=None``) the quantum one.
Source: the harmonic ring polymer's normal modes, ω_k = 2ω_P sin(kπ/P), summed in closed form; the convergence in P is
discussed by Ceriotti, Parrinello, Markland and Manolopoulos, J. Chem. Phys. 133, 124104 (2010), doi:10.1063/1.3489925.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator

from mlcalc.common.errors import InputError

Potential = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

HBAR = units._hbar * units.J * units.second  # eV · ASE time unit
_CM = units.invcm  # eV of 1 cm⁻¹
_BATCH = 32  # displaced structures per call of the potential: enough to keep its threads busy, in little memory
# Principal moments of a linear molecule vanish to rounding; those of a molecule bent by 1° are at 1e-4 of the largest.
_LINEAR = 1e-6


@dataclass(frozen=True)
class NormalModes:
    """Vibrations about a stationary point, lowest frequency first; without translations and rotations.

    Attributes:
        atoms: The stationary point (N atoms).
        energies: (M,) ħω in eV with M = 3N − 6, or 3N − 5 if linear; an unstable mode (ω² < 0) is negative.
        vectors: (M, N, 3) orthonormal mass-weighted displacements; a mode coordinate q (Å√u) moves the atoms
            by q · vectors / √m.
    """

    atoms: Atoms
    energies: np.ndarray
    vectors: np.ndarray

    @property
    def wavenumbers(self) -> np.ndarray:
        """(M,) in cm⁻¹; unstable modes are negative."""
        return self.energies / _CM

    @property
    def frequencies(self) -> np.ndarray:
        """(M,) angular frequencies ω in inverse ASE time units."""
        return self.energies / HBAR

    @property
    def zero_point_energy(self) -> float:
        """½ Σ ħω in eV over the stable modes."""
        return 0.5 * float(self.energies[self.energies > 0].sum())

    @property
    def displacements(self) -> np.ndarray:
        """(M, N, 3) displacement in Å of the atoms per unit of each mode coordinate q (Å√u)."""
        return self.vectors / np.sqrt(self.atoms.get_masses())[:, None]


def potential_of(atoms: Atoms, calculator: Calculator) -> Potential:
    """An ASE calculator as ``potential(q) -> (V, F)`` for positions q (P, N, 3) of these atoms."""
    moved = atoms.copy()
    moved.set_constraint()
    moved.calc = calculator

    def potential(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        forces, energies = np.empty_like(positions), np.empty(len(positions))
        for bead, moved.positions in enumerate(positions):
            forces[bead], energies[bead] = moved.get_forces(), moved.get_potential_energy()
        return energies, forces

    return potential


def hessian(potential: Potential, positions: np.ndarray, step_A: float = 0.005) -> np.ndarray:
    """Second derivatives of the energy by central differences of the forces.

    Args:
        potential: ``potential(q)`` with q (P, N, 3) in Å returns energies (P,) in eV and forces (P, N, 3) in eV/Å.
        positions: (N, 3) in Å.
        step_A: Displacement of each coordinate in Å; the error is of the order of its square, and rounding of the
            forces is divided by it.

    Returns:
        (3N, 3N) in eV/Å², symmetric.

    Raises:
        InputError: The step is not positive, or the potential returned a force that is not finite.
    """
    if not 0 < step_A < np.inf:
        raise InputError(f"step_A = {step_A!r}: expected a positive displacement in Å")
    positions = np.asarray(positions, dtype=np.float64)
    size = positions.size
    shifts = np.concatenate([np.eye(size), -np.eye(size)]).reshape(2 * size, *positions.shape) * step_A
    forces = np.concatenate(
        [potential(positions + shifts[start : start + _BATCH])[1] for start in range(0, 2 * size, _BATCH)]
    ).reshape(2 * size, size)
    if not np.isfinite(forces).all():
        raise InputError("the potential returned forces that are not finite near the given positions")
    matrix = (forces[size:] - forces[:size]) / (2 * step_A)
    return 0.5 * (matrix + matrix.T)


def normal_modes(atoms: Atoms, potential: Potential, step_A: float = 0.005) -> NormalModes:
    """Normal modes of a molecule at a stationary point of its energy.

    Args:
        atoms: The stationary point; its masses are used. Must not be periodic.
        potential: See :func:`hessian`.
        step_A: See :func:`hessian`.

    Raises:
        InputError: Periodic atoms, fewer than two atoms, or what :func:`hessian` refuses.
    """
    return modes_of_hessian(atoms, hessian(potential, atoms.get_positions(), step_A))


def modes_of_hessian(atoms: Atoms, matrix: np.ndarray) -> NormalModes:
    """Normal modes of a given Hessian (3N, 3N) in eV/Å², translations and rotations projected out.

    Raises:
        InputError: Periodic atoms, fewer than two atoms, or a Hessian of another shape.
    """
    if atoms.pbc.any():
        raise InputError(f"pbc = {atoms.pbc.tolist()}: normal modes are those of an isolated molecule, without pbc")
    if len(atoms) < 2:
        raise InputError(f"{len(atoms)} atoms: a molecule with vibrations has at least 2")
    if np.shape(matrix) != (3 * len(atoms),) * 2:
        raise InputError(f"Hessian of shape {np.shape(matrix)}: expected {(3 * len(atoms),) * 2}")
    weights = np.repeat(1.0 / np.sqrt(atoms.get_masses()), 3)
    internal = _internal_space(atoms)
    squares, vectors = np.linalg.eigh(internal.T @ (weights[:, None] * matrix * weights) @ internal)
    energies = HBAR * np.sign(squares) * np.sqrt(np.abs(squares))
    return NormalModes(atoms.copy(), energies, (internal @ vectors).T.reshape(-1, len(atoms), 3))


def _internal_space(atoms: Atoms) -> np.ndarray:
    """(3N, M) orthonormal basis of the mass-weighted displacements that neither translate nor rotate."""
    roots = np.sqrt(atoms.get_masses())
    centred = atoms.get_positions() - atoms.get_center_of_mass()
    translations = [roots[:, None] * axis for axis in np.eye(3)]
    # Rotations about the principal axes are orthogonal to one another, their squared lengths the moments of inertia;
    # the moment about the axis of a linear molecule is zero and its "rotation" moves nothing.
    moments, axes = atoms.get_moments_of_inertia(vectors=True)
    rotations = [
        roots[:, None] * np.cross(axis, centred)
        for moment, axis in zip(moments, axes, strict=True)
        if moment > _LINEAR * moments.max()
    ]
    external = np.array(translations + rotations).reshape(-1, 3 * len(atoms)).T
    basis, _ = np.linalg.qr(external, mode="complete")
    return basis[:, external.shape[1] :]


def position_variance(energies: np.ndarray, temperature_K: float, beads: int | None) -> np.ndarray:
    """⟨q²⟩ in Å²u of the mass-weighted coordinates of oscillators with ħω = ``energies`` (eV).

    Args:
        energies: (M,) ħω in eV, all positive.
        temperature_K: In K.
        beads: P ≥ 1; None for the quantum limit P → ∞.

    Raises:
        InputError: An oscillator without a positive frequency, a temperature or bead number out of range.
    """
    coth_over_c, _ = _oscillator(energies, temperature_K, beads)
    return 0.5 * HBAR**2 / np.asarray(energies) * coth_over_c


def vibrational_energy(energies: np.ndarray, temperature_K: float, beads: int | None) -> float:
    """Thermal energy in eV, Σ (ħω/2) coth(Pu)/c, of oscillators at P beads; arguments as in position_variance."""
    coth_over_c, _ = _oscillator(energies, temperature_K, beads)
    return float((0.5 * np.asarray(energies) * coth_over_c).sum())


def heat_capacity(energies: np.ndarray, temperature_K: float, beads: int | None) -> float:
    """Heat capacity dE_P/dT in eV/K of oscillators at P beads; arguments as in position_variance."""
    _, capacity = _oscillator(energies, temperature_K, beads)
    return float(units.kB * capacity.sum())


def quantum_correction(energies: np.ndarray, temperature_K: float, beads: int | None) -> float:
    """Σ ln(Z_P/Z_1) of oscillators at P beads, Z_P = 1/(2 sinh Pu) and Z_1 = 1/(βħω); arguments as in position_variance.

    Negative; its difference between two isotopologues is the logarithm of their reduced partition function ratio.

    Source: Bigeleisen, Mayer, J. Chem. Phys. 15, 261 (1947), doi:10.1063/1.1746492.
    """
    _oscillator(energies, temperature_K, beads)
    x = np.asarray(energies) / (units.kB * temperature_K)
    exponent = 0.5 * x if beads is None else beads * np.arcsinh(0.5 * x / beads)
    return float((np.log(x) - exponent - np.log(-np.expm1(-2.0 * exponent))).sum())


def position_covariance(modes: NormalModes, temperature_K: float, beads: int | None) -> np.ndarray:
    """Covariance of the atoms' positions in the harmonic approximation, (3N, 3N) in Å².

    Σ_k vᵏ vᵏᵀ ⟨q_k²⟩ with vᵏ the displacement of mode k per unit of its coordinate. The variance of a distance to
    first order is then eᵀ C e with e its gradient. Arguments and errors as in :func:`position_variance`.
    """
    displacements = modes.displacements.reshape(len(modes.energies), -1)
    return (displacements.T * position_variance(modes.energies, temperature_K, beads)) @ displacements


def _oscillator(energies: np.ndarray, temperature_K: float, beads: int | None) -> tuple[np.ndarray, np.ndarray]:
    """coth(Pu)/c and C_P/k_B of each oscillator."""
    energies = np.asarray(energies, dtype=np.float64)
    if not (energies > 0).all():
        raise InputError(f"ħω = {energies.min():.3g} eV: a harmonic spread needs a minimum, all frequencies positive")
    if not 0 < temperature_K < np.inf:
        raise InputError(f"temperature_K = {temperature_K!r}: expected a positive number")
    half = 0.5 * energies / (units.kB * temperature_K)  # βħω/2
    if beads is None:
        return 1.0 / np.tanh(half), (half * _csch(half)) ** 2
    if not isinstance(beads, int | np.integer) or beads < 1:
        raise InputError(f"beads = {beads!r}: expected a whole number of at least 1, or none for the quantum limit")
    s = half / beads
    c = np.sqrt(1.0 + s**2)
    exponent = beads * np.arcsinh(s)
    coth = 1.0 / np.tanh(exponent)
    return coth / c, half**2 * ((_csch(exponent) / c) ** 2 + s / beads * coth / c**3)


def _csch(x: np.ndarray) -> np.ndarray:
    return 1.0 / np.sinh(np.minimum(x, 300.0))  # zero to any precision beyond; sinh overflows at 710
