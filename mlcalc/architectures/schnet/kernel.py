"""The SchNet of network.py in Numba, as a potential; kernel_schedules.py has the formulas and the order of the work."""

from mlcalc.architectures.kernels.filter_table import FilterTable
from mlcalc.architectures.kernels.potential import KernelPotential, System
from mlcalc.architectures.schnet.filters import filter_table
from mlcalc.architectures.schnet.kernel_schedules import by_block, by_replica
from mlcalc.architectures.schnet.kernel_state import Network, Workspace, make_network, make_workspace


class SchNetKernel(KernelPotential):
    """A SchNet compiled for one composition."""

    title = "SchNet"

    def _tabulate(self, precision: str) -> FilterTable:
        return filter_table(self.model, precision)

    def _make_network(self) -> Network:
        return make_network(self.model, self.table.coefficients, self.dtype)

    def _make_workspace(self, n_replicas: int, blocked: bool) -> Workspace:
        return make_workspace(self.model, (n_replicas, len(self.numbers)), blocked, self.dtype)

    def _by_replica(self, threads: int, system: System, n_blocks: int, n_groups: int, *memory) -> None:
        by_replica(threads, *system, n_blocks, n_groups, *memory)

    def _by_block(self, threads: int, system: System, n_blocks: int, *memory) -> None:
        by_block(threads, *system, n_blocks, *memory)
