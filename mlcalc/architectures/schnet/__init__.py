"""SchNet: continuous-filter convolutions on distances."""

from mlcalc.architectures.architecture import Architecture
from mlcalc.architectures.schnet.config import SchNetConfig, describe, weight_shapes


def _network(config: SchNetConfig):
    from mlcalc.architectures.schnet.network import SchNet

    return SchNet(config)


def _kernel(model, numbers, dtype, threads, cell, pbc):
    from mlcalc.architectures.schnet.kernel import SchNetKernel

    return SchNetKernel(model, numbers, dtype, threads, cell, pbc)


ARCHITECTURE = Architecture("SchNet", SchNetConfig, weight_shapes, _network, _kernel, describe)
