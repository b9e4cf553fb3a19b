"""wACSF: Behler–Parrinello networks, one for each element, on weighted atom-centred symmetry functions."""

from mlcalc.architectures.architecture import Architecture
from mlcalc.architectures.wacsf.config import WACSFConfig, describe, weight_shapes


def _network(config: WACSFConfig):
    from mlcalc.architectures.wacsf.network import WACSF

    return WACSF(config)


ARCHITECTURE = Architecture("wACSF", WACSFConfig, weight_shapes, _network, None, describe, ())
