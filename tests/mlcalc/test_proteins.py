"""Proteins from OpenMM, a bead at each Cα: peptides, what forces on beads are, starts, blocks, and chains that are none."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read, write
from scipy.spatial.transform import Rotation

from mlcalc import InputError
from mlcalc.cli import main
from mlcalc.data.coarse_grain import all_atom
from mlcalc.data.coarse_grain.all_atom import coarse_grain
from mlcalc.data.coarse_grain.backbone import backbone_of
from mlcalc.data.coarse_grain.dynamics import context_of, run_block
from mlcalc.data.coarse_grain.mapping import Mapping
from mlcalc.data.coarse_grain.peptide import backbone_pdb
from mlcalc.data.coarse_grain.protein import ProteinSettings, make_protein
from mlcalc.data.coarse_grain.residues import bead_types
from mlcalc.training.dataset import read_dataset

openmm = pytest.importorskip("openmm", reason="OpenMM is not installed: pip install 'mlcalc[protein]'")
pytest.importorskip("pdbfixer", reason="PDBFixer is not installed: pip install 'mlcalc[protein]'")

SOLVENT = str(Path(__file__).parents[2] / "inputs" / "ntl9" / "obc2.xml")
FIELD = ("amber14/protein.ff14SB.xml", SOLVENT)
KEYS = {"force_field": FIELD, "temperature_K": 350.0, "frames": 4, "frame_interval_ps": 0.1, "equilibration_ps": 0.2}
EV_PER_A = units.kJ / units.mol / units.nm


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Three residues, blocks of two frames."""
    monkeypatch.setattr(all_atom, "BLOCK_FRAMES", 2)
    path = tmp_path / "small.toml"
    path.write_text(
        f'sequence = "GAK"\nforce_field = {list(FIELD)}\ntemperature_K = 350.0\nframes = 4\ntrajectories = 1\n'
        "frame_interval_ps = 0.02\nequilibration_ps = 0.1\npull_ps = 2.0\n"
    )
    return path


