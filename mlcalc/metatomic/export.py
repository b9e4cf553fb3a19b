"""A model as a file of metatomic: what it can do, in which units, and its module in TorchScript."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from ase.data import chemical_symbols

from mlcalc.architectures import name_of
from mlcalc.common.errors import InputError
from mlcalc.exportable import check_exportable, known_elements
from mlcalc.metatomic.networks import PaiNN, SchNet
from mlcalc.model import Model
from mlcalc.model_summary import describe

PRIORS = ("repulsion",)
_NETWORKS = {"schnet": SchNet, "painn": PaiNN}
_REFERENCES = {
    "schnet": "https://doi.org/10.1063/1.5019779",
    "painn": "https://arxiv.org/abs/2102.03150",
}


def check_installed() -> None:
    """Raise InputError where metatomic is missing, or TorchScript is switched off."""
    if find_spec("metatomic") is None:
        raise InputError("metatomic is not installed: pip install 'mlcalc[metatomic]'")
    if os.environ.get("PYTORCH_JIT") == "0":
        raise InputError(
            "PYTORCH_JIT = '0': TorchScript is switched off, in which metatomic's models are written; unset it"
        )


def check_model(model: Model) -> None:
    """Raise InputError unless all parts of a model can be exported."""
    check_exportable(model, "the export to metatomic", _NETWORKS, PRIORS)
    if model.readouts:
        raise InputError(
            f"readouts {', '.join(model.readouts)}: the export to metatomic knows energies, forces and stress"
        )


def interaction_range(model: Model) -> float:
    """Å, how far the energy of an atom reaches: each of the T layers passes features on by one cutoff."""
    return model.config.n_interactions * model.config.cutoff


def as_atomistic_model(model: Model, name: str, precision: str = "float32"):
    """The ``metatomic.torch.AtomisticModel`` of a model.

    Args:
        name: Of its metadata.
        precision: Of the network, ``"float32"`` or ``"float64"``; positions and energies are float64 in both.

    Raises:
        InputError: metatomic is missing, or a part of the model cannot be exported.
    """
    check_model(model)
    check_installed()
    from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput

    from mlcalc.metatomic.potential import Potential

    network = _NETWORKS[name_of(model.config)](model.config).to(getattr(torch, precision))
    constants = ("energy_scale", "energy_shift")  # of Potential
    weights = {key: torch.as_tensor(np.asarray(w)) for key, w in model.weights.items() if key not in constants}
    network.load_state_dict(weights)
    energy = ModelOutput(
        unit="eV", sample_kind="atom", description="potential energy, with the constants of the elements"
    )
    capabilities = ModelCapabilities(
        outputs={"energy": energy},
        atomic_types=known_elements(model),
        interaction_range=interaction_range(model),
        length_unit="angstrom",
        supported_devices=["cuda", "cpu"],
        dtype="float64",
    )
    references = {"architecture": [_REFERENCES[name_of(model.config)]], "model": [], "implementation": []}
    metadata = ModelMetadata(name=name, description=_description(model, precision), references=references)
    return AtomisticModel(Potential(model, network).eval(), metadata, capabilities)


def as_metatomic(model: Model, name: str, precision: str = "float32") -> bytes:
    """The file of a model; arguments and errors as of as_atomistic_model."""
    exported = as_atomistic_model(model, name, precision)
    with tempfile.TemporaryDirectory(prefix="mlcalc-metatomic-") as folder:
        path = Path(folder, "model.pt")
        exported.save(path)
        return path.read_bytes()


def _description(model: Model, precision: str) -> str:
    masses = model.domain.get("bead_masses_u", {})
    beads = ", ".join(f"{symbol} {mass:g} u" for symbol, mass in masses.items())
    return f"{describe(model)}; network in {precision}" + (f"; atoms are beads: {beads}" if beads else "")


def summary(model: Model) -> str:
    """One line on what the file declares to an engine."""
    elements = " ".join(chemical_symbols[z] for z in known_elements(model))
    return (
        f"energies of atoms in eV, lengths in Å, interaction range {interaction_range(model):g} Å, elements {elements}"
    )
