"""An all-atom protein in OpenMM, with one bead at the Cα atom of each residue.

Forces on beads whose average is the gradient of their free energy, in one of two ways:

``"plain"``: the force on Cα and the hydrogen atoms bound to it, at the moment of the frame. These bonds are constrained, and only
the sum over atoms that a constraint ties together is free of the constraint's force (mapping.py).

``"mean"``: the mean of the same sum over ``average_ps`` of dynamics in which the Cα atoms stay where the frame has them: they are
without mass, and since OpenMM constrains no bond of such an atom, their hydrogen atoms vibrate. What the plain force scatters
about its mean, this averages. Of each frame two numbers are kept, mean squares by component in (eV/Å)²: the scatter of the plain
force about the mean, and that of the mean itself, from its two halves f′, f″ as ¼⟨(f′ − f″)²⟩.

Types of beads are those of residues.py.

Source: Ciccotti, Kapral, Vanden-Eijnden, ChemPhysChem 6, 1809 (2005), doi:10.1002/cphc.200400669, for mean forces at fixed
coordinates.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from mlcalc.common.errors import InputError
from mlcalc.common.settings import check_choice, check_range
from mlcalc.data.coarse_grain.backbone import Backbone, backbone_of
from mlcalc.data.coarse_grain.dynamics import KJ, NM, DynamicsSettings, Setup, advance, context_of
from mlcalc.data.coarse_grain.mapping import Mapping
from mlcalc.data.coarse_grain.peptide import build_protein, read_protein
from mlcalc.data.coarse_grain.residues import bead_types, check_sequence, letter_of, name_of_type, parse_mutation

FORCES = ("plain", "mean")
_FREE_STEP_FS = 2.6  # longest step for a free C–H bond of a hydrogen of 1 u: 1.4 over its angular frequency
_MINIMISATIONS = 20  # enough to part atoms that overlap; each takes many evaluations under constraints
# Between samples of a mean force. Most of the scatter is vibration with periods of 20 fs and more: where samples resolve it, it
# averages out within a few periods, and the mean scatters less than that of as many independent samples.
_SAMPLE_FS = 12.0
_STAGES, _PULL = 20, 20000.0  # of pulling; last spring constant, kJ/mol/nm²
_REACHED_A = 2.0
# Of Cα atoms: 2.9 Å at a cis and 3.8 Å at a trans peptide bond; the least distance of others.
_NEIGHBOURS_A, _OTHERS_A = (2.7, 4.3), 2.5


@dataclass(frozen=True, kw_only=True)
class ProteinSettings(DynamicsSettings):
    """Keys of a TOML file of ``mlcalc coarse-grain`` for a protein, beside those of DynamicsSettings.

    Attributes:
        protein: PDB file of one chain, hydrogens or not (beside the TOML file); or sequence: one-letter codes, of which an extended
            chain is built.
        mutations: Residues of the PDB file to exchange, as K12M, by its numbers.
        starts: File of beads, Å, onto which the chain is pulled before equilibration: trajectory t begins at frame t, and again at
            the first after the last; "" to begin where the chain is.
        pull_ps: Time for which it is pulled.
        forces: ``"plain"`` or ``"mean"``; settle_ps, average_ps: of a mean force.
    """

    FILES: ClassVar[tuple[str, ...]] = ("protein", "starts")

    protein: str = ""
    sequence: str = ""
    mutations: tuple[str, ...] = ()
    starts: str = ""
    pull_ps: float = 40.0
    forces: str = "plain"
    settle_ps: float = 0.4
    average_ps: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check_choice("forces", self.forces, FORCES)
        for name in ("pull_ps", "average_ps"):
            check_range(name, getattr(self, name), 0.0, open_low=True)
        check_range("settle_ps", self.settle_ps, 0.0)
        if bool(self.protein) == bool(self.sequence):
            raise InputError("protein, sequence: expected one of them")
        if self.sequence:
            check_sequence(self.sequence)
            if self.mutations:
                raise InputError(
                    f"mutations = {list(self.mutations)} with a sequence: write the sequence that is meant"
                )
        numbers = [parse_mutation(mutation)[1] for mutation in self.mutations]
        if twice := [number for number in numbers if numbers.count(number) > 1]:
            raise InputError(f"mutations = {list(self.mutations)}: residue {twice[0]} twice: expected once")
        longest = _FREE_STEP_FS * math.sqrt(self.hydrogen_mass_u)
        if self.forces == "mean" and self.timestep_fs > longest:
            raise InputError(
                f"timestep_fs = {self.timestep_fs:g}: expected at most {longest:.2g} for mean forces with hydrogen_mass_u = "
                f"{self.hydrogen_mass_u:g}: bonds of hydrogen to fixed atoms vibrate"
            )


def make_protein(settings: ProteinSettings, trajectory: int = 0) -> Setup:
    """What a trajectory of a protein begins with.

    Raises:
        InputError: OpenMM or PDBFixer is not installed; a file, residues, atoms or a force field that cannot be used; a constraint
            that ties a bead to other atoms; starts of other beads.
    """
    try:
        from openmm import app
    except ImportError as error:
        raise InputError("OpenMM is not installed; pip install 'mlcalc[protein]'") from error
    try:
        field = app.ForceField(*settings.force_field)
    except Exception as error:  # its readers may raise anything
        raise InputError(f"{', '.join(settings.force_field)}: {error}") from error
    if settings.protein:
        topology, start = read_protein(settings.protein, field, settings.mutations)
    else:
        topology, start = build_protein(settings.sequence, field)
    mapping, types, sequence = map_residues(topology)
    system = _system(field, topology, settings)
    mapping.check_constraints(_constraints(system))
    backbone = backbone_of(topology)
    options: dict[str, Any] = {"check": partial(backbone.check, start=start)}
    if settings.starts:
        pull = _Pull(settings, mapping, read_starts(settings.starts, types), trajectory)
        options["prepare"] = pull.attach(system, backbone, start)
    if settings.forces == "mean":
        fixed = _with_fixed_beads(_system(field, topology, settings), mapping)
        options["mean_forces"] = partial(_MeanForces, settings, fixed, mapping)
    return Setup(system, mapping, start, types, None, {"sequence": sequence}, _MINIMISATIONS, **options)


def map_residues(topology) -> tuple[Mapping, np.ndarray, str]:
    """The Mapping to Cα with its hydrogen atoms, types of beads, and the sequence; InputError without a residue that has Cα."""
    atoms, residues = list(topology.atoms()), [r for r in topology.residues() if letter_of(r.name)]
    beads, weights = np.full(len(atoms), -1), np.zeros(len(atoms))
    bonded: dict[int, list] = {}
    for one, two in topology.bonds():
        bonded.setdefault(one.index, []).append(two)
        bonded.setdefault(two.index, []).append(one)
    for k, residue in enumerate(residues):
        centre = next((atom.index for atom in residue.atoms() if atom.name == "CA"), None)
        if centre is None:
            raise InputError(f"residue {residue.name} {residue.id}: missing atoms CA")
        beads[[centre, *(atom.index for atom in bonded[centre] if atom.element.symbol == "H")]] = k
        weights[centre] = 1.0
    if not residues:
        raise InputError("no residues: expected a protein")
    sequence = "".join(map(letter_of, (residue.name for residue in residues)))
    # A capped end has no charge of its own.
    ends = [residue in residues for residue in (list(topology.residues())[k] for k in (0, -1))]
    masses = np.array([atom.element.mass._value for atom in atoms])
    return Mapping(beads, masses, weights), bead_types(sequence, *ends), sequence


def read_starts(path: str, types: np.ndarray) -> list[np.ndarray]:
    """Positions (n_beads, 3) Å of each frame of a file.

    Raises:
        InputError: Beads in another order than these types (n_beads,), a chain that breaks, beads that overlap.
    """
    from mlcalc.structures.structure_files import read_atoms

    frames = read_atoms(path)
    for number, atoms in enumerate(frames, 1):
        if len(atoms) != len(types):
            raise InputError(
                f"{path}: structure {number}: {len(atoms)} beads: expected {len(types)}, one for each residue"
            )
        if (wrong := np.flatnonzero(atoms.numbers != types)).size:
            found, expected = (name_of_type(int(z[wrong[0]])) for z in (atoms.numbers, types))
            raise InputError(
                f"{path}: structure {number}: bead {wrong[0] + 1} is {found}: expected {expected}, in the order of the chain"
            )
        check_distances(atoms.positions, f"{path}: structure {number}")
    return [atoms.positions for atoms in frames]


def check_distances(positions: np.ndarray, where: str) -> None:
    """Raise InputError unless distances are those of Cα atoms of a chain."""
    from scipy.spatial.distance import pdist, squareform

    bonds = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    low, high = _NEIGHBOURS_A
    if (wrong := np.flatnonzero(~((bonds >= low) & (bonds <= high)))).size:
        k, hint = wrong[0], "; are these nm?" if 0.2 < np.median(bonds) < 0.5 else ""
        raise InputError(
            f"{where}: beads {k + 1} and {k + 2} are {bonds[k]:.3g} Å apart: expected {low:g} to {high:g}, those of a chain{hint}"
        )
    apart = squareform(pdist(positions)) + 10.0 * _OTHERS_A * (np.tri(len(positions), k=1) > 0)
    if apart.min(initial=np.inf) < _OTHERS_A:
        one, two = np.unravel_index(apart.argmin(), apart.shape)
        raise InputError(
            f"{where}: beads {one + 1} and {two + 1} are {apart[one, two]:.3g} Å apart: expected at least {_OTHERS_A:g}"
        )


def _system(field, topology, settings: ProteinSettings):
    from openmm import app

    try:
        return field.createSystem(
            topology, nonbondedMethod=app.NoCutoff, hydrogenMass=settings.hydrogen_mass_u, removeCMMotion=False,
            constraints=None if settings.constraints == "none" else getattr(app, settings.constraints),
            flexibleConstraints=True,  # springs of constrained bonds too, which those of fixed atoms need
        )  # fmt: skip
    except ValueError as error:
        raise InputError(
            f"{settings.protein or settings.sequence} with {', '.join(settings.force_field)}: {error}"
        ) from error


def _constraints(system) -> np.ndarray:
    return np.array([system.getConstraintParameters(k)[:2] for k in range(system.getNumConstraints())]).reshape(-1, 2)


def _with_fixed_beads(system, mapping: Mapping):
    """The system with Cα atoms without mass, and without their constraints."""
    fixed = np.flatnonzero(mapping.weights)
    for k in reversed(range(system.getNumConstraints())):
        if np.isin(system.getConstraintParameters(k)[:2], fixed).any():
            system.removeConstraint(k)
    for atom in fixed:
        system.setParticleMass(int(atom), 0.0)
    return system


class _MeanForces:
    """Mean forces at the beads of a frame, one after another; the noise of a frame follows from the seed and those before it."""

    def __init__(self, settings: ProteinSettings, system, mapping: Mapping, seed: int):
        self.mapping, self.settings = mapping, settings
        self.context = context_of(system, settings, seed // 2 + 1)
        self.steps = max(1, math.floor(_SAMPLE_FS / settings.timestep_fs))
        self.samples = 2 * max(1, round(settings.steps_in(settings.average_ps) / (2 * self.steps)))

    def __call__(self, atoms: np.ndarray, velocities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Setup.mean_forces."""
        moving = velocities.copy()
        moving[np.flatnonzero(self.mapping.weights)] = 0.0
        self.context.setPositions(atoms)
        self.context.setVelocities(moving)
        advance(self.context.getIntegrator(), self.settings.steps_in(self.settings.settle_ps))
        forces = np.array([self._sample() for _ in range(self.samples)]) * KJ / NM
        one, two = forces[: len(forces) // 2].mean(0), forces[len(forces) // 2 :].mean(0)
        scatter = forces.var(axis=0, ddof=1).mean()
        return (one + two) / 2, np.array([scatter, 0.25 * np.square(one - two).mean()])

    def _sample(self) -> np.ndarray:
        advance(self.context.getIntegrator(), self.steps)
        return self.mapping.forces(self.context.getState(forces=True).getForces(asNumpy=True)._value)


class _Pull:
    """Springs from Cα atoms to a start, slowly stiffened and then let go; torsions ω are held, which springs would turn to cis."""

    def __init__(self, settings: ProteinSettings, mapping: Mapping, targets: list[np.ndarray], trajectory: int):
        self.settings, self.mapping = settings, mapping
        self.number = trajectory % len(targets)
        self.target = targets[self.number] / NM

    def attach(self, system, backbone: Backbone, start: np.ndarray) -> Callable:
        """Add the springs and what holds ω to a system, without strength; the function that pulls, for Setup.prepare."""
        import openmm

        springs = openmm.CustomExternalForce("0.5*pull*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
        springs.addGlobalParameter("pull", 0.0)
        for name in ("x0", "y0", "z0"):
            springs.addPerParticleParameter(name)
        for atom in np.flatnonzero(self.mapping.weights):
            springs.addParticle(int(atom), [0.0, 0.0, 0.0])
        system.addForce(springs)
        system.addForce(backbone.holding(start, "hold"))
        return partial(self.pull, springs)

    def pull(self, springs, context) -> None:
        """Move a context to the start; InputError where a bead stays more than 2 Å away."""
        atoms = self._atoms(context)
        turned = _superposed(self.target, self.mapping.positions(atoms))
        for k, (atom, place) in enumerate(zip(np.flatnonzero(self.mapping.weights), turned, strict=True)):
            springs.setParticleParameters(k, int(atom), place.tolist())
        springs.updateParametersInContext(context)
        context.setParameter("hold", 1.0)
        for stage in range(1, _STAGES + 1):
            context.setParameter("pull", _PULL * (stage / _STAGES) ** 2)
            advance(context.getIntegrator(), self.settings.steps_in(self.settings.pull_ps / _STAGES))
        apart = NM * np.linalg.norm(self.mapping.positions(self._atoms(context)) - turned, axis=1)
        if apart.max() > _REACHED_A:
            raise InputError(
                f"{os.path.basename(self.settings.starts)}: structure {self.number + 1}: bead {apart.argmax() + 1} is "
                f"{apart.max():.1f} Å from its place after pulling, expected less than {_REACHED_A:g}; set a longer pull_ps"
            )
        for name in ("pull", "hold"):
            context.setParameter(name, 0.0)

    def _atoms(self, context) -> np.ndarray:
        return context.getState(positions=True).getPositions(asNumpy=True)._value


def _superposed(mobile: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Points (n, 3) turned and moved onto others with the least squared distance."""
    from scipy.spatial.transform import Rotation

    centre, other = mobile.mean(0), fixed.mean(0)
    if len(mobile) < 2:
        return mobile - centre + other
    turn, _ = Rotation.align_vectors(fixed - other, mobile - centre)
    return turn.apply(mobile - centre) + other
