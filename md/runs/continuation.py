"""Check that a checkpoint belongs to the files beside it: a checksum only shows that it is undamaged."""

from pathlib import Path

import numpy as np
from ase import Atoms

from md.bias.settings import hills_of
from md.dynamics.clamped import Clamped
from md.dynamics.gle import read_gle_file
from md.dynamics.integrators import make_laws
from md.dynamics.quantum_bath import bath_shapes
from md.dynamics.ring_polymer import cell_of
from md.dynamics.settings import QUANTUM_BATH
from md.files.checkpoint import EQUILIBRATION, PRODUCTION, TRAJECTORIES, Checkpoint
from md.files.layout import HILLS, PROPERTIES, STRUCTURE, TRAJECTORY, VELOCITIES
from md.files.received import opener
from md.files.trajectory import open_layout
from md.files.velocities import open_velocities
from md.runs.config import RunSettings
from md.runs.identity import REAL_TIME
from md.runs.preparation import dynamics_of
from mlcalc.common.errors import InputError


def check_checkpoint(folder: Path, kind: str, settings: RunSettings, atoms: Atoms, checkpoint: Checkpoint) -> None:
    """Raise InputError unless a checkpoint fits a run with these settings: phase, step, state, generators, tables.

    Args:
        folder: The run folder; kind: identity.RUN or identity.REAL_TIME; settings: For one number of beads; atoms: The start.
    """
    try:
        state = _expected_state(kind, settings, atoms)
        if kind == REAL_TIME:
            _check_batches(folder, settings, len(atoms), checkpoint)
        else:
            _check_steps(settings, checkpoint)
            _check_frames(folder, settings, checkpoint)
            _check_lines(folder, settings, checkpoint)
            state |= _check_hills(folder, settings, checkpoint)
        found = {name: array.shape for name, array in checkpoint.state.items()}
        cell = cell_of(atoms)
        if cell is not None and "cell" in found:  # checkpoints had none up to version 0.2
            state["cell"] = cell.shape
        if found != state:
            raise InputError(f"a state with {_shapes(found)}: expected {_shapes(state)}")
        if not settings.has_barostat and "cell" in found and not np.array_equal(checkpoint.state["cell"], cell):
            raise InputError(f"the cell differs from that of {STRUCTURE}, although the run has no barostat")
    except InputError as error:
        reason = str(error).replace(f"{folder}/", "")
        raise InputError(f"{folder}: cannot be resumed from its checkpoint: {reason}") from error


def done_steps(settings: RunSettings, checkpoint: Checkpoint | None) -> int:
    """The step of a run at a checkpoint, counted as in its status: equilibration steps are negative."""
    if checkpoint is None:
        return 0
    if checkpoint.phase == TRAJECTORIES:
        return checkpoint.step * (settings.equilibration_steps + settings.steps)
    return checkpoint.step - (settings.equilibration_steps if checkpoint.phase == EQUILIBRATION else 0)


