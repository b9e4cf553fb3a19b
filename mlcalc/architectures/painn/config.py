"""The configuration of a PaiNN: sizes and cutoff."""

from dataclasses import dataclass

from mlcalc.architectures.architecture import check_choices, check_network, check_size
from mlcalc.common.errors import InputError


@dataclass(frozen=True)
class PaiNNConfig:
    """Architecture of a PaiNN.

    Attributes:
        elements: Atomic numbers, in the order of the rows of the embedding.
        n_features: Width F of scalar and of vector features.
        n_interactions: Number T of blocks, each of an interaction and a mixing.
        n_rbf: Number of Gaussians of the radial basis.
        cutoff: Largest pair distance in Å; the filters end there by ½(cos(πr/r_c)+1).
        readout_hidden: Width of the hidden readout layer.
        readout_activation: ``"silu"`` or ``"ssp"``.
        norm_epsilon: ε in the norm √(|V|² + ε) of vector features. V of an atom is zero where symmetry asks for it (linear, a
            centre of inversion); there the energy is smooth where |V| < √ε, and has a cusp if ε is tiny. SchNetPack: 1e-8.

    Raises:
        InputError: A field of another type or out of bounds.
    """

    elements: tuple[int, ...]
    n_features: int = 64
    n_interactions: int = 3
    n_rbf: int = 20
    cutoff: float = 5.0
    readout_hidden: int = 32
    readout_activation: str = "silu"
    norm_epsilon: float = 1e-8

    def __post_init__(self):
        if self.cutoff is None:
            raise InputError("cutoff = None: a PaiNN needs a cutoff in Å")
        check_network(self, ("n_features", "n_interactions", "n_rbf", "readout_hidden"))
        check_size(weight_shapes(self))
        check_choices(self, {"readout_activation": ("silu", "ssp")})
        if not (isinstance(self.norm_epsilon, float) and 1e-12 <= self.norm_epsilon <= 1e4):
            raise InputError(f"norm_epsilon = {self.norm_epsilon!r}: expected a number from 1e-12 to 1e4")


def weight_shapes(config: PaiNNConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, see architecture.Architecture."""
    f, n_elements, hidden = config.n_features, len(config.elements), config.readout_hidden
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (n_elements, f),
        "radial_basis.centers": (config.n_rbf,),
        "radial_basis.coefficients": (config.n_rbf,),
        "filter_net.weight": (config.n_interactions * 3 * f, config.n_rbf),
        "filter_net.bias": (config.n_interactions * 3 * f,),
    }
    for t in range(config.n_interactions):
        context, mixing = f"interactions.{t}.interatomic_context_net", f"mixing.{t}.intraatomic_context_net"
        shapes |= {f"{context}.0.weight": (f, f), f"{context}.0.bias": (f,)}
        shapes |= {f"{context}.1.weight": (3 * f, f), f"{context}.1.bias": (3 * f,)}
        shapes |= {f"{mixing}.0.weight": (f, 2 * f), f"{mixing}.0.bias": (f,)}
        shapes |= {f"{mixing}.1.weight": (3 * f, f), f"{mixing}.1.bias": (3 * f,)}
        shapes[f"mixing.{t}.mu_channel_mix.weight"] = (2 * f, f)
    shapes |= {"readout.0.weight": (hidden, f), "readout.0.bias": (hidden,)}
    shapes |= {"readout.1.weight": (1, hidden), "readout.1.bias": (1,)}
    return shapes | {"energy_scale": (), "energy_shift": (n_elements,)}


def describe(config: PaiNNConfig) -> str:
    """(F, T) and Gaussians."""
    return f"({config.n_features}, {config.n_interactions}), {config.n_rbf} Gaussians"
