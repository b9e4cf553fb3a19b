"""Errors of means over frames of several trajectories, against the spread of means over repeated draws."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from analysis.__main__ import main
from analysis.chain.frames import read_chain
from analysis.chain.means import mean_of, rows_of
from analysis.chain.report import error_map
from analysis.chain.residues import explain_chain
from analysis.distances.slow_motion import careful_mean
from tests.analysis.chains import SEQUENCE, frames, network, write_chain, write_models


def correlated(n: int, rho: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) of variance 1 whose neighbours have the correlation rho."""
    noise = rng.normal(size=n) * np.sqrt(1.0 - rho**2)
    x = rng.normal()
    return np.array([x := rho * x + kick for kick in noise])


def draws(lengths: list[int], rho: float, count: int = 400) -> tuple[float, float]:
    """Spread of the means of repeated draws of trajectories, and the root mean square of their errors."""
    rng, trajectories = np.random.default_rng(0), np.repeat(np.arange(len(lengths)), lengths)
    series = [np.concatenate([correlated(n, rho, rng) for n in lengths]) for _ in range(count)]
    means = [mean_of(values, trajectories) for values in series]
    spread = float(np.sqrt(np.mean([mean.value**2 for mean in means])))  # about the true mean, 0
    return spread, float(np.sqrt(np.mean([mean.error**2 for mean in means])))


@pytest.mark.parametrize(
    ("lengths", "rho"),
    [([40] * 6, 0.95), ([50] * 4, 0.99), ([7, 7, 7, 7, 6, 6], 0.9), ([160, 80, 80, 80, 40, 40], 0.8), ([1] * 30, 0.9)],
)
def test_errors_of_several_trajectories(lengths, rho):
    """Correlated within, independent between: the errors are the spread, within four of its own and their standard errors."""
    spread, errors = draws(lengths, rho)
    uncertainty = np.hypot(np.sqrt(0.5 / 400), np.sqrt(0.5 / (len(lengths) - 1) / 400))
    assert abs(errors / spread - 1.0) < 4.0 * uncertainty


@pytest.mark.parametrize(
    ("lengths", "rho"), [([400], 0.8), ([200, 200], 0.8), ([300, 100, 100], 0.5), ([500, 3, 3, 3], 0.5)]
)
def test_errors_of_few_trajectories(lengths, rho):
    """Never much below the spread; with few means above it, since the larger of two errors is taken."""
    spread, errors = draws(lengths, rho)
    assert 0.85 < errors / spread < 1.45


