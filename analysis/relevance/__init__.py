"""Explain a network by relevances of n-body terms (GNN-LRP)."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Triples": "nbody",
        "angular_energies": "nbody",
        "pair_relevances": "nbody",
        "single_relevances": "nbody",
        "total_relevance": "nbody",
        "triple_relevances": "nbody",
        "triple_sets": "nbody",
    },
)
