"""Representations of SchNetPack 2 that have a counterpart here: a function that finds the tensors, and a row of REPRESENTATIONS.

What they share (embedding, radial basis, cutoff, readout, offsets) is read in mlcalc/importers/schnetpack.py.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from mlcalc.architectures.painn.config import PaiNNConfig
from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.common.errors import InputError
from mlcalc.importers.schnetpack_so3net import so3net_options, so3net_tensors
from mlcalc.importers.schnetpack_values import dense, number, shaped, truth, two_layers
from mlcalc.importers.torch_file import Hollow


class Representation(NamedTuple):
    """A row of REPRESENTATIONS.

    Attributes:
        config: Makes the configuration from elements, sizes, cutoff and readout.
        tensors: (representation, configuration) → tensors of its blocks by the weight names of the architecture, not copied.
            Raises InputError for what has no counterpart.
        blocks: Name of its list that has a module for each interaction.
        options: Its further keys of the configuration.
    """

    config: Callable[..., Any]
    tensors: Callable[[Hollow, Any], dict[str, Any]]
    blocks: str = "interactions"
    options: Callable[[Hollow], dict[str, Any]] = lambda representation: {}


def _schnet(schnet: Hollow, config: SchNetConfig) -> dict[str, Any]:
    filters, features = number(schnet.n_filters), number(schnet.n_atom_basis)
    if filters != features:
        raise InputError(f"{filters} filters for {features} features: expected as many of both")
    tensors: dict[str, Any] = {}
    for t, block in enumerate(schnet.interactions.children):
        tensors |= dense(block.in2f, f"interactions.{t}.in2f", bias=False)
        for name in ("filter_network", "f2out"):
            tensors |= two_layers(getattr(block, name), f"interactions.{t}.{name}", "shifted_softplus")
    return tensors


def _painn(painn: Hollow, config: PaiNNConfig) -> dict[str, Any]:
    blocks, mixings = painn.interactions.children, painn.mixing.children
    if len(blocks) != len(mixings):
        raise InputError(f"{len(blocks)} interactions and {len(mixings)} mixings: expected as many of both")
    tensors = _filters(painn, config)
    for t, (block, mixing) in enumerate(zip(blocks, mixings, strict=True)):
        context, own = f"interactions.{t}.interatomic_context_net", f"mixing.{t}.intraatomic_context_net"
        tensors |= two_layers(block.interatomic_context_net, context, "silu")
        tensors |= two_layers(mixing.intraatomic_context_net, own, "silu")
        tensors |= dense(mixing.mu_channel_mix, f"mixing.{t}.mu_channel_mix", bias=False)
    return tensors


def _painn_options(painn: Hollow) -> dict[str, Any]:
    found = sorted({float(number(mixing.epsilon)) for mixing in painn.mixing.children})
    if len(found) != 1:
        raise InputError(f"mixings with epsilon {found}: expected the same in all")
    return {"norm_epsilon": found[0]}


def _filters(painn: Hollow, config: PaiNNConfig) -> dict[str, Any]:
    """The filters of all blocks, one below the other; those that all blocks share once for each."""
    tensors = dense(painn.filter_net, "filter_net")
    if not truth(painn.share_filters):
        return tensors
    shapes = {"filter_net.weight": (3 * config.n_features, config.n_rbf), "filter_net.bias": (3 * config.n_features,)}
    return {
        name: np.concatenate([shaped(name, tensor, shapes[name])] * config.n_interactions)
        for name, tensor in tensors.items()
    }


REPRESENTATIONS = {
    "SchNet": Representation(SchNetConfig, _schnet),
    "PaiNN": Representation(PaiNNConfig, _painn, options=_painn_options),
    "SO3net": Representation(SO3netConfig, so3net_tensors, "so3convs", so3net_options),
}  # fmt: skip
