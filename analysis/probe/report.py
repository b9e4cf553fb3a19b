"""Local chemical potentials on a surface around a molecule: computed, as a table, as numbers, as a cube file."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io.cube import write_cube

from analysis.probe.energies import ProbedMolecule, check_probe
from analysis.probe.surface import Surface, grid_axes, grid_points, isosurface
from mlcalc.architectures import architecture_of
from mlcalc.common.errors import InputError
from mlcalc.common.json_text import to_json
from mlcalc.common.settings import check_range
from mlcalc.common.tables import aligned
from mlcalc.common.zip_files import npz_bytes
from mlcalc.geometry.domain import COINCIDENT, pair_limits
from mlcalc.model import Model
from mlcalc.structures.structure_files import read_atoms

_CUBE_MARGIN = 3.0  # Å


class LocalPotential(NamedTuple):
    """Ω_A(r) on a surface, eV without the constant of the element.

    Attributes:
        molecule: The molecule, ready for other points; title: that of its network.
        element: Atomic number of the probe; level: Å⁻², that of the surface.
        surface: Its points and triangles; energies: (n,) eV at the points.
        nearest: (n,) index of the atom nearest to each point; distances: (n,) Å to it.
        alone: eV, of a probe without neighbours.
        too_near: Share of the surface where an atom is nearer to the probe than the model's training allows; NaN where the model
            does not record distances.
    """

    molecule: ProbedMolecule
    title: str
    element: int
    level: float
    surface: Surface
    energies: np.ndarray
    nearest: np.ndarray
    distances: np.ndarray
    alone: float
    too_near: float

    @property
    def symbol(self) -> str:
        """The probe's element."""
        return chemical_symbols[self.element]

    @property
    def atoms(self) -> Atoms:
        """The molecule's atoms."""
        return self.molecule.atoms

    @property
    def formula(self) -> str:
        """That of the molecule."""
        return self.atoms.get_chemical_formula()


def read_molecule(path: Path) -> Atoms:
    """The only structure of a file; InputError for several."""
    frames = read_atoms(path)
    if len(frames) > 1:
        raise InputError(f"{path}: {len(frames)} structures: expected one")
    return frames[0]


def local_potential(
    model: Model, atoms: Atoms, symbol: str, level: float, spacing: float, name: str = ""
) -> LocalPotential:
    """Ω of an element on the surface Σ_i‖r − r_i‖⁻² = level.

    Args:
        symbol: Chemical symbol of the probe; level: Å⁻²; spacing: Å, between points of the grid that the surface cuts.
        name: The name of the model in titles.

    Raises:
        InputError: As in ProbedMolecule; an unknown element; a level or spacing without a surface.
    """
    if symbol not in atomic_numbers or symbol == "X":
        known = ", ".join(chemical_symbols[z] for z in model.config.elements)
        raise InputError(f"probe {symbol!r}: expected the symbol of an element of this model: {known}")
    molecule, element = ProbedMolecule(model, atoms), atomic_numbers[symbol]
    check_probe(model, atoms, element)
    check_range("level", level, 0.0, 1e4, open_low=True)
    # Otherwise the grid could miss the surface around an atom apart from the others, a sphere of this radius.
    check_range("spacing", spacing, 0.0, float(level**-0.5), open_low=True)
    surface = isosurface(atoms.positions, level, spacing)
    energies = molecule.energies(element, surface.points)
    distances = np.linalg.norm(surface.points[:, None] - atoms.positions, axis=2)
    elements = list(model.config.elements)
    limits = pair_limits(model.domain, elements)[
        elements.index(element), [elements.index(z) for z in atoms.numbers.tolist()]
    ]
    too_near = (
        surface.mean((distances < limits).any(axis=1).astype(float)) if (limits > COINCIDENT).any() else float("nan")
    )
    return LocalPotential(
        molecule, f"{name} ({architecture_of(model.config).title})".strip(), element, level, surface, energies,
        distances.argmin(axis=1), distances.min(axis=1), molecule.alone(element), too_near,
    )  # fmt: skip


