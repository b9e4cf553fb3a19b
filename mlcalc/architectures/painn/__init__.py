"""PaiNN: messages that carry directions, scalar and vector features of atoms."""

from mlcalc.architectures.architecture import Architecture
from mlcalc.architectures.painn.config import PaiNNConfig, describe, weight_shapes


def _network(config: PaiNNConfig):
    from mlcalc.architectures.painn.network import PaiNN

    return PaiNN(config)


ARCHITECTURE = Architecture("PaiNN", PaiNNConfig, weight_shapes, _network, None, describe)
