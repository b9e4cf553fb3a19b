"""The configuration of a DTNN; it covers the original and the variant with blocks of their own."""

from dataclasses import dataclass

from mlcalc.architectures.architecture import check_choices, check_network, check_size
from mlcalc.common.errors import InputError

_SIZES = ("n_features", "n_factors", "n_interactions", "n_rbf", "readout_hidden")


@dataclass(frozen=True)
class DTNNConfig:
    """Architecture of a DTNN; the defaults are the original.

    Attributes:
        elements: Atomic numbers, in the order of the rows of the embedding.
        n_features: Width F of the atom features.
        n_factors: Width K of the factors: of the products of features and distances.
        n_interactions: Number T of passes of messages.
        shared_weights: Whether all passes have the same weights (the original: yes); the layer on distances is one in any case.
        n_rbf: Number of Gaussians of the distances; they reach to the cutoff, or to 20 Å.
        cutoff: Largest pair distance in Å, where messages end because the layer on distances is multiplied by ½(cos(πr/r_c)+1);
            None, as in the original, connects all pairs (molecules only): beyond the last Gaussian, pairs still exchange messages,
            which depend on the distance no more.
        activation: ``"tanh"`` (the original) or ``"ssp"``, of the messages; that of the hidden readout layer is tanh.
        readout_hidden: Width of the hidden readout layer.

    Raises:
        InputError: A field of another type or out of bounds.
    """

    elements: tuple[int, ...]
    n_features: int = 30
    n_factors: int = 60
    n_interactions: int = 3
    shared_weights: bool = True
    n_rbf: int = 101
    cutoff: float | None = None
    activation: str = "tanh"
    readout_hidden: int = 15

    def __post_init__(self):
        check_network(self, _SIZES)
        check_choices(self, {"activation": ("tanh", "ssp")})
        if not isinstance(self.shared_weights, bool):
            raise InputError(f"shared_weights = {self.shared_weights!r}: expected true or false")
        check_size(weight_shapes(self))

    @property
    def n_blocks(self) -> int:
        """Number of passes with weights of their own."""
        return 1 if self.shared_weights else self.n_interactions


def weight_shapes(config: DTNNConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, see architecture.Architecture."""
    f, factors, n_elements, hidden = config.n_features, config.n_factors, len(config.elements), config.readout_hidden
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (n_elements, f),
        "radial_basis.centers": (config.n_rbf,),
        "radial_basis.coefficients": (config.n_rbf,),
        "distance_layer.weight": (factors, config.n_rbf),
        "distance_layer.bias": (factors,),
    }
    for t in range(config.n_blocks):
        block = f"interactions.{t}"
        shapes |= {f"{block}.in2factors.weight": (factors, f), f"{block}.in2factors.bias": (factors,)}
        shapes |= {f"{block}.factors2out.weight": (f, factors)}
    shapes |= {"readout.0.weight": (hidden, f), "readout.0.bias": (hidden,)}
    shapes |= {"readout.1.weight": (1, hidden), "readout.1.bias": (1,)}
    return shapes | {"energy_scale": (), "energy_shift": (n_elements,)}


def describe(config: DTNNConfig) -> str:
    """(F, T), factors and Gaussians."""
    shared = ", shared weights" if config.shared_weights else ""
    return (
        f"({config.n_features}, {config.n_interactions}{shared}), {config.n_factors} factors, {config.n_rbf} Gaussians"
    )
