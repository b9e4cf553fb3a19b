"""SchNetPack's own ring-polymer MD (PILE-L) with the problem's weights in its own SchNet, float32."""

from importlib.metadata import version

import numpy as np
import schnetpack as spk
import torch
from ase import Atoms
from common import CENTROID_TIME_FS, TEMPERATURE_K, TIMESTEP_FS, Problem, measure, options, report
from schnetpack.md import Simulator, System, UniformInit
from schnetpack.md.calculators import SchNetPackCalculator
from schnetpack.md.integrators import RingPolymer, VelocityVerlet
from schnetpack.md.neighborlist_md import NeighborListMD
from schnetpack.md.simulation_hooks import LangevinThermostat, PILELocalThermostat
from schnetpack.transform import ASENeighborList


def build_model(problem: Problem) -> spk.model.NeuralNetworkPotential:
    """The same network in SchNetPack's classes; the atoms' constant energies are left out."""
    config, w = problem.config, {name: torch.as_tensor(array) for name, array in problem.weights.items()}
    cutoff, n_features = config["cutoff"], config["n_features"]
    representation = spk.representation.SchNet(
        n_features,
        config["n_interactions"],
        spk.nn.GaussianRBF(config["n_rbf"], cutoff),
        spk.nn.CosineCutoff(cutoff),
    )
    energy = spk.atomistic.Atomwise(
        n_features,
        n_hidden=config["readout_hidden"],
        activation=spk.nn.shifted_softplus,
        output_key="energy",
    )
    state = {f"interactions.{t}.{name}": w[f"interactions.{t}.{name}"] for t, name in _blocks(config)}
    state["embedding.weight"] = representation.embedding.weight.detach().clone()
    state["embedding.weight"][config["elements"]] = w["embedding.weight"].float()
    state["radial_basis.offsets"] = w["radial_basis.centers"]
    state["radial_basis.widths"] = (0.5 / w["radial_basis.coefficients"]).sqrt()
    representation.load_state_dict(state, strict=False)
    scale = w["energy_scale"].float()
    energy.outnet.load_state_dict({
        "0.weight": w["readout.0.weight"], "0.bias": w["readout.0.bias"],
        "1.weight": w["readout.1.weight"] * scale, "1.bias": w["readout.1.bias"] * scale,
    })  # fmt: skip
    return spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[energy, spk.atomistic.Forces(energy_key="energy", force_key="forces")],
    )


def _blocks(config: dict):
    layers = [f"{net}.{n}.{part}" for net in ("filter_network", "f2out") for n in (0, 1) for part in ("weight", "bias")]
    return [(t, name) for t in range(config["n_interactions"]) for name in ("in2f.weight", *layers)]


class Calculator(SchNetPackCalculator):
    """SchNetPack's calculator around a network in memory instead of a file."""

    def _load_model(self, model):
        model = model.eval()
        model.do_postprocessing = False
        return model


def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    problem, n_beads = Problem(arguments.problem), arguments.beads
    atoms = Atoms(problem.numbers, problem.positions, masses=problem.masses)
    system = System()
    system.load_molecules([atoms], n_replicas=n_beads, position_unit_input="Angstrom")
    neighbours = NeighborListMD(problem.config["cutoff"], 2.0, ASENeighborList)
    calculator = Calculator(
        build_model(problem), "forces", energy_unit="eV", position_unit="Angstrom", neighbor_list=neighbours,
        energy_key="energy",
    )  # fmt: skip
    # SchNetPack's integrator does not accept one replica as a ring polymer.
    integrator = RingPolymer(TIMESTEP_FS, n_beads, TEMPERATURE_K) if n_beads > 1 else VelocityVerlet(TIMESTEP_FS)
    thermostat = (PILELocalThermostat if n_beads > 1 else LangevinThermostat)(TEMPERATURE_K, CENTROID_TIME_FS)
    simulator = Simulator(system, integrator, calculator, [thermostat], progress=False).to(torch.float32)
    start = system.positions.clone()
    length = spk.units.convert_units("Angstrom", spk.units.length)
    system.positions = torch.as_tensor(problem.replicas(n_beads), dtype=torch.float32) * length
    calculator.calculate(system)
    forces = system.forces.detach().numpy() * spk.units.convert_units(spk.units.force, "eV/Angstrom")
    system.positions = start
    UniformInit(TEMPERATURE_K).initialize_system(system)
    steps = 20  # the first force evaluation of each call is extra: 5 % of the time, subtracted below
    times = measure(lambda: simulator.simulate(steps), arguments.seconds)
    report(np.array(times) / (steps + 1), forces, f"SchNetPack {version('schnetpack')}")


if __name__ == "__main__":
    main()
