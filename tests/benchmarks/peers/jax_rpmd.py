"""A ring-polymer step (OBABO, PILE-L) written in JAX and compiled as one function: network, gradient, modes, noise.

Variant: forces alone, compiled.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from common import TIME_UNIT_FS, TIMESTEP_FS, Problem, measure, options, pile_l, report
from jax_networks import ENERGIES

STEPS_PER_CALL = 20


def main() -> None:
    arguments = options()
    problem, n_beads = Problem(arguments.problem), arguments.beads
    energy = ENERGIES[problem.architecture](problem)
    force = jax.grad(lambda q: -energy(q))
    q, forces_of = jnp.asarray(problem.replicas(n_beads), jnp.float32), jax.jit(force)
    forces = jax.block_until_ready(forces_of(q))
    if arguments.variant == "forces":
        times = evaluations(force, q, arguments.seconds)
    else:
        times = steps(problem, n_beads, force, (q, jnp.zeros_like(q), forces), arguments.seconds)
    report(times, np.asarray(forces), f"JAX {jax.__version__}")


def evaluations(force, q, seconds: float) -> list[float]:
    """Times of forces in ms; many in one compiled loop, in which XLA is up to twice as fast as in single calls."""

    def one(q, _):
        return q + 1e-12 * force(q), None  # the same q after rounding, which XLA cannot know

    @jax.jit
    def again(q):
        return jax.lax.scan(one, q, length=STEPS_PER_CALL)[0]

    jax.block_until_ready(again(q))
    return [t / STEPS_PER_CALL for t in measure(lambda: jax.block_until_ready(again(q)), seconds)]


def steps(problem: Problem, n_beads: int, force, state, seconds: float) -> list[float]:
    """Times of a ring-polymer step in ms."""
    transform, propagator, damping, noise = (jnp.asarray(x, jnp.float32) for x in pile_l(n_beads))
    mass = jnp.asarray(problem.masses, jnp.float32)[None, :, None]
    half = np.float32(TIMESTEP_FS / TIME_UNIT_FS / 2)

    def thermostat(p, key):
        modes = jnp.einsum("kj,jia->kia", transform, p)
        xi = jax.random.normal(key, p.shape, jnp.float32)
        modes = damping[:, None, None] * modes + noise[:, None, None] * jnp.sqrt(mass) * xi
        return jnp.einsum("kj,kia->jia", transform, modes)

    def step(state, key):
        q, p, f = state
        first_key, second_key = jax.random.split(key)
        p = thermostat(p, first_key) + half * f
        modes_q, modes_v = (jnp.einsum("kj,jia->kia", transform, x) for x in (q, p / mass))
        a = propagator[:, :, :, None, None]
        modes_q, modes_v = a[:, 0, 0] * modes_q + a[:, 0, 1] * modes_v, a[:, 1, 0] * modes_q + a[:, 1, 1] * modes_v
        q, p = jnp.einsum("kj,kia->jia", transform, modes_q), mass * jnp.einsum("kj,kia->jia", transform, modes_v)
        f = force(q)
        return (q, thermostat(p + half * f, second_key), f), None

    @jax.jit
    def advance(state, key):
        return jax.lax.scan(step, state, jax.random.split(key, STEPS_PER_CALL))[0]

    state, key, times = jax.block_until_ready(advance(state, jax.random.PRNGKey(0))), jax.random.PRNGKey(1), []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        key, now = jax.random.split(key)
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, now))
        times.append(1e3 * (time.perf_counter() - began) / STEPS_PER_CALL)
    return times


if __name__ == "__main__":
    main()
