"""Runs: from settings to a folder, with bit-for-bit resumption."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {"resume": "start", "run": "start", "runs_in": "start"})
