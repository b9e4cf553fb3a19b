"""SchNetPack's own ring-polymer MD (PILE-L) with the problem's weights in its own classes, float32; variant: only forces."""

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
from schnetpack_networks import build_model

STEPS_PER_CALL = 20


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
    if arguments.variant == "forces":
        times = measure(lambda: calculator.calculate(system), arguments.seconds)
    else:
        system.positions = start
        UniformInit(TEMPERATURE_K).initialize_system(system)
        # The first force evaluation of each call is extra: 5 % of the time, subtracted here.
        calls = measure(lambda: simulator.simulate(STEPS_PER_CALL), arguments.seconds)
        times = np.array(calls) / (STEPS_PER_CALL + 1)
    report(times, forces, f"SchNetPack {version('schnetpack')}, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
