"""Energies, widths and heat capacities against the number of beads."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Convergence": "report",
        "as_json": "report",
        "as_text": "report",
        "converge": "report",
        "convergence_figure": "report",
        "verdict": "report",
        "write_files": "report",
    },
)
