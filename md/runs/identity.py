"""What a run must share with the one that it resumes: all settings that its numbers depend on, and its files."""

import hashlib
from dataclasses import asdict
from pathlib import Path

from md.potentials import find_model, load_model
from md.runs.config import RunSettings
from md.runs.preparation import as_extxyz, read_start

RUN, REAL_TIME = "run", "real-time"
FILES = {"output", "structure", "model", "committee", "gle_file"}
# Keys that leave what is computed as it is: a run may be resumed although they are others.
FREE = FILES | {
    "threads", "checkpoint_every_steps", "domain_guard", "energy_guard", "bond_guard", "max_force_eV_A",
    "max_temperature_K", "max_gyration_A",
    "max_disagreement_eV_A", "steps", "trajectories",
}  # fmt: skip


def physics_of(settings: RunSettings, kind: str) -> dict:
    """Settings and hashes of files, JSON-able; trajectories in real time have a fixed number of steps."""
    free = FREE - {"steps"} if kind == REAL_TIME else FREE
    facts = {key: value for key, value in asdict(settings).items() if key not in free}
    files: dict = {"model": find_model(settings.model), "gle_file": settings.gle_file}
    files |= {f"committee[{k}]": find_model(name) for k, name in enumerate(settings.committee)}
    contents = {name: Path(path).read_bytes() for name, path in files.items() if path}
    start = read_start(settings.structure, load_model(settings.model), quiet=True)
    contents["structure"] = as_extxyz(start).encode()
    return facts | {"command": kind} | {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}


def differences(then: dict, now: dict) -> str:
    """What is not the same, for the user; empty when all is."""
    keys = [key for key in now | then if now.get(key) != then.get(key)]
    return "; ".join(f"{key} = {now.get(key)!r}, was {then.get(key)!r}" for key in keys)
