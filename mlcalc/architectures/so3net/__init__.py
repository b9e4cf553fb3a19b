"""SO3net: features of atoms in spherical harmonics, coupled by Clebsch–Gordan products."""

from mlcalc.architectures.architecture import Architecture
from mlcalc.architectures.so3net.config import SO3netConfig, describe, weight_shapes


def _network(config: SO3netConfig):
    from mlcalc.architectures.so3net.network import SO3net

    return SO3net(config)


def _kernel(model, numbers, dtype, threads, cell, pbc):
    from mlcalc.architectures.so3net.kernel import SO3netKernel

    return SO3netKernel(model, numbers, dtype, threads, cell, pbc)


ARCHITECTURE = Architecture("SO3net", SO3netConfig, weight_shapes, _network, _kernel, describe, ("scalars", "vectors"))
