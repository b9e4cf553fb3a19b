"""The configuration of an SO3net: sizes, degree and cutoff."""

from dataclasses import dataclass

from mlcalc.architectures.architecture import check_choices, check_network, check_size
from mlcalc.architectures.so3net.harmonics import LARGEST_L
from mlcalc.common.errors import InputError


@dataclass(frozen=True)
class SO3netConfig:
    """Architecture of an SO3net.

    Attributes:
        elements: Atomic numbers, in the order of the rows of the embedding.
        n_features: Width F of the features of each component (l, m).
        n_interactions: Number T of blocks.
        lmax: Largest degree l of the spherical harmonics, 1 to 3: features have (lmax + 1)² components.
        n_rbf: Number of Gaussians of the radial basis.
        cutoff: Largest pair distance in Å; the filters end there by ½(cos(πr/r_c)+1).
        readout_hidden: Width of the hidden readout layer.
        readout_activation: ``"silu"`` or ``"ssp"``.

    Raises:
        InputError: A field of another type or out of bounds.
    """

    elements: tuple[int, ...]
    n_features: int = 64
    n_interactions: int = 3
    lmax: int = 2
    n_rbf: int = 20
    cutoff: float = 5.0
    readout_hidden: int = 32
    readout_activation: str = "silu"

    def __post_init__(self):
        if self.cutoff is None:
            raise InputError("cutoff = None: an SO3net needs a cutoff in Å")
        check_network(self, ("n_features", "n_interactions", "n_rbf", "readout_hidden"))
        if type(self.lmax) is not int or not 1 <= self.lmax <= LARGEST_L:
            raise InputError(f"lmax = {self.lmax!r}: expected a whole number from 1 to {LARGEST_L}")
        check_size(weight_shapes(self))
        check_choices(self, {"readout_activation": ("silu", "ssp")})


def weight_shapes(config: SO3netConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, see architecture.Architecture."""
    f, n_elements, hidden = config.n_features, len(config.elements), config.readout_hidden
    of_degrees = (config.lmax + 1) * f
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": (n_elements, f),
        "radial_basis.centers": (config.n_rbf,),
        "radial_basis.coefficients": (config.n_rbf,),
    }
    for t in range(config.n_interactions):
        block = f"interactions.{t}"
        shapes |= {f"{block}.filter_net.weight": (of_degrees, config.n_rbf), f"{block}.filter_net.bias": (of_degrees,)}
        shapes |= {f"{block}.mixings.{k}.weight": (f, f) for k in range(3)}
        shapes |= {f"{block}.gating.weight": (of_degrees, f), f"{block}.gating.bias": (of_degrees,)}
    shapes |= {"readout.0.weight": (hidden, f), "readout.0.bias": (hidden,)}
    shapes |= {"readout.1.weight": (1, hidden), "readout.1.bias": (1,)}
    return shapes | {"energy_scale": (), "energy_shift": (n_elements,)}


def describe(config: SO3netConfig) -> str:
    """(F, T), degree and Gaussians."""
    return f"({config.n_features}, {config.n_interactions}), l ≤ {config.lmax}, {config.n_rbf} Gaussians"
