"""The PaiNN of network.py in Numba, as a potential: energies and analytic forces of a batch of replicas.

Forward, per replica and layer t, with the filters A, B, C of filters.py, the thirds of W in network.py (its symbols hold here)::

    x = D₂ silu(D₁ q)     ν = x_c∘μ
    q_i ← q_i + Σ_j A∘x_a,j     μ_i ← μ_i + Σ_j (B∘x_b,j u_ij + C∘ν_j)
    (V, U) = M μ     n = √(⟨V, V⟩ + ε)     (s, t, p) = D₄ silu(D₃ [q, n])     q ← q + s + p∘⟨V, U⟩     μ ← μ + t∘U

Adjoint, with ḡ standing for ∂E/∂g, layers in reverse: kernel_features.py has that of the last line, kernel_messages.py the
convolutions, which are the same sums in the other direction, and the derivatives by distance and direction of every pair,

    ∂E/∂s += Σ_f A′∘(x_a,j∘q̄_i + x_a,i∘q̄_j) + B′∘u·w + C′∘(ν_j·μ̄_i + ν_i·μ̄_j)     ∂E/∂u += Σ_f B∘w
    w = x_b,j∘μ̄_i − x_b,i∘μ̄_j

Positions, forces and pair geometry are float64; the network is float32 or float64.
"""

from mlcalc.architectures.kernels.filter_table import FilterTable
from mlcalc.architectures.kernels.padding import padded
from mlcalc.architectures.kernels.potential import KernelPotential, System
from mlcalc.architectures.painn.filters import filter_table
from mlcalc.architectures.painn.kernel_schedules import by_block, by_replica
from mlcalc.architectures.painn.kernel_state import Network, Workspace, make_network, make_workspace


class PaiNNKernel(KernelPotential):
    """A PaiNN compiled for one composition."""

    title, with_units, always_by_atom = "PaiNN", True, True

    @property
    def n_features(self) -> int:
        """Width of the features, padded."""
        return padded(self.model.config.n_features, self.dtype)

    def _tabulate(self, precision: str) -> FilterTable:
        return filter_table(self.model, precision)

    def _make_network(self) -> Network:
        return make_network(self.model, self.table.coefficients, self.dtype)

    def _make_workspace(self, n_replicas: int, blocked: bool) -> Workspace:
        return make_workspace(self.model, n_replicas, len(self.numbers), self.dtype)

    def _by_replica(self, threads: int, system: System, n_blocks: int, n_groups: int, *memory) -> None:
        by_replica(threads, *system, n_blocks, n_groups, *memory)

    def _by_block(self, threads: int, system: System, n_blocks: int, *memory) -> None:
        by_block(threads, *system, n_blocks, *memory)
