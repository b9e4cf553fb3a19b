"""Adaptive quantum thermal bath: classical nuclei (P = 1) under a noise whose spectrum gives every vibration its quantum energy.

Langevin dynamics with friction γ, in which the random force of an atom of mass m has the power spectrum

    C_RR(ω) = 2 m γ_r(ω) θ(ω),    θ(ω) = ½ħω coth(½βħω),

in place of 2mγ k_BT. With γ_r = γ (the quantum thermal bath) anharmonic couplings let zero-point energy leak from stiff to soft
vibrations. The adaptive bath holds, for atoms of every mass, the fluctuation–dissipation theorem of quantum mechanics,

    Re C_vR(ω) = m γ_r(ω) C_vv(ω),

by changing γ_r. Exact for harmonic vibrations but for a shift of relative order γ/ω; approximate beyond them, without tunnelling
splittings and coherence.

Time runs in segments of n steps. Spectra of a segment are Fourier transforms of its midpoint velocities v̄ and of its noise.
In one O, with the damping T = exp(−γΔt) and the noise r, J = m(v⁺ − v⁻) obeys

    J/Δt = −mγ′v̄ + R,    γ′ = (2/Δt) tanh(½γΔt),    R = 2r/((1 + T)Δt).

The reversible motion from one O to the next makes no net work, so that harmonic vibrations obey the theorem at any Δt.

Sources: Dammak et al., Phys. Rev. Lett. 103, 190601 (2009), doi:10.1103/PhysRevLett.103.190601; Barrat, Rodney, J. Stat. Phys. 144,
679 (2011), doi:10.1007/s10955-011-0316-7 (noise by filtering); Mangaud et al., J. Chem. Theory Comput. 15, 2863 (2019),
doi:10.1021/acs.jctc.8b01164 (adaptive bath); Mauger et al., J. Phys. Chem. Lett. 12, 8285 (2021),
doi:10.1021/acs.jpclett.1c01722 (γ_r as the ratio of running averages).
"""

from collections.abc import Iterator

import numpy as np
from ase import units
from scipy.fft import irfft, rfft, rfftfreq

from md.dynamics.integrators import Laws, Modes
from md.dynamics.ring_polymer import HBAR
from md.dynamics.settings import Dynamics
from mlcalc.common.errors import InputError

_HIGHEST, _EDGE = 1e4 * units.invcm / HBAR, 200.0 * units.invcm / HBAR  # no molecule vibrates faster; width of the cut
_LEAST, _MOST = 0.05, 10.0  # γ_r/γ
_EXPECTED_SPREAD = 1.0  # of γ_r/γ, before anything is known


def thermal_energy(omega: np.ndarray, temperature_K: float) -> np.ndarray:
    """θ(ω) of an oscillator, eV; its limit k_BT at ω = 0. ω in 1 / ASE time."""
    x = 0.5 * HBAR * np.asarray(omega, dtype=np.float64) / (units.kB * temperature_K)
    return units.kB * temperature_K * np.divide(x, np.tanh(x), out=np.ones_like(x), where=x > 0)


