"""Makes schnetpack_best_model and schnetpack.json beside this file, in an environment with SchNetPack and without mlcalc.

bash tests/benchmarks/make_environments.sh FOLDER && FOLDER/schnetpack/bin/python tests/mlcalc/golden/make_schnetpack.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import schnetpack as spk
import torch
from ase.build import bulk, molecule
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import AddOffsets, ASENeighborList, CastTo64

HERE, CUTOFF = Path(__file__).parent, 4.0


def network() -> spk.model.NeuralNetworkPotential:
    """A small random SchNet with every offset that SchNetPack knows."""
    torch.manual_seed(1)
    schnet = spk.representation.SchNet(16, 2, spk.nn.GaussianRBF(12, CUTOFF), spk.nn.CosineCutoff(CUTOFF))
    offsets = AddOffsets("energy", add_mean=True, add_atomrefs=True)
    model = spk.model.NeuralNetworkPotential(
        schnet, input_modules=[spk.atomistic.PairwiseDistances()], postprocessors=[CastTo64(), offsets],
        output_modules=[
            spk.atomistic.Atomwise(16, output_key="energy"),
            spk.atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    )  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():  # biases too
            parameter += 0.1 * torch.randn_like(parameter)
        offsets.mean += 0.75
        offsets.atomref[[1, 6, 8]] = torch.tensor([-0.5, -37.75, -75.0])
    return model


def main() -> None:
    model = network()
    torch.save(model, HERE / "schnetpack_best_model")
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
    (HERE / "schnetpack.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
