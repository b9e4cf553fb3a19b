"""An all-atom liquid in OpenMM: its composition, with one bead for each molecule, at its centre of mass."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from ase.data import atomic_numbers

from mlcalc.common.errors import InputError
from mlcalc.common.files import check_regular
from mlcalc.common.settings import check_range
from mlcalc.data.coarse_grain.dynamics import NM, DynamicsSettings, Setup
from mlcalc.data.coarse_grain.mapping import Mapping


@dataclass(frozen=True, kw_only=True)
class AllAtomSettings(DynamicsSettings):
    """Keys of a TOML file of ``mlcalc coarse-grain`` for a liquid, beside those of DynamicsSettings.

    Attributes:
        molecule: PDB file of one molecule (beside the TOML file); count: how many of them; box_A: edges of the cell.
        bead: Element that stands for a bead in the frames; its mass is that of the molecule.
        cutoff_A: Cutoff of Lennard-Jones forces and of the direct part of Ewald sums.
    """

    FILES: ClassVar[tuple[str, ...]] = ("molecule",)

    molecule: str
    count: int
    box_A: tuple[float, ...]
    bead: str
    cutoff_A: float = 9.0

    def __post_init__(self):
        super().__post_init__()
        check_range("count", self.count, 1)
        check_range("cutoff_A", self.cutoff_A, 0.0, open_low=True)
        if self.bead not in atomic_numbers:
            raise InputError(f"bead = {self.bead!r}: expected the symbol of an element")
        if len(self.box_A) != 3 or min(self.box_A) < 2 * self.cutoff_A:
            raise InputError(
                f"box_A = {list(self.box_A)}: expected three edges of at least {2 * self.cutoff_A:g}, twice cutoff_A"
            )


def make_liquid(settings: AllAtomSettings, trajectory: int = 0) -> Setup:
    """The Setup of a liquid; InputError as make_system."""
    numbers = np.full(settings.count, atomic_numbers[settings.bead])
    system, mapping, lattice = make_system(settings, trajectory)
    return Setup(system, mapping, lattice, numbers, settings.box_A)


def make_system(settings: AllAtomSettings, trajectory: int = 0):
    """The liquid as an OpenMM system.

    Returns:
        OpenMM's System, the Mapping, and positions (n_atoms, 3), nm, of molecules at the points of a lattice, turned at random.

    Raises:
        InputError: OpenMM is not installed; a molecule or a force field that it cannot use.
    """
    try:
        import openmm
        from openmm import app
    except ImportError as error:
        raise InputError("OpenMM is not installed; pip install 'mlcalc[reference]'") from error
    try:
        molecule = app.PDBFile(str(check_regular(settings.molecule)))
        field = app.ForceField(*settings.force_field)
    except Exception as error:  # OpenMM's readers may raise anything
        raise InputError(f"{settings.molecule}, {', '.join(settings.force_field)}: {error}") from error
    topology = _repeated(molecule.topology, settings.count, np.array(settings.box_A) / NM)
    try:
        system = field.createSystem(
            topology, nonbondedMethod=app.PME, nonbondedCutoff=settings.cutoff_A / NM, hydrogenMass=settings.hydrogen_mass_u,
            constraints=None if settings.constraints == "none" else getattr(app, settings.constraints),
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{settings.molecule} with {', '.join(settings.force_field)}: {error}") from error
    masses = np.array([atom.element.mass._value for atom in topology.atoms()])
    mapping = Mapping(np.repeat(np.arange(settings.count), len(masses) // settings.count), masses)
    if system.getNumParticles() != len(masses):
        raise InputError(f"{', '.join(settings.force_field)}: adds massless sites, which a bead cannot contain")
    shape = np.array(molecule.positions.value_in_unit(openmm.unit.nanometer))
    return system, mapping, _on_a_lattice(shape, settings, trajectory)


def _repeated(one, count: int, box_nm: np.ndarray):
    """OpenMM's Topology of many molecules."""
    import openmm
    from openmm import app

    many = app.Topology()
    chain = many.addChain()
    for _ in range(count):
        new: dict = {}
        for residue in one.residues():
            added = many.addResidue(residue.name, chain)
            new |= {atom: many.addAtom(atom.name, atom.element, added) for atom in residue.atoms()}
        for bond in one.bonds():
            many.addBond(new[bond[0]], new[bond[1]])
    many.setPeriodicBoxVectors(np.diag(box_nm) * openmm.unit.nanometer)
    return many


def _on_a_lattice(shape: np.ndarray, settings: AllAtomSettings, trajectory: int) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    rng, box = np.random.default_rng([settings.seed, trajectory]), np.array(settings.box_A) / NM
    per_edge = np.maximum(1, np.floor(box / (box.prod() / settings.count) ** (1 / 3))).astype(int)
    while per_edge.prod() < settings.count:
        per_edge[np.argmax(box / per_edge)] += 1
    sites = (np.stack(np.unravel_index(np.arange(per_edge.prod()), per_edge), axis=1) + 0.5) * box / per_edge
    chosen = sites[np.sort(rng.permutation(len(sites))[: settings.count])]
    turns = Rotation.random(settings.count, random_state=rng).as_matrix()
    return (chosen[:, None] + (shape - shape.mean(axis=0)) @ turns).reshape(-1, 3)
