"""ASE's Langevin dynamics of a periodic liquid with SchNetPack's calculator, float32, and its neighbour list for MD."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import ase
import numpy as np
import torch
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from common import LIQUID_FRICTION_TIME_FS, LIQUID_TEMPERATURE_K, LIQUID_TIMESTEP_FS, Problem, measure, options, report
from schnetpack.interfaces import SpkCalculator
from schnetpack.transform import MatScipyNeighborList, SkinNeighborList
from schnetpack_networks import build_model

SKIN_A = 1.0
STEPS_PER_SAMPLE = 10


class Repulsion(torch.nn.Module):
    """Adds the model's repulsion between nuclei of one element (Ziegler, Biersack, Littmark; see mlcalc/priors/repulsion.py)."""

    def __init__(self, z: int, cutoff: float):
        super().__init__()
        self.strength, self.cutoff, self.model_outputs = units.Hartree * units.Bohr * z**2, cutoff, []
        self.length = 0.8854 * units.Bohr / (2 * z**0.23)

    def forward(self, inputs):
        r = torch.linalg.norm(inputs["_Rij"], dim=1)
        screening = sum(
            c * torch.exp(-d * r / self.length)
            for c, d in ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
        )
        u = (2.0 * r / self.cutoff - 1.0).clamp(0.0, 1.0)
        pairs = self.strength / r * screening * (1.0 - 10.0 * u**3 + 15.0 * u**4 - 6.0 * u**5)
        inputs["energy"] = inputs["energy"] + 0.5 * pairs.sum()
        return inputs


def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    problem, rng = Problem(arguments.problem), np.random.default_rng(0)
    model = build_model(problem)
    if "repulsion" in problem.priors:
        model.output_modules.insert(1, Repulsion(int(problem.numbers[0]), problem.priors["repulsion"]["cutoff"]))
    atoms = Atoms(problem.numbers, problem.positions, masses=problem.masses, cell=problem.cell, pbc=True)
    neighbours = SkinNeighborList(MatScipyNeighborList(problem.config["cutoff"]), cutoff_skin=SKIN_A)
    with tempfile.TemporaryDirectory() as folder:
        torch.save(model, Path(folder) / "model")
        atoms.calc = SpkCalculator(
            str(Path(folder) / "model"), neighbor_list=neighbours, energy_unit="eV", position_unit="Ang"
        )
    atoms.positions = problem.replicas(1)[0]
    forces = atoms.get_forces()
    atoms.positions = problem.positions
    MaxwellBoltzmannDistribution(atoms, temperature_K=LIQUID_TEMPERATURE_K, rng=rng)
    dynamics = Langevin(
        atoms, LIQUID_TIMESTEP_FS * units.fs, temperature_K=LIQUID_TEMPERATURE_K, rng=rng,
        friction=1.0 / (LIQUID_FRICTION_TIME_FS * units.fs),
    )  # fmt: skip
    times = measure(lambda: dynamics.run(STEPS_PER_SAMPLE), arguments.seconds, least=3)
    name = f"SchNetPack {version('schnetpack')}, ASE {ase.__version__}"
    report(np.array(times) / STEPS_PER_SAMPLE, forces[None], name)


if __name__ == "__main__":
    main()
