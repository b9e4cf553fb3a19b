"""Physical terms added to a network, and part of the energy during training: a file each, and a row here."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.common.settings import build_settings
from mlcalc.priors.angles import AnglePrior
from mlcalc.priors.angular import AngularPrior, make_angular_kernel
from mlcalc.priors.bead_repulsion import BeadRepulsion, make_repulsion_kernel
from mlcalc.priors.bonds import BondPrior
from mlcalc.priors.chains import check_chain, make_chain_kernel
from mlcalc.priors.dihedrals import DihedralPrior
from mlcalc.priors.repulsion import Repulsion


class Prior(NamedTuple):
    """A row of PRIORS.

    Attributes:
        config: Frozen dataclass; its fields are the keys of the prior in a model file, of which one that is not set (None) is
            left out. All have a ``cutoff`` in Å.
        energies: Torch twin, called with (prior, numbers (n_atoms,), first, second (n_pairs,), vectors (n_pairs, 3) Å): energies of
            atoms (n_atoms,) eV. Loads torch.
        make_kernel: (prior, numbers (N,)) → compiled form, called with (threads, positions (P, N, 3) Å, neighbours.Pairs, result),
            which adds to the arrays of a kernel's result; None for the repulsion, which is in the kernel's loop over pairs.
    """

    config: type
    energies: Callable[..., Any]
    make_kernel: Callable[..., Callable[..., None]] | None


def _twin(name: str) -> Callable[..., Any]:
    """A function of torch_twins, loaded when it is called."""

    def energies(*arguments):
        from mlcalc.priors import torch_twins

        return getattr(torch_twins, name)(*arguments)

    return energies


PRIORS = {
    "repulsion": Prior(Repulsion, _twin("repulsion_energies"), None),
    "angular": Prior(AngularPrior, _twin("angular_energies"), make_angular_kernel),
    "bonds": Prior(BondPrior, _twin("bond_energies"), make_chain_kernel),
    "angles": Prior(AnglePrior, _twin("angle_energies"), make_chain_kernel),
    "dihedrals": Prior(DihedralPrior, _twin("dihedral_energies"), make_chain_kernel),
    "bead_repulsion": Prior(BeadRepulsion, _twin("bead_repulsion_energies"), make_repulsion_kernel),
}


def prior_energies(priors: dict[str, Any], numbers, first, second, vectors):
    """Sum of the priors of a model in torch: energies of atoms (n_atoms,) eV; 0 without any."""
    return sum((PRIORS[name].energies(prior, numbers, first, second, vectors) for name, prior in priors.items()), 0.0)


def check_atoms(priors: dict[str, Any], numbers: np.ndarray) -> None:
    """Raise InputError unless the priors of a model can serve a structure of these atomic numbers (N,)."""
    for name, prior in priors.items():
        check_chain(name, prior, numbers)


def as_tables(priors: dict[str, Any]) -> dict[str, Any]:
    """Keys of priors by name, as model files hold them; what is not set (None) is left out."""
    return {
        name: {key: value for key, value in asdict(prior).items() if value is not None}
        for name, prior in priors.items()
    }


def build_priors(table: dict[str, Any], source: str) -> dict[str, Any]:
    """Priors by name from their keys, as a model file holds them; InputError for names or keys that are none."""
    priors = {}
    for name, keys in table.items():
        if name not in PRIORS:
            raise InputError(f"{source}: prior {name[:40]!r}: this mlcalc supports {', '.join(PRIORS)}")
        if not isinstance(keys, dict):
            raise InputError(f"{source}: prior {name} = {str(keys)[:60]!r}: expected a table")
        priors[name] = build_settings(PRIORS[name].config, keys, f"{source}: prior {name}")
    return priors