class QuantumBath:
    """The noise of a simulation with the thermostat ``adQTB``, and what it has learnt; continues over several simulations.

    Args:
        dynamics: Settings; masses: (N,) u; rng: source of the white noise.

    Attributes:
        masses: (S,) u, the different masses, to each of which belongs a γ_r.
        omega: (n // 2 + 1,) frequencies, 1 / ASE time.
        ratio: (S, n // 2 + 1) γ_r/γ of the present segment.
        segments: Complete segments.
    """

    def __init__(self, dynamics: Dynamics, masses: np.ndarray, rng: np.random.Generator):
        timestep, self._rng, self._remove_com = dynamics.timestep_fs * units.fs, rng, dynamics.remove_com
        self._length = n = segment_steps(dynamics)
        self._atom_masses, self._temperature_K = np.asarray(masses, dtype=np.float64), dynamics.temperature_K
        self.masses, self._kind = np.unique(self._atom_masses, return_inverse=True)
        self.omega = 2.0 * np.pi * rfftfreq(n, timestep)
        rate = 1.0 / (dynamics.centroid_time_fs * units.fs)
        self._timestep, self._friction = timestep, 2.0 / timestep * np.tanh(0.5 * rate * timestep)  # γ′
        memory = dynamics.bath_adaptation_ps * 1e3 * units.fs
        self._keep = np.exp(-n * timestep / memory) if memory else None
        shape = n, len(self._atom_masses), 3
        self._white, self._velocities = rng.standard_normal((3, *shape)), np.zeros(shape)
        self._spectra, self._weight = np.zeros((2, len(self.masses), len(self.omega))), 0.0
        self._done, self.segments = 0, 0
        self._colour()

    def normals(self, modes: Modes, laws: Laws) -> Iterator[np.ndarray]:
        """Yield the normals (1, 3N) of one step after the other, of which each has been made when the next is asked for.

        Args:
            modes: The state at P = 1 (live), between two steps when one is asked for.
            laws: Of a word with one O, before which momenta change only by the present forces.
        """
        damping, strength = laws.damping[0, 0, 0], laws.noise[0, 0, 0]
        root = np.sqrt(self._atom_masses)[:, None]
        while True:
            if self._done == self._length:
                self._end_segment(2.0 * strength / ((1.0 + damping) * self._timestep))
            noise = self._noise[self._done]
            momenta = modes.momenta[0] + laws.kicks_before_noise * laws.kick * modes.forces[0]
            mean = 0.5 * ((1.0 + damping) * momenta + strength * root * noise)
            self._velocities[self._done] = mean / root
            self._done += 1
            yield noise.reshape(1, -1)

    def violation(self) -> np.ndarray:
        """(S,) Σ_ω |Re C_vR − m γ_r C_vv| / Σ_ω m γ_r C_vv of the running averages: 0 where the theorem holds, but for noise."""
        cross, power = self._spectra
        expected = self._friction * self.ratio * power
        return np.abs(cross - expected).sum(axis=1) / np.maximum(expected.sum(axis=1), 1e-300)

    def at_limit(self) -> np.ndarray:
        """(S,) share of the kinetic energy at frequencies where γ_r has reached its smallest value."""
        power = self._spectra[1]
        return (power * (self.ratio <= _LEAST)).sum(axis=1) / np.maximum(power.sum(axis=1), 1e-300)

    def arrays(self) -> dict[str, np.ndarray]:
        """The state for checkpoints, float64: from it, and the state of the generator, a run resumes to the bit."""
        counts = np.array([self._done, self.segments, self._weight], dtype=np.float64)
        return {
            "bath_white": self._white.copy(), "bath_velocities": self._velocities.copy(),
            "bath_spectra": self._spectra.copy(), "bath_counts": counts,
        }  # fmt: skip

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take the state of ``arrays``.

        Raises:
            InputError: Numbers of steps that no bath can have.
        """
        done, segments = arrays["bath_counts"][:2]
        if not (0 <= done <= self._length and segments >= 0 and done % 1 == segments % 1 == 0):
            raise InputError(
                f"step {done:g} of segment {segments:g} of a quantum bath: expected at most {self._length} steps"
            )
        self._white[:], self._velocities[:] = arrays["bath_white"], arrays["bath_velocities"]
        self._spectra[:], counts = arrays["bath_spectra"], arrays["bath_counts"]
        self._done, self.segments, self._weight = int(counts[0]), int(counts[1]), float(counts[2])
        self._colour()

    def _colour(self) -> None:
        """The noise (n, N, 3) of the present segment: the middle of three of white noise, filtered to the spectrum."""
        self.ratio = self._adapted()
        n = self._length
        omega = 2.0 * np.pi * rfftfreq(3 * n, self._timestep)
        cut = 0.5 * (1.0 - np.tanh(0.5 * (omega - _HIGHEST) / _EDGE))
        quantum = cut * thermal_energy(omega, self._temperature_K) / (units.kB * self._temperature_K)
        of_kind = np.array([np.interp(omega, self.omega, ratio) for ratio in self.ratio])
        amplitude = np.sqrt(quantum * of_kind)[self._kind].T[:, :, None]
        spectrum = rfft(self._white.reshape(3 * n, -1, 3), axis=0)
        self._noise = irfft(amplitude * spectrum, 3 * n, axis=0)[n : 2 * n]
        if self._remove_com:  # as the motion does, so that spectra are those of the noise that acts
            root = np.sqrt(self._atom_masses)
            self._noise = self._noise - (
                root[:, None] * np.einsum("i,tia->ta", root, self._noise)[:, None] / (root**2).sum()
            )

    def _end_segment(self, force: float) -> None:
        """Average the spectra of a complete segment, adapt γ_r, and begin the next one.

        Args:
            force: Strength of the random force R/√m of a normal.
        """
        if self._keep is not None:
            v, noise = rfft(self._velocities, axis=0), force * rfft(self._noise, axis=0)
            for row, products in zip(self._spectra, ((v.conj() * noise).real, np.abs(v) ** 2), strict=True):
                of_atoms = products.sum(axis=2)
                for kind in range(len(self.masses)):
                    found = of_atoms[:, self._kind == kind].sum(axis=1)
                    row[kind] = self._keep * row[kind] + (1.0 - self._keep) * found
            self._weight = self._keep**2 * self._weight + (1.0 - self._keep) ** 2
        self._white[:2] = self._white[1:]
        self._white[2] = self._rng.standard_normal(self._white[2].shape)
        self._done, self.segments = 0, self.segments + 1
        self._colour()

    def _adapted(self) -> np.ndarray:
        """γ_r/γ = (Re C_vR + c)/(γ m C_vv + c).

        Far from all vibrations velocities are small and the ratio is noise. Re C_vR of M independent samples has the variance
        C_vv C_RR/M about m γ C_vv; the weight c, in which γ_r/γ = 1 ± 1 is expected beforehand, is what this variance demands.
        """
        if self._keep is None or self.segments == 0:
            return np.ones((len(self.masses), len(self.omega)))
        cross, power = self._spectra
        gathered = 1.0 - self._keep**self.segments  # running averages began at zero
        # |FFT|² of n steps of a force with spectrum 2γθ per √m²; the M samples of a mass cancel with the sum over them.
        force = 2.0 * self._friction * thermal_energy(self.omega, self._temperature_K) * self._length / self._timestep
        c = force * self._weight / (gathered * self._friction * _EXPECTED_SPREAD**2)
        return np.clip((cross + c) / (self._friction * power + c), _LEAST, _MOST)


def bath_shapes(dynamics: Dynamics, masses: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a QuantumBath by name."""
    n, atoms, kinds = segment_steps(dynamics), len(masses), len(np.unique(masses))
    return {
        "bath_white": (3, n, atoms, 3), "bath_velocities": (n, atoms, 3), "bath_spectra": (2, kinds, n // 2 + 1),
        "bath_counts": (3,),
    }  # fmt: skip


def segment_steps(dynamics: Dynamics) -> int:
    """n, steps of a segment."""
    return max(2, round(dynamics.bath_segment_fs / dynamics.timestep_fs))
