"""Liquids from OpenMM: the mapping, the published force field, and blocks that end with the same frames however often they stop."""

import os
import shutil
from pathlib import Path

import numpy as np
import openmm
import pytest
from ase import units
from ase.io import read
from scipy.optimize import approx_fprime

from mlcalc import InputError
from mlcalc.cli import main
from mlcalc.data.coarse_grain import all_atom
from mlcalc.data.coarse_grain.all_atom import coarse_grain, join_so_far, make_setup, read_settings
from mlcalc.data.coarse_grain.dynamics import run_block
from mlcalc.data.coarse_grain.force_noise import force_autocorrelation, force_noise
from mlcalc.data.coarse_grain.liquid import make_system
from mlcalc.data.coarse_grain.mapping import Mapping
from mlcalc.training.dataset import read_dataset

INPUTS = Path(__file__).parents[2] / "inputs"
KCAL, COULOMB = 4.184, 138.935458  # kJ/mol; kJ/mol nm/e²


@pytest.fixture
def config(tmp_path, monkeypatch):
    """27 methane molecules, blocks of three frames."""
    monkeypatch.setattr(all_atom, "BLOCK_FRAMES", 3)
    for name in ("methane.pdb", "opls_methane.xml"):
        shutil.copy(INPUTS / "methane" / name, tmp_path)
    path = tmp_path / "small.toml"
    path.write_text(
        'molecule = "methane.pdb"\nforce_field = ["opls_methane.xml"]\ncount = 27\nbox_A = [12.6, 12.4, 12.2]\nbead = "C"\n'
        "temperature_K = 150.0\nframes = 9\ntrajectories = 1\nframe_interval_ps = 0.02\nequilibration_ps = 0.1\ncutoff_A = 6.0\n"
    )
    return path


def test_mapping():
    """Centres of mass; forces whose sum is that of the atoms, and which are the gradient where the energy knows only beads."""
    rng = np.random.default_rng(0)
    masses = np.array([12.0, 1.0, 1.0, 16.0, 1.0])
    mapping = Mapping(np.array([0, 0, 0, 1, 1]), masses)
    atoms = rng.normal(size=(5, 3))
    beads = mapping.positions(atoms)
    np.testing.assert_allclose(beads[0], (masses[:3, None] * atoms[:3]).sum(axis=0) / 14.0, rtol=1e-14)
    assert mapping.bead_masses.tolist() == [14.0, 17.0]

    def energy(flat):
        one, two = mapping.positions(flat.reshape(5, 3))
        return 1.0 / np.linalg.norm(one - two)

    forces = mapping.forces(-approx_fprime(atoms.ravel(), energy, 1e-7).reshape(5, 3))
    vector = beads[0] - beads[1]
    np.testing.assert_allclose(forces[0], vector / np.linalg.norm(vector) ** 3, rtol=1e-5)
    np.testing.assert_allclose(forces.sum(axis=0), 0.0, atol=1e-6)


@pytest.mark.parametrize(
    ("beads", "masses", "message"),
    [
        ([0, 0, 2], [1, 1, 1], "expected every number from 0 to 2"),
        ([0, 1], [1, 1, 1], "expected one of each for every atom"),
        ([0, 1], [1, 0], "masses: expected positive numbers"),
        ([], [], "expected one of each"),
    ],
)
def test_mappings_that_are_none(beads, masses, message):
    with pytest.raises(InputError, match=message):
        Mapping(np.array(beads), np.array(masses))


def test_a_mapping_that_misses_atoms():
    with pytest.raises(InputError, match=r"shape \(4, 3\): expected \(3, 3\)"):
        Mapping(np.array([0, 0, 1]), np.ones(3)).forces(np.zeros((4, 3)))


def test_methane_is_opls(config):
    """Two molecules: geometric means, charges, springs, written out as published."""
    config.write_text(config.read_text().replace("count = 27", "count = 2").replace("12.6, 12.4, 12.2", "40, 40, 40")
                      .replace("cutoff_A = 6.0", 'cutoff_A = 19.0\nconstraints = "none"'))  # fmt: skip
    system, _, lattice = make_system(read_settings(config, {}))
    rng = np.random.default_rng(3)
    shape = lattice[:5] - lattice[0]
    positions = np.concatenate([shape, shape @ np.diag([1, -1, -1]) + [0.02, 0.35, 0.17]]) + 2.0
    positions += rng.normal(0.0, 0.005, (10, 3))  # nm
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    energy = context.getState(energy=True).getPotentialEnergy()._value
    assert energy == pytest.approx(opls(positions, np.full(3, 4.0)), abs=2e-3)


