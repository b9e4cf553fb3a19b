"""The problem's network in SchNetPack's own classes; the atoms' constant energies are left out."""

import re

import schnetpack as spk
import torch
from common import Problem

SHARED = (
    "embedding.",
    "radial_basis.",
    "readout.",
    "energy_",
)  # names of weights that SchNetPack lays out in another way


def build_model(problem: Problem) -> spk.model.NeuralNetworkPotential:
    """SchNet, PaiNN or SO3net with the problem's weights."""
    config, w = problem.config, {name: torch.as_tensor(array) for name, array in problem.weights.items()}
    cutoff, n_features = config["cutoff"], config["n_features"]
    kinds = {
        "schnet": spk.representation.SchNet, "painn": spk.representation.PaiNN, "so3net": spk.representation.SO3net,
    }  # fmt: skip
    degree = {"lmax": config["lmax"]} if "lmax" in config else {}
    representation = kinds[problem.architecture](
        n_atom_basis=n_features, n_interactions=config["n_interactions"], **degree,
        radial_basis=spk.nn.GaussianRBF(config["n_rbf"], cutoff), cutoff_fn=spk.nn.CosineCutoff(cutoff),
    )  # fmt: skip
    rename = so3net_name if problem.architecture == "so3net" else str
    state = {rename(name): array for name, array in w.items() if not name.startswith(SHARED)}
    state["embedding.weight"] = representation.embedding.weight.detach().clone()
    state["embedding.weight"][config["elements"]] = w["embedding.weight"].float()
    state["radial_basis.offsets"] = w["radial_basis.centers"]
    state["radial_basis.widths"] = (0.5 / w["radial_basis.coefficients"]).sqrt()
    missing, unexpected = representation.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if name.endswith(("weight", "bias"))]:
        raise SystemExit(f"SchNetPack's network has other weights: {missing}, {unexpected}")
    return spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[_readout(config, w), spk.atomistic.Forces(energy_key="energy", force_key="forces")],
    )


def so3net_name(name: str) -> str:
    """What SchNetPack calls a weight of an SO3net: it keeps lists of parts, not of blocks."""
    name = re.sub(r"interactions\.(\d+)\.filter_net\.", r"so3convs.\1.filternet.", name)
    name = re.sub(r"interactions\.(\d+)\.gating\.", r"gatings.\1.scaling.", name)
    return re.sub(
        r"interactions\.(\d+)\.mixings\.(\d)\.", lambda found: f"mixings{int(found[2]) + 1}.{found[1]}.", name
    )


def _readout(config: dict, w: dict[str, torch.Tensor]) -> spk.atomistic.Atomwise:
    activations = {"ssp": spk.nn.shifted_softplus, "silu": torch.nn.functional.silu}
    energy = spk.atomistic.Atomwise(
        config["n_features"],
        n_hidden=config["readout_hidden"],
        activation=activations[config["readout_activation"]],
        output_key="energy",
    )
    scale = w["energy_scale"].float()
    energy.outnet.load_state_dict({
        "0.weight": w["readout.0.weight"], "0.bias": w["readout.0.bias"],
        "1.weight": w["readout.1.weight"] * scale, "1.bias": w["readout.1.bias"] * scale,
    })  # fmt: skip
    return energy
