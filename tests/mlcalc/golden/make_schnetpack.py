"""Makes NAME_best_model and NAME.json beside this file, in an environment with SchNetPack and without mlcalc.

bash tests/benchmarks/make_environments.sh FOLDER && FOLDER/schnetpack/bin/python tests/mlcalc/golden/make_schnetpack.py NAME…

NAME: schnetpack (SchNet), schnetpack_painn, schnetpack_painn_shared (one interaction, one mixing and one filter for all blocks),
schnetpack_so3net, schnetpack_so3net_shared (degrees up to 3, one interaction for all blocks).
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import schnetpack as spk
import torch
from ase.build import bulk, molecule
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import AddOffsets, ASENeighborList, CastTo64

HERE, CUTOFF = Path(__file__).parent, 4.0
REPRESENTATIONS = {  # name: (class, features, what is added to weights, options)
    "schnetpack": (spk.representation.SchNet, 16, 0.1, {}),
    "schnetpack_painn": (spk.representation.PaiNN, 8, 0.1, {}),
    "schnetpack_painn_shared": (
        spk.representation.PaiNN,
        8,
        0.1,
        {"shared_interactions": True, "shared_filters": True},
    ),
    "schnetpack_so3net": (spk.representation.SO3net, 8, 0.3, {"lmax": 2}),
    "schnetpack_so3net_shared": (spk.representation.SO3net, 8, 0.3, {"lmax": 3, "shared_interactions": True}),
}


def network(name: str) -> spk.model.NeuralNetworkPotential:
    """A small random network with every offset that SchNetPack knows."""
    torch.manual_seed(1)
    kind, features, size, options = REPRESENTATIONS[name]
    basis = {"radial_basis": spk.nn.GaussianRBF(12, CUTOFF), "cutoff_fn": spk.nn.CosineCutoff(CUTOFF)}
    representation = kind(features, 2, **basis, **options)
    offsets = AddOffsets("energy", add_mean=True, add_atomrefs=True)
    model = spk.model.NeuralNetworkPotential(
        representation, input_modules=[spk.atomistic.PairwiseDistances()], postprocessors=[CastTo64(), offsets],
        output_modules=[
            spk.atomistic.Atomwise(features, output_key="energy"),
            spk.atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():  # biases too
            parameter += size * torch.randn_like(parameter)
        offsets.mean += 0.75
        offsets.atomref[[1, 6, 8]] = torch.tensor([-0.5, -37.75, -75.0])
    return model


def make(name: str) -> None:
    """Write a checkpoint and its numbers."""
    model = network(name)
    torch.save(model, HERE / f"{name}_best_model")
    rng, structures = np.random.default_rng(1), [molecule("CH3CH2OH"), bulk("C", "diamond", 3.6).repeat((1, 1, 2))]
    convert, precise, cases = AtomsConverter(ASENeighborList(CUTOFF), dtype=torch.float64), model.eval().double(), []
    for atoms in structures:
        atoms.rattle(0.1, rng=rng)
        found = precise(convert(atoms))
        cases.append({
            "numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist(),
            "pbc": atoms.pbc.tolist(), "energy": found["energy"].item(), "forces": found["forces"].tolist(),
        })  # fmt: skip
    golden = {"made_with": f"SchNetPack {version('schnetpack')}, float64", "cases": cases}
    (HERE / f"{name}.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        make(chosen)
