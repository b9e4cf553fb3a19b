"""Forces of a batch of replicas by a PaiNN in plain PyTorch over all pairs as dense arrays; variants "eager" and "compiled"."""

import torch
from common import Problem, measure, options, report
from torch.nn.functional import linear, silu, softplus


def make_energy(problem: Problem):
    """Positions (P, N, 3) to the energy of all replicas."""
    w = {name: torch.as_tensor(array, dtype=torch.float32) for name, array in problem.weights.items()}
    config, n_atoms = problem.config, len(problem.numbers)
    cutoff, itself = config["cutoff"], torch.eye(n_atoms)
    embedding = w["embedding.weight"][[config["elements"].index(z) for z in problem.numbers]]

    def dense(name, value):
        return linear(value, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def energy(q):
        vectors = q[:, None, :, :] - q[:, :, None, :]  # from atom i, axis 1, to atom j, axis 2
        r = (vectors.square().sum(-1) + itself).sqrt()  # no root of zero
        units = vectors / r[..., None]
        basis = torch.exp(-w["radial_basis.coefficients"] * (r[..., None] - w["radial_basis.centers"]).square())
        inside = 0.5 * (torch.cos(r * (torch.pi / cutoff)) + 1.0) * (r < cutoff) * (1.0 - itself)
        filters = (dense("filter_net", basis) * inside[..., None]).chunk(config["n_interactions"], dim=-1)
        x, mu = embedding.expand(len(q), -1, -1), q.new_zeros(len(q), 3, *embedding.shape)
        for t, of_block in enumerate(filters):
            net, mix = f"interactions.{t}.interatomic_context_net", f"mixing.{t}.intraatomic_context_net"
            a, b, c = (of_block * dense(f"{net}.1", silu(dense(f"{net}.0", x)))[:, None]).chunk(3, dim=-1)
            x = x + a.sum(2)
            mu = mu + torch.stack([(b * units[..., k, None] + c * mu[:, k, None]).sum(2) for k in range(3)], dim=1)
            v, u = dense(f"mixing.{t}.mu_channel_mix", mu).chunk(2, dim=-1)
            norm = (v.square().sum(1) + 1e-8).sqrt()
            s, factor, p = dense(f"{mix}.1", silu(dense(f"{mix}.0", torch.cat([x, norm], -1)))).chunk(3, dim=-1)
            x, mu = x + s + p * (v * u).sum(1), mu + factor[:, None] * u
        hidden = dense("readout.0", x)
        hidden = (
            silu(hidden) if config["readout_activation"] == "silu" else softplus(hidden) - torch.log(torch.tensor(2.0))
        )
        return dense("readout.1", hidden).sum() * w["energy_scale"]

    return energy


def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    problem = Problem(arguments.problem)
    energy = make_energy(problem)
    force = torch.func.grad(lambda q: -energy(q))
    if arguments.variant == "compiled":
        force = torch.compile(force, dynamic=False)
    q = torch.as_tensor(problem.replicas(arguments.beads), dtype=torch.float32)
    times = measure(lambda: force(q), arguments.seconds)
    report(times, force(q).numpy(), f"PyTorch {torch.__version__}, {arguments.variant}")


if __name__ == "__main__":
    main()
