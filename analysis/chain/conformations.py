"""Conformations of a chain of beads: how large it is, how near the native structure, and what its backbone does.

Radius of gyration Rg = √⟨|r_i − r̄|²⟩ over beads; RMSD to the native structure, superposed; the fraction of native contacts::

    Q = ⟨1 / (1 + exp(β (r_ij − λ r⁰_ij)))⟩,   β = 5/Å, λ = 1.5

over pairs i, j of the native structure more than three apart along the chain and nearer than the contact distance, and the
angle θ at three consecutive Cα atoms with the dihedral angle τ that begins there, which take the place of φ and ψ.

Source: Best, Hummer, Eaton, PNAS 110, 17874 (2013), doi:10.1073/pnas.1311599110; λ for beads as MDAnalysis recommends it.
"""

from functools import cached_property

import numpy as np
from MDAnalysis.analysis.contacts import soft_cut_q
from MDAnalysis.analysis.rms import rmsd
from MDAnalysis.lib.distances import calc_angles, calc_dihedrals

from analysis.chain.frames import Chain
from analysis.chain.secondary import LOCAL
from analysis.runs.run_files import check_used, first_kept
from mlcalc.common.errors import InputError

LAMBDA = 1.5
ANGLES, DIHEDRALS = np.linspace(0.0, 180.0, 61), np.linspace(-180.0, 180.0, 61)  # edges of the map, degrees
_BIN_AREA = (ANGLES[1] - ANGLES[0]) * (DIHEDRALS[1] - DIHEDRALS[0])


class Conformations:
    """Frames of a chain beside its native structure.

    Args:
        chain: Frames; native: (N, 3) Å.
        contact: Å, below which two residues of a structure are in contact.
        discard: Share of the frames, at their start, that maps and means leave out.

    Raises:
        InputError: No frame left, or a native structure without contacts.
    """

    def __init__(self, chain: Chain, native: np.ndarray, contact: float, discard: float = 0.0):
        self.chain, self.native, self.contact = chain, native, contact
        n_frames = len(chain.positions)
        first = first_kept(n_frames, discard)
        check_used(chain.source, n_frames, n_frames - first, discard)
        self.kept = slice(first, None)
        self.native_distances = np.linalg.norm(native[:, None] - native, axis=-1)
        self.first, self.second = np.nonzero(np.triu(self.native_distances < contact, LOCAL + 1))
        self._apart = self.native_distances[self.first, self.second]
        if not len(self._apart):
            raise InputError(
                f"the native structure: no residues more than {LOCAL} apart along the chain are nearer than {contact:g} Å: "
                "expected a folded one"
            )

    @cached_property
    def gyration(self) -> np.ndarray:
        """(n_frames,) radius of gyration, Å."""
        centred = self.chain.positions - self.chain.positions.mean(axis=1, keepdims=True)
        return np.sqrt(np.square(centred).sum(axis=2).mean(axis=1))

    @cached_property
    def rmsd(self) -> np.ndarray:
        """(n_frames,) from the native structure, superposed, Å."""
        return np.array([rmsd(frame, self.native, center=True, superposition=True) for frame in self.chain.positions])

    @cached_property
    def native_contacts(self) -> np.ndarray:
        """(n_frames,) fraction of native contacts Q."""
        distances = np.linalg.norm(self.chain.positions[:, self.first] - self.chain.positions[:, self.second], axis=2)
        # The exponential of a distance of many Å overflows, to the right limit.
        with np.errstate(over="ignore"):
            return np.array([soft_cut_q(frame, self._apart, lambda_constant=LAMBDA) for frame in distances])

    @cached_property
    def contacts(self) -> np.ndarray:
        """(N, N) share of the kept frames in which two residues are in contact."""
        frames = self.chain.positions[self.kept]
        return np.mean([np.linalg.norm(frame[:, None] - frame, axis=-1) < self.contact for frame in frames], axis=0)

    @cached_property
    def backbone(self) -> np.ndarray:
        """Density of (θ, τ) over kept frames and residues, on bins of ANGLES and DIHEDRALS, per square degree."""
        x = self.chain.positions[self.kept]
        theta = np.degrees([calc_angles(frame[:-3], frame[1:-2], frame[2:-1]) for frame in x])
        tau = np.degrees([calc_dihedrals(frame[:-3], frame[1:-2], frame[2:-1], frame[3:]) for frame in x])
        # Beads at one place have no angle: they count among all, in no bin.
        counts = np.histogram2d(theta.ravel(), tau.ravel(), bins=(ANGLES, DIHEDRALS))[0]
        return counts / (theta.size * _BIN_AREA)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Of two densities on the bins of the map, the area that they share: 1 for equal ones, 0 for apart ones."""
    return float(np.minimum(one, other).sum() * _BIN_AREA)
