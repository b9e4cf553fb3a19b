"""Free energies from biased runs, against the exact distributions of a double well at finite P."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from analysis.__main__ import main
from md.bias.settings import BiasSettings
from md.files.trajectory import read_frames
from md.runs.config import RunSettings
from md.runs.start import run
from mlcalc.vibrations import HBAR

pytest.importorskip("pymbar", reason="pymbar is not installed: pip install 'mlcalc[free-energy]'")

# A proton in a double well along x, bound in y and z, and a heavy atom 100 Å away: their distance is x + 100 Å to 1e-5 Å.
BARRIER, HALF, TILT = 0.20, 0.35, 0.02  # eV, Å, eV
AWAY, TEMPERATURE = 100.0, 300.0
THERMAL = units.kB * TEMPERATURE
PINNED, BOUND = 1e4, 40.0  # eV/Å²
MASS = 1.008


def well(x):
    u = x / HALF
    return BARRIER * (u**2 - 1.0) ** 2 + TILT * u


def potential(positions, cell=None):
    """Energies (P,) and forces (P, 2, 3) of the pinned atom and the proton."""
    anchor, proton = positions[:, 0], positions[:, 1] - [AWAY, 0.0, 0.0]
    forces = np.empty_like(positions)
    forces[:, 0] = -PINNED * anchor
    forces[:, 1] = -BOUND * proton
    u = proton[:, 0] / HALF
    forces[:, 1, 0] = -(4.0 * BARRIER * u * (u**2 - 1.0) + TILT) / HALF
    energies = (
        well(proton[:, 0]) + 0.5 * BOUND * (proton[:, 1:] ** 2).sum(axis=1) + 0.5 * PINNED * (anchor**2).sum(axis=1)
    )
    return energies, forces


def exact(n_beads: int, on: str, edges: np.ndarray) -> np.ndarray:
    """F in bins, eV, above its mean under p: numerical matrix multiplication, for the centroid by its characteristic function."""
    x, spacing = np.linspace(-0.8, 0.8, 161, retstep=True)
    beta_p = 1.0 / (n_beads * THERMAL)
    half = np.exp(-0.5 * beta_p * well(x))
    if n_beads == 1:
        density = half**2
    else:
        springs = np.exp(-0.5 * MASS * (x[:, None] - x) ** 2 / (beta_p * HBAR**2))
        matrix = half[:, None] * springs * half
        if on == "bead":
            density = np.diagonal(np.linalg.matrix_power(matrix, n_beads))
        else:
            rates = 2.0 * np.pi / 2.4 * np.arange(-60, 61)
            traces = np.array(
                [np.trace(np.linalg.matrix_power(matrix * np.exp(1j * k * x / n_beads), n_beads)) for k in rates]
            )
            density = (np.exp(-1j * np.outer(x, rates)) @ traces).real
    density = np.maximum(density, 0.0)
    cumulative = np.interp(edges, x + 0.5 * spacing, np.cumsum(density) / density.sum())
    return -THERMAL * np.log(np.diff(cumulative))


def biased(folder, n_beads, bias, steps, seed=1):
    """A run of the double well with a bias on the distance; returns its folder."""
    folder.parent.mkdir(exist_ok=True)
    structure = folder.parent / "two.xyz"
    atoms = Atoms("HeH", [[0, 0, 0], [AWAY - HALF, 0, 0]], masses=[1e6, MASS])
    write(structure, atoms, format="extxyz")
    settings = RunSettings(
        str(structure), engine="python:well", beads=n_beads, steps=steps, output=str(folder), bias=bias, timestep_fs=0.5,
        temperature_K=TEMPERATURE, integrator="BCOCB", equilibration_steps=500, properties_every_steps=20,
        trajectory_every_steps=10, remove_com=False, centroid_time_fs=20.0, energy_guard="off", bond_guard="off",
        domain_guard="record", seed=seed,
    )  # fmt: skip
    code, _ = run(settings, overwrite=True, potential=potential)
    assert code == 0
    return folder


def hills(**others):
    keys = {"height_eV": 0.01, "width_A": 0.06, "every_steps": 50, "bias_factor": 6.0} | others
    return BiasSettings("distance", (0, 1), "centroid", "metadynamics", **keys)


def umbrella(at, on):
    return BiasSettings("distance", (0, 1), on, "harmonic", at_A=AWAY + at, force_constant_eV_A2=3.0)


def computed(capsys, *words):
    assert main(["free-energy", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def deviations(found: dict, n_beads: int, on: str) -> np.ndarray:
    """Of −k_BT ln p from the exact one, in standard errors, in the bins below 4 k_BT."""
    centres, values = np.array(found["values_A"]), np.array(found["free_energy_eV"], dtype=float)
    half = 0.5 * (centres[1] - centres[0])
    edges = np.append(centres - half, centres[-1] + half) - AWAY
    values = np.where(np.isfinite(values), values, np.inf)
    values += THERMAL * np.log(np.exp(-values / THERMAL).sum())
    wanted = exact(n_beads, on, edges)
    seen = wanted - wanted.min() < 4.0 * THERMAL
    errors = np.array(found["free_energy_error_eV"], dtype=float)
    return (values - wanted)[seen] / errors[seen]


def check(found: dict, n_beads: int, on: str) -> None:
    """Deviations of bins are those of their errors, which are themselves known to a third; likewise the two basins apart."""
    away = deviations(found, n_beads, on)
    assert len(away) > 10 and np.sqrt((away**2).mean()) < 1.7
    below, above = exact(n_beads, on, np.array([-1.5, 0.0, 1.5]))
    value, error = found["above_less_below_eV"]
    assert abs(value - (above - below)) < 3.0 * error and error < 0.012


def test_windows_give_back_the_exact_free_energy(tmp_path, capsys):
    """P = 8; each way of acting in turn, joined, for beads and centroids."""
    places = np.linspace(-0.45, 0.45, 7)
    folders = [
        biased(tmp_path / f"w{n}", 8, (umbrella(at, ("centroid", "bead", "mean")[n % 3]),), 4000, seed=n)
        for n, at in enumerate(places)
    ]
    capsys.readouterr()
    for on in ("bead", "centroid"):
        found = computed(capsys, *folders, "--on", on, "--divide", AWAY, "--bins", 30)
        assert found["overlap"] > 0.03 and found["on"] == on
        check(found, 8, on)
    (tmp_path / "free-energy.txt").unlink()
    assert main(["free-energy", str(folders[0]), str(folders[-1])]) == 2
    assert "the windows overlap too little" in capsys.readouterr().err
    assert not (tmp_path / "free-energy.txt").exists()


def test_without_a_bias_it_is_the_distribution(tmp_path, capsys):
    """Weights are equal, and p is the histogram."""
    folder = biased(tmp_path / "free", 2, (), 1000)
    capsys.readouterr()
    found = computed(
        capsys, folder, "--variable", "distance", "--atoms", "0,1", "--on", "bead", "--bins", 5, "--discard", 0
    )
    assert found["effective_frames"] == pytest.approx(found["frames"]) and found["overlap"] is None
    _, positions = read_frames(folder / "trajectory.h5")
    lengths = np.linalg.norm(positions[:, :, 1] - positions[:, :, 0], axis=-1).ravel()
    counts, edges = np.histogram(lengths, 5, (lengths.min(), lengths.max()))
    np.testing.assert_allclose(found["values_A"], 0.5 * (edges[1:] + edges[:-1]))
    np.testing.assert_allclose(found["free_energy_eV"], THERMAL * np.log(counts.max() / counts), atol=1e-9)


def test_one_window_is_weighted_by_its_bias(tmp_path, capsys):
    """By hand, from the trajectory."""
    folder = biased(tmp_path / "one", 2, (umbrella(-0.3, "mean"),), 1000)
    capsys.readouterr()
    found = computed(capsys, folder, "--on", "centroid", "--bins", 5, "--discard", 0, "--divide", AWAY - 0.3)
    _, positions = read_frames(folder / "trajectory.h5")
    lengths = np.linalg.norm(positions[:, :, 1] - positions[:, :, 0], axis=-1).mean(axis=1)
    weights = np.exp(1.5 * (lengths - AWAY + 0.3) ** 2 / THERMAL)
    centroids = positions.mean(axis=1)
    along = np.linalg.norm(centroids[:, 1] - centroids[:, 0], axis=-1)
    counts, _ = np.histogram(along, 5, (along.min(), along.max()), weights=weights)
    np.testing.assert_allclose(found["free_energy_eV"], THERMAL * np.log(counts.max() / counts), atol=1e-9)
    apart = THERMAL * np.log(weights[along < AWAY - 0.3].sum() / weights[along > AWAY - 0.3].sum())
    assert found["above_less_below_eV"][0] == pytest.approx(apart)
    assert found["effective_frames"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_what_cannot_be_joined_is_refused(tmp_path, capsys):
    one = biased(tmp_path / "one", 2, (umbrella(-0.3, "mean"),), 400)
    others = {
        "beads = 1, but 2": biased(tmp_path / "beads", 1, (umbrella(-0.3, "mean"),), 400),
        "another bias than": biased(tmp_path / "hills", 2, (hills(),), 400),
        "expected at least 32": biased(tmp_path / "short", 2, (umbrella(-0.3, "mean"),), 200),
        "not a run folder": tmp_path / "nothing",
    }
    free = biased(tmp_path / "free", 2, (), 400)
    capsys.readouterr()
    cases = [([one, other], text) for text, other in others.items()]
    cases += [
        ([free], "a run without a bias: expected --variable and --atoms"),
        ([free, "--variable", "distance"], "--variable and --atoms belong together"),
        ([free, "--variable", "distance", "--atoms", "0,2"], "expected 2 different indices from 0 to 1"),
        ([free, "--variable", "angle", "--atoms", "0,1"], "expected 3 different indices"),
        ([one, "--divide", "3"], "--divide 3: expected a place between"),
        ([one, "--bins", "1"], "--bins 1: expected 2 to 10000"),
    ]
    for words, text in cases:
        assert main(["free-energy", *map(str, words)]) == 2, text
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert text in line, line
    assert not list(tmp_path.rglob("free-energy.*"))


@pytest.mark.slow
@pytest.mark.parametrize("n_beads", [1, 8, 32])
def test_metadynamics_gives_back_the_exact_free_energy(tmp_path, n_beads, capsys):
    folders = [biased(tmp_path / f"h{n}", n_beads, (hills(),), 30_000, seed=n) for n in range(5)]
    capsys.readouterr()
    for on in ("centroid", "bead"):
        check(computed(capsys, *folders, "--on", on, "--divide", AWAY, "--bins", 30), n_beads, on)
