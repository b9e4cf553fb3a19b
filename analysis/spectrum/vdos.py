"""Vibrational density of states of any trajectory with velocities, as an MDAnalysis analysis class.

analysis.spectrum.report handles the many short trajectories of 'rpmd real-time'; this class is for one long trajectory of classical
or centroid motion at constant energy, from any program.
"""

import numpy as np
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.results import ResultsGroup
from MDAnalysis.core.groups import AtomGroup

from analysis.spectrum.spectra import WINDOWS, autocorrelations, density_of_states
from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice

FEWEST_PARTS = 2
_FS = 1e-3  # ps: MDAnalysis stores velocities in Å/ps


class VibrationalDensity(AnalysisBase):
    """Density of states from velocities, its integral being the degrees of freedom; formula in analysis.spectrum.spectra.

    Args:
        atoms: Atoms with masses, in a trajectory with velocities and equal intervals.
        temperature_K: Temperature of the motion, for the scale.
        longest_lag_fs: L; lines have a width of about 1/(cL), 33 cm⁻¹ for 1000 fs.
        window: Name in spectra.WINDOWS.
        parts: Number of pieces of the frames whose scatter gives the error; each must be longer than L.

    After ``run()``, serially or in parallel (``backend="multiprocessing"``, ``n_workers=…``) with the same numbers:
        results.velocities: (n_frames, N, 3) Å/fs.
        results.wavenumbers: (K,) cm⁻¹.
        results.density, results.error: (K,) degrees of freedom per cm⁻¹ and standard error over the parts.
        results.spectrum: Both as a spectra.Spectrum, which integrates over bands.

    Raises:
        InputError: No velocities or masses; an unknown window; fewer than two parts; parts that are shorter than L.
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls) -> tuple[str, ...]:
        """What ``run(backend=…)`` may be."""
        return ("serial", "multiprocessing", "dask")

    def __init__(
        self,
        atoms: AtomGroup,
        temperature_K: float,
        longest_lag_fs: float = 1000.0,
        window: str = "hann",
        parts: int = 8,
    ):
        super().__init__(atoms.universe.trajectory)
        check_choice("window", window, tuple(WINDOWS))
        if parts < FEWEST_PARTS:
            raise InputError(f"parts = {parts}: expected at least {FEWEST_PARTS}, for an error")
        if not atoms.universe.trajectory.ts.has_velocities:
            raise InputError("the trajectory has no velocities: expected one with velocities")
        if not hasattr(atoms, "masses") or not (atoms.masses > 0).all():
            raise InputError("the atoms have no masses: expected a mass for every atom, u")
        self._atoms, self._temperature_K = atoms, temperature_K
        self._longest_lag_fs, self._window, self._parts = longest_lag_fs, window, parts

    def _prepare(self):
        self.results.velocities = np.empty((self.n_frames, len(self._atoms), 3))

    def _single_frame(self):
        self.results.velocities[self._frame_index] = self._atoms.velocities * _FS

    def _get_aggregator(self):
        return ResultsGroup(lookup={"velocities": ResultsGroup.ndarray_vstack})

    def _conclude(self):
        interval_fs = float(self.times[1] - self.times[0]) / _FS if self.n_frames > 1 else np.inf
        length, n_lags = self.n_frames // self._parts, int(self._longest_lag_fs / interval_fs) + 1
        if length < n_lags or n_lags < 2:
            raise InputError(
                f"{self.n_frames} frames every {interval_fs:g} fs in {self._parts} parts: expected parts of more than "
                f"longest_lag_fs = {self._longest_lag_fs:g}, and at least two frames in that time"
            )
        pieces = self.results.velocities[: length * self._parts].reshape(self._parts, length, -1, 3)
        correlations = autocorrelations(pieces, self._atoms.masses, self._temperature_K, n_lags)
        spectrum = density_of_states(correlations, interval_fs, self._window)
        self.results.spectrum, self.results.wavenumbers = spectrum, spectrum.wavenumbers
        self.results.density, self.results.error = spectrum.mean, spectrum.error
