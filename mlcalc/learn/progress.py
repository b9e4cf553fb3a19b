"""How far learning has come: lines for the user, and progress.json for ``mlcalc learn --status``."""

import time
from pathlib import Path

from mlcalc.common.errors import one_line
from mlcalc.common.files import write_atomically
from mlcalc.common.json_text import from_json, to_json

PROGRESS = "progress.json"


class Progress:
    """Says what is being done, and adds up the time over all commands that worked on a folder.

    Args:
        folder: Of learning.
    """

    def __init__(self, folder: Path):
        self._folder, self._began = folder, time.monotonic()
        self._before = read_progress(folder).get("seconds", 0.0)

    @property
    def seconds(self) -> float:
        """Wall time of this command and of earlier ones up to their last lines."""
        return self._before + time.monotonic() - self._began

    def say(self, stage: str, **known: float | None) -> None:
        """Print a line with the time, and note it; ``known`` goes into progress.json."""
        print(one_line(f"[{self.seconds / 60:6.1f} min] {stage}"), flush=True)
        entries = {"stage": stage, "seconds": self.seconds, **known}
        write_atomically(self._folder / PROGRESS, to_json(entries, indent=1).encode())


def read_progress(folder: Path) -> dict:
    """The last entries; empty where nothing was noted."""
    path = folder / PROGRESS
    return from_json(path.read_bytes()) if path.is_file() else {}
