"""Matrices of generalised Langevin thermostats, in the text format of the GLE4MD library (https://gle4md.org, "raw" output).

A comment line ending in ``A MATRIX: (unit)`` opens the drift matrices, one ending in ``C MATRIX: (unit)`` the covariances. Without
covariances the thermostat is canonical. If every normal mode has its own matrix (PIGLET), a comment line with
``Matrix for normal mode`` precedes each. Other lines that start with # are ignored::

    # A MATRIX: (picoseconds^-1)
    # Matrix for normal mode 0
      1.2  0.4
     -0.4  3.0
    ...

Covariances refer to the temperature of the beads, P times that of the system.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import units

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular

_SECOND = units.s
# Unit as the format spells it → ASE units.
_RATES = {
    "seconds^-1": 1.0 / _SECOND,
    "picoseconds^-1": 1e12 / _SECOND,
    "femtoseconds^-1": 1e15 / _SECOND,
    "atomic time units^-1": units.Hartree * units._e / (units._hbar * _SECOND),
}
_ENERGIES = {"K": units.kB, "eV": 1.0, "atomic energy units": units.Hartree}
_LARGEST = 1 << 26  # bytes
_SECTIONS = {"A MATRIX:": _RATES, "C MATRIX:": _ENERGIES}
_NEXT_MODE = "Matrix for normal mode"
_TOLERANCE = 1e-6  # of the largest eigenvalue: the format has about ten digits


class Gle(NamedTuple):
    """Matrices of a generalised Langevin thermostat, physical momentum first, then extra momenta; see thermostats.py.

    Attributes:
        drift: (K, 1 + A, 1 + A) in 1 / ASE time; K = 1, or one for each normal mode.
        covariance: (K, 1 + A, 1 + A) in eV, or None for the canonical one at any temperature.
    """

    drift: np.ndarray
    covariance: np.ndarray | None = None

    @property
    def has_thermal_centroids(self) -> bool:
        """Whether the centroids are classical, at a temperature: without covariances, or with one of their own (PIGLET)."""
        if self.covariance is None:
            return True
        if len(self.covariance) == 1:
            return False
        centroid = self.covariance[0]
        return np.allclose(centroid, centroid[0, 0] * np.eye(len(centroid)), rtol=0, atol=1e-3 * centroid[0, 0])


def read_gle(path: str | Path, n_beads: int, temperature_K: float) -> Gle:
    """Read and check matrices for P beads at a temperature.

    Raises:
        InputError: The file is missing or malformed; matrices for another number of normal modes or another temperature;
            a drift that does not relax, or covariances and noise that are not positive definite.
    """
    return gle_from(read_gle_file(path), path, n_beads, temperature_K)


def read_gle_file(path: str | Path) -> bytes:
    """The text of matrices; InputError when it cannot be read."""
    try:
        path = check_regular(path)
        if (size := path.stat().st_size) > _LARGEST:
            raise InputError(f"{size} bytes, at most {_LARGEST}")
        content = path.read_bytes()
        content.decode("utf-8")
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"gle_file {str(path)[:200]!r}: not a readable file ({error})") from error
    return content


def gle_from(content: bytes, path: str | Path, n_beads: int, temperature_K: float) -> Gle:
    """As read_gle, from the text of the file; ``path`` appears in messages."""
    try:
        gle = parse_gle(content.decode("utf-8"))
        check_gle(gle, n_beads, temperature_K)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return gle


def parse_gle(text: str) -> Gle:
    """Matrices from text in the format above; InputError when it is malformed."""
    rows: dict[str, list[list[list[float]]]] = {}
    scale: dict[str, float] = {}
    section = None
    for number, line in enumerate(text.splitlines(), start=1):
        heading = next((name for name in _SECTIONS if name in line), None)
        if heading is not None:
            section = heading
            scale[section] = _unit(line, section, number)
            rows[section] = [[]]
        elif line.lstrip().startswith("#"):
            if section is not None and _NEXT_MODE in line and rows[section][-1]:
                rows[section].append([])
        elif section is not None and line.strip():
            rows[section][-1].append(_numbers(line, number))
    if "A MATRIX:" not in rows:
        raise InputError("no line with 'A MATRIX: (unit)': expected drift matrices in the raw format of gle4md.org")
    drift, covariance = (
        _stack(rows[name], name) * scale[name] if name in rows else None for name in ("A MATRIX:", "C MATRIX:")
    )
    return Gle(drift, covariance)


def _unit(line: str, section: str, number: int) -> float:
    known = _SECTIONS[section]
    name = line.rpartition("(")[2].partition(")")[0].strip()
    if name not in known:
        raise InputError(f"line {number}: unit {name!r} of {section[:-1]}: expected one of {', '.join(known)}")
    return known[name]


def _numbers(line: str, number: int) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError as error:
        raise InputError(f"line {number}: {line.strip()!r}: expected a row of numbers") from error


def _stack(matrices: list[list[list[float]]], section: str) -> np.ndarray:
    size = len(matrices[0])
    if any(len(matrix) != size or any(len(row) != size for row in matrix) for matrix in matrices) or not size:
        raise InputError(f"{section[:-1]}: expected square matrices, all of one size")
    stacked = np.array(matrices)
    if not np.isfinite(stacked).all():
        raise InputError(f"{section[:-1]}: a number is not finite")
    return stacked


def check_gle(gle: Gle, n_beads: int, temperature_K: float) -> None:
    """Raise InputError unless the matrices make a thermostat for P beads at this temperature."""
    count, size, _ = gle.drift.shape
    if count not in (1, n_beads):
        raise InputError(f"matrices for {count} normal modes: expected 1, or one for each of the {n_beads} beads")
    if gle.covariance is not None and gle.covariance.shape != gle.drift.shape:
        raise InputError(f"C of shape {gle.covariance.shape}: expected that of A, {gle.drift.shape}")
    covariances = np.broadcast_to(np.eye(size), gle.drift.shape) if gle.covariance is None else gle.covariance
    for mode, (drift, covariance) in enumerate(zip(gle.drift, covariances, strict=True)):
        where = f"normal mode {mode}: " if count > 1 else ""
        rates = np.linalg.eigvals(drift).real
        if rates.min() <= 0:
            raise InputError(f"{where}A has an eigenvalue with real part {rates.min():.3g}: expected all positive")
        if not np.allclose(covariance, covariance.T, rtol=0, atol=_TOLERANCE * np.abs(covariance).max()):
            raise InputError(f"{where}C is not symmetric")
        _check_positive(covariance, f"{where}C is not positive definite")
        _check_positive(
            drift @ covariance + covariance @ drift.T, f"{where}A C + C Aᵀ, the noise, is not positive definite"
        )
    _check_temperature(gle, n_beads, temperature_K)


def _check_positive(matrix: np.ndarray, complaint: str) -> None:
    found = np.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    # The noise may have rank one, as in fitted kernels: its zeros come with the rounding of the file.
    if found.min() < -_TOLERANCE * np.abs(found).max() or found.max() <= 0:
        raise InputError(f"{complaint}: smallest eigenvalue {found.min():.3g}, largest {found.max():.3g}")


def _check_temperature(gle: Gle, n_beads: int, temperature_K: float) -> None:
    """The centroid is classical: if its own C is P k_B T, it gives the temperature that the file was made for."""
    if gle.covariance is None or not gle.has_thermal_centroids:
        return
    level = gle.covariance[0, 0, 0] / (n_beads * units.kB)
    if abs(level / temperature_K - 1.0) > 1e-3:
        raise InputError(f"C is for {level:.6g} K with {n_beads} beads: expected temperature_K = {temperature_K:g}")
