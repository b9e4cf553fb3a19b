"""The DTNN of seven passes that was trained on U0 of QM9 (TensorFlow, "DTNN_7ib" of Jianing Lu, 2018) to a model file.

Its dialect: 30 Gaussians exp(−(r − μ)²/(2·0.1² Å²)) with centres linspace(0, 3 Å), passes with weights of their own, ssp, no
cutoff, readout 256 → 128 → 1; energies in eV above those of single atoms, which a second file holds. The constants below are those
of the published training: another one of the same program would have others, which its files do not hold either.
"""

import os
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from ase.data import chemical_symbols

from mlcalc.architectures.dtnn.config import DTNNConfig, weight_shapes
from mlcalc.common.errors import InputError
from mlcalc.common.zip_files import open_zip
from mlcalc.importers.elements import atomic_numbers_of
from mlcalc.importers.tf_bundle import read_tf_bundle, translation
from mlcalc.model import Model
from mlcalc.model_file import check_weights
from mlcalc.structures.npz_files import read_array

# What the checkpoint does not hold: the Gaussians, and standard deviation and mean of U0 per atom in its training set, eV.
_BASIS_END_A, _BASIS_WIDTH_A = 3.0, 0.1
_SCALE_EV, _SHIFT_EV = 0.18926335325096477, -4.24368628211098
_SIZES = {"n_features": 256, "n_factors": 60, "n_interactions": 7, "n_rbf": 30, "readout_hidden": 128}
_OF_ARCHIVES = (KeyError, ValueError, EOFError, OSError, RuntimeError, BadZipFile, zlib.error)  # that are damaged
_REFERENCES, _QUANTITY, _MOST_BYTES = "atomrefs.txt.npz", "U0", 1 << 20

# Our layers ← theirs, whose kernels are (in, out), ours (out, in); t is the number of a pass.
_LAYERS = {"distance_layer": "Dense_1", "readout.0": "Dense_2", "readout.1": "Dense_3"}
_PASS_LAYERS = {"interactions.{t}.in2factors": "in2fac{t}", "interactions.{t}.factors2out": "fac2out{t}"}
_COUNTERS = {"global_step", "beta1_power", "beta2_power"}


def import_dtnn_7ib(folder: str | Path, elements: tuple[str, ...] | None = None) -> Model:
    """The network of that checkpoint; energies are total energies in eV (mean per atom and atoms' energies included).

    It knows energies at minima alone; its forces there are some eV/Å.

    Args:
        folder: The folder with one checkpoint (its ``.index``) and ``atomrefs.txt.npz``, or the path of the checkpoint without
            ``.index`` beside that file.
        elements: Symbols to keep; None for all that have an energy of the single atom: H, C, N, O, F.

    Raises:
        InputError: No checkpoint, a damaged one, one of another network, or an element without an energy of the atom.
    """
    prefix = _checkpoint(Path(folder))
    tensors = read_tf_bundle(prefix)
    references = _references(prefix.parent / _REFERENCES)
    with translation(prefix, "DTNN_7ib"):
        config, weights = _translate(tensors, references, elements)
    check_weights(config, weights, str(prefix))
    provenance = {
        "imported_from": "DTNN_7ib (TensorFlow) checkpoint, trained on U0 at the minima of QM9: forces were never learnt",
        "checkpoint": f"{prefix.parent.name}/{prefix.name}",
        "energy": "total energy, mean per atom and energies of atoms included",
    }
    return Model(config, weights, {"domain": {"elements": list(config.elements)}, "provenance": provenance})


def _checkpoint(folder: Path) -> Path:
    if os.path.isfile(f"{folder}.index"):
        return folder
    found = sorted(folder.glob("*.index")) if os.path.isdir(folder) else []
    if len(found) != 1:
        raise InputError(f"{folder}: {len(found)} checkpoints; expected a folder with one file that ends in .index")
    return found[0].with_suffix("")


def _references(path: Path) -> np.ndarray:
    """(n,) U0 of single atoms in eV by atomic number; 0 for those that are not known."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; expected the energies of atoms beside the checkpoint")
    try:
        with open_zip(path, _MOST_BYTES) as archive:
            table, labels = (read_array(archive, f"{name}.npy", _MOST_BYTES) for name in ("atom_ref", "labels"))
    except (InputError, *_OF_ARCHIVES) as error:
        raise InputError(f"{path}: not the energies of atoms: {str(error)[:200]}") from error
    names = [str(name) for name in labels.ravel()]
    if _QUANTITY not in names or table.ndim != 2 or table.shape[1] != len(names) or table.dtype.kind != "f":
        raise InputError(f"{path}: atom_ref {table.shape} of {names}: expected a column of numbers named {_QUANTITY}")
    return table[:, names.index(_QUANTITY)]


def _translate(
    tensors: dict[str, np.ndarray], references: np.ndarray, symbols: tuple[str, ...] | None
) -> tuple[DTNNConfig, dict[str, np.ndarray]]:
    table = tensors["Dense/W"]
    known = [z for z in range(1, min(len(table), len(references))) if references[z]]
    elements = atomic_numbers_of(symbols or tuple(chemical_symbols[z] for z in known), len(table))
    if absent := [chemical_symbols[z] for z in elements if z not in known]:
        listed = " ".join(chemical_symbols[z] for z in known)
        raise InputError(f"element {absent[0]}: no energy of the atom; expected elements among {listed}")
    config = DTNNConfig(elements=elements, shared_weights=False, activation="ssp", cutoff=None, **_SIZES)
    weights = {
        "embedding.weight": table[list(elements)],
        "radial_basis.centers": np.linspace(0.0, _BASIS_END_A, config.n_rbf).astype(np.float32),
        "radial_basis.coefficients": np.full(config.n_rbf, 0.5 / _BASIS_WIDTH_A**2, np.float32),
        "energy_scale": np.array(_SCALE_EV),
        "energy_shift": _SHIFT_EV + references[list(elements)],
    }
    layers = _layers(config.n_interactions)
    _check_all_used(tensors, layers)
    shapes = weight_shapes(config)
    for ours, theirs in layers.items():
        weights[f"{ours}.weight"] = np.ascontiguousarray(tensors[f"{theirs}/W"].T)
        if f"{ours}.bias" in shapes:
            weights[f"{ours}.bias"] = tensors[f"{theirs}/b"]
    return config, weights


def _layers(n_interactions: int) -> dict[str, str]:
    """Our layers ← theirs, those of all passes."""
    of_passes = {
        ours.format(t=t): theirs.format(t=t) for t in range(n_interactions) for ours, theirs in _PASS_LAYERS.items()
    }
    return _LAYERS | of_passes


def _check_all_used(tensors: dict[str, np.ndarray], layers: dict[str, str]) -> None:
    """Raise InputError for what _translate leaves out: without it the network would be another one."""
    used = {"Dense/W"} | {f"{theirs}/W" for theirs in layers.values()}
    used |= {f"{theirs}/b" for theirs in layers.values() if not theirs.startswith("fac2out")}
    moments = {f"{name}/{moment}" for name in used for moment in ("Adam", "Adam_1")}
    if other := sorted(tensors.keys() - used - moments - _COUNTERS):
        raise InputError(f"a tensor {other[0]!r}, which DTNN_7ib does not have")