def opls(positions, box) -> float:
    """kJ/mol of two methane molecules, positions (10, 3) in nm."""
    expected = 0.0
    for c in (0, 5):
        bonds = [positions[h] - positions[c] for h in range(c + 1, c + 5)]
        expected += sum(340 * KCAL * (10 * np.linalg.norm(b) - 1.09) ** 2 for b in bonds)
        for i in range(4):
            for j in range(i):
                cosine = bonds[i] @ bonds[j] / np.linalg.norm(bonds[i]) / np.linalg.norm(bonds[j])
                expected += 33 * KCAL * (np.arccos(cosine) - np.radians(107.8)) ** 2
    sigma, epsilon = {"C": 0.35, "H": 0.25}, {"C": 0.066 * KCAL, "H": 0.030 * KCAL}
    charge = {"C": -0.24, "H": 0.06}
    for i in range(5):
        for j in range(5, 10):
            a, b = "CHHHH"[i], "CHHHH"[j - 5]
            vector = positions[i] - positions[j]
            r = np.linalg.norm(vector - box * np.round(vector / box))
            s = (np.sqrt(sigma[a] * sigma[b]) / r) ** 6
            expected += 4 * np.sqrt(epsilon[a] * epsilon[b]) * (s**2 - s) + COULOMB * charge[a] * charge[b] / r
    return expected


def test_frames_for_force_matching(config, tmp_path):
    """Beads with the mass of a molecule in a periodic cell, forces that fit the atoms; ready for training."""
    path = coarse_grain(config, tmp_path / "out")
    frames = read(path, index=":")
    assert [len(atoms) for atoms in frames] == [27] * 9
    assert frames[0].get_masses() == pytest.approx(16.043, abs=1e-3)
    assert frames[0].cell.lengths().tolist() == [12.6, 12.4, 12.2]
    assert frames[0].pbc.all()
    data = read_dataset([path])
    assert np.isnan(data.energies).all()
    assert set(data.trajectories) == {"0"}
    # The atoms at the end of the last block are those of the last frame.
    with np.load(tmp_path / "out" / "trajectory-0-block-0002.npz", allow_pickle=False) as block:
        atoms = block["atoms"]
    settings = read_settings(config, {})
    system, mapping, _ = make_system(settings)
    np.testing.assert_allclose(mapping.positions(10 * atoms), frames[-1].positions, atol=1e-6)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms)
    forces = context.getState(forces=True).getForces(asNumpy=True)._value * units.kJ / units.mol / units.nm
    scale = np.abs(data.forces).max()
    np.testing.assert_allclose(mapping.forces(forces), frames[-1].get_forces(), atol=2e-3 * scale)


def test_work_that_stops_ends_with_the_same_frames(config, tmp_path, monkeypatch):
    whole = coarse_grain(config, tmp_path / "whole", overrides={"trajectories": 2, "frames": 12}).read_bytes()
    folder = tmp_path / "parts"
    coarse_grain(config, folder, overrides={"trajectories": 2, "frames": 6})  # a block of each, and then more
    (folder / "trajectory-1-block-0000.npz").unlink()
    so_far = read(join_so_far(config, folder, {"trajectories": 2, "frames": 12}), index=":")
    assert {str(atoms.info["trajectory"]) for atoms in so_far} == {"0"} and 0 < len(so_far) <= 6
    for mine, atoms in zip(so_far, read(tmp_path / "whole" / "frames.xyz", index=":"), strict=False):
        np.testing.assert_array_equal(mine.positions, atoms.positions)
    with pytest.raises(InputError, match="no blocks of"):
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / "settings.json").write_bytes((folder / "settings.json").read_bytes())
        join_so_far(config, tmp_path / "empty", {"trajectories": 2, "frames": 12})
    again = coarse_grain(config, folder, jobs=2, overrides={"trajectories": 2, "frames": 12}).read_bytes()
    assert again == whole


def test_blocks_do_not_repeat_their_noise(config):
    settings = read_settings(config, {})
    first = run_block(settings, make_setup(settings), 3, (0, 0), None)
    second, other = (run_block(settings, make_setup(settings), 3, place, first) for place in ((0, 1), (1, 1)))
    assert not np.allclose(second["positions"], other["positions"])


