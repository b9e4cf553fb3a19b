"""Networks: a folder each, and a row here. What uses them reads the table and names none of them."""

from mlcalc.architectures import painn, schnet
from mlcalc.architectures.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {
    "schnet": schnet.ARCHITECTURE,
    "painn": painn.ARCHITECTURE,
}


def name_of(config) -> str:
    """Under which name a configuration's architecture is in the table."""
    return next(name for name, row in ARCHITECTURES.items() if type(config) is row.config)


def architecture_of(config) -> Architecture:
    """The row of a configuration."""
    return ARCHITECTURES[name_of(config)]
