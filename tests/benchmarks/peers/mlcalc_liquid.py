"""mlcalc's Langevin step of a periodic liquid: kernel, neighbour lists, thermostat."""

from importlib.metadata import version

import numpy as np
from common import LIQUID_FRICTION_TIME_FS, LIQUID_TEMPERATURE_K, LIQUID_TIMESTEP_FS, Problem, measure, options, report
from own_model import model_of

from md.dynamics.ring_polymer import thermal_ring_polymer
from md.simulation import Dynamics, simulate
from mlcalc.common.threads import single_threaded_blas
from mlcalc.potential import build_potential

STEPS_PER_SAMPLE = 10


def main() -> None:
    with single_threaded_blas():  # as rpmd run does
        run(options())


def run(arguments) -> None:
    """The measurement."""
    problem, periodic = Problem(arguments.problem), np.ones(3, dtype=bool)
    network = build_potential(
        model_of(problem), problem.numbers, threads=arguments.threads, cell=problem.cell, pbc=periodic
    )
    _, forces = network(problem.replicas(1))
    rng = np.random.default_rng(0)
    state = thermal_ring_polymer(problem.positions, problem.masses, 1, LIQUID_TEMPERATURE_K, rng)
    dynamics = Dynamics(LIQUID_TEMPERATURE_K, LIQUID_TIMESTEP_FS, "BAOAB", "PILE-L", LIQUID_FRICTION_TIME_FS)
    samples = simulate(state, network, dynamics, rng, steps=10**9, every=STEPS_PER_SAMPLE)
    times = measure(lambda: next(samples), arguments.seconds, least=3)
    report(np.array(times) / STEPS_PER_SAMPLE, forces, f"mlcalc {version('mlcalc')}")


if __name__ == "__main__":
    main()