ARGON = """<ForceField>
 <AtomTypes><Type name="Ar" class="Ar" element="Ar" mass="39.948"/></AtomTypes>
 <Residues><Residue name="AR"><Atom name="AR" type="Ar" charge="0"/></Residue></Residues>
 <NonbondedForce coulomb14scale="0.5" lj14scale="0.5"><UseAttributeFromResidue name="charge"/>
  <Atom type="Ar" sigma="0.34" epsilon="0.996"/></NonbondedForce>
</ForceField>"""


@pytest.mark.slow
def test_noise_floor(config, tmp_path):
    """Beads that are atoms leave nothing open; of methane, orientations do."""
    coarse_grain(config, tmp_path / "methane")
    rms = np.sqrt(np.square(read_dataset([tmp_path / "methane" / "frames.xyz"]).forces).mean())
    noise = force_noise(read_settings(config, {}), tmp_path / "methane", configurations=2, samples=10, anneal_ps=1.0)
    assert 0.3 * rms < noise.rmse < rms
    assert 0.6 * noise.rmse < noise.mae < noise.rmse  # 0.8 of it for normal deviates
    assert 0 < noise.rmse_error < 0.3 * noise.rmse
    (tmp_path / "argon.xml").write_text(ARGON)
    (tmp_path / "argon.pdb").write_text(
        "HETATM    1  AR  AR  A   1       0.000   0.000   0.000  1.00  0.00          AR\nEND\n"
    )
    argon = {"molecule": "argon.pdb", "force_field": ["argon.xml"], "bead": "Ar", "temperature_K": 90.0}
    coarse_grain(config, tmp_path / "argon", overrides=argon)
    rms = np.sqrt(np.square(read_dataset([tmp_path / "argon" / "frames.xyz"]).forces).mean())
    noise = force_noise(read_settings(config, argon), tmp_path / "argon", configurations=2, samples=10, anneal_ps=1.0)
    assert noise.rmse < 0.15 * rms  # what is left is that of the ties


@pytest.mark.slow
def test_noise_floor_of_light_molecules_in_long_steps(config, tmp_path):
    """Springs of this stiffness would be unstable in steps of 4 fs."""
    shutil.copy(INPUTS / "water" / "water.pdb", tmp_path)
    water = {
        "molecule": "water.pdb", "force_field": ["spce.xml"], "bead": "O", "box_A": [12.4] * 3, "count": 60,
        "temperature_K": 300.0, "timestep_fs": 4.0, "hydrogen_mass_u": 3.0, "frame_interval_ps": 0.2, "equilibration_ps": 2.0,
    }  # fmt: skip
    coarse_grain(config, tmp_path / "water", overrides=water)
    noise = force_noise(read_settings(config, water), tmp_path / "water", configurations=2, samples=10, anneal_ps=1.0)
    rms = np.sqrt(np.square(read_dataset([tmp_path / "water" / "frames.xyz"]).forces).mean())
    assert 0.3 * rms < noise.rmse < 1.2 * rms


def test_autocorrelation_of_forces(config, tmp_path):
    """Frames of an autoregressive process give its coefficient, within its standard error."""
    coarse_grain(config, tmp_path / "out", overrides={"frames": 3})
    block, rng = dict(np.load(tmp_path / "out" / "trajectory-0-block-0000.npz")), np.random.default_rng(2)
    forces = np.empty((8, 50, 27, 3))
    forces[:, 0] = rng.normal(size=(8, 27, 3))
    for k in range(1, 50):
        forces[:, k] = 0.6 * forces[:, k - 1] + 0.8 * rng.normal(size=(8, 27, 3))
    for k, value in enumerate(forces):
        np.savez(tmp_path / "out" / f"trajectory-0-block-{k:04d}.npz", **block | {"forces": value})
    value, error = force_autocorrelation(read_settings(config, {}), tmp_path / "out")
    assert 0.001 < error < 0.01
    assert abs(value - 0.6) < 3.0 * error