def test_few_trajectories_that_differ():
    """Two that never leave their starts: their correlations in time say nothing of their difference."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, 40)
    starts = np.repeat([10.0, 20.0], 20)
    assert mean_of(starts + noise, starts).error == pytest.approx(5.0, rel=0.05)
    assert careful_mean(noise).error < 0.1


def test_closed_forms():
    """Of equal lengths s/√K; the mean stays that of the frames; one frame each is a sample; one trajectory is one series."""
    values = np.array([1.0, 3.0, 2.0, 2.0, 5.0, 7.0, 0.0, 0.0])
    four = mean_of(values, np.array([0, 0, 1, 1, 2, 2, 3, 3]))
    assert four.value == values.mean() and four.error == pytest.approx(np.std([2, 2, 6, 0], ddof=1) / 2)
    assert four.n_effective == pytest.approx(values.var(ddof=1) / four.error**2)
    assert mean_of(values, np.arange(8)).error == pytest.approx(values.std(ddof=1) / np.sqrt(8))
    assert mean_of(values[:2], np.arange(2)).error == pytest.approx(1.0)
    assert mean_of(values, np.zeros(8)) == mean_of(values) == careful_mean(values)
    assert mean_of(np.ones(8), np.arange(8) // 2)[:2] == (1.0, 0.0) and np.isnan(mean_of(values[:1], np.zeros(1)).error)
    maps = values[:, None, None] * (1 - np.eye(2))
    rows, trajectories = rows_of([values, 2 * values], np.arange(8) // 2), np.arange(8) // 2
    assert rows[1].error == pytest.approx(2 * rows[0].error) == pytest.approx(2 * four.error)
    assert error_map(maps, trajectories)[0, 1] == four.error


def test_frames_are_chosen_from_all_trajectories_alike(tmp_path):
    """Whether trajectories of a file lie one behind the other or alternate; names of any kind, and none."""
    start = frames(1)
    for order in (np.repeat(np.arange(4), 10), np.tile(np.arange(4), 10)):
        structures = [Atoms(start.numbers, start.positions[0] + [k, 0, 0]) for k in range(40)]
        for atoms, name in zip(structures, order.tolist(), strict=True):
            atoms.info = {"sequence": SEQUENCE, "trajectory": name}
        write(tmp_path / "some.xyz", structures, format="extxyz")
        found = read_chain(tmp_path / "some.xyz", None, 8, None)
        places = (found.positions[:, 0, 0] - start.positions[0, 0, 0]).round().astype(int)
        assert np.bincount(found.trajectories).tolist() == [2, 2, 2, 2] and (np.diff(places) > 0).all()
        np.testing.assert_array_equal(found.trajectories, order[places])
    del structures[1].info["trajectory"], structures[5].info["trajectory"]
    write(tmp_path / "some.xyz", structures, format="extxyz")
    assert read_chain(tmp_path / "some.xyz", None, 40, None).trajectories[:6].tolist() == [0, 1, 2, 3, 0, 1]
    write_chain(tmp_path)
    assert read_chain(tmp_path / "frames.xyz", None, 40, None).trajectories.tolist() == [0, 0, 0]


def test_commands_know_trajectories(tmp_path, monkeypatch, capsys):
    """Chains of four sizes that shake a little: errors of Rg, energies and maps are those of four means."""
    monkeypatch.chdir(tmp_path)
    write_models(tmp_path)
    shaking, sizes = frames(24), np.repeat([1.0, 1.01, 1.02, 1.03], 6)
    structures = [
        Atoms(shaking.numbers, size * frame, info={"sequence": SEQUENCE, "trajectory": f"at {size}"})
        for size, frame in zip(
            sizes, shaking.positions[0] + 0.01 * (shaking.positions - shaking.positions[0]), strict=True
        )
    ]
    write("some.xyz", structures, format="extxyz")
    write_chain(tmp_path, "native.xyz")
    command = ["conformations", "some.xyz", "--native", "native.xyz", "--contact", "30", "-o", "rg.png", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)["found"][0]["gyration"]
    centred = np.array([atoms.positions - atoms.positions.mean(axis=0) for atoms in structures])
    means = np.sqrt((centred**2).sum(axis=2).mean(axis=1)).reshape(4, 6).mean(axis=1)
    assert found["error"] == pytest.approx(means.std(ddof=1) / 2, rel=1e-4)
    command = ["chain", "schnet.safetensors", "some.xyz", "-o", "out.png", "--json"]
    assert main(command) == 0
    own = json.loads(capsys.readouterr().out)["networks"][0]["energy"]["error_eV"]
    series = explain_chain(network(), "schnet", read_chain(Path("some.xyz"), None, 40, None), 0.0).energy
    assert own == pytest.approx(series.reshape(4, 6).mean(axis=1).std(ddof=1) / 2, rel=1e-9)
    command = [
        "mutations",
        "schnet.safetensors",
        "some.xyz",
        "--mutate",
        "D4Y",
        "--against",
        "native.xyz",
        "-o",
        "m.png",
    ]
    assert main(command) == 0
    changes = json.loads((tmp_path / "m.json").read_text())["exchanges"][0]["changes"]["schnet"]
    errors = [changes[name]["error_eV"] for name in ("ΔE of the network", "difference to --against")]
    assert 0 < errors[0] < errors[1]
    assert "of at least four trajectories of a file from their means" in (tmp_path / "m.txt").read_text()
