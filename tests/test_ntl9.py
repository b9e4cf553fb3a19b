"""The recipe of NTL9: its files fit one another."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.chain.frames import Chain
from analysis.chain.mutations import parse_exchange, scan
from analysis.chain.secondary import read_secondary
from mlcalc import InputError
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.data.coarse_grain.all_atom import read_settings
from mlcalc.data.coarse_grain.peptide import build_protein
from mlcalc.data.coarse_grain.protein import map_residues, read_starts
from mlcalc.data.coarse_grain.residues import bead_types
from mlcalc.structures.structure_files import read_atoms
from mlcalc.training.settings import TrainingSettings

NTL9 = Path(__file__).parents[1] / "inputs" / "ntl9"


def test_settings():
    """Every trajectory has as many frames; priors reach as far as the network; one protein everywhere."""
    settings = read_settings(NTL9 / "all_atom.toml", {})
    assert settings.forces == "mean" and settings.frames >= 3000 and settings.frames % settings.trajectories == 0
    training = build_settings(TrainingSettings, read_toml(NTL9 / "train.toml"), "train.toml")
    page = (NTL9 / "README.md").read_text(encoding="utf-8")
    assert {float(cutoff) for cutoff in re.findall(r"--cutoff (\S+)", page)} == {training.cutoff_A}
    assert set(re.findall(r"--sequence ([A-Z]+)", page)) == {settings.sequence} and len(settings.sequence) == 39
    assert re.findall(r"--temperature (\S+)", page) == [f"{settings.temperature_K:g}"]
    assert f'SEQUENCE = "{settings.sequence}"' in (NTL9 / "starts.py").read_text(encoding="utf-8")


def test_secondary_structure():
    """Of this protein; the core is nonpolar, and the page mutates residues that it has."""
    sequence = read_settings(NTL9 / "all_atom.toml", {}).sequence
    found = read_secondary(NTL9 / "secondary.toml", len(sequence))
    assert list(found.parts) == ["α1", "β1", "β2", "β3"] and {sequence[k - 1] for k in found.core} <= set("AFILMVY")
    chain = Chain("page", sequence, bead_types(sequence), np.zeros((1, len(sequence), 3)))
    page = (NTL9 / "README.md").read_text(encoding="utf-8")
    assert [str(parse_exchange(text, chain)) for text in re.findall(r"--mutate (\S+)", page)] == ["M12K"]
    (residues,) = re.findall(r"--residues (\S+)", page)
    assert {item.place + 1 for item in scan("A", list(map(int, residues.split(","))), chain)} <= set(found.core)


def test_starts(tmp_path):
    """Arrays of positions become frames with the types of the chain, as the settings' file of starts is read."""
    settings = read_settings(NTL9 / "all_atom.toml", {})
    places = np.random.default_rng(0).normal(size=(3, 39, 3)).astype(np.float32)
    np.savez(tmp_path / "frames.npz", pos=places[:2], one=places[2], masses=np.ones(39), sequence=settings.sequence)
    command = [sys.executable, NTL9 / "starts.py", tmp_path / "frames.npz", "-o", tmp_path / "starts.xyz"]
    subprocess.run(command, check=True, capture_output=True)
    found = read_starts(str(tmp_path / "starts.xyz"), bead_types(settings.sequence))
    np.testing.assert_allclose(found, places, atol=1e-6)
    subprocess.run([*command, "--part", "2/3"], check=True, capture_output=True)
    np.testing.assert_allclose(
        read_starts(str(tmp_path / "starts.xyz"), bead_types(settings.sequence)), places[1:2], atol=1e-6
    )
    with pytest.raises(InputError, match="bead 12 is M: expected K"):
        read_starts(str(tmp_path / "starts.xyz"), bead_types(settings.sequence.replace("KGMGK", "KGKGK")))


def test_frames_are_packed(tmp_path):
    """Blocks of runs, finished or not, as one file for training, with all that all_atom.toml would have written."""
    settings = read_settings(NTL9 / "all_atom.toml", {})
    rng = np.random.default_rng(1)
    blocks = {
        ("a", 0): rng.normal(size=(2, 50, 39, 3)),
        ("a", 11): rng.normal(size=(2, 50, 39, 3)),
        ("b", 0): np.ones((2, 50, 39, 3)),
    }
    for (run, trajectory), (positions, forces) in blocks.items():
        (tmp_path / run).mkdir(exist_ok=True)
        nothing = np.zeros((622, 3))
        np.savez(
            tmp_path / run / f"trajectory-{trajectory}-block-0000.npz",
            positions=positions, forces=forces, atoms=nothing, velocities=nothing, noise=np.zeros((50, 2)),
        )  # fmt: skip
    command = [
        sys.executable,
        NTL9 / "pack_frames.py",
        tmp_path / "a",
        tmp_path / "b",
        "-o",
        tmp_path / "frames.xyz.gz",
    ]
    subprocess.run(command, check=True, capture_output=True)
    frames = read_atoms(tmp_path / "frames.xyz.gz")
    assert [atoms.info["trajectory"] for atoms in frames] == 50 * ["a-0"] + 50 * ["a-11"] + 50 * ["b-0"]
    for atoms, positions, forces in zip(frames[50:100], *blocks["a", 11], strict=True):
        np.testing.assert_allclose(atoms.positions, positions, atol=5.1e-5)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=5.1e-5)
        assert atoms.info["temperature_K"] == settings.temperature_K and atoms.info["sequence"] == settings.sequence
        assert (atoms.numbers == bead_types(settings.sequence)).all()
    protein = pytest.importorskip("openmm.app", reason="needs OpenMM: pip install 'mlcalc[protein]'").ForceField
    topology, _ = build_protein(settings.sequence, protein(*settings.force_field))
    np.testing.assert_allclose(frames[0].get_masses(), map_residues(topology)[0].bead_masses, atol=1e-6)
    assert subprocess.run([*command[:2], tmp_path], capture_output=True).returncode == 2
