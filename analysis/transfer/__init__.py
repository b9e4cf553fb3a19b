"""Proton transfer along runs: its coordinate, the free energy along it, and the distance between donor and acceptor."""

from mlcalc.common.packages import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {"ProtonTransfer": "coordinate", "Site": "site", "analyse": "run_transfer", "landscape": "free_energy"},
)
