"""The recipe of NTL9: its files fit one another."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from analysis.chain.frames import Chain
from analysis.chain.mutations import parse_exchange, scan
from analysis.chain.secondary import read_secondary
from mlcalc import InputError
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.data.coarse_grain.all_atom import read_settings
from mlcalc.data.coarse_grain.protein import read_starts
from mlcalc.data.coarse_grain.residues import bead_types
from mlcalc.data.labelling import write_frames
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
    straight = np.arange(39)[:, None] * np.array([3.8, 0.0, 0.0])
    places = (straight + np.random.default_rng(0).normal(0.0, 0.05, (3, 39, 3))).astype(np.float32)
    arrays = {
        "pos": places[:2],
        "one": places[2],
        "forces": places,
        "masses": np.ones(39),
        "sequence": settings.sequence,
    }
    np.savez(tmp_path / "frames.npz", **arrays)
    command = [sys.executable, NTL9 / "starts.py", tmp_path / "frames.npz", "-o", tmp_path / "starts.xyz"]
    subprocess.run(command, check=True, capture_output=True)
    found = read_starts(str(tmp_path / "starts.xyz"), bead_types(settings.sequence))
    np.testing.assert_allclose(found, places, atol=1e-5)
    subprocess.run([*command, "--part", "2/3"], check=True, capture_output=True)
    np.testing.assert_allclose(
        read_starts(str(tmp_path / "starts.xyz"), bead_types(settings.sequence)), places[1:2], atol=1e-5
    )
    with pytest.raises(InputError, match="bead 12 is M: expected K"):
        read_starts(str(tmp_path / "starts.xyz"), bead_types(settings.sequence.replace("KGMGK", "KGKGK")))


def refusal(script: str, *words: object) -> str:
    """The one line with which a script ends."""
    done = subprocess.run([sys.executable, NTL9 / script, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_scripts_refuse_what_is_none(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "broken.npz", pos=np.zeros((39, 3)))
    np.savez(tmp_path / "others.npz", pos=np.zeros((38, 3)))
    assert "text.npz: not an archive of NumPy arrays" in refusal("starts.py", tmp_path / "text.npz")
    assert "none.npz" in refusal("starts.py", tmp_path / "none.npz")
    assert "start 1: beads 1 and 2 are 0 Å apart" in refusal("starts.py", tmp_path / "broken.npz")
    assert "no array of positions of 39 beads" in refusal("starts.py", tmp_path / "others.npz")
    assert "'B': expected letters" in refusal("starts.py", tmp_path / "others.npz", "--sequence", "BBB")
    atoms = Atoms(bead_types("DAY"), np.eye(3), info={"trajectory": "0"})
    for run in ("one", "two"):
        (tmp_path / run / "same").mkdir(parents=True)
        write_frames([atoms], tmp_path / run / "same" / "frames.xyz")
    files = [tmp_path / run / "same" / "frames.xyz" for run in ("one", "two")]
    assert "has no forces" in refusal("pack_frames.py", files[0], "-o", tmp_path / "out.xyz.gz")
    assert "folder 'same' twice" in refusal("pack_frames.py", *files, "-o", tmp_path / "out.xyz.gz")
    assert not (tmp_path / "out.xyz.gz").exists()


def test_frames_are_packed(tmp_path):
    """Fewer digits, trajectories named after their runs, and everything else as it was."""
    types, rng = bead_types("DAY"), np.random.default_rng(1)
    for run, trajectory in (("a", "0"), ("b", "11")):
        (tmp_path / run).mkdir()
        info = {"trajectory": trajectory, "temperature_K": 350.0, "sequence": "DAY"}
        atoms = Atoms(types, rng.normal(size=(3, 3)), masses=[13.0, 14.0, 13.0], info=info)
        atoms.calc = SinglePointCalculator(atoms, forces=rng.normal(size=(3, 3)))
        write_frames([atoms], tmp_path / run / "frames.xyz")
    files = [tmp_path / run / "frames.xyz" for run in "ab"]
    subprocess.run(
        [sys.executable, NTL9 / "pack_frames.py", *files, "-o", tmp_path / "frames.xyz.gz"],
        check=True,
        capture_output=True,
    )
    frames = read_atoms(tmp_path / "frames.xyz.gz")
    assert [atoms.info.pop("trajectory") for atoms in frames] == ["a-0", "b-11"]
    for atoms, path in zip(frames, files, strict=True):
        (before,) = read_atoms(path)
        np.testing.assert_allclose(atoms.positions, before.positions, atol=5.1e-5)
        np.testing.assert_allclose(atoms.get_forces(), before.get_forces(), atol=5.1e-5)
        del before.info["trajectory"]
        assert atoms.info == before.info
        assert (atoms.numbers == types).all() and atoms.get_masses().tolist() == [13.0, 14.0, 13.0]


def test_committed_frames_are_those_of_the_recipe():
    settings = read_settings(NTL9 / "all_atom.toml", {})
    frames = read_atoms(NTL9 / "reference" / "frames-1.xyz.gz")
    assert len(frames) == 200 and len({atoms.info["trajectory"] for atoms in frames}) == 4
    assert {(atoms.info["sequence"], atoms.info["temperature_K"]) for atoms in frames} == {(settings.sequence, 350.0)}
    assert all((atoms.numbers == bead_types(settings.sequence)).all() for atoms in frames)
    bonds = np.array([np.linalg.norm(np.diff(atoms.positions, axis=0), axis=1) for atoms in frames])
    assert bonds.min() > 3.6 and bonds.max() < 4.1  # no peptide bond is cis: this chain has no proline
    rms = np.sqrt(np.mean([np.square(atoms.get_forces()) for atoms in frames]))
    assert round(1e3 * rms) == 437  # of the README
