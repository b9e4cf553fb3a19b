"""The ``spectrum`` command: densities of states of 'rpmd real-time' runs as table, figure and numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms, units

from analysis.harmonic import reference_modes
from analysis.spectrum.infrared import absorption, dipole_correlations
from analysis.spectrum.parts import Part
from analysis.spectrum.real_time_run import RealTimeRun, open_real_time
from analysis.spectrum.spectra import LIGHT, Spectrum, autocorrelations, bands, density_of_states, harmonic_correlation
from md.dynamics.normal_modes import mode_frequencies
from md.dynamics.ring_polymer import ring_frequency
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.tables import aligned, with_error
from mlcalc.model_file import find_model, load_model
from mlcalc.modes import KM_PER_MOL, infrared_intensities
from mlcalc.vibrations import NormalModes

_FEWEST_LAGS = 16
_GAP = 0.05  # share of the highest harmonic wavenumber: narrower gaps do not separate bands


class Quantity(NamedTuple):
    """What a spectrum is of.

    Attributes:
        integral: Its integral over wavenumbers, a header; axis: label of its axis in figures; keys: in JSON, of both.
    """

    integral: str
    axis: str
    keys: tuple[str, str]


DENSITY = Quantity("degrees of freedom", "degrees of freedom per cm$^{-1}$", ("degrees_of_freedom", "density_cm"))
INFRARED = Quantity(
    "intensity / km mol⁻¹", "absorption / km mol$^{-1}$ per cm$^{-1}$", ("intensity_km_mol", "absorption_km_mol_cm")
)


@dataclass(frozen=True)
class Analysed:
    """Spectra of runs of one molecule.

    Attributes:
        quantity: What they are of.
        runs, spectra: One spectrum per run.
        correlations: C(t) of every trajectory, (n, n_lags) for each run.
        wavenumbers: (M,) cm⁻¹ of the harmonic vibrations of the first run's model; empty without a minimum.
        harmonic: Their spectrum with the same window; None if there are none.
        longest_lag_fs: L.
        window: Name of the window.
        parts: Name → part of some atoms.
        weights: (M,) integrals of the harmonic vibrations: 1, or infrared intensities.
    """

    quantity: Quantity
    runs: list[RealTimeRun]
    spectra: list[Spectrum]
    correlations: list[np.ndarray]
    wavenumbers: np.ndarray
    harmonic: Spectrum | None
    longest_lag_fs: float
    window: str
    weights: np.ndarray
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def resolution(self) -> float:
        """Width of a line in cm⁻¹, 1/cL."""
        return 1.0 / (LIGHT * self.longest_lag_fs)


def analyse(
    folders: list[Path], window: str, longest_lag_fs: float | None,
    choose: Callable[[Atoms], dict[str, np.ndarray]] | None = None, infrared: bool = False,
) -> Analysed:  # fmt: skip
    """Spectra of runs of one molecule.

    Args:
        folders: Run folders.
        window: A name of spectra.WINDOWS.
        longest_lag_fs: L; None uses half of the shortest trajectory.
        choose: Function from the first structure to sets of atoms, one for each requested part (parts.py).
        infrared: Whether the spectra are of infrared absorption, from dipoles, which have no parts.

    Raises:
        InputError: Any error of open_real_time; different molecules; no dipoles; a longest lag beyond a trajectory or below 16
            frames.
    """
    runs = [open_real_time(folder) for folder in folders]
    for run in runs[1:]:
        if run.structure.get_chemical_symbols() != runs[0].structure.get_chemical_symbols():
            raise InputError(
                f"{run.folder}: its atoms differ from those of {runs[0].folder}: expected runs of one molecule"
            )
    shortest = min(run.interval_fs * (run.velocities.shape[1] - 1) for run in runs)
    longest_lag_fs = 0.5 * shortest if longest_lag_fs is None else longest_lag_fs
    lags = [round(longest_lag_fs / run.interval_fs) + 1 for run in runs]
    if longest_lag_fs > shortest or min(lags) < _FEWEST_LAGS:
        raise InputError(
            f"--correlation-fs {longest_lag_fs:g}: expected at least {(_FEWEST_LAGS - 1) * max(r.interval_fs for r in runs):g} "
            f"({_FEWEST_LAGS} frames) and at most {shortest:g} (the shortest trajectory)"
        )
    modes = _harmonic(runs[0])
    wavenumbers = np.empty(0) if modes is None else modes.wavenumbers
    if infrared:
        return _infrared(runs, lags, window, longest_lag_fs, modes)
    correlations = [
        autocorrelations(run.velocities, run.masses, run.temperature_K, n_lags)
        for run, n_lags in zip(runs, lags, strict=True)
    ]
    spectra = [density_of_states(c, run.interval_fs, window) for c, run in zip(correlations, runs, strict=True)]
    harmonic = None if modes is None else _harmonic_spectrum(runs[0], modes, lags[0], window)
    parts = {}
    for name, atoms in (choose(runs[0].structure) if choose else {}).items():
        parts[name] = _part(runs, atoms, lags, window, modes)
    weights = np.ones(len(wavenumbers))
    return Analysed(DENSITY, runs, spectra, correlations, wavenumbers, harmonic, longest_lag_fs, window, weights, parts)


def _infrared(
    runs: list[RealTimeRun], lags: list[int], window: str, longest_lag_fs: float, modes: NormalModes | None
) -> Analysed:
    for run in runs:
        if run.dipoles is None:
            raise InputError(f"{run.folder}: no dipoles were recorded: run 'rpmd real-time' with dipoles = true")
    correlations = [
        dipole_correlations(run.dipoles, run.interval_fs, run.temperature_K, n_lags)
        for run, n_lags in zip(runs, lags, strict=True)
        if run.dipoles is not None
    ]
    spectra = [absorption(c, run.interval_fs, window) for c, run in zip(correlations, runs, strict=True)]
    wavenumbers, weights, harmonic = np.empty(0), np.empty(0), None
    intensities = None if modes is None else infrared_intensities(modes, load_model(find_model(runs[0].model)))
    if modes is not None and intensities is not None:
        wavenumbers, weights = modes.wavenumbers, intensities
        correlation = harmonic_correlation(wavenumbers, lags[0], runs[0].interval_fs, weights / KM_PER_MOL)
        harmonic = absorption(correlation, runs[0].interval_fs, window, differences=False)
    return Analysed(INFRARED, runs, spectra, correlations, wavenumbers, harmonic, longest_lag_fs, window, weights)


def _part(runs: list[RealTimeRun], atoms: np.ndarray, lags: list[int], window: str, modes: NormalModes | None) -> Part:
    spectra = []
    for run, n_lags in zip(runs, lags, strict=True):
        correlations = autocorrelations(run.velocities[:, :, atoms], run.masses[atoms], run.temperature_K, n_lags)
        spectra.append(density_of_states(correlations, run.interval_fs, window))
    if modes is None:
        return Part(atoms, spectra, np.empty(0), None)
    weights = np.square(modes.vectors[:, atoms]).sum(axis=(1, 2))
    return Part(atoms, spectra, weights, _harmonic_spectrum(runs[0], modes, lags[0], window, weights))


def _harmonic_spectrum(
    run: RealTimeRun, modes: NormalModes, n_lags: int, window: str, weights: np.ndarray | None = None
) -> Spectrum:
    correlation = harmonic_correlation(modes.wavenumbers, n_lags, run.interval_fs, weights)
    return density_of_states(correlation, run.interval_fs, window)


def _harmonic(run: RealTimeRun) -> NormalModes | None:
    """The harmonic vibrations; None if this is not one molecule, has no minimum near the start, or its model is missing."""
    try:
        return reference_modes(run.structure, run.model)
    except InputError:
        return None


def as_text(analysed: Analysed) -> str:
    """Degrees of freedom and mean wavenumbers, in total and by band, with the harmonic ones."""
    ranges = [(0.0, np.inf)]
    if analysed.harmonic is not None:
        gap = max(2.0 * analysed.resolution, _GAP * analysed.wavenumbers.max())
        found = bands(analysed.wavenumbers, gap)
        ranges += found if len(found) > 1 else []
    rows = [row for low, high in ranges for row in _rows(analysed, low, high)]
    header = [
        "range / cm⁻¹",
        *(["atoms"] if analysed.parts else []),
        "",
        analysed.quantity.integral,
        "mean wavenumber / cm⁻¹",
    ]
    lines = [
        aligned(header, rows, left=len(header) - 2),
        "±: one standard error. harmonic: the same model with its energy quadratic about the minimum.",
        f"Lines are {analysed.resolution:.0f} cm⁻¹ wide: correlations up to {analysed.longest_lag_fs:g} fs, "
        f"window {analysed.window}.",
    ]
    for run in analysed.runs:
        n, frames = run.velocities.shape[:2]
        length = 1e-3 * run.interval_fs * (frames - 1)
        lines.append(f"{run.label}: {n} trajectories of {length:g} ps at {run.temperature_K:g} K, {run.folder}")
        rings = _ring_wavenumbers(run)
        if (
            run.thermostat == "none"
            and len(rings)
            and len(analysed.wavenumbers)
            and rings[0] < 2.0 * analysed.wavenumbers[-1]
        ):
            lines.append(
                f"{run.label}: modes of the free ring, from {rings[0]:.0f} cm⁻¹ on, may cause spurious peaks near vibrations in "
                "resonance with them; T-RPMD damps them."
            )
    return "\n".join(lines)


def _rows(analysed: Analysed, low: float, high: float) -> list[list[str]]:
    """A row for the harmonic vibrations and one for each run between two wavenumbers; then the same for each part."""
    inside = (analysed.wavenumbers >= low) & (analysed.wavenumbers < high)
    label = "all" if (low, high) == (0.0, np.inf) else f"{low:.0f}–{high:.0f}".replace("–inf", " up")
    found, rows = analysed.wavenumbers[inside], []
    everything = Part(np.empty(0), analysed.spectra, analysed.weights, None)
    for name, part in {"all": everything, **analysed.parts}.items():
        place = [label, name] if analysed.parts else [label]
        if len(found):
            weights = part.weights[inside]
            whole = part is everything and analysed.quantity is DENSITY
            count = str(len(found)) if whole else f"{weights.sum():.2f}"
            mean = weights @ found / weights.sum() if weights.any() else np.nan
            rows.append([*place, "harmonic", count, f"{mean:.1f}"])
        for run, spectrum in zip(analysed.runs, part.spectra, strict=True):
            freedom, position = spectrum.freedom(low, high), spectrum.position(low, high)
            rows.append([*place, run.label, with_error(*freedom[:2]), with_error(*position[:2])])
    return rows


def _ring_wavenumbers(run: RealTimeRun) -> np.ndarray:
    """Distinct frequencies of the internal modes of the free ring in cm⁻¹."""
    frequencies = mode_frequencies(run.n_beads, ring_frequency(run.n_beads, run.temperature_K)) * units.fs
    return np.unique(np.round(frequencies[1:] / (2.0 * np.pi * LIGHT), 6))


def as_json(analysed: Analysed) -> str:
    """C(t), and all spectra up to the end of their intensity, with errors; keys carry their unit."""
    shown = [spectrum.wavenumbers <= 1.2 * edge(analysed.spectra) for spectrum in analysed.spectra]
    return to_json(
        {
            "window": analysed.window, "longest_lag_fs": analysed.longest_lag_fs, "resolution_per_cm": analysed.resolution,
            "harmonic_wavenumbers_per_cm": analysed.wavenumbers.tolist(),
            **({"harmonic_intensities_km_mol": analysed.weights.tolist()} if analysed.quantity is INFRARED else {}),
            "runs": [
                {
                    "folder": str(run.folder), "dynamics": run.label, "beads": run.n_beads, "temperature_K": run.temperature_K,
                    "trajectories": len(run.velocities), analysed.quantity.keys[0]: spectrum.freedom()._asdict(),
                    "mean_wavenumber_per_cm": spectrum.position()._asdict(),
                    "wavenumber_per_cm": np.round(spectrum.wavenumbers[inside], 4).tolist(),
                    "correlation_interval_fs": run.interval_fs, "correlation": correlation.mean(axis=0).tolist(),
                    "correlation_error": (correlation.std(axis=0, ddof=1) / np.sqrt(len(correlation))).tolist()
                    if len(correlation) > 1 else None,
                    analysed.quantity.keys[1]: spectrum.mean[inside].tolist(),
                    analysed.quantity.keys[1].replace("_cm", "_error_cm"): spectrum.error[inside].tolist(),
                    **({"parts": {name: _part_entry(part, k, inside) for name, part in analysed.parts.items()}}
                       if analysed.parts else {}),
                }
                for k, (run, spectrum, correlation, inside) in enumerate(zip(
                    analysed.runs, analysed.spectra, analysed.correlations, shown, strict=True
                ))
            ],
        },
        indent=None,
    )  # fmt: skip


def _part_entry(part: Part, run: int, inside: np.ndarray) -> dict:
    spectrum = part.spectra[run]
    return {
        "atoms": part.atoms.tolist(), "degrees_of_freedom": spectrum.freedom()._asdict(),
        "mean_wavenumber_per_cm": spectrum.position()._asdict(),
        "density_cm": spectrum.mean[inside].tolist(), "density_error_cm": spectrum.error[inside].tolist(),
    }  # fmt: skip


def edge(spectra: list[Spectrum]) -> float:
    """Wavenumber below which all but a thousandth of the intensity lies."""
    total = np.cumsum(spectra[0].mean)
    return float(spectra[0].wavenumbers[np.searchsorted(total, 0.999 * total[-1])])
