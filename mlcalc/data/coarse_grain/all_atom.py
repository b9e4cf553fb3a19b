"""All-atom molecular dynamics of a liquid or a protein with OpenMM, mapped onto beads: data for force matching.

Trajectories advance block by block. A block is a function of the state before it and of its own seed, and is written atomically,
with the state after it: after any interruption the same command resumes and ends with the same frames.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular, make_folder, write_atomically
from mlcalc.common.json_text import from_json
from mlcalc.common.pools import spawn_pool
from mlcalc.common.settings import build_settings, check_range, read_toml
from mlcalc.common.zip_files import npz_bytes, open_zip
from mlcalc.data.coarse_grain.dynamics import DynamicsSettings, Setup, run_block
from mlcalc.data.coarse_grain.liquid import AllAtomSettings, make_liquid
from mlcalc.data.coarse_grain.protein import ProteinSettings, make_protein
from mlcalc.structures.npz_files import read_array

BLOCK_FRAMES = 50
_ARRAYS = ("positions", "forces", "atoms", "velocities")
_NOISE = "noise"  # of mean forces
_LARGEST_SETTINGS, _LARGEST_BLOCK = 1 << 26, 1 << 33  # bytes
SETTINGS_FILE, FRAMES_FILE = "settings.json", "frames.xyz"


def coarse_grain(
    config: Path, folder: Path, jobs: int = 1, overrides: dict | None = None, show=lambda done, total: None
) -> Path:
    """Make the frames that a TOML file asks for, or resume making them.

    Args:
        folder: For settings, blocks and, in the end, ``frames.xyz`` with beads, forces and trajectories; created if missing.
        jobs: Processes; overrides: Keys that replace those of the file.
        show: Called with the numbers of blocks done and to do.

    Returns:
        The path of ``frames.xyz``.

    Raises:
        InputError: OpenMM is not installed, settings that cannot be used, or a folder of other settings.
    """
    check_range("--jobs", jobs, 1)
    settings = read_settings(config, overrides or {})
    setup = make_setup(settings)  # a fault of the atoms or their force field is found before anything is written
    _claim(folder, settings)
    total = _blocks_each(settings) * settings.trajectories
    done = sum(
        1
        for t in range(settings.trajectories)
        for b in range(_blocks_each(settings))
        if os.path.exists(_block(folder, t, b))
    )
    show(done, total)
    for trajectory, block, arrays in _advance(settings, folder, jobs, len(setup.numbers)):
        write_atomically(_block(folder, trajectory, block), npz_bytes(arrays, np.savez))
        done += 1
        show(done, total)
    return _join(settings, setup, folder)


def join_so_far(config: Path, folder: Path, overrides: dict | None = None) -> Path:
    """Write ``frames.xyz`` of the blocks that an unfinished run has made; returns its path.

    Raises:
        InputError: Settings that cannot be used, a folder of other settings, or without blocks.
    """
    settings = read_settings(config, overrides or {})
    setup = make_setup(settings)
    check_same(folder, settings)
    if not blocks_of(folder):
        raise InputError(f"{folder}: no blocks of {BLOCK_FRAMES} frames yet")
    return _join(settings, setup, folder, so_far=True)


def read_settings(config: Path, overrides: dict) -> Any:
    """Settings of a liquid or a protein, whichever its keys name, with the paths of the files beside the TOML file.

    Raises:
        InputError: Invalid ones.
    """
    table = read_toml(config) | overrides
    protein = ("protein", "sequence")
    settings = build_settings(
        ProteinSettings if any(key in table for key in protein) else AllAtomSettings, table, config
    )
    beside = [Path(config).parent / name for name in settings.force_field]
    force_field = (
        str(check_regular(path)) if os.path.lexists(path) else name
        for path, name in zip(beside, settings.force_field, strict=True)
    )
    files = {name: getattr(settings, name) for name in settings.FILES}
    paths = {name: str(Path(config).parent / path) for name, path in files.items() if path}
    return replace(settings, force_field=tuple(force_field), **paths)


def make_setup(settings: DynamicsSettings, trajectory: int = 0) -> Setup:
    """What a trajectory begins with; InputError for atoms or a force field that OpenMM cannot use."""
    make: Any = make_protein if isinstance(settings, ProteinSettings) else make_liquid
    return make(settings, trajectory)


def _claim(folder: Path, settings: DynamicsSettings) -> None:
    """Record the settings in a new folder; InputError if the folder holds frames of other settings."""
    if os.path.exists(folder / SETTINGS_FILE):
        check_same(folder, settings)
        return
    if os.path.isdir(folder) and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty and not a folder of mlcalc coarse-grain; choose another --output")
    facts = json.dumps(_facts(settings), indent=1).encode()
    make_folder(folder)
    write_atomically(folder / SETTINGS_FILE, facts)


def check_same(folder: Path, settings: DynamicsSettings) -> None:
    """Raise InputError where a folder does not hold frames of these settings."""
    try:
        path = check_regular(folder / SETTINGS_FILE)
        if (size := path.stat().st_size) > _LARGEST_SETTINGS:
            raise InputError(f"{path.name} of {size} bytes: expected at most {_LARGEST_SETTINGS}")
        theirs = from_json(path.read_bytes())
        if not isinstance(theirs, dict):
            raise InputError(f"{path.name} is not a table")
    except (OSError, InputError) as error:
        raise InputError(f"{folder}: not a folder of mlcalc coarse-grain ({error})") from error
    mine = _facts(settings)
    if other := [name for name in mine if theirs.get(name) != mine[name]]:
        raise InputError(f"{folder}: holds frames of another {', '.join(other)}; choose another --output")


def _facts(settings: DynamicsSettings) -> dict:
    """What all frames of a folder share: settings, with files by their contents."""
    paths = (*settings.FILES, "force_field")
    facts = {name: value for name, value in asdict(settings).items() if name not in (*paths, "frames")}
    listed = {name: list(value) for name, value in facts.items() if isinstance(value, tuple)}
    return facts | listed | {name: _contents(getattr(settings, name)) for name in paths}


def _contents(names: str | tuple[str, ...]) -> list[str]:
    paths = [Path(name) for name in ([names] if isinstance(names, str) else names)]
    return [_content(path.read_bytes()) if os.path.isfile(path) else str(path) for path in paths]


def _content(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:  # compressed
        return f"SHA-256 {hashlib.sha256(data).hexdigest()}"


def _block(folder: Path, trajectory: int, block: int) -> Path:
    return folder / f"trajectory-{trajectory}-block-{block:04d}.npz"


def read_block(path: Path, count: int) -> dict[str, np.ndarray]:
    """A block as dynamics.run_block returned it, for ``count`` beads.

    Raises:
        InputError: Not a block: truncated, of another liquid, or with numbers that are not finite. Blocks are not compressed, so
            nothing in one is larger than the file.
    """
    try:
        size = check_regular(path).stat().st_size
        with open_zip(path, _LARGEST_BLOCK) as archive:
            names = (*_ARRAYS, _NOISE) if f"{_NOISE}.npy" in archive.namelist() else _ARRAYS
            found = {name: read_array(archive, f"{name}.npy", size) for name in names}
        for name, array in found.items():
            shape = {"positions": (count, 3), "forces": (count, 3), _NOISE: (2,)}.get(name, (3,))
            if array.dtype.kind != "f" or array.ndim != len(shape) + 1 or array.shape[1:] != shape:
                raise InputError(f"{name} of shape {array.shape} and type {array.dtype}")
            if not np.isfinite(array).all():
                raise InputError(f"{name} that are not finite")
    except (
        KeyError,
        EOFError,
        ValueError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:  # InputError is a ValueError
        raise InputError(
            f"{path}: not a block of these beads ({error}); remove it and run the command again"
        ) from error
    return found


def blocks_of(folder: Path) -> list[Path]:
    """The blocks that a folder holds, by trajectory and time."""
    return sorted(folder.glob("trajectory-*-block-*.npz"))


def _blocks_each(settings: DynamicsSettings) -> int:
    """Number of blocks of a trajectory."""
    return -(-settings.frames // (settings.trajectories * BLOCK_FRAMES))


def _run(settings, frames: int, trajectory: int, block: int, state) -> dict[str, np.ndarray]:
    return run_block(settings, make_setup(settings, trajectory), frames, (trajectory, block), state)


def _advance(
    settings: DynamicsSettings, folder: Path, jobs: int, count: int
) -> Iterator[tuple[int, int, dict[str, np.ndarray]]]:
    """Compute missing blocks of ``count`` beads, those of a trajectory in their order.

    Raises:
        InputError: After all others are done, for trajectories that cannot advance.
    """
    failed: dict[int, InputError] = {}
    with spawn_pool(jobs) as pool:
        running = {}

        def begin(trajectory: int, block: int, state: dict[str, np.ndarray] | None) -> None:
            if block < _blocks_each(settings):
                future = pool.submit(_run, settings, BLOCK_FRAMES, trajectory, block, state)
                running[future] = trajectory, block

        try:
            for trajectory in range(settings.trajectories):
                block = 0
                while os.path.exists(_block(folder, trajectory, block)):
                    block += 1
                begin(
                    trajectory,
                    block,
                    read_block(_block(folder, trajectory, block - 1), count) if block else None,
                )
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    trajectory, block = running.pop(future)
                    try:
                        arrays = future.result()
                    except InputError as error:
                        failed[trajectory] = error
                        continue
                    begin(trajectory, block + 1, arrays)
                    yield trajectory, block, arrays
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        trajectory = min(failed)
        others = "; --so-far joins the other trajectories" if len(failed) < settings.trajectories else ""
        raise InputError(
            f"{len(failed)} of {settings.trajectories} trajectories ended early, the first is {trajectory}: "
            f"{failed[trajectory]}{others}"
        ) from failed[trajectory]


def _join(settings: DynamicsSettings, setup: Setup, folder: Path, so_far: bool = False) -> Path:
    """Write all blocks, or those that are there, as extxyz, atomically."""
    from mlcalc.data.labelling import write_frames

    per_trajectory, frames = -(-settings.frames // settings.trajectories), []
    for trajectory in range(settings.trajectories):
        mine: list = []
        for block in range(_blocks_each(settings)):
            path = _block(folder, trajectory, block)
            if so_far and not os.path.exists(path):
                break
            arrays = read_block(path, len(setup.numbers))
            if {len(arrays["positions"]), len(arrays["forces"])} != {BLOCK_FRAMES}:
                raise InputError(f"{path}: expected {BLOCK_FRAMES} frames; remove it and run the command again")
            mine += zip(arrays["positions"], arrays["forces"], strict=True)
        frames += [_frame(settings, setup, x, f, f"{trajectory}") for x, f in mine[:per_trajectory]]
    write_frames(frames[: settings.frames], folder / FRAMES_FILE)
    return folder / FRAMES_FILE


def _frame(settings, setup: Setup, positions: np.ndarray, forces: np.ndarray, trajectory: str) -> Atoms:
    atoms = Atoms(
        setup.numbers, positions, cell=setup.box_A, pbc=setup.box_A is not None, masses=setup.mapping.bead_masses,
        info={"trajectory": trajectory, "temperature_K": settings.temperature_K, **setup.info},
    )  # fmt: skip
    atoms.calc = SinglePointCalculator(atoms, forces=forces)
    return atoms