def _ends(found: LocalPotential) -> dict[str, int]:
    return {"minimum": int(found.energies.argmin()), "maximum": int(found.energies.argmax())}


def as_text(found: LocalPotential) -> str:
    """Minimum and maximum with their places, the mean, and how far the probe is from what the network knows."""
    rows = []
    for name, row in _ends(found).items():
        x, y, z = found.surface.points[row]
        atom = int(found.nearest[row])
        rows.append([
            name, f"{found.energies[row]:.4f}", f"{x:.2f} {y:.2f} {z:.2f}", f"{found.atoms.symbols[atom]}{atom}",
            f"{found.distances[row]:.3f}",
        ])  # fmt: skip
    rows.append(["mean over the surface", f"{found.surface.mean(found.energies):.4f}", "", "", ""])
    rows.append(["without neighbours", f"{found.alone:.4f}", "", "", ""])
    header = [f"probe {found.symbol}", "Ω / eV", "x y z / Å", "nearest atom", "distance / Å"]
    low, high = found.distances.min(), found.distances.max()
    return "\n".join([
        f"{found.formula}, {found.title}: energy Ω of a probe {found.symbol} where Σ‖r − r_i‖⁻² = {found.level:g} Å⁻²",
        aligned(header, rows, left=1),
        "Ω: without the constant of the element. The molecule does not feel the probe.",
        f"Surface: {found.surface.areas.sum():.1f} Å², {len(found.energies)} points, {low:.2f} to {high:.2f} Å from the nearest "
        "atom.",
        "The model does not record distances of its training: how much of this is extrapolation is unknown."
        if np.isnan(found.too_near)
        else f"On {100 * found.too_near:.0f} % of it an atom is nearer to the probe than distances in training allow: "
        "extrapolation.",
    ])  # fmt: skip


def as_json(found: LocalPotential) -> str:
    """The numbers of the table."""
    ends = {
        name: {
            "energy_eV": float(found.energies[row]), "position_A": found.surface.points[row].tolist(),
            "nearest_atom": int(found.nearest[row]), "distance_A": float(found.distances[row]),
        }
        for name, row in _ends(found).items()
    }  # fmt: skip
    content = {
        "molecule": found.formula, "model": found.title, "probe": found.symbol, "level_per_A2": found.level, **ends,
        "mean_eV": found.surface.mean(found.energies), "without_neighbours_eV": found.alone,
        "area_A2": float(found.surface.areas.sum()), "share_nearer_than_training": found.too_near,
    }  # fmt: skip
    return to_json(content)


def as_npz(found: LocalPotential) -> bytes:
    """Points, triangles and energies of the surface, and the molecule."""
    return npz_bytes({
        "points_A": found.surface.points, "triangles": found.surface.triangles, "energies_eV": found.energies,
        "numbers": found.atoms.numbers, "positions_A": found.atoms.positions,
    })  # fmt: skip


def as_cube(found: LocalPotential, spacing: float) -> bytes:
    """A cube file of Ω in eV, on a grid of this spacing in Å that reaches 3 Å beyond the atoms.

    Raises:
        InputError: A spacing that is not positive, or gives too many points, or a point on a nucleus.
    """
    check_range("cube spacing", spacing, 0.0, open_low=True)
    axes = grid_axes(found.atoms.positions, _CUBE_MARGIN, spacing)
    shape = [len(axis) for axis in axes]
    values = found.molecule.energies(found.element, grid_points(axes)).reshape(shape)
    box = Atoms(found.atoms.numbers, found.atoms.positions, cell=np.diag(shape) * spacing)
    comment = (
        f"energy in eV of a probe {found.symbol} that {found.formula} does not feel, {found.title}; lengths in Bohr"
    )
    # ASE writes arrays by their file descriptor.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        write_cube(file, box, values, origin=[axis[0] for axis in axes], comment=comment)
        file.seek(0)
        return file.read().encode()
