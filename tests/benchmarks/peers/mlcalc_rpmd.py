"""mlcalc's own ring-polymer step: kernel, OBABO, PILE-L, without estimators; variants: only forces, only motion."""

from importlib.metadata import version

import numpy as np
from common import CENTROID_TIME_FS, TEMPERATURE_K, TIMESTEP_FS, Problem, measure, options, report
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
    problem = Problem(arguments.problem)
    network = build_potential(model_of(problem), problem.numbers, threads=arguments.threads)
    _, forces = network(problem.replicas(arguments.beads))
    if arguments.variant == "forces":
        q = problem.replicas(arguments.beads)
        times = measure(lambda: network(q), arguments.seconds)
    else:
        potential = network if arguments.variant == "" else (lambda q: constant)
        constant = np.zeros(arguments.beads), np.zeros_like(forces)
        rng = np.random.default_rng(0)
        state = thermal_ring_polymer(problem.positions, problem.masses, arguments.beads, TEMPERATURE_K, rng)
        dynamics = Dynamics(TEMPERATURE_K, TIMESTEP_FS, "OBABO", "PILE-L", CENTROID_TIME_FS)
        samples = simulate(state, potential, dynamics, rng, steps=10**9, every=STEPS_PER_SAMPLE)
        times = [t / STEPS_PER_SAMPLE for t in measure(lambda: next(samples), arguments.seconds)]
    report(times, forces, f"mlcalc {version('mlcalc')}")


if __name__ == "__main__":
    main()
