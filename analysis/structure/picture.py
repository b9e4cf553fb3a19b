"""Pictures of molecules as balls and sticks."""

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection, LineCollection

from mlcalc.geometry.bonds import find_bonds

_TILT = np.radians(25.0)
_BALL = 0.9  # diameter in covalent radii


def view_along_thinnest(positions: np.ndarray, turned: bool = False) -> np.ndarray:
    """(3, 3) rotation into the picture: right, up, towards the reader. The thinnest direction points to the reader, then tilted.

    ``turned``: seen from behind, that is turned by 180° about the upward direction.
    """
    _, _, axes = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=True)
    axes = axes * np.sign(axes[np.arange(3), np.abs(axes).argmax(axis=1)])[:, None]
    axes[2] *= np.sign(np.linalg.det(axes))
    if turned:
        axes = axes * np.array([[-1.0], [1.0], [-1.0]])
    cosine, sine = np.cos(_TILT), np.sin(_TILT)
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]]) @ axes


def draw_molecule(axes: Axes, atoms: Atoms, view: np.ndarray, colours: np.ndarray | None = None) -> None:
    """Draw balls and sticks, the farthest first, in a rotated view (3, 3); bonds to periodic images stick out.

    Args:
        colours: (N, 3) or (N, 4) of the atoms; None for those of their elements.
    """
    colours = jmol_colors[atoms.numbers] if colours is None else colours
    bonds, positions = find_bonds(atoms), atoms.positions @ view.T
    starts = positions[bonds.first]
    sticks = np.stack([starts, starts + bonds.vectors @ view.T], axis=1)[:, :, :2]
    axes.add_collection(LineCollection(list(sticks), colors="0.55", linewidths=2.0, zorder=1))
    order = np.argsort(positions[:, 2])
    sizes = _BALL * covalent_radii[atoms.numbers[order]]
    axes.add_collection(EllipseCollection(
        sizes, sizes, np.zeros(len(sizes)), units="xy", offsets=positions[order, :2], offset_transform=axes.transData,
        facecolors=colours[order], edgecolors="0.3", linewidths=0.6, zorder=2,
    ))  # fmt: skip
