"""Distributions of distances along runs."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {"PairDistances": "pair_distances", "bonded_pairs": "pair_distances"}
)