def atoms_of(setup) -> dict:
    """Forces (n_atoms, 3) eV/Å at the start, of the setup's own system."""
    context = openmm.Context(
        setup.system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(setup.start)
    return context.getState(forces=True).getForces(asNumpy=True)._value * EV_PER_A


def test_our_implicit_solvent_is_that_of_openmm():
    """All residues. OpenMM's two forces take the dielectric constant of water as 78.3 and 78.5."""
    ours, theirs = (
        make_protein(ProteinSettings(sequence="ACDEFGHIKLMNPQRSTVWY", **KEYS | {"force_field": (FIELD[0], solvent)}))
        for solvent in (SOLVENT, "implicit/obc2.xml")
    )
    kinds = [{type(force).__name__: force for force in setup.system.getForces()} for setup in (ours, theirs)]
    assert "CustomGBForce" in kinds[1]
    kinds[0]["GBSAOBCForce"].setSolventDielectric(78.5)
    expected = atoms_of(theirs._replace(start=ours.start))  # each built its chain in its own solvent
    np.testing.assert_allclose(atoms_of(ours), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_bead_is_a_residue():
    """Glycine has two hydrogen atoms at its Cα, alanine one; ends are types of their own; nothing else belongs to a bead."""
    setup = make_protein(ProteinSettings(sequence="GAK", **KEYS))
    assert setup.numbers.tolist() == [21, 1, 22] and setup.info == {"sequence": "GAK"}
    np.testing.assert_allclose(setup.mapping.bead_masses, [12.011 + 2 * 1.008, 13.019, 13.019], atol=0.002)
    assert np.bincount(setup.mapping.beads + 1).tolist()[1:] == [3, 2, 2]
    beads = setup.mapping.positions(10 * setup.start)
    np.testing.assert_allclose(np.linalg.norm(np.diff(beads, axis=0), axis=1), 3.8, atol=0.05)  # trans peptide bonds
    forces = atoms_of(setup)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-6 * np.abs(forces).max())
    members = [np.flatnonzero(setup.mapping.beads == k) for k in range(3)]
    expected = [forces[atoms].sum(axis=0) for atoms in members]
    np.testing.assert_allclose(setup.mapping.forces(forces), expected, rtol=1e-12)


def test_built_residues_are_left_handed():
    from openmm import app

    from mlcalc.data.coarse_grain.peptide import build_protein

    topology, start = build_protein("AKVA", app.ForceField(*FIELD))
    for residue in topology.residues():
        n, ca, c, cb = (
            start[next(a.index for a in residue.atoms() if a.name == name)] for name in ("N", "CA", "C", "CB")
        )
        assert np.cross(n - ca, c - ca) @ (cb - ca) > 0  # L: N, C, Cβ anticlockwise, seen from the hydrogen


def test_constraints_stay_within_beads():
    """Those of hydrogen do; those of all bonds would tie Cα to its neighbours."""
    with pytest.raises(InputError, match=r"a constraint between atom \d+ and atom \d+, of beads"):
        make_protein(ProteinSettings(sequence="GA", constraints="AllBonds", **KEYS))
    mapping = Mapping(np.array([0, 0, -1]), np.ones(3))
    mapping.check_constraints(np.array([[0, 1]]))
    with pytest.raises(InputError, match="atom 2 and atom 3, of beads 1 and 0"):
        mapping.check_constraints(np.array([[1, 2]]))


def test_the_sum_is_free_of_the_forces_of_constraints():
    """A molecule of two atoms, one of them a bead: with springs the force of both together is what keeps it at its place.

    The force on the bead's atom alone would lack what its partner passes on through the constraint.
    """
    system = openmm.System()
    for mass in (12.0, 1.0):
        system.addParticle(mass)
    system.addConstraint(0, 1, 0.1)
    pull = openmm.CustomExternalForce("-5*x*weight")
    pull.addPerParticleParameter("weight")
    pull.addParticle(1, [1.0])
    system.addForce(pull)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions([[0, 0, 0], [0.1, 0, 0]])
    mapping = Mapping(np.array([0, 0]), np.array([12.0, 1.0]), np.array([1.0, 0.0]))
    forces = context.getState(forces=True).getForces(asNumpy=True)._value
    assert mapping.forces(forces)[0, 0] == pytest.approx(5.0) and forces[0, 0] == 0.0
    context.getIntegrator().step(1)
    velocity = context.getState(velocities=True).getVelocities(asNumpy=True)._value[0, 0]
    assert velocity == pytest.approx(5.0 / 13.0 * 0.001, rel=1e-4)  # both move as one
    np.testing.assert_allclose(mapping.positions(np.array([[1.0, 2, 3], [9, 9, 9]])), [[1, 2, 3]])


def test_mean_forces_add_up_to_nothing():
    """Moving all beads together costs nothing: a sum of mean forces vanishes within its error, one of plain forces does not."""
    settings = ProteinSettings(sequence="AA", forces="mean", average_ps=2.0, hydrogen_mass_u=2.0, **KEYS)
    setup = make_protein(settings)
    block = run_block(settings, setup, 4, (0, 0), None)
    scatter, error = block["noise"].T
    samples = setup.mean_forces(1).samples
    assert block["noise"].shape == (4, 2) and samples == 166  # 12 fs apart: vibrations are resolved, and average out
    assert error.mean() < 0.5 * scatter.mean() / samples
    sums = block["forces"].sum(axis=1)  # of two beads
    assert np.sqrt(np.square(sums).mean()) < 3.0 * np.sqrt(2 * error.mean())
    plain = run_block(
        replace(settings, forces="plain"), make_protein(replace(settings, forces="plain")), 4, (0, 0), None
    )
    assert np.square(plain["forces"].sum(axis=1)).mean() > 10 * np.square(sums).mean()
    assert "noise" not in plain


def test_fixed_beads_do_not_move_and_hydrogens_do():
    from mlcalc.data.coarse_grain.protein import _constraints

    settings = ProteinSettings(sequence="AG", forces="mean", average_ps=0.2, settle_ps=0.1, **KEYS)
    setup = make_protein(settings)
    average = setup.mean_forces(3)
    average(setup.start, np.zeros_like(setup.start))
    after = average.context.getState(positions=True).getPositions(asNumpy=True)._value
    fixed = np.flatnonzero(setup.mapping.weights)
    np.testing.assert_allclose(after[fixed], setup.start[fixed], atol=1e-7)
    assert np.abs(after - setup.start).max() > 0.003
    held = {*_constraints(average.context.getSystem()).ravel().tolist()}
    assert not held & set(np.flatnonzero(setup.mapping.beads >= 0).tolist())
    assert {*_constraints(setup.system).ravel().tolist()} > held


AS_WHOLE = [part for key in ("forces=mean", "average_ps=0.1", "settle_ps=0.02") for part in ("--set", key)]


def test_frames_for_training(config, tmp_path, capsys):
    """Types, masses, sequence, no cell; after any interruption the same frames."""
    whole = coarse_grain(config, tmp_path / "whole", overrides={"forces": "mean", "average_ps": 0.1, "settle_ps": 0.02})
    frames = read(whole, index=":")
    assert [atoms.numbers.tolist() for atoms in frames] == [[21, 1, 22]] * 4
    assert frames[0].info["sequence"] == "GAK" and not frames[0].pbc.any()
    assert frames[0].get_masses() == pytest.approx([14.027, 13.019, 13.019], abs=0.002)
    data = read_dataset([whole])
    assert np.isfinite(data.forces).all() and np.isnan(data.energies).all()
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "whole"), "--noise-floor", "1", *AS_WHOLE]) == 0
    with (
        np.load(tmp_path / "whole" / "trajectory-0-block-0000.npz") as one,
        np.load(tmp_path / "whole" / "trajectory-0-block-0001.npz") as two,
    ):
        plain, mean = 1e3 * np.sqrt(np.concatenate([one["noise"], two["noise"]]).mean(axis=0))
    lines = capsys.readouterr().out.splitlines()
    assert "in 4 frames" in lines[0]
    for line, expected in zip(lines[1:3], (plain, mean), strict=True):
        assert float(line.partition(": ")[2].split("±")[0]) == pytest.approx(expected, rel=0.1)
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "plain"), "--set", "frames=2"]) == 0
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "plain"), "--noise-floor", "1"]) == 2
    assert "1 blocks without mean forces" in capsys.readouterr().err
    folder = tmp_path / "parts"
    again = {"forces": "mean", "average_ps": 0.1, "settle_ps": 0.02}
    coarse_grain(config, folder, overrides=again | {"frames": 2})
    assert coarse_grain(config, folder, overrides=again).read_bytes() == whole.read_bytes()


