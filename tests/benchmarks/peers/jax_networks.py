"""The networks in JAX: a problem to the function of positions (P, N, 3) that gives the energy of all replicas."""

import jax
import jax.numpy as jnp
import numpy as np
from common import Problem


def _ssp(x):
    return jax.nn.softplus(x) - np.float32(np.log(2.0))


ACTIVATIONS = {"ssp": _ssp, "silu": jax.nn.silu}


def _layers(problem: Problem):
    """(name, value) to the value of a dense layer, and Gaussians times the cutoff function of a distance."""
    w = {name: jnp.asarray(array, jnp.float32) for name, array in problem.weights.items()}
    cutoff = problem.config["cutoff"]

    def dense(name, value):
        return value @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)

    def radial(r):
        basis = jnp.exp(-w["radial_basis.coefficients"] * (r[..., None] - w["radial_basis.centers"]) ** 2)
        return basis, 0.5 * (jnp.cos(r * (np.pi / cutoff)) + 1.0) * (r < cutoff)

    def readout(x):
        hidden = ACTIVATIONS[problem.config["readout_activation"]](dense("readout.0", x))
        return jnp.sum(dense("readout.1", hidden)) * w["energy_scale"]

    species = np.array([problem.config["elements"].index(z) for z in problem.numbers])
    return dense, radial, readout, w["embedding.weight"][species]


def schnet(problem: Problem):
    """Half pairs, as mlcalc/architectures/schnet/network.py; one replica, vectorised by JAX."""
    dense, radial, readout, embedding = _layers(problem)
    first, second = np.triu_indices(len(problem.numbers), 1)

    def one(q):
        basis, inside = radial(jnp.linalg.norm(q[first] - q[second], axis=1))
        x = embedding
        for t in range(problem.config["n_interactions"]):
            block = f"interactions.{t}"
            filters = dense(f"{block}.filter_network.1", _ssp(dense(f"{block}.filter_network.0", basis)))
            filters, y = filters * inside[:, None], dense(f"{block}.in2f", x)
            convolved = jnp.zeros_like(y).at[first].add(y[second] * filters).at[second].add(y[first] * filters)
            x = x + dense(f"{block}.f2out.1", _ssp(dense(f"{block}.f2out.0", convolved)))
        return readout(x)

    return lambda q: jnp.sum(jax.vmap(one)(q))


def painn(problem: Problem):
    """All pairs as dense arrays (P, N, N, …): sums over neighbours without scatter."""
    dense, radial, readout, embedding = _layers(problem)
    silu, n_blocks, n_atoms = jax.nn.silu, problem.config["n_interactions"], len(problem.numbers)
    itself = jnp.eye(n_atoms)

    def energy(q):
        vectors = q[:, None, :, :] - q[:, :, None, :]  # from atom i, axis 1, to atom j, axis 2
        r = jnp.sqrt(jnp.sum(vectors**2, axis=-1) + itself)  # no root of zero
        units = vectors / r[..., None]
        basis, inside = radial(r)
        filters = jnp.split(dense("filter_net", basis) * (inside * (1.0 - itself))[..., None], n_blocks, axis=-1)
        x = jnp.broadcast_to(embedding, (len(q), *embedding.shape))
        mu = jnp.zeros((len(q), 3, *embedding.shape))  # x, y and z of all atoms, one after the other
        for t in range(n_blocks):
            net, mix = f"interactions.{t}.interatomic_context_net", f"mixing.{t}.intraatomic_context_net"
            messages = filters[t] * dense(f"{net}.1", silu(dense(f"{net}.0", x)))[:, None]
            a, b, c = jnp.split(messages, 3, axis=-1)
            x = x + a.sum(axis=2)
            mu = mu + jnp.einsum("pijk,pijf->pkif", units, b) + jnp.einsum("pijf,pkjf->pkif", c, mu)
            v, u = jnp.split(dense(f"mixing.{t}.mu_channel_mix", mu), 2, axis=-1)
            norm = jnp.sqrt(jnp.sum(v**2, axis=1) + 1e-8)
            hidden = silu(dense(f"{mix}.0", jnp.concatenate([x, norm], axis=-1)))
            s, factor, p = jnp.split(dense(f"{mix}.1", hidden), 3, axis=-1)
            x, mu = x + s + p * jnp.sum(v * u, axis=1), mu + factor[:, None] * u
        return readout(x)

    return energy


ENERGIES = {"schnet": schnet, "painn": painn}
