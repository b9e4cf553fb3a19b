"""DTNN: deep tensor neural networks, whose messages are factorised products of features and distances."""

from mlcalc.architectures.architecture import Architecture
from mlcalc.architectures.dtnn.config import DTNNConfig, describe, weight_shapes


def _network(config: DTNNConfig):
    from mlcalc.architectures.dtnn.network import DTNN

    return DTNN(config)


ARCHITECTURE = Architecture("DTNN", DTNNConfig, weight_shapes, _network, None, describe)