def test_starts_are_reached(config, tmp_path, capsys):
    """A bent chain: its trajectory begins there, that of the other start elsewhere."""
    types, bent = bead_types("GAK"), np.array([[0.0, 0, 0], [3.8, 0, 0], [5.0, 3.6, 0]])
    straight = np.array([[0.0, 0, 0], [3.6, 1.2, 0], [7.2, 0, 0]])
    write(tmp_path / "starts.xyz", [Atoms(types, bent), Atoms(types, straight)])
    overrides = {"starts": "starts.xyz", "trajectories": 2, "equilibration_ps": 0.0, "frame_interval_ps": 0.002}
    frames = read(coarse_grain(config, tmp_path / "out", overrides=overrides), index=":")
    ends = [atoms.get_distance(0, 2) for atoms in frames]
    assert abs(ends[0] - 6.16) < 0.6 and abs(ends[2] - 7.2) < 0.6
    write(tmp_path / "starts.xyz", [Atoms(types[::-1], bent)])
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "no"), "--set", "starts=starts.xyz"]) == 2
    assert (
        "structure 1: bead 1 is C-terminus: expected N-terminus, in the order of the chain" in capsys.readouterr().err
    )
    for wrong, why in (
        (Atoms(types[:2], bent[:2]), "2 beads: expected 3, one for each residue"),
        (Atoms(types, 3.0 * straight), "structure 1: beads 1 and 2 are 11.4 Å apart: expected 2.7 to 4.3, those of a chain"),
        (Atoms(types, 0.1 * straight), "beads 1 and 2 are 0.379 Å apart: expected 2.7 to 4.3, those of a chain; are these nm?"),
        (Atoms(types, bent[[0, 1, 0]]), "beads 1 and 3 are 0 Å apart: expected at least 2.5"),
    ):  # fmt: skip
        write(tmp_path / "starts.xyz", wrong)
        assert main(["coarse-grain", str(config), "-o", str(tmp_path / "no"), "--set", "starts=starts.xyz"]) == 2
        assert why in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_compressed_starts(config, tmp_path):
    starts = Atoms(bead_types("GAK"), np.array([[0.0, 0, 0], [3.8, 0, 0], [5.0, 3.6, 0]]))
    write(tmp_path / "starts.xyz.gz", starts)
    overrides = {"starts": "starts.xyz.gz", "frames": 2}
    coarse_grain(config, tmp_path / "out", overrides=overrides)
    assert coarse_grain(config, tmp_path / "out", overrides=overrides).is_file()
    starts.positions[2, 1] += 0.1
    write(tmp_path / "starts.xyz.gz", starts)
    with pytest.raises(InputError, match="holds frames of another starts"):
        coarse_grain(config, tmp_path / "out", overrides=overrides)


