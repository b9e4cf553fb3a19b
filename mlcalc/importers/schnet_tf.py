"""Checkpoints of the original SchNet (TensorFlow, github.com/atomistic-machine-learning/SchNet) to model files.

Their dialect: Gaussians exp(−10 Å⁻²(r − μ)²) with centres linspace(0, 20 Å), ssp after both filter layers, no cutoff, readout
F → 64 → 1 scaled by std and shifted by mean per atom, kcal/mol and Å. Schütt et al., J. Chem. Phys. 148, 241722 (2018),
doi:10.1063/1.5019779.
"""

import os
import re
from pathlib import Path

import numpy as np
from ase import units

from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.common.errors import InputError
from mlcalc.importers.elements import atomic_numbers_of
from mlcalc.importers.tf_bundle import read_tf_bundle, translation
from mlcalc.model import Model
from mlcalc.model_file import check_weights

_KCAL_PER_MOL = units.kcal / units.mol
_BASIS_END_A, _BASIS_COEFFICIENT = 20.0, 10.0  # the checkpoint holds neither

# Our dense layers ← their names, within an interaction block and in the readout. Their kernels are (in, out), ours (out, in).
_BLOCK_LAYERS = {
    "filter_network.0": "SchNetFilter/Dense",
    "filter_network.1": "SchNetFilter/Dense_1",
    "in2f": "CFConv/in2fac",
    "f2out.0": "CFConv/fac2out",
    "f2out.1": "Dense",
}
_READOUT_LAYERS = {"readout.0": "Dense", "readout.1": "Dense_1"}
_LAYER = re.compile(r"([^/]+/)*[^/]+/[Wb]")  # weights and biases; those of optimizers have one more name


def import_schnet_tf(folder: str | Path, elements: tuple[str, ...] = ("C",)) -> Model:
    """The network of an original SchNet checkpoint; energies become total energies in eV (mean per atom included).

    Args:
        folder: The folder of a trained model (it holds ``validation/best_model.index``), or the path of a checkpoint without
            its ``.index``.
        elements: Symbols that the network was trained on. The checkpoint does not record them, and its embedding table has
            rows of random numbers for the others; the published C20 networks have only carbon.

    Raises:
        InputError: No checkpoint, a damaged one, one of another network, or an unknown element.
    """
    prefix = _checkpoint(Path(folder))
    tensors = {name.removesuffix(":0"): array for name, array in read_tf_bundle(prefix).items()}
    with translation(prefix, "the original SchNet"):
        config, weights = _translate(tensors, elements)
    check_weights(config, weights, str(prefix))
    provenance = {
        "imported_from": "original SchNet (TensorFlow) checkpoint",
        "checkpoint": f"{Path(folder).name}/{prefix.name}",
        "energy": "total energy, mean per atom included",
    }
    return Model(config, weights, {"domain": {"elements": list(config.elements)}, "provenance": provenance})


def _checkpoint(folder: Path) -> Path:
    for prefix in (folder / "validation" / "best_model", folder / "best_model", folder):
        if os.path.isfile(f"{prefix}.index"):
            return prefix
    raise InputError(f"{folder}: no checkpoint; expected validation/best_model.index in this folder")


def _translate(tensors: dict[str, np.ndarray], symbols: tuple[str, ...]) -> tuple[SchNetConfig, dict[str, np.ndarray]]:
    embedding = tensors["atom_embedding/embeddings/W"]
    elements = atomic_numbers_of(symbols, len(embedding))
    if np.any(tensors["atomref/embeddings/W"][list(elements)]):
        raise InputError("the checkpoint has single-atom reference energies: expected none, as in the C20 networks")
    n_interactions = sum(f"interaction_{t}/Dense/W" in tensors for t in range(len(tensors)))
    _check_all_used(tensors, n_interactions)
    config = SchNetConfig(
        elements=elements,
        n_features=embedding.shape[1],
        n_interactions=n_interactions,
        n_rbf=tensors["interaction_0/SchNetFilter/Dense/W"].shape[0],
        cutoff=None,
        cutoff_function="none",
        filter_output_activation=True,
        readout_hidden=tensors["Dense/W"].shape[1],
    )
    weights = {
        "embedding.weight": embedding[list(elements)],
        "radial_basis.centers": np.linspace(0.0, _BASIS_END_A, config.n_rbf).astype(np.float32),
        "radial_basis.coefficients": np.full(config.n_rbf, _BASIS_COEFFICIENT, np.float32),
        "energy_scale": np.array(tensors["std_per_atom"].item() * _KCAL_PER_MOL),
        "energy_shift": np.full(len(elements), tensors["mean_per_atom"].item() * _KCAL_PER_MOL),
    }
    for t in range(n_interactions):
        for ours, theirs in _BLOCK_LAYERS.items():
            weights |= _dense(tensors, f"interaction_{t}/{theirs}", f"interactions.{t}.{ours}")
    for ours, theirs in _READOUT_LAYERS.items():
        weights |= _dense(tensors, theirs, ours)
    return config, weights


def _check_all_used(tensors: dict[str, np.ndarray], n_interactions: int) -> None:
    """Raise InputError for layers that _translate leaves out: without them the network would be another one."""
    layers = {f"interaction_{t}/{theirs}" for t in range(n_interactions) for theirs in _BLOCK_LAYERS.values()}
    used = {f"{layer}/{what}" for layer in (*layers, *_READOUT_LAYERS.values()) for what in "Wb"}
    used -= {f"{layer}/b" for layer in layers if layer.endswith("in2fac")}
    used |= {"atom_embedding/embeddings/W", "atomref/embeddings/W"}
    if other := sorted(name for name in tensors if _LAYER.fullmatch(name) and name not in used):
        raise InputError(f"a layer {other[0]!r}, which an original SchNet does not have")


def _dense(tensors: dict[str, np.ndarray], theirs: str, ours: str) -> dict[str, np.ndarray]:
    layer = {f"{ours}.weight": np.ascontiguousarray(tensors[f"{theirs}/W"].T)}
    return layer | ({f"{ours}.bias": tensors[f"{theirs}/b"]} if not ours.endswith("in2f") else {})
