"""Runs: from settings to a folder, resumed to the bit."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {"resume": "start", "run": "start", "runs_in": "start"})
