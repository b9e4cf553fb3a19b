"""``mlcalc priors``: options, the temperature of frames, frames that no prior fits."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc.cli import main
from mlcalc.priors.prior_file import read_priors
from tests.mlcalc.test_chain_prior_files import frames_of, published
from tests.mlcalc.test_chain_priors import NUMBERS, chain


def cis_and_trans() -> np.ndarray:
    """Frames (40, 9, 3) of a chain, bond 5 of which is 3.0 Å long in every other frame."""
    frames = chain() + np.random.default_rng(0).normal(0.0, 0.03, (40, 9, 3))
    bond = frames[::2, 5] - frames[::2, 4]
    frames[::2, 5:] += ((3.0 / np.linalg.norm(bond, axis=1) - 1.0)[:, None] * bond)[:, None]
    return frames


def at_one_point() -> np.ndarray:
    frames = chain() + np.random.default_rng(0).normal(0.0, 0.03, (25, 9, 3))
    frames[3, 6] = frames[3, 5]
    return frames


def one_rigid_bond() -> np.ndarray:
    frames = chain() + np.random.default_rng(0).normal(0.0, 0.03, (25, 9, 3))
    frames[:, 1] = frames[:, 0] + [0.0, 0.0, 3.8]
    return frames


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (at_one_point(), "frame 4: beads 6 and 7 are 0.00 Å apart: expected a bond of at least 0.1 Å"),
        (np.stack([chain()] * 20), "the frames do not differ: no bond varies by 0.001 Å"),
        (
            np.stack([chain() + k for k in range(20)]).round(4),
            "the frames do not differ",
        ),  # moved, and rounded as in a file
        (one_rigid_bond(), "beads 1 and 2 are 3.80 Å apart on average, with a standard deviation of"),
        (
            cis_and_trans(),
            "beads 5 and 6 are 3.28 Å apart on average, with a standard deviation of 0.35 Å: expected at most 0.2 Å",
        ),
    ],
    ids=["at one point", "copies", "moved copies", "one rigid bond", "cis and trans"],
)
def test_frames_without_springs(tmp_path, capsys, frames, words):
    write(tmp_path / "frames.xyz", bare_frames(frames))
    fit = ["priors", str(tmp_path / "frames.xyz"), "--temperature", "350", "--cutoff", "12"]
    refused(capsys, [*fit, "-o", str(tmp_path / "priors.json")], words)
    assert not (tmp_path / "priors.json").exists()


def bare_frames(places: np.ndarray, numbers=NUMBERS, **info) -> list[Atoms]:
    """Frames of places (n_frames, n_beads, 3) with forces of 0, as a file has to have some."""
    frames = [Atoms(numbers, x, info=info) for x in places]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((len(atoms), 3)))
    return frames


def test_the_command_fits_frames(tmp_path, capsys):
    write(tmp_path / "frames.xyz", frames_of(40))
    fit = ["priors", str(tmp_path / "frames.xyz"), "--cutoff", "12", "-o", str(tmp_path / "priors.json")]
    assert main([*fit, "--temperature", "350"]) == 0
    assert "springs of 8 bonds, quartics of 7 angles" in capsys.readouterr().out
    assert read_priors(tmp_path / "priors.json")["bonds"].n_beads == 9
    assert main(fit) == 2
    assert "frames.xyz: structure 1 has no temperature_K: expected --temperature" in capsys.readouterr().err
    assert main(["priors", "--cutoff", "12", "-o", "x.json"]) == 2
    assert "expected frames to fit to, or --published" in capsys.readouterr().err
    write(tmp_path / "frames.xyz", frames_of(40, (0, 8, *range(1, 8))))
    ends = np.linalg.norm(chain()[8] - chain()[0])
    assert ends > 6.0
    assert main([*fit[:2], "--cutoff", "5", *fit[4:], "--temperature", "350"]) == 2
    assert "is the order of beads that along the chain?" in capsys.readouterr().err


def test_the_temperature_of_the_frames(tmp_path, capsys):
    """That of all frames is taken, another is refused, as are frames of several temperatures."""
    places = chain() + np.random.default_rng(0).normal(0.0, 0.05, (20, 9, 3))
    fit = ["priors", str(tmp_path / "frames.xyz"), "--cutoff", "12", "-o", str(tmp_path / "priors.json")]
    frames = bare_frames(places, temperature_K=350.0)
    write(tmp_path / "frames.xyz", frames)
    for given in ([], ["--temperature", "350"]):
        assert main([*fit, *given]) == 0
        assert read_priors(tmp_path / "priors.json")["bead_repulsion"].strength == pytest.approx(units.kB * 350.0)
    (tmp_path / "priors.json").unlink()
    refused(
        capsys, [*fit, "--temperature", "300"], "--temperature 300: frames.xyz: structure 1 has the temperature_K 350"
    )
    frames[7].info["temperature_K"] = 300.0
    write(tmp_path / "frames.xyz", frames)
    refused(
        capsys,
        fit,
        "frames.xyz: structure 8 has the temperature_K 300, the first 350: expected frames of one temperature",
    )
    refused(
        capsys, [*fit, "--temperature", "350"], "--temperature 350: frames.xyz: structure 8 has the temperature_K 300"
    )
    del frames[7].info["temperature_K"]
    write(tmp_path / "frames.xyz", frames)
    refused(capsys, fit, "frames.xyz: structure 8 has no temperature_K: expected --temperature")
    refused(
        capsys, [*fit, "--temperature", "300"], "--temperature 300: frames.xyz: structure 1 has the temperature_K 350"
    )
    frames[0].info["temperature_K"] = "warm"
    write(tmp_path / "frames.xyz", frames)
    refused(capsys, [*fit, "--temperature", "350"], "structure 1 has the temperature_K warm: expected a number")
    assert not (tmp_path / "priors.json").exists()


def refused(capsys, arguments: list[str], words: str) -> None:
    """The command ends with one line that has these words, and code 2."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_options_of_the_other_source(tmp_path, capsys):
    published(tmp_path / "prior.npz", "MKVIAGLL")
    write(tmp_path / "frames.xyz", frames_of(40))
    end = ["--cutoff", "12", "-o", str(tmp_path / "priors.json")]
    read = ["priors", "--published", str(tmp_path / "prior.npz"), "--sequence", "MKVIAGLL", *end]
    for option, value in (("--excluded", "3"), ("--orders", "9"), ("--temperature", "-3")):
        refused(capsys, [*read, option, value], f"{option}: an option for FRAMES only; leave it out")
    fit = ["priors", str(tmp_path / "frames.xyz"), "--temperature", "350", *end]
    for option, value in (("--sequence", "AAA"), ("--energy-unit", "eV")):
        refused(capsys, [*fit, option, value], f"{option}: an option of --published only; leave it out")
    assert not (tmp_path / "priors.json").exists()
    assert main([*read, "--energy-unit", "eV"]) == 0
    assert main([*fit, "--excluded", "2", "--orders", "1"]) == 0
    found = read_priors(tmp_path / "priors.json")
    assert found["bead_repulsion"].excluded == 2 and len(found["dihedrals"].cosines[0]) == 1
