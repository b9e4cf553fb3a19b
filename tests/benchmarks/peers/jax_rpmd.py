"""A ring-polymer step (OBABO, PILE-L) written in JAX and compiled as one function: network, gradient, modes, noise."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from common import TIME_UNIT_FS, TIMESTEP_FS, Problem, options, pile_l, report

STEPS_PER_CALL = 20


def make_energy(problem: Problem):
    """Energy of all replicas: positions (P, N, 3) → scalar; half pairs, as mlcalc/architectures/schnet/network.py."""
    w = {name: jnp.asarray(array, jnp.float32) for name, array in problem.weights.items()}
    config = problem.config
    first, second = np.triu_indices(len(problem.numbers), 1)
    species = np.array([config["elements"].index(z) for z in problem.numbers])

    def ssp(x):
        return jax.nn.softplus(x) - np.float32(np.log(2.0))

    def one(q):
        r = jnp.linalg.norm(q[first] - q[second], axis=1)
        basis = jnp.exp(-w["radial_basis.coefficients"] * (r[:, None] - w["radial_basis.centers"]) ** 2)
        inside = 0.5 * (jnp.cos(r * (np.pi / config["cutoff"])) + 1.0) * (r < config["cutoff"])
        x = w["embedding.weight"][species]
        for t in range(config["n_interactions"]):

            def dense(name, value, t=t):
                weight, bias = w[f"interactions.{t}.{name}.weight"], w.get(f"interactions.{t}.{name}.bias")
                return value @ weight.T + (0.0 if bias is None else bias)

            filters = dense("filter_network.1", ssp(dense("filter_network.0", basis))) * inside[:, None]
            y = dense("in2f", x)
            convolved = jnp.zeros_like(y).at[first].add(y[second] * filters).at[second].add(y[first] * filters)
            x = x + dense("f2out.1", ssp(dense("f2out.0", convolved)))
        hidden = ssp(x @ w["readout.0.weight"].T + w["readout.0.bias"])
        return jnp.sum(hidden @ w["readout.1.weight"].T + w["readout.1.bias"]) * w["energy_scale"]

    return lambda q: jnp.sum(jax.vmap(one)(q))


def main() -> None:
    arguments = options()
    problem, n_beads = Problem(arguments.problem), arguments.beads
    energy = make_energy(problem)
    force = jax.grad(lambda q: -energy(q))
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

    q = jnp.asarray(problem.replicas(n_beads), jnp.float32)
    forces = jax.jit(force)(q)
    state, key, times = (q, jnp.zeros_like(q), forces), jax.random.PRNGKey(0), []
    state = jax.block_until_ready(advance(state, key))
    end = time.perf_counter() + arguments.seconds
    while time.perf_counter() < end or len(times) < 5:
        key, now = jax.random.split(key)
        began = time.perf_counter()
        state = jax.block_until_ready(advance(state, now))
        times.append(1e3 * (time.perf_counter() - began) / STEPS_PER_CALL)
    report(times, np.asarray(forces), f"JAX {jax.__version__}")


if __name__ == "__main__":
    main()
