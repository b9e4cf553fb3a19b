"""Energies and forces of a batch of replicas by a SchNet in plain PyTorch over half pairs; variants "eager" and "compiled"."""

import numpy as np
import torch
from common import Problem, measure, options, report
from own_model import model_of
from torch.func import grad

from mlcalc.torch_potential import network_of


def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    problem, n_beads = Problem(arguments.problem), arguments.beads
    network = network_of(model_of(problem)).requires_grad_(False)
    n_atoms = len(problem.numbers)
    first, second = (torch.as_tensor(x) for x in np.triu_indices(n_atoms, 1))
    offsets = n_atoms * torch.arange(n_beads)[:, None]
    first, second = (offsets + first).ravel(), (offsets + second).ravel()
    species = torch.tensor([problem.config["elements"].index(z) for z in problem.numbers]).repeat(n_beads)

    def energy(q):
        return network(species, first, second, q[second] - q[first])["energy"].sum()

    force = grad(lambda q: -energy(q))
    if arguments.variant == "compiled":
        force = torch.compile(force, dynamic=False)
    q = torch.as_tensor(problem.replicas(n_beads).reshape(-1, 3), dtype=torch.float32)
    times = measure(lambda: force(q), arguments.seconds)
    report(times, force(q).numpy(), f"PyTorch {torch.__version__}, {arguments.variant}")


if __name__ == "__main__":
    main()
