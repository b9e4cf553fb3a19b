"""The readout of energies in compiled code."""

import numpy as np

from mlcalc.architectures.kernels.activation import activate
from mlcalc.common.compiled import inner


@inner
def read_out(readout, silu, x, hidden, adjoint, atomic):
    """Atom-wise energies (rows,) from features x (rows, F), which are replaced by x̄; hidden and adjoint are (rows, H) scratch."""
    np.dot(x, readout.hidden, adjoint)
    activate(adjoint, readout.bias, silu, hidden, adjoint)
    for i in range(len(atomic)):
        energy = 0.0
        for f in range(len(readout.output)):
            energy += hidden[i, f] * readout.output[f]
            hidden[i, f] = adjoint[i, f] * readout.output[f]
        atomic[i] = energy
    np.dot(hidden, readout.adjoint, x)