def backbone(sequence: str):
    """The backbone of a built chain, and its atoms (n, 3) nm."""
    from openmm import app

    from mlcalc.data.coarse_grain.peptide import build_protein

    topology, start = build_protein(sequence, app.ForceField(*FIELD))
    return backbone_of(topology), start


def test_peptide_bonds_and_hands():
    """Of a chain, its mirror image, and one in which all behind a peptide bond has turned about it."""
    found, start = backbone("GAKP")
    assert found.between == ["GLY 1 and ALA 2", "ALA 2 and LYS 3", "LYS 3 and PRO 4"]
    assert found.residues == ["ALA 2", "LYS 3", "PRO 4"]
    assert not found.cis(start).any() and found.is_l(start).all()
    found.check(start, start)
    with pytest.raises(InputError, match="residue ALA 2 has become D, L before"):
        found.check(start * [1, 1, -1], start)
    _, carbon, nitrogen, _ = found.peptides[1]
    axis = start[nitrogen] - start[carbon]
    turn = Rotation.from_rotvec(np.pi * axis / np.linalg.norm(axis))
    turned = start.copy()
    turned[nitrogen:] = turn.apply(start[nitrogen:] - start[carbon]) + start[carbon]
    assert found.cis(turned).tolist() == [False, True, False]
    with pytest.raises(InputError, match="the peptide bond of ALA 2 and LYS 3 has become cis, trans before"):
        found.check(turned, start)


@pytest.mark.parametrize("held", [True, False])
def test_pulling_turns_no_peptide_bond(config, monkeypatch, held):
    """Although a torque turns one to cis, for which the springs of a long chain stand here."""
    if not held:
        monkeypatch.setattr("mlcalc.data.coarse_grain.backbone._HELD", 0.0)
    found, start = backbone("GAAG")
    settings = ProteinSettings(sequence="GAAG", pull_ps=4.0, **KEYS)
    beads = make_protein(settings).mapping.positions(10 * start)
    write(config.parent / "starts.xyz", Atoms(bead_types("GAAG"), beads))
    setup = make_protein(replace(settings, starts=str(config.parent / "starts.xyz")))
    torque = openmm.CustomTorsionForce("400*(1-cos(theta))")
    torque.addTorsion(*found.peptides[1].tolist(), [])
    setup.system.addForce(torque)
    context = context_of(setup.system, settings, 5)
    context.setPositions(setup.start)
    context.setVelocitiesToTemperature(350.0, 5)
    setup.prepare(context)
    assert [context.getParameter(name) for name in ("pull", "hold")] == [0.0, 0.0]
    atoms = context.getState(positions=True).getPositions(asNumpy=True)._value
    if held:
        setup.check(atoms)
        return
    with pytest.raises(InputError, match="the peptide bond of ALA 2 and ALA 3 has become cis, trans before"):
        setup.check(atoms)


