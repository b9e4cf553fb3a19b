"""The table of network architectures: a folder each, and a row here. Callers read the table and name none of them."""

from mlcalc.architectures import dtnn, painn, schnet, so3net, wacsf
from mlcalc.architectures.architecture import Architecture

ARCHITECTURES: dict[str, Architecture] = {
    "schnet": schnet.ARCHITECTURE,
    "painn": painn.ARCHITECTURE,
    "so3net": so3net.ARCHITECTURE,
    "dtnn": dtnn.ARCHITECTURE,
    "wacsf": wacsf.ARCHITECTURE,
}


def name_of(config) -> str:
    """The name of a configuration's architecture in the table."""
    return next(name for name, row in ARCHITECTURES.items() if type(config) is row.config)


def architecture_of(config) -> Architecture:
    """The row of a configuration's architecture."""
    return ARCHITECTURES[name_of(config)]
