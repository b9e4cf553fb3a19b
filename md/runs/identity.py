"""The identity of a run: all settings that its numbers depend on, and its files. A resumed run must match it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict

from md.runs.config import RunSettings

RUN, REAL_TIME = "run", "real-time"
FILES = {"output", "structure", "model", "engine", "committee", "gle_file"}
# Keys that do not affect the computed numbers: a run may be resumed with other values.
FREE = FILES | {
    "threads", "checkpoint_every_steps", "domain_guard", "energy_guard", "bond_guard", "max_force_eV_A",
    "max_temperature_K", "max_gyration_A",
    "max_disagreement_eV_A", "steps", "trajectories",
}  # fmt: skip
# Keys that came later than runs that may be resumed: at these values they change nothing, and are left out.
_LATER = {
    "dipoles": False, "momenta": "thermal", "bias": (), "potential": (),
    "barostat": "none", "pressure_GPa": 0.0, "barostat_time_fs": 1000.0,
    "bath_segment_fs": 1000.0, "bath_adaptation_ps": 20.0,
}  # fmt: skip


def digests_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of files, by settings key; an engine by its name, which holds the hash of its files."""
    return {
        name: data.decode() if name.endswith("engine") else hashlib.sha256(data).hexdigest()
        for name, data in contents.items()
    }


def identity(settings: RunSettings, kind: str, digests: Mapping[str, str]) -> dict:
    """Settings of one run and hashes of its files, JSON-able; trajectories in real time have a fixed number of steps."""
    free = FREE - {"steps"} if kind == REAL_TIME else FREE
    settings_now = {key: value for key, value in asdict(settings).items() if key not in _LATER or value != _LATER[key]}
    facts = {key: value for key, value in settings_now.items() if key not in free}
    if "bias" in facts:  # as JSON gives it back
        facts["bias"] = [_table(bias) for bias in facts["bias"]]
    if "potential" in facts:
        facts["potential"] = [
            {key: value for key, value in part.items() if key not in FILES} for part in facts["potential"]
        ]
    return facts | {"command": kind} | dict(digests)


def differences(then: dict, now: dict) -> str:
    """The entries in which two identities differ, as text; empty if none does."""
    keys = [key for key in now | then if now.get(key) != then.get(key)]
    return "; ".join(f"{key} = {now.get(key)!r}, was {then.get(key)!r}" for key in keys)


def _table(bias: dict) -> dict:
    """The keys that a table of the input sets; lists in place of tuples."""
    found = {key: value for key, value in bias.items() if value not in (None, ())}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