def test_one_trajectory_that_fails_stops_no_other(config, tmp_path, monkeypatch):
    def failing(settings, frames, trajectory, block, state):
        if trajectory == 1:
            raise InputError("the peptide bond of A and B has become cis")
        return run(settings, frames, trajectory, block, state)

    run = all_atom._run
    monkeypatch.setattr(all_atom, "_run", failing)
    monkeypatch.setattr(all_atom, "spawn_pool", ThreadPoolExecutor)
    overrides = {"trajectories": 3, "frames": 6}
    message = (
        "1 of 3 trajectories ended early, the first is 1: the peptide bond of A and B has become cis; --so-far joins"
    )
    with pytest.raises(InputError, match=message):
        coarse_grain(config, tmp_path / "out", overrides=overrides)
    frames = read(all_atom.join_so_far(config, tmp_path / "out", overrides), index=":")
    assert [atoms.info["trajectory"] for atoms in frames] == [0, 0, 2, 2]


def capped() -> str:
    """ACE-ALA-ALA-NME: backbones of four residues, of which the outer ones keep what a cap has."""
    lines = []
    for line in backbone_pdb("AAAA").splitlines():
        name, number = line[12:16].strip(), line[22:26].strip()
        if number == "1":
            line = {"CA": line[:12] + " CH3" + line[16:], "C": line, "O": line}.get(name, "")
            line = line.replace("ALA", "ACE")
        elif number == "4":
            line = {"N": line, "CA": line[:12] + " C  " + line[16:]}.get(name, "").replace("ALA", "NME")
        lines.append(line)
    return "\n".join(line for line in lines if line)


def full(tmp_path, sequence: str = "AGA") -> str:
    """PDB lines of a peptide with all its atoms."""
    from openmm import app

    from mlcalc.data.coarse_grain.peptide import build_protein

    topology, start = build_protein(sequence, app.ForceField(*FIELD))
    with (tmp_path / "full.pdb").open("w") as stream:
        app.PDBFile.writeFile(topology, start * openmm.unit.nanometer, stream)
    return (tmp_path / "full.pdb").read_text()


def test_a_file_is_read_with_and_without_hydrogens(config, tmp_path):
    text = full(tmp_path)
    (tmp_path / "bare.pdb").write_text("\n".join(line for line in text.splitlines() if line[76:78].strip() != "H"))
    setups = []
    for name in ("full.pdb", "bare.pdb"):
        setups.append(make_protein(ProteinSettings(protein=str(tmp_path / name), **KEYS)))
    assert setups[0].start.shape == setups[1].start.shape
    heavy = np.array([setups[0].system.getParticleMass(k)._value > 2 for k in range(len(setups[0].start))])
    np.testing.assert_allclose(setups[0].start[heavy], setups[1].start[heavy], atol=1e-3)
    assert setups[0].numbers.tolist() == [21, 6, 22]


