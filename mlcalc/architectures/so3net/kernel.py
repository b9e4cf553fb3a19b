"""The SO3net of network.py in Numba, as a potential: energies and analytic forces of a batch of replicas.

============================  ====================================================================================
symbol                        meaning
============================  ====================================================================================
s = (l, m)                    component; s1, s2 likewise, of degrees l1, l2
C^s_{s1 s2}, Y_s(u)           coefficients and harmonics of harmonics.py, of the unit vector u_ij from i to j
W_l(r_ij)                     filters; W′ the derivative by the place s_ij of the pair in their table (filters.py)
A[l1][s, s2]                  Σ_{s1 of l1} C^s_{s1 s2} Y_s1(u_ij), the couplings of a pair, the same for all features
P(a, b)_s                     Σ C^s_{s1 s2} a_s1∘b_s2, feature by feature
M₁, M₂, M₃; B, b              dense layers of the features, the same for all components; those of the gate
ḡ                             ∂E/∂g
============================  ====================================================================================

Forward, per replica and layer (all components of x but s = 0 are zero before the first, and only s = 0 is needed behind the last)::

    Δ_i,s = Σ_j Σ_l1 W_l1∘Σ_s2 A[l1][s, s2] x_j,s2
    v = M₂(Δ + P(Δ, M₁Δ))     σ = σ(B v_0 + b)     x_s ← x_s + M₃(σ_l∘v_s)

Adjoint, layers in reverse::

    z̄ = M₃ᵀx̄     ḡ_l = σ_l(1 − σ_l)∘Σ_s v_s∘z̄_s     v̄_s = σ_l∘z̄_s + [s = 0] Bᵀḡ     p̄ = M₂ᵀv̄
    Δ̄_s1 = p̄_s1 + Σ C^s_{s1 s2} p̄_s∘(M₁Δ)_s2 + (M₁ᵀh)_s1     h_s2 = Σ C^s_{s1 s2} p̄_s∘Δ_s1
    x̄_j,s2 ← x̄_j,s2 + Σ_i Σ_l1 W_l1∘Σ_s A[l1][s, s2] Δ̄_i,s

and the derivatives by place and direction of every pair, Y_s1(−u) being (−1)^l1 Y_s1(u)::

    z_s1 = Σ C^s_{s1 s2} (Δ̄_i,s∘x_j,s2 + (−1)^l1 Δ̄_j,s∘x_i,s2)
    ∂E/∂s_ij += Σ_f W′_l1∘Σ_s1 Y_s1 z_s1     ∂E/∂u_ij = Σ_s1 Ȳ_s1 ∂Y_s1/∂u,  Ȳ_s1 += Σ_f W_l1∘z_s1

Positions and forces are float64; the network is float32 or float64.
"""

from mlcalc.architectures.kernels.filter_table import FilterTable
from mlcalc.architectures.kernels.padding import padded
from mlcalc.architectures.kernels.potential import KernelPotential, System
from mlcalc.architectures.so3net.filters import filter_table
from mlcalc.architectures.so3net.kernel_schedules import by_block, by_replica
from mlcalc.architectures.so3net.kernel_state import Network, Workspace, make_network, make_workspace
from mlcalc.architectures.so3net.tables import pair_scalars


class SO3netKernel(KernelPotential):
    """An SO3net compiled for one composition."""

    title, with_units, always_by_atom = "SO3net", True, True

    @property
    def n_features(self) -> int:
        """Width of the features, padded."""
        return padded(self.model.config.n_features, self.dtype)

    @property
    def n_pair_scalars(self) -> int:
        """Harmonics of a pair, their adjoints, couplings."""
        return pair_scalars(self.model.config.lmax)

    @property
    def _degrees(self) -> tuple[int, ...]:
        return tuple(range(self.model.config.lmax + 1))

    def _tabulate(self, precision: str) -> FilterTable:
        return filter_table(self.model, precision)

    def _make_network(self) -> Network:
        return make_network(self.model, self.table.coefficients, self.dtype)

    def _make_workspace(self, n_replicas: int, blocked: bool) -> Workspace:
        return make_workspace(self.model, n_replicas, len(self.numbers), self.dtype)

    def _by_replica(self, threads: int, system: System, n_blocks: int, n_groups: int, *memory) -> None:
        by_replica(threads, *system, n_blocks, n_groups, self._degrees, *memory)

    def _by_block(self, threads: int, system: System, n_blocks: int, *memory) -> None:
        by_block(threads, *system, n_blocks, self._degrees, *memory)
