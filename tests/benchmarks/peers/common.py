"""Common code of all measured programs; imports only the standard library and NumPy, so that it runs in any environment.

A problem is an NPZ file: ``weights/NAME`` as in a model file, ``positions`` (N, 3) Å, ``masses`` (N,) u, ``numbers`` (N,),
``cell`` (3, 3) Å, zero if there is none, ``architecture``, its ``config`` and the ``priors`` to add (JSON).
"""

import argparse
import json
import resource
import time

import numpy as np

KB_EV_PER_K, TIME_UNIT_FS = 8.617330337217213e-05, 10.180505710774743  # ASE's units: k_B, and Å √(u/eV)
TEMPERATURE_K, TIMESTEP_FS, CENTROID_TIME_FS = 300.0, 0.5, 100.0
LIQUID_TEMPERATURE_K, LIQUID_TIMESTEP_FS, LIQUID_FRICTION_TIME_FS = 190.0, 5.0, 500.0
HBAR = 6.582119514467406e-16 * 1e15 / TIME_UNIT_FS  # eV times ASE's unit of time


class Problem:
    """Weights, structure and architecture of one benchmark."""

    def __init__(self, path: str):
        with np.load(path, allow_pickle=False) as archive:
            self.weights = {k.removeprefix("weights/"): archive[k] for k in archive if k.startswith("weights/")}
            self.positions, self.masses, self.numbers = (archive[k] for k in ("positions", "masses", "numbers"))
            self.cell = archive["cell"]
            self.architecture = str(archive["architecture"])
            self.config, self.priors = json.loads(str(archive["config"])), json.loads(str(archive["priors"]))

    def replicas(self, n_beads: int) -> np.ndarray:
        """(P, N, 3) slightly shaken copies, the same for every program."""
        rng = np.random.default_rng(n_beads)
        return self.positions + rng.normal(0.0, 0.03, (n_beads, *self.positions.shape))


def batch_of(problem: Problem, n_beads: int) -> dict:
    """The replicas as one structure of molecules far apart: keywords of ase.Atoms."""
    positions = problem.replicas(n_beads) + 40.0 * np.arange(n_beads)[:, None, None] * np.array([1.0, 0.0, 0.0])
    cell = np.diag([40.0 * (n_beads + 1), 60.0, 60.0])
    return {"numbers": np.tile(problem.numbers, n_beads), "positions": positions.reshape(-1, 3), "cell": cell}


def options() -> argparse.Namespace:
    """Command line of a peer: problem, beads, threads, seconds of measurement."""
    parser = argparse.ArgumentParser()
    parser.add_argument("problem")
    parser.add_argument("beads", type=int)
    parser.add_argument("threads", type=int)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--variant", default="")
    return parser.parse_args()


def measure(step, seconds: float, least: int = 5) -> list[float]:
    """Times of step() in ms, one call each: over the given seconds after a warm-up of a tenth, but at least ``least`` calls."""
    times, end = [], time.perf_counter() + seconds / 10
    while time.perf_counter() < end:
        step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < least:
        began = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - began))
    return times


def report(times_ms, forces: np.ndarray, version: str) -> None:
    """One line of JSON: quartiles of the time of a step, memory, and the forces (P, N, 3) on the problem's replicas."""
    low, median, high = np.percentile(times_ms, [25, 50, 75])
    forces = np.asarray(forces, dtype=float)
    print(json.dumps({"median_ms": median, "low_ms": low, "high_ms": high, "samples": len(times_ms), "version": version,
                      "peak_MB": peak_MB(), "forces": forces.round(7).ravel().tolist()}))  # fmt: skip


def peak_MB() -> float:
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def pile_l(n_beads: int):
    """Normal-mode matrix (P, P), free propagator (P, 2, 2), damping and noise (P,) of OBABO with PILE-L, ASE units."""
    dt = TIMESTEP_FS / TIME_UNIT_FS
    j, k = np.meshgrid(np.arange(n_beads), np.arange(n_beads))
    angle = 2.0 * np.pi * k * j / n_beads
    transform = np.where(k <= n_beads // 2, np.cos(angle), np.sin(angle)) * np.sqrt(2.0 / n_beads)
    transform[0] = np.sqrt(1.0 / n_beads)
    if n_beads % 2 == 0:
        transform[n_beads // 2] = (-1.0) ** np.arange(n_beads) * np.sqrt(1.0 / n_beads)
    omega = 2.0 * n_beads * KB_EV_PER_K * TEMPERATURE_K / HBAR * np.sin(np.pi * np.arange(n_beads) / n_beads)
    friction = 2.0 * omega
    friction[0] = TIME_UNIT_FS / CENTROID_TIME_FS
    propagator = np.array(
        [[np.cos(omega * dt), dt * np.sinc(omega * dt / np.pi)], [-omega * np.sin(omega * dt), np.cos(omega * dt)]]
    ).transpose(2, 0, 1)
    damping = np.exp(-friction * dt / 2)
    noise = np.sqrt((1.0 - damping**2) * n_beads * KB_EV_PER_K * TEMPERATURE_K)
    return transform, propagator, damping, noise
