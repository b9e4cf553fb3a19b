"""SchNetPack with the problem's weights behind ASE's client of i-PI: PROBLEM.npz TEMPLATE.xyz NAME-OF-UNIX-SOCKET."""

import sys

import schnetpack as spk
import torch
from ase.calculators.socketio import SocketClient
from ase.io import read
from common import Problem
from schnetpack.interfaces import SpkCalculator
from schnetpack_networks import build_model


def main() -> None:
    path, template, name = sys.argv[1:]
    problem = Problem(path)
    model = build_model(problem)
    torch.save(model, "schnetpack.model")
    atoms = read(template)
    atoms.calc = SpkCalculator(
        "schnetpack.model", neighbor_list=spk.transform.ASENeighborList(problem.config["cutoff"]), energy_unit="eV",
        position_unit="Ang",
    )  # fmt: skip
    SocketClient(unixsocket=name).run(atoms)


if __name__ == "__main__":
    main()
