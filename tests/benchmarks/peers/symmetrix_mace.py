"""Times the forces of a MACE by symmetrix's calculator, float32: variant FILE.json as mace_torch.py writes it.

The replicas are one structure of P molecules far apart, because the calculator takes one structure at a time.
"""

import os

os.environ |= {"OMP_PROC_BIND": "spread", "OMP_PLACES": "threads"}  # as its library asks for; before it is loaded

from importlib.metadata import version

import symmetrix
from ase import Atoms
from common import Problem, batch_of, measure, options, report


def main() -> None:
    arguments = options()
    atoms = Atoms(**batch_of(Problem(arguments.problem), arguments.beads))
    atoms.calc = symmetrix.Symmetrix(arguments.variant, dtype="float32", execution_profile="speed")
    forces, start = atoms.get_forces(), atoms.positions.copy()

    def step():
        atoms.positions = start + 1e-6 * (atoms.positions[0, 0] == start[0, 0])  # another structure, no cached result
        atoms.get_forces()

    times = measure(step, arguments.seconds)
    backend = symmetrix.selected_backend()["selector"]
    report(times, forces, f"symmetrix-xl {version('symmetrix-xl')}, {backend}")


if __name__ == "__main__":
    main()
