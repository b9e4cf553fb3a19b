"""The configuration of a SchNet; it covers both dialects of the literature."""

from dataclasses import dataclass

from mlcalc.architectures.architecture import check_choices, check_network, check_size
from mlcalc.common.errors import InputError

_SIZES = ("n_features", "n_interactions", "n_rbf", "readout_hidden")


@dataclass(frozen=True)
class SchNetConfig:
    """Architecture of a SchNet.

    Attributes:
        elements: Atomic numbers, in the order of the rows of the embedding.
        n_features: Width F of the atom features.
        n_interactions: Number T of interaction blocks.
        n_rbf: Number of Gaussians of the radial basis.
        cutoff: Largest pair distance in Å; None connects all pairs (molecules only).
        cutoff_function: ``"cosine"`` multiplies the filters by ½(cos(πr/r_c)+1); ``"none"`` does not.
        filter_output_activation: Whether ssp also follows the second filter layer (original SchNet: yes).
        readout_hidden: Width of the hidden readout layer.
        readout_activation: ``"ssp"`` or ``"silu"``.

    Raises:
        InputError: A field of another type or out of bounds.
    """

    elements: tuple[int, ...]
    n_features: int = 64
    n_interactions: int = 3
    n_rbf: int = 32
    cutoff: float | None = 5.0
    cutoff_function: str = "cosine"
    filter_output_activation: bool = False
    readout_hidden: int = 32
    readout_activation: str = "ssp"

    def __post_init__(self):
        check_network(self, _SIZES)
        check_size(weight_shapes(self))
        check_choices(self, {"cutoff_function": ("cosine", "none"), "readout_activation": ("ssp", "silu")})
        if self.cutoff_function == "cosine" and self.cutoff is None:
            raise InputError("cutoff_function = 'cosine' needs a cutoff in Å")
        if not isinstance(self.filter_output_activation, bool):
            raise InputError(f"filter_output_activation = {self.filter_output_activation!r}: expected true or false")


def weight_shapes(config: SchNetConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, see architecture.Architecture."""
    n_features, n_elements = config.n_features, len(config.elements)
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (n_elements, n_features),
        "radial_basis.centers": (config.n_rbf,),
        "radial_basis.coefficients": (config.n_rbf,),
    }
    for t in range(config.n_interactions):
        block = f"interactions.{t}"
        shapes[f"{block}.filter_network.0.weight"] = (n_features, config.n_rbf)
        shapes[f"{block}.filter_network.1.weight"] = (n_features, n_features)
        shapes[f"{block}.in2f.weight"] = (n_features, n_features)
        for layer in (0, 1):
            shapes[f"{block}.filter_network.{layer}.bias"] = (n_features,)
            shapes[f"{block}.f2out.{layer}.weight"] = (n_features, n_features)
            shapes[f"{block}.f2out.{layer}.bias"] = (n_features,)
    shapes["readout.0.weight"] = (config.readout_hidden, n_features)
    shapes["readout.0.bias"] = (config.readout_hidden,)
    shapes["readout.1.weight"] = (1, config.readout_hidden)
    shapes["readout.1.bias"] = (1,)
    shapes["energy_scale"] = ()
    shapes["energy_shift"] = (n_elements,)
    return shapes


def describe(config: SchNetConfig) -> str:
    """(F, T) and Gaussians."""
    return f"({config.n_features}, {config.n_interactions}), {config.n_rbf} Gaussians"