def test_residues_are_exchanged(tmp_path):
    """The exchanged chain has the atoms of one that was built so, and the beads of the file, with its hydrogens or without."""
    text = full(tmp_path, "AKGV")
    (tmp_path / "bare.pdb").write_text("\n".join(line for line in text.splitlines() if line[76:78].strip() != "H"))
    for name in ("full.pdb", "bare.pdb"):
        path = str(tmp_path / name)
        plain = make_protein(ProteinSettings(protein=path, **KEYS))
        found = make_protein(ProteinSettings(protein=path, mutations=("K2M", "V4A"), **KEYS))
        built = make_protein(ProteinSettings(sequence="AMGA", **KEYS))
        assert found.info["sequence"] == "AMGA" and found.numbers.tolist() == built.numbers.tolist()
        assert len(found.start) == len(built.start)
        np.testing.assert_allclose(
            found.mapping.positions(found.start), plain.mapping.positions(plain.start), atol=1e-3
        )
    for mutation, message in (
        ("G2M", "mutation G2M: .*full.pdb has residue LYS 2: expected GLY 2"),
        ("K9M", "has no such residue: expected LYS 9"),
        ("K2B", "mutation 'K2B': expected letter, number, new letter"),
        ("2M", "as K12M"),
    ):
        with pytest.raises(InputError, match=message):
            make_protein(ProteinSettings(protein=str(tmp_path / "full.pdb"), mutations=(mutation,), **KEYS))
    with pytest.raises(InputError, match="residue 2 twice: expected once"):
        ProteinSettings(protein="full.pdb", mutations=("K2M", "K2A"), **KEYS)
    with pytest.raises(InputError, match="with a sequence: write the sequence that is meant"):
        ProteinSettings(sequence="GAK", mutations=("A2G",), **KEYS)


def test_capped_ends_are_ordinary_residues(tmp_path):
    text = capped()
    path = tmp_path / "capped.pdb"
    path.write_text(text)
    with pytest.raises(InputError, match="residue ALA 2: missing atoms CB"):
        make_protein(ProteinSettings(protein=str(path), **KEYS))
    path.write_text(text.replace("ALA", "GLY"))
    setup = make_protein(ProteinSettings(protein=str(path), **KEYS))
    assert setup.numbers.tolist() == [6, 6] and setup.info["sequence"] == "GG"


FAULTS = {
    "unknown residue": (lambda text: text.replace("GLY", "XYZ"), "residue XYZ 2: expected the 20 residues"),
    "missing": (lambda text: without(text, "C", "2"), "residue GLY 2: missing atoms C"),
    "no alpha": (lambda text: without(text, "CA", "2"), "residue GLY 2: missing atoms CA"),
    "a break": (
        lambda text: without(text, None, "2"),
        "the chain breaks between residue ALA 1 and residue ALA 3: C and N are",
    ),
    "two chains": (lambda text: text.replace(" A A   3", " A B   3").replace("ALA A   3", "ALA B   3"), "2 chains"),
    "empty": (lambda text: "END\n", "not a readable PDB file"),
}


def without(text: str, name: str | None, number: str) -> str:
    """PDB lines without atoms of this name, or of any, in a residue."""
    return "\n".join(
        line
        for line in text.splitlines()
        if line[22:26].strip() != number or (name is not None and line[12:16].strip() != name)
    )


def test_chains_that_are_none(config, tmp_path, capsys):
    text = full(tmp_path)
    config.write_text(config.read_text().replace('sequence = "GAK"', 'protein = "wrong.pdb"'))
    for name, (change, words) in FAULTS.items():
        (tmp_path / "wrong.pdb").write_text(change(text))
        assert main(["coarse-grain", str(config), "-o", str(tmp_path / "out")]) == 2, name
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1, (name, error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sequence": "GAB"}, "sequence: 'B': expected letters of"),
        ({"protein": "x.pdb"}, "protein, sequence: expected one of them"),
        ({"forces": "noisy"}, "forces = 'noisy': expected one of plain, mean"),
        ({"forces": "mean", "timestep_fs": 4.0}, "timestep_fs = 4: expected at most 2.6 for mean forces"),
        ({"starts": "none.xyz"}, "none.xyz"),
        ({"force_field": ["spce.xml"]}, "hydrogens cannot be added"),
        ({"box_A": [1.0]}, "unknown key 'box_A'"),
    ],
)
def test_refusals_write_nothing(config, tmp_path, capsys, overrides, message):
    arguments = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
