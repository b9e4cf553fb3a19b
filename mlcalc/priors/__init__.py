"""Physical terms added to a network, and part of the energy during training: a file each, and a row here."""

from collections.abc import Callable
from typing import Any, NamedTuple

from mlcalc.priors.angular import AngularPrior
from mlcalc.priors.repulsion import Repulsion


class Prior(NamedTuple):
    """A row of PRIORS.

    Attributes:
        config: Frozen dataclass; its fields are the keys of the prior in a model file. All have a ``cutoff`` in Å.
        energies: Torch twin, called with (prior, numbers (n_atoms,), first, second (n_pairs,), vectors (n_pairs, 3) Å): energies of
            atoms (n_atoms,) eV. Loads torch.
    """

    config: type
    energies: Callable[..., Any]


def _repulsion(*arguments):
    from mlcalc.priors.torch_twins import repulsion_energies

    return repulsion_energies(*arguments)


def _angular(*arguments):
    from mlcalc.priors.torch_twins import angular_energies

    return angular_energies(*arguments)


PRIORS = {"repulsion": Prior(Repulsion, _repulsion), "angular": Prior(AngularPrior, _angular)}


def prior_energies(priors: dict[str, Any], numbers, first, second, vectors):
    """Sum of the priors of a model in torch: energies of atoms (n_atoms,) eV; 0 without any."""
    return sum((PRIORS[name].energies(prior, numbers, first, second, vectors) for name, prior in priors.items()), 0.0)
