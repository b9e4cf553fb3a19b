"""A new plugin against our calculator: a random box of each architecture."""

import math
from pathlib import Path

import numpy as np
from ase import Atoms

from mlcalc.common.errors import InputError
from mlcalc.lammps.installation import Lammps
from mlcalc.lammps.single_point import single_point
from mlcalc.model_file import load_model
from mlcalc.potential import build_potential

MODELS = ("methane-cg", "methane-painn", "methane-so3net")  # liquids; their atoms may lie as random_box puts them
# Of sums in float32 in another order: a tenth of what the filter tables cost.
_FORCE_TOLERANCE, _ENERGY_TOLERANCE, _VIRIAL_TOLERANCE = 1e-4, 1e-5, 1e-3


def random_box(rng: np.random.Generator, n_edge: int = 4, spacing: float = 4.2) -> Atoms:
    """Carbon atoms near the points of a sheared cubic lattice with n_edge points along each edge, ``spacing`` in Å."""
    points = np.stack(np.meshgrid(*[np.arange(n_edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    cell = spacing * n_edge * np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [-0.05, 0.08, 1.0]])
    atoms = Atoms(f"C{len(points)}", scaled_positions=(points + 0.5) / n_edge, cell=cell, pbc=True)
    atoms.positions += rng.uniform(-0.5, 0.5, atoms.positions.shape)
    return atoms


def check_plugin(lammps: Lammps, plugin: Path) -> list[str]:
    """Compare energies, forces and virial of a random box with those of our calculator, on one process and on two.

    Returns:
        A line for each model: the largest differences.

    Raises:
        InputError: LAMMPS does not run the plugin, or its numbers differ.
    """
    lines, atoms = [], random_box(np.random.default_rng(0))
    for name in MODELS:
        model = load_model(name)
        expected = build_potential(model, atoms.numbers, cell=atoms.cell.array, pbc=atoms.pbc).evaluate(
            atoms.positions[None]
        )
        for ranks in (1, 2) if lammps.launcher else (1,):
            found = single_point(lammps, plugin, model, atoms, ranks)
            force = np.abs(found.forces - expected["forces"][0]).max()
            energy = np.abs(found.atomic_energies - expected["atomic_energies"][0]).max()
            virial = np.abs(found.virial - expected["virials"][0]).max()
            line = (
                f"{name}, {len(atoms)} atoms, {ranks} process{'es' if ranks > 1 else ''}: energies of atoms {energy:.1g} eV, "
                f"forces {force:.1g} eV/Å, virial {virial:.1g} eV off our calculator's"
            )
            differences = (force / _FORCE_TOLERANCE, energy / _ENERGY_TOLERANCE, virial / _VIRIAL_TOLERANCE)
            if not all(math.isfinite(one) and one < 1.0 for one in differences):
                raise InputError(
                    f"the plugin computes other numbers: {line}; compile it by another compiler (CXX, CXXFLAGS)"
                )
            lines.append(line)
    return lines
