"""The configuration of a wACSF network: symmetry functions, cutoff, and the sizes of the networks of elements."""

from dataclasses import dataclass

from mlcalc.architectures.architecture import check_choices, check_network, check_size
from mlcalc.common.errors import InputError

RADIAL_START_A, ANGULAR_START_A, BEFORE_CUTOFF_A = 0.5, 1.0, 0.5
_LEAST_CUTOFF_A = ANGULAR_START_A + BEFORE_CUTOFF_A


@dataclass(frozen=True)
class WACSFConfig:
    """Architecture of a wACSF network; the defaults are those of SchNetPack 1.

    Attributes:
        elements: Atomic numbers, in the order of the networks.
        n_features: Width of the first hidden layer of each network.
        n_rbf: Number of radial symmetry functions, Gaussians centred from 0.5 Å to 0.5 Å before the cutoff.
        n_angular: Number of Gaussians of the angular symmetry functions, from 1 Å wide to 0.5 Å less than the cutoff; each serves
            two functions, of 1 − cos θ and of 1 + cos θ.
        cutoff: Largest pair distance in Å; symmetry functions end there by ½(cos(πr/r_c)+1).
        activation: ``"ssp"`` or ``"tanh"``, of both hidden layers.
        readout_hidden: Width of the second hidden layer.

    Raises:
        InputError: A field of another type or out of bounds.
    """

    elements: tuple[int, ...]
    n_features: int = 50
    n_rbf: int = 22
    n_angular: int = 5
    cutoff: float = 5.0
    activation: str = "ssp"
    readout_hidden: int = 50

    def __post_init__(self):
        if self.cutoff is None:
            raise InputError("cutoff = None: symmetry functions need a cutoff in Å")
        check_network(self, ("n_features", "n_rbf", "n_angular", "readout_hidden"))
        if self.cutoff <= _LEAST_CUTOFF_A:
            raise InputError(
                f"cutoff = {self.cutoff!r}: symmetry functions need a cutoff of more than {_LEAST_CUTOFF_A:g} Å"
            )
        check_choices(self, {"activation": ("ssp", "tanh")})
        check_size(weight_shapes(self))

    @property
    def n_functions(self) -> int:
        """Number of symmetry functions."""
        return self.n_rbf + 2 * self.n_angular


def weight_shapes(config: WACSFConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight, see architecture.Architecture."""
    n_elements, n_functions, widths = len(config.elements), config.n_functions, layer_widths(config)
    shapes: dict[str, tuple[int, ...]] = {
        "radial_basis.centers": (config.n_rbf,),
        "radial_basis.coefficients": (config.n_rbf,),
        "angular_basis.centers": (config.n_angular,),
        "angular_basis.coefficients": (config.n_angular,),
        "mean": (n_elements, n_functions),
        "deviation": (n_elements, n_functions),
    }
    for row in range(n_elements):
        for layer, (n_in, n_out) in enumerate(widths):
            shapes |= {f"networks.{row}.{layer}.weight": (n_out, n_in), f"networks.{row}.{layer}.bias": (n_out,)}
    return shapes | {"energy_scale": (), "energy_shift": (n_elements,)}


def layer_widths(config: WACSFConfig) -> list[tuple[int, int]]:
    """Width of input and output of each layer of a network."""
    widths = (config.n_functions, config.n_features, config.readout_hidden, 1)
    return list(zip(widths[:-1], widths[1:], strict=True))


def describe(config: WACSFConfig) -> str:
    """Hidden layers and symmetry functions."""
    functions = f"{config.n_rbf} radial and {2 * config.n_angular} angular functions"
    return f"({config.n_features}, {config.readout_hidden}) for each element, {functions}"
