"""The network inside i-PI's own process, for ``<ffdirect>`` and ``i-pi-py_driver``: no socket, batches in one call.

In i-PI's input, with the path that ``rpmd ipi-driver-path`` prints::

    <ffdirect name='mlcalc' threaded='True'>
      <batch_size>8</batch_size>
      <pes>custom</pes>
      <pes_path>…/md/ipi_driver.py</pes_path>
      <parameters>{model: c20, template: c20.xyz}</parameters>
    </ffdirect>
"""

import os
import sys
import threading
import traceback

import numpy as np
from ipi.pes.dummy import Dummy_driver

from md.ipi.guest import Guest, GuestError
from md.potentials import find_model, load_model
from md.runs.structures import read_structure
from mlcalc.common.errors import say

__DRIVER_NAME__ = "mlcalc"
__DRIVER_CLASS__ = "NetworkDriver"

_CLEANUP_S = 10.0


class NetworkDriver(Dummy_driver):
    """A SchNet as i-PI's PES.

    Args:
        model: Shipped model name or model file; template: Structure file with elements and periodicity.
        precision: float32 or float64; threads: 0 for all.
        atomic_energies: Whether extras hold the atom-wise energies.
        verbosity, verbose: Passed by i-PI.
    """

    def __init__(
        self,
        model="c20",
        template="",
        precision="float32",
        threads=0,
        atomic_energies=False,
        verbosity=None,
        verbose=False,
    ):
        super().__init__(verbose=verbose)
        self._guest = Guest(
            load_model(find_model(model)), read_structure(template), precision, int(threads), atomic_energies
        )
        print(f"mlcalc: {self._guest}", flush=True)
        self._guest.warm_up()

    def compute(self, cell, pos):
        """(energy, forces, virial, extras) of a structure in atomic units, or a list of these for lists of structures."""
        try:
            batch = isinstance(cell, list)
            cells, positions = (cell, pos) if batch else ([cell], [pos])
            answer = self._guest(np.array(cells), np.array(positions).reshape(len(positions), -1, 3))
            results = list(zip(*answer, strict=True))
            return results if batch else results[0]
        except BaseException as error:
            _end_ipi(error)
            raise


def _end_ipi(error: BaseException) -> None:
    """End the process after i-PI has written its state: an exception in a thread of i-PI would leave it waiting forever."""
    if not isinstance(error, GuestError):
        traceback.print_exc()
    say(f"mlcalc: error: {error}; ending i-PI")

    def clean() -> None:
        from ipi.utils.softexit import softexit

        softexit.cleanup("bad", f"mlcalc: {error}")

    thread = threading.Thread(target=clean, daemon=True)
    thread.start()
    thread.join(_CLEANUP_S)
    sys.stdout.flush()
    os._exit(1)
