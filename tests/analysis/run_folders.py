"""Run folders made from given positions, as 'rpmd run' lays them out, and exact samples of a harmonic ring polymer."""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import write

from md.files.trajectory import TrajectoryWriter
from mlcalc.vibrations import HBAR

FRAME_FS = 10.0  # time between frames


def write_run(
    folder: Path, atoms: Atoms, positions: np.ndarray, temperature_K: float = 300.0, model: str = "none",
    cells: np.ndarray | None = None,
) -> Path:  # fmt: skip
    """Write the files that analysis reads; positions (n_frames, P, N, 3) and cells (n_frames, 3, 3), if they change, in Å."""
    folder.mkdir(parents=True)
    _, n_beads, n_atoms = positions.shape[:3]
    (folder / "input.toml").write_text(f'model = "{model}"\ntemperature_K = {temperature_K}\nbeads = [{n_beads}]\n')
    write(folder / "structure.xyz", atoms, format="extxyz")
    writer = TrajectoryWriter(folder / "trajectory.h5", n_beads, n_atoms, pbc=atoms.pbc)
    for k, frame in enumerate(positions):
        writer.append(
            20 * k, FRAME_FS * k, frame, np.zeros(n_beads), cell=atoms.cell.array if cells is None else cells[k]
        )
    writer.close()
    return folder


def autoregressive(rng: np.random.Generator, n: int, shape: tuple[int, ...], memory: float) -> np.ndarray:
    """(n, *shape) unit-variance Gaussian series with correlation memory^|t−t'|, stationary from the start."""
    series = rng.standard_normal((n, *shape))
    for t in range(1, n):
        series[t] = memory * series[t - 1] + np.sqrt(1 - memory**2) * series[t]
    return series


def harmonic_beads(
    rng: np.random.Generator, energies: np.ndarray, temperature_K: float, n_beads: int, n_frames: int, memory: float
) -> np.ndarray:
    """Exact samples (n_frames, P, M) in Å√u of oscillators ħω = ``energies`` (M,) eV as rings of P beads.

    In the free ring's normal modes the coordinates are independent, with ⟨q_k²⟩ = 1/β_P(ω² + ω_k²),
    β_P = 1/(P·k_BT), ω_k = 2ω_P sin(kπ/P), ω_P = P·k_BT/ħ. This is the definition; the closed form of
    mlcalc/vibrations.py is their sum.
    """
    hot = n_beads * units.kB * temperature_K
    k, j = np.arange(n_beads)[:, None], np.arange(n_beads)
    transform = np.where(
        k <= n_beads // 2, np.cos(2 * np.pi * j * k / n_beads), np.sin(2 * np.pi * j * k / n_beads)
    )  # one row per mode
    transform /= np.linalg.norm(transform, axis=1, keepdims=True)
    rings = 2 * hot / HBAR * np.sin(np.pi * np.arange(n_beads) / n_beads)
    variance = hot / ((energies / HBAR) ** 2 + rings[:, None] ** 2)  # (P, M)
    modes = autoregressive(rng, n_frames, variance.shape, memory) * np.sqrt(variance)
    return np.einsum("kj,tkm->tjm", transform, modes)


def dodecahedron(bond_A: float = 1.45) -> Atoms:
    """C20 as a perfect dodecahedron about the origin."""
    golden = (1 + np.sqrt(5)) / 2
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)])
    corners = [np.roll([0.0, a / golden, b * golden], shift) for a, b in signs for shift in range(3)]
    corners += [np.array([a, b, c], dtype=float) for a, b in signs for c in (-1, 1)]
    return Atoms("C20", np.array(corners) * bond_A * golden / 2)  # the edge is 2/golden


def malonaldehyde() -> Atoms:
    """O0=C1–C2=C3–O4–H5 with its hydrogen bond to O0, as xTB has it."""
    return Atoms(
        "OCCCOHHHH",
        [[-1.335, 1.093, 0], [-1.210, -0.126, 0], [0.097, -0.717, 0], [1.191, 0.086, 0], [1.180, 1.396, 0],
         [0.243, 1.745, 0], [-2.062, -0.828, 0], [0.225, -1.783, 0], [2.200, -0.321, 0]],
    )  # fmt: skip


def telegraph(rng: np.random.Generator, n: int, time: float) -> np.ndarray:
    """(n,) truth values, each as often as the other, with correlation exp(−t/time), time in frames."""
    redrawn = rng.random(n) > np.exp(-1.0 / time)
    redrawn[0] = True
    return rng.choice([False, True], n)[np.maximum.accumulate(np.where(redrawn, np.arange(n), 0))]


def proton_transfer(away: np.ndarray, n_beads: int = 1, width: float = 0.02, seed: int = 0) -> np.ndarray:
    """(n, P, 9, 3) Å of malonaldehyde; its mirror image, with O0 and O4, C1 and C3, H6 and H8 exchanged, where away (n,)."""
    start = malonaldehyde().positions
    other = (start * [-1, 1, 1])[[4, 3, 2, 1, 0, 5, 8, 7, 6]]
    frames = np.where(away[:, None, None], other, start)[:, None]
    return frames + np.random.default_rng(seed).normal(0.0, width, (len(away), n_beads, 9, 3))