def test_noise_floor_of_nothing(config, tmp_path, capsys):
    arguments = ["coarse-grain", str(config), "-o", str(tmp_path / "out")]
    assert main([*arguments, "--noise-floor", "5"]) == 2
    assert "not a folder of mlcalc coarse-grain" in capsys.readouterr().err
    assert main([*arguments, "--set", "frames=3"]) == 0
    assert main([*arguments, "--noise-floor", "5"]) == 2
    assert "5 configurations of 1 blocks" in capsys.readouterr().err
    assert main([*arguments, "--noise-floor", "2", "--samples", "1"]) == 2
    assert "--samples = 1: expected at least 2" in capsys.readouterr().err
    assert main([*arguments, "--set", "temperature_K=200", "--noise-floor", "2"]) == 2
    assert "holds frames of another temperature_K" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"box_A": [10.0, 12.0, 12.0]}, "expected three edges of at least 12, twice cutoff_A"),
        ({"bead": "Me"}, "expected the symbol of an element"),
        ({"molecule": "none.pdb"}, "none.pdb"),
        ({"force_field": ["spce.xml"]}, "No template found for residue"),
        ({"constraints": "All"}, "expected one of none, HBonds"),
        ({"frames": 0}, "frames = 0: expected at least 1"),
        ({"colour": 1}, "unknown key 'colour'"),
    ],
)
def test_refusals_write_nothing(config, tmp_path, capsys, overrides, message):
    arguments = [part for key, value in overrides.items() for part in ("--set", f"{key}={value}")]
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_liquid_that_comes_apart(config, tmp_path, capsys):
    keys = ["--set", "timestep_fs=40", "--set", "equilibration_ps=20"]
    assert main(["coarse-grain", str(config), "-o", str(tmp_path / "out"), *keys]) == 2
    assert "the simulation is unstable" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.npz"))


def test_folders_of_others(config, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out")]
    assert main(["coarse-grain", str(config), *out, "--set", "frames=3"]) == 0
    assert main(["coarse-grain", str(config), *out, "--set", "temperature_K=160"]) == 2
    assert "holds frames of another temperature_K" in capsys.readouterr().err
    assert main(["coarse-grain", str(config), "-o", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["coarse-grain", str(config), *out, "-j", "0"]) == 2
    assert "--jobs = 0: expected at least 1" in capsys.readouterr().err


def packed(path, **arrays) -> None:
    np.savez_compressed(path, **arrays)


BLOCKS = {
    "cut off": lambda path, block: path.write_bytes(path.read_bytes()[:-300]),
    "no archive": lambda path, block: path.write_bytes(b"x" * 1000),
    "packed zeros": lambda path, block: packed(path, **block | {"forces": np.zeros((400_000, 27, 3))}),
    "another number of beads": lambda path, block: np.savez(path, **block | {"positions": block["positions"][:, :5]}),
    "whole numbers": lambda path, block: np.savez(path, **block | {"forces": np.ones((3, 27, 3), int)}),
    "text": lambda path, block: np.savez(path, **block | {"forces": np.array(["x"])}),
    "objects": lambda path, block: np.savez(path, **block | {"forces": np.array([{}])}),
    "not finite": lambda path, block: np.savez(path, **block | {"velocities": block["velocities"] * np.nan}),
    "an array missing": lambda path, block: np.savez(path, positions=block["positions"]),
    "fewer frames": lambda path, block: np.savez(path, **block | {"positions": block["positions"][:2]}),
    "a pipe": lambda path, block: (path.unlink(), os.mkfifo(path)),
}


def test_blocks_that_are_none(config, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["coarse-grain", str(config), "-o", str(out), "--set", "frames=3"]
    assert main(arguments) == 0
    path = out / "trajectory-0-block-0000.npz"
    sound, block = path.read_bytes(), dict(np.load(path))
    for name, damage in BLOCKS.items():
        damage(path, block)
        assert main(arguments) == 2, name
        error = capsys.readouterr().err
        assert path.name in error and "run the command again" in error and error.count("\n") == 1, name
        path.unlink()
        path.write_bytes(sound)
    np.savez(path, **block | {"atoms": block["atoms"][:5], "velocities": block["velocities"][:5]})
    assert main([*arguments, "--set", "frames=6"]) == 2
    assert "a block with atoms of shape (5, 3)" in capsys.readouterr().err


SETTINGS = ["[]", "{", "[" * 100_000, '{"count": 1e999}', "9" * 5000, "\x00", None]


def test_settings_that_are_none(config, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for text in SETTINGS:
        if text is None:
            with (out / "settings.json").open("wb") as stream:
                stream.truncate(1 << 40)
        else:
            (out / "settings.json").write_text(text)
        assert main(["coarse-grain", str(config), "-o", str(out)]) == 2
        error = capsys.readouterr().err
        assert "not a folder of mlcalc coarse-grain" in error and error.count("\n") == 1