def _expected_state(kind: str, settings: RunSettings, atoms: Atoms) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of a state, by name; a cell is optional."""
    n_beads, n = settings.n_beads, len(Clamped.of(atoms).moving)
    if kind == REAL_TIME:
        return dict.fromkeys(("positions", "momenta"), (n_beads, settings.trajectories_at_once * n, 3))
    beads = (n_beads, n, 3)
    contents = {"gle_file": read_gle_file(settings.gle_file)} if settings.gle_file else {}
    laws = make_laws(dynamics_of(settings, n_beads, contents), n_beads)
    state: dict[str, tuple[int, ...]] = {"step": (), "beads": beads, "positions": beads, "momenta": beads}
    state |= {"auxiliary": (n_beads, laws.auxiliaries, n, 3), "heat": ()}
    if settings.thermostat == QUANTUM_BATH:
        state |= bath_shapes(dynamics_of(settings, n_beads, contents), atoms.get_masses()[Clamped.of(atoms).moving])
    return state | ({"piston": (laws.piston.momenta,), "cell": (3, 3)} if laws.moves_cell else {})


def _shapes(state: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(state.items()))[:200]


def _check_steps(settings: RunSettings, checkpoint: Checkpoint) -> None:
    phase, step = checkpoint.phase, checkpoint.step
    last = {EQUILIBRATION: settings.equilibration_steps, PRODUCTION: settings.steps}.get(phase, -1)
    every = settings.sample_every_steps
    if step > last or step % every:
        raise InputError(f"step {step} of {phase}: expected a multiple of {every} up to {last}")
    if int(checkpoint.state.get("step", -1)) != step:
        raise InputError(f"step {step}, and {checkpoint.state.get('step')} in its state")
    if len(checkpoint.generators) != 1:
        raise InputError(f"{len(checkpoint.generators)} generators: expected 1")


def _entries(checkpoint: Checkpoint, every: int) -> int:
    """The number of entries of a table at a checkpoint; the first is of step 0 of production."""
    return checkpoint.step // every + 1 if checkpoint.phase == PRODUCTION else 0


def _check_frames(folder: Path, settings: RunSettings, checkpoint: Checkpoint) -> None:
    every = settings.trajectory_every_steps
    expected, frames = _entries(checkpoint, every), checkpoint.extent.get("frames")
    if frames != expected:
        raise InputError(f"{frames} frames at step {checkpoint.step} of {checkpoint.phase}: expected {expected}")
    layout = open_layout(folder / TRAJECTORY)
    if layout.n_beads != settings.beads:
        raise InputError(f"{layout.n_beads} beads in {TRAJECTORY}: expected {settings.beads}")
    if layout.n_frames < expected:
        raise InputError(f"{layout.n_frames} frames in {TRAJECTORY}, fewer than the {expected} of the checkpoint")
    if expected and layout.steps[expected - 1] != (expected - 1) * every:
        last = layout.steps[expected - 1]
        raise InputError(f"frame {expected - 1} of {TRAJECTORY} is of step {last}: expected {(expected - 1) * every}")
    if wrong := wrong_time(layout.times[:expected], every * settings.timestep_fs * np.arange(expected)):
        raise InputError(f"{TRAJECTORY}: {wrong}")


def wrong_time(found: np.ndarray, expected: np.ndarray) -> str:
    """The first wrong one of the times (n_frames,) in fs, as text; empty if all are right."""
    wrong = ~(np.abs(found - expected) <= 1e-6 * np.abs(expected) + 1e-9)
    at = int(np.argmax(wrong)) if wrong.any() else -1
    return f"frame {at} is of {found[at]:g} fs, expected {expected[at]:g} fs" if at >= 0 else ""


def _check_lines(folder: Path, settings: RunSettings, checkpoint: Checkpoint) -> None:
    every, size = settings.properties_every_steps, checkpoint.extent.get("bytes", -1)
    expected = _entries(checkpoint, every)
    try:
        with open(folder / PROPERTIES, "rb", opener=opener) as stream:
            there = stream.seek(0, 2)
            if there < size:
                raise InputError(f"{there} bytes of {PROPERTIES}, fewer than the {size} of the checkpoint")
            stream.seek(0)
            lines = [line for line in stream.read(max(size, 0)).splitlines(keepends=True) if not line.startswith(b"#")]
    except OSError as error:
        raise InputError(f"{PROPERTIES}: not readable ({error.strerror})") from error
    whole = bool(lines) and lines[-1].endswith(b"\n")
    last = str((expected - 1) * every).encode() if expected else b"step"
    if not whole or len(lines) != expected + 1 or lines[-1].split(b",")[0] != last:
        raise InputError(
            f"{size} bytes of {PROPERTIES}, which hold {len(lines) - 1} lines: expected {expected} complete lines at step "
            f"{checkpoint.step}"
        )


def _check_hills(folder: Path, settings: RunSettings, checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of the bias in a state; InputError unless the table of hills is that of the checkpoint."""
    hills = hills_of(settings.bias)
    if hills is None:
        return {}
    expected, size = (
        (checkpoint.step // hills.every_steps if checkpoint.phase == PRODUCTION else 0),
        checkpoint.extent.get("hills", -1),
    )
    try:
        with open(folder / HILLS, "rb", opener=opener) as stream:
            data = stream.read(max(size, 0))
    except OSError as error:
        raise InputError(f"{HILLS}: not readable ({error.strerror})") from error
    found = data.count(b"\n") - 1
    if len(data) != size or not data.endswith(b"\n") or found != expected:
        raise InputError(f"{size} bytes of {HILLS}, which hold {found} hills: expected {expected} complete lines")
    return {"hills": (expected, 2)}


def _check_batches(folder: Path, settings: RunSettings, atoms: int, checkpoint: Checkpoint) -> None:
    copies = settings.trajectories_at_once
    if checkpoint.phase != TRAJECTORIES:
        raise InputError(f"phase {checkpoint.phase}: expected {TRAJECTORIES}")
    if len(checkpoint.generators) != copies:
        raise InputError(f"{len(checkpoint.generators)} generators: expected {copies}")
    n, expected = checkpoint.extent.get("trajectories"), checkpoint.step * copies
    if n != expected:
        raise InputError(f"{n} trajectories after {checkpoint.step} batches of {copies}: expected {expected}")
    found = open_velocities(folder / VELOCITIES).shape
    frames = settings.steps // settings.velocities_every_steps + 1
    if found[0] < expected or found[1:] != (frames, atoms, 3):
        raise InputError(f"{VELOCITIES} of shape {found}: expected at least {(expected, frames, atoms, 3)}")
