"""The noise floor of force matching: the scatter of forces on beads while the beads are fixed.

A force on a bead depends on all atoms; a coarse model depends only on the beads and can at best give its average. What it misses
is the spread of the forces at fixed beads. This module measures it: stiff springs on their centres of mass hold the molecules in
place, while they rotate and vibrate in the liquid. Errors of a trained model on the frames cannot fall below these numbers,
except for what the ties themselves add: a motion of the beads by σ along an axis adds about σ⟨F²⟩/kT to the scatter, in quadrature.

In the cage of fixed neighbours molecules rotate slowly and keep the hydrogen bonds of the frame: one simulation would sample too
few orientations. Each arrangement of beads therefore has two: one starts from the frame, whose orientations are an equilibrium
draw, the other loses them at high temperature and is cooled again. With forces f of the one and f′ of the other::

    RMSE² = ½⟨(f − f′)²⟩,   MAE = RMSE ⟨|f − f̄|⟩ / √⟨(f − f̄)²⟩

with f̄ the mean of both: a mean of so few simulations is too close to them to give the width of the scatter, but gives its shape.

The autocorrelation of the forces over one interval shows whether frames are far enough apart to be independent.

Source: Noid et al., J. Chem. Phys. 128, 244114 (2008), doi:10.1063/1.2938860, eq. 26.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import units

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_range
from mlcalc.data.coarse_grain.all_atom import blocks_of, check_same, make_setup, read_block
from mlcalc.data.coarse_grain.dynamics import KJ, NM, advance, check_state, context_of
from mlcalc.data.coarse_grain.liquid import AllAtomSettings, make_system
from mlcalc.data.coarse_grain.protein import ProteinSettings

_TIED_A = 0.01  # standard deviation of a centre of mass along an axis: far below the scale on which forces change
_STEP = 0.5  # time step times the angular frequency of a tied bead, at most: Langevin dynamics are stable below 2
_SETTLE_PS, _INTERVAL_PS = 2.0, 0.2
_HEAT, _STAGES = 2.0, 8  # annealing: from this multiple of the temperature, linearly in this many stages
_KJ_PER_K = units.kB / KJ
_LIQUID, _TIES = 0, 1  # force groups


class ForceNoise(NamedTuple):
    """Spread of the forces on fixed beads, eV/Å by component, with its standard error over configurations.

    Attributes:
        rmse, rmse_error: Root mean square deviation from the mean force.
        mae, mae_error: Mean absolute deviation from it.
        configurations: Number of arrangements of beads.
    """

    rmse: float
    rmse_error: float
    mae: float
    mae_error: float
    configurations: int


def force_noise(
    settings: AllAtomSettings, folder: Path, configurations: int = 8, samples: int = 50, anneal_ps: float = 32.0
) -> ForceNoise:
    """Measure the noise at configurations from a folder of ``mlcalc coarse-grain``.

    Args:
        samples: Samples of the forces in each of the two simulations of a configuration, 0.2 ps apart.
        anneal_ps: Time for which the second simulation is cooled.

    Raises:
        InputError: A folder of other settings; fewer than two configurations or samples, or fewer blocks in the folder.
    """
    check_range("--samples", samples, 2)
    check_same(folder, settings)
    blocks = blocks_of(folder)
    if not 2 <= configurations <= len(blocks):
        raise InputError(
            f"{folder}: {configurations} configurations of {len(blocks)} blocks: expected 2 to {len(blocks)}"
        )
    chosen = [blocks[k] for k in np.linspace(0, len(blocks) - 1, configurations).round().astype(int)]
    spreads = np.array([_spread(settings, path, samples, anneal_ps) for path in chosen])
    squares, absolutes = spreads.T
    rmse = np.sqrt(squares.mean())
    n = len(chosen)
    return ForceNoise(
        float(rmse), float(squares.std(ddof=1) / np.sqrt(n) / (2.0 * rmse)),
        float(absolutes.mean()), float(absolutes.std(ddof=1) / np.sqrt(n)), n,
    )  # fmt: skip


class MeanForceNoise(NamedTuple):
    """Of mean forces of a protein, eV/Å by component, root mean squares with standard errors over frames.

    Attributes:
        plain, plain_error: Scatter of plain forces about the mean; mean, mean_error: of the means themselves.
        forces: Of the mean forces; frames: their number.
    """

    plain: float
    plain_error: float
    mean: float
    mean_error: float
    forces: float
    frames: int


def mean_force_noise(settings: ProteinSettings, folder: Path) -> MeanForceNoise:
    """The noise that a folder of mean forces recorded, see protein.py.

    Raises:
        InputError: A folder of other settings, of plain forces, or of fewer than two frames.
    """
    check_same(folder, settings)
    count = len(make_setup(settings).numbers)
    blocks = [read_block(path, count) for path in blocks_of(folder)]
    if not blocks or "noise" not in blocks[0]:
        raise InputError(
            f"{folder}: {len(blocks)} blocks without mean forces: expected those of a run with forces = 'mean'"
        )
    squares = np.concatenate([block["noise"] for block in blocks])
    forces = np.concatenate([block["forces"] for block in blocks])
    roots = np.sqrt(squares.mean(axis=0))
    errors = squares.std(axis=0, ddof=1) / np.sqrt(len(squares)) / (2.0 * roots)
    return MeanForceNoise(
        float(roots[0]), float(errors[0]), float(roots[1]), float(errors[1]), float(np.sqrt(np.square(forces).mean())), len(squares)
    )  # fmt: skip


def force_autocorrelation(settings: AllAtomSettings, folder: Path) -> tuple[float, float]:
    """Correlation (at most 1) of the force on a bead with its force one frame later, and its standard error, from blocks.

    Raises:
        InputError: A folder of other settings; fewer than two blocks in it.
    """
    check_same(folder, settings)
    blocks = blocks_of(folder)
    if len(blocks) < 2:
        raise InputError(f"{folder}: {len(blocks)} blocks: expected at least 2")
    products, squares = np.array([_one_frame_apart(read_block(path, settings.count)["forces"]) for path in blocks]).T
    ratio = products.sum() / squares.sum()
    # Error of a ratio of means, to first order.
    return float(ratio), float((products - ratio * squares).std(ddof=1) / np.sqrt(len(blocks)) / squares.mean())


def _one_frame_apart(forces: np.ndarray) -> tuple[float, float]:
    """Mean product of components of forces (n_frames, n_beads, 3) one frame apart, and mean square, (eV/Å)²."""
    return float((forces[1:] * forces[:-1]).mean()), float(np.square(forces).mean())


def _spread(settings: AllAtomSettings, block: Path, samples: int, anneal_ps: float) -> tuple[float, float]:
    """Mean square and mean absolute deviation, (eV/Å)² and eV/Å, of forces on beads fixed where a block has ended."""
    system, mapping, lattice = make_system(settings)
    settings = replace(settings, timestep_fs=min(settings.timestep_fs, _longest_step_fs(settings, mapping)))
    state = read_block(block, settings.count)
    check_state(state, lattice)
    _tie(system, mapping, state["atoms"], settings.temperature_K)

    def forces(seed: int, anneal_ps: float) -> np.ndarray:
        context = context_of(system, settings, seed)
        context.setPositions(state["atoms"])
        context.setVelocities(state["velocities"])
        _anneal(context, settings, anneal_ps)
        return np.array([_next_forces(context, settings, mapping) for _ in range(samples)])

    pair = np.stack([forces(1 + settings.seed, 0.0), forces(2 + settings.seed, anneal_ps)])
    square = np.square(pair[0] - pair[1]).mean() / 2.0
    deviation = pair - pair.mean(axis=(0, 1))
    return float(square), float(np.abs(deviation).mean() * np.sqrt(square / np.square(deviation).mean()))


def _anneal(context, settings: AllAtomSettings, anneal_ps: float) -> None:
    """Heat and cool the rotations; the ties stiffen with temperature, so that beads move no further. Then equilibrate."""
    integrator, temperature = context.getIntegrator(), settings.temperature_K
    if anneal_ps > 0.0:
        for hot in np.linspace(_HEAT * temperature, temperature, _STAGES):
            integrator.setTemperature(hot)
            context.setParameter("k", _stiffness(hot))
            advance(integrator, settings.steps_in(anneal_ps / _STAGES))
    advance(integrator, settings.steps_in(_SETTLE_PS))


def _next_forces(context, settings: AllAtomSettings, mapping) -> np.ndarray:
    """Forces of the liquid on the beads, eV/Å, one interval later."""
    advance(context.getIntegrator(), settings.steps_in(_INTERVAL_PS))
    atomic = context.getState(forces=True, groups={_LIQUID}).getForces(asNumpy=True)._value
    return mapping.forces(atomic) * KJ / NM


def _stiffness(temperature_K: float) -> float:
    """Spring constant of a tie, kJ/mol/nm²."""
    return _KJ_PER_K * temperature_K / (_TIED_A / NM) ** 2


def _longest_step_fs(settings: AllAtomSettings, mapping) -> float:
    """Longest time step that integrates the springs of _tie accurately."""
    inverse_frequency = np.sqrt(mapping.bead_masses.min() / (units.kB * settings.temperature_K)) * _TIED_A
    return _STEP * inverse_frequency / units.fs


def _tie(system, mapping, atoms: np.ndarray, temperature_K: float) -> None:
    """Add springs from the centre of mass of every molecule to its present position."""
    import openmm

    ties = openmm.CustomCentroidBondForce(1, "0.5*k*((x1-x0)^2+(y1-y0)^2+(z1-z0)^2)")
    ties.addGlobalParameter("k", _stiffness(temperature_K))
    for name in ("x0", "y0", "z0"):
        ties.addPerBondParameter(name)
    for bead, place in enumerate(mapping.positions(atoms)):
        members = np.flatnonzero(mapping.beads == bead)
        ties.addGroup(members.tolist(), mapping.masses[members].tolist())
        ties.addBond([bead], place.tolist())
    ties.setForceGroup(_TIES)
    system.addForce(ties)
