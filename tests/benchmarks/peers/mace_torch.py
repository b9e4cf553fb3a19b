"""Makes a MACE with random weights, exports it for symmetrix, and times its forces in PyTorch: variant "HIDDEN-IRREPS FILE.json".

Standard MACE: two interactions, spherical harmonics up to l = 3, correlation order 3; symmetrix knows no smaller l.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path

import torch

torch.serialization.add_safe_globals([slice])  # e3nn's table of constants holds slices
warnings.simplefilter("ignore")

from ase import Atoms  # noqa: E402
from common import Problem, batch_of, measure, options, report  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402
from random_mace import random_mace  # noqa: E402
from symmetrix.extract_mace_data import extract_mace_data  # noqa: E402


def main() -> None:
    arguments = options()
    hidden, file = arguments.variant.split(" ", 1)
    torch.set_num_threads(arguments.threads)
    problem = Problem(arguments.problem)
    elements = [int(z) for z in sorted(set(problem.numbers))]
    model = random_mace(elements, problem.config["cutoff"], len(problem.numbers) - 1.0, hidden)
    checkpoint = Path(file).with_suffix(".model")
    torch.save(model, checkpoint)
    Path(file).write_text(json.dumps(extract_mace_data(str(checkpoint), species=[])))
    atoms = Atoms(**batch_of(problem, arguments.beads))
    atoms.calc = MACECalculator(models=[model.float()], device="cpu", default_dtype="float32")
    forces, start = atoms.get_forces(), atoms.positions.copy()

    def step():
        atoms.positions = start + 1e-6 * (atoms.positions[0, 0] == start[0, 0])  # another structure, no cached result
        atoms.get_forces()

    times = measure(step, arguments.seconds)
    report(times, forces, f"mace-torch {version('mace-torch')}, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
