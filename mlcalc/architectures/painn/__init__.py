"""PaiNN: messages that carry directions, scalar and vector features of atoms."""

from mlcalc.architectures.architecture import Architecture
from mlcalc.architectures.painn.config import PaiNNConfig, describe, weight_shapes


def _network(config: PaiNNConfig):
    from mlcalc.architectures.painn.network import PaiNN

    return PaiNN(config)


def _kernel(model, numbers, dtype, threads, cell, pbc):
    from mlcalc.architectures.painn.kernel import PaiNNKernel

    return PaiNNKernel(model, numbers, dtype, threads, cell, pbc)


ARCHITECTURE = Architecture("PaiNN", PaiNNConfig, weight_shapes, _network, _kernel, describe, ("scalars", "vectors"))
