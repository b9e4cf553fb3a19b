"""Priors of chains from data: inversion recovers what was sampled, a published archive is read, training adds them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc import InputError
from mlcalc.cli import main
from mlcalc.data.coarse_grain.chain_priors import (
    dihedral_angles,
    fit_angle,
    fit_chain_priors,
    fit_dihedral,
    spring_moments,
)
from mlcalc.data.coarse_grain.residues import bead_types, check_sequence, name_of_type
from mlcalc.importers.chain_prior import read_chain_prior
from mlcalc.model_file import load_model
from mlcalc.priors.prior_file import read_priors, write_priors
from mlcalc.torch_potential import TorchPotential
from tests.conftest import SCHNETPACK_DIALECT, random_model
from tests.mlcalc.test_chain_priors import NUMBERS, chain, priors_of, without_network

N_SAMPLES = 20_000


def drawn(grid: np.ndarray, density: np.ndarray, rng) -> np.ndarray:
    """Independent samples of a density on a fine grid."""
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(rng.uniform(size=N_SAMPLES) * cumulative[-1], cumulative, grid)


def deviations(found: np.ndarray, true: np.ndarray, features: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Of coefficients, in standard errors: the inverse of the covariance of the features is that of the best estimate."""
    share = density / density.sum()
    off = features - share @ features
    covariance = np.linalg.inv((share[:, None] * off).T @ off) / N_SAMPLES
    return (found - true) / np.sqrt(np.diag(covariance))


def test_springs_are_recovered():
    """Lengths of a three-dimensional spring at 350 K: r² times a normal density."""
    rng, kT, stiffness, length = np.random.default_rng(0), units.kB * 350.0, 3.0, 3.8
    grid = np.linspace(3.0, 4.6, 20_001)
    lengths = drawn(grid, grid**2 * np.exp(-0.5 * stiffness * (grid - length) ** 2 / kT), rng)
    means, variances = spring_moments(lengths[:, None])
    width = np.sqrt(kT / stiffness)
    assert abs(means[0] - length) < 4 * width / np.sqrt(N_SAMPLES)
    assert abs(kT / variances[0] / stiffness - 1) < 4 * np.sqrt(2 / N_SAMPLES)
    assert abs(lengths.mean() - length) > 4 * width / np.sqrt(N_SAMPLES)  # what the Jacobian is for


def test_quartics_are_recovered():
    true, grid = np.array([1.5, 2.0, -1.0, 2.5]), np.linspace(-1, 1, 20_001)
    features = grid[:, None] ** np.arange(1, 5)
    density = np.exp(-features @ true)
    found = fit_angle(drawn(grid, density, np.random.default_rng(1)))
    assert np.abs(deviations(found[1:], true, features, density)).max() < 4.0
    assert abs((found[0] + features @ found[1:]).min()) < 1e-3


def test_fourier_series_are_recovered():
    true, grid = np.array([0.8, -0.5, 0.3, 1.1, 0.2, -0.4]), np.linspace(-np.pi, np.pi, 20_001)
    features = np.concatenate([np.cos(grid[:, None] * [1, 2, 3]), np.sin(grid[:, None] * [1, 2, 3])], axis=1)
    density = np.exp(-features @ true)
    found = fit_dihedral(drawn(grid, density, np.random.default_rng(2)), 3)
    assert np.abs(deviations(found[1:], true, features, density)).max() < 4.0


def test_narrow_data_keep_other_angles_away():
    """A helix explores some degrees: elsewhere the energy is high, and no coefficient is out of proportion."""
    found = fit_dihedral(np.random.default_rng(3).normal(0.9, 0.12, 500), 4)
    far = np.concatenate([[1.0], np.cos(np.arange(1, 5) * -2.2), np.sin(np.arange(1, 5) * -2.2)]) @ found
    near = np.concatenate([[1.0], np.cos(np.arange(1, 5) * 0.9), np.sin(np.arange(1, 5) * 0.9)]) @ found
    assert near < 2.0 and far > 8.0 and np.abs(found).max() < 500.0


def test_the_inverted_prior_is_the_potential_of_its_sampling():
    """Frames in which every bond and angle is drawn by itself from a prior of 350 K: the energies are found again."""
    priors, n, rng = priors_of(5), 5, np.random.default_rng(4)
    for name, keys in (
        ("angles", ("coefficients",)),
        ("dihedrals", ("cosines", "sines")),
    ):  # a few kT, so that all is seen
        rows = {key: tuple(map(tuple, 0.1 * np.array(getattr(priors[name], key)))) for key in keys}
        priors[name] = replace(priors[name], **rows)
    kT = units.kB * 350.0
    frames = _sampled(priors, n, kT, rng)
    fitted = fit_chain_priors(frames, bead_types("AGAGA"), 350.0, 12.0, n_orders=4)
    np.testing.assert_allclose(fitted["bonds"].stiffness, priors["bonds"].stiffness, rtol=4 * np.sqrt(2 / N_SAMPLES))
    np.testing.assert_allclose(fitted["bonds"].length, priors["bonds"].length, atol=0.005)
    bonds = np.diff(frames, axis=1)
    r = np.linalg.norm(bonds, axis=2)
    cosines = -(bonds[:, 1:] * bonds[:, :-1]).sum(2) / (r[:, 1:] * r[:, :-1])
    for k, (found, true) in enumerate(zip(fitted["angles"].coefficients, priors["angles"].coefficients, strict=True)):
        counts, edges = np.histogram(cosines[:, k], 30, (-1, 1))
        x = ((edges[1:] + edges[:-1]) / 2)[counts > 200]
        off = np.polynomial.polynomial.polyval(x, np.subtract(found, true))
        assert len(x) > 4 and np.ptp(off) < 0.4 * kT
    for k in range(2):
        counts, edges = np.histogram(dihedral_angles(bonds)[:, k], 30, (-np.pi, np.pi))
        orders = ((edges[1:] + edges[:-1]) / 2)[counts > 200][:, None] * np.arange(1, 5)
        off = np.cos(orders) @ np.subtract(fitted["dihedrals"].cosines[k], priors["dihedrals"].cosines[k])
        off += np.sin(orders) @ np.subtract(fitted["dihedrals"].sines[k], priors["dihedrals"].sines[k])
        assert len(off) > 4 and np.ptp(off) < 0.4 * kT


def _sampled(priors: dict, n: int, kT: float, rng) -> np.ndarray:
    """Chains (n_frames, n, 3) by bonds, angles and dihedral angles, which are independent of one another."""
    r, x, p = np.linspace(3.0, 4.6, 20_001), np.linspace(-0.999, 0.999, 20_001), np.linspace(-np.pi, np.pi, 20_001)
    k, length = priors["bonds"].stiffness, priors["bonds"].length
    lengths = [drawn(r, r**2 * np.exp(-0.5 * a * (r - b) ** 2 / kT), rng) for a, b in zip(k, length, strict=True)]
    angles = [
        drawn(x, np.exp(-np.polynomial.polynomial.polyval(x, c) / kT), rng) for c in priors["angles"].coefficients
    ]
    orders = p[:, None] * np.arange(1, 5)
    waves = zip(priors["dihedrals"].cosines, priors["dihedrals"].sines, strict=True)
    dihedrals = [drawn(p, np.exp(-(np.cos(orders) @ c + np.sin(orders) @ s) / kT), rng) for c, s in waves]
    places, ey = np.zeros((N_SAMPLES, n, 3)), np.array([0.0, 1.0, 0.0])
    places[:, 1, 0] = lengths[0]
    for i in range(2, n):
        along = places[:, i - 1] - places[:, i - 2]
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        before = places[:, i - 2] - places[:, i - 3] if i > 2 else np.broadcast_to(ey, along.shape)
        normal = np.cross(before, along)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        cosine, phi = angles[i - 2][:, None], (dihedrals[i - 3] if i > 2 else np.zeros(N_SAMPLES))[:, None]
        sine = np.sqrt(1 - cosine**2)
        across = np.cos(phi) * np.cross(normal, along) + np.sin(phi) * normal
        places[:, i] = places[:, i - 1] + lengths[i - 1][:, None] * (-cosine * along + sine * across)
    return places


def test_closest_approach():
    """The distance below which a thousandth of the frames are, at most 5 Å, symmetric, by types."""
    rng = np.random.default_rng(6)
    frames = np.stack([chain()] * 1000) + rng.normal(0, 0.1, (1000, 9, 3))
    prior = fit_chain_priors(frames, NUMBERS, 300.0, 12.0)["bead_repulsion"]
    assert prior.strength == pytest.approx(units.kB * 300.0)
    table = np.array(prior.distances)
    assert (table <= 5.0).all() and (table == table.T).all() and table.min() < 4.9
    rows = np.array([prior.types.index(z) for z in NUMBERS])
    for i in range(9):
        for j in range(i + 4, 9):
            near = np.linalg.norm(frames[:, i] - frames[:, j], axis=1) < table[rows[i], rows[j]]
            assert near.mean() <= 0.005


def published(path, sequence: str, seed: int = 0) -> dict:
    """An archive of two configurations, the second of this sequence."""
    rng, n, other = np.random.default_rng(seed), len(sequence), 6
    sigma = rng.uniform(3.0, 6.0, (21, 21)).astype(np.float32)
    arrays = {
        "models.angles.model.ks": rng.normal(size=(4, 21, 21, 21)), "models.angles.model.v_0": rng.normal(size=(21, 21, 21)),
        "models.non_bonded.model.sigma": (sigma + sigma.T) / 2,
        "models.dihedrals.model.k1s": rng.normal(size=(n + other - 6, 3)),
        "models.dihedrals.model.k2s": rng.normal(size=(n + other - 6, 3)),
        "models.dihedrals.model.v_0": rng.normal(size=(n + other - 6, 3)),
        "models.bonds.model.x0": rng.uniform(3.7, 3.9, n + other - 2), "models.bonds.model.k": rng.uniform(60, 90, n + other - 2),
        "config0.atom_types": np.arange(1, other + 1), "config1.atom_types": bead_types(sequence, False, False),
        "config1.nl.non_bonded": np.array(np.triu_indices(n, 3)),
    }  # fmt: skip
    np.savez(
        path, **{name: value.astype(np.float32) if value.dtype == float else value for name, value in arrays.items()}
    )
    return {name: np.asarray(value, dtype=float) for name, value in np.load(path).items()}


def test_a_published_prior(tmp_path):
    """Its energy by hand, in kcal/mol: springs without a half, powers of the cosine, waves, powers of six."""
    sequence, positions, kcal = "MKVIAGLL", chain(8, seed=8), units.kcal / units.mol
    arrays = published(tmp_path / "prior.npz", sequence)
    priors = read_chain_prior(tmp_path / "prior.npz", sequence, 60.0)
    found = TorchPotential(_model_of(priors, sequence), bead_types(sequence), "float64")(positions[None])[0][0] / kcal
    types = bead_types(sequence, False, False)
    bonds = np.diff(positions, axis=0)
    r = np.linalg.norm(bonds, axis=1)
    expected = (arrays["models.bonds.model.k"][5:] * (r - arrays["models.bonds.model.x0"][5:]) ** 2).sum()
    for i in range(6):
        x, key = -bonds[i] @ bonds[i + 1] / r[i] / r[i + 1], tuple(types[i : i + 3])
        ks = arrays["models.angles.model.ks"][:, *key]
        expected += arrays["models.angles.model.v_0"][key] + sum(k * x ** (n + 1) for n, k in enumerate(ks))
    for i, phi in enumerate(
        np.radians([Atoms("H8", positions).get_dihedral(i, i + 1, i + 2, i + 3) for i in range(5)])
    ):
        k1, k2 = (arrays[f"models.dihedrals.model.{name}"][3 + i] for name in ("k1s", "k2s"))
        orders = phi * np.arange(1, 4)
        expected += arrays["models.dihedrals.model.v_0"][3 + i, 0] + k1 @ np.sin(orders) + k2 @ np.cos(orders)
    for i, j in zip(*np.triu_indices(8, 3), strict=True):
        distance = np.linalg.norm(positions[i] - positions[j])
        expected += (arrays["models.non_bonded.model.sigma"][types[i], types[j]] / distance) ** 6
    assert found == pytest.approx(expected, rel=1e-6)
    assert priors["bead_repulsion"].excluded == 2


def _model_of(priors: dict, sequence: str):
    types = tuple(sorted({int(z) for z in bead_types(sequence)}))
    model = random_model(replace(SCHNETPACK_DIALECT, elements=types, cutoff=60.0), priors=priors)
    model.weights["energy_scale"], model.weights["energy_shift"] = np.zeros(()), np.zeros(len(types))
    return model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "2 configurations, none of this sequence of 8 residues"),
        ({"models.bonds.model.k": np.ones(3)}, "k of bonds: 0 rows: expected 7"),
        ({"config1.nl.non_bonded": np.array([[0, 1], [3, 5]])}, "nl.non_bonded: expected all pairs"),
        ({"models.angles.model.v_0": None}, "not the prior of a chain: 'models.angles.model.v_0'"),
    ],
)
def test_archives_that_are_none(tmp_path, capsys, change, words):
    path, sequence = tmp_path / "prior.npz", "MKVIAGLL"
    published(path, sequence)
    arrays = dict(np.load(path)) | change
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    arguments = ["--sequence", sequence if change else "MKVIAGLV", "--cutoff", "12", "-o", str(tmp_path / "x.json")]
    assert main(["priors", "--published", str(path), *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and not (tmp_path / "x.json").exists()


def test_files_of_priors(tmp_path):
    path = tmp_path / "priors.json"
    write_priors(priors_of(), "of a test", path)
    assert read_priors(path) == priors_of()
    table = json.loads(path.read_text())
    for change, words in (
        ({"units": {"energy": "kcal/mol", "length": "Ang"}}, "not a file of priors: expected"),
        ({"priors": []}, "expected a table"),
        ({"priors": {"torsions": {}}}, "prior 'torsions': this mlcalc supports repulsion"),
        ({"priors": {"bonds": {"stiffness": [1.0], "length": [3.8], "cut": 8.0}}}, "unknown key 'cut'"),
    ):
        path.write_text(json.dumps(table | change))
        with pytest.raises(InputError, match=words):
            read_priors(path)


def frames_of(n_frames: int, order: tuple[int, ...] = tuple(range(9))) -> list[Atoms]:
    """Chains with the forces of their priors; of the beads in another order, or of some of them."""
    places, order = chain() + np.random.default_rng(0).normal(0.0, 0.1, (n_frames, 9, 3)), list(order)
    _, forces = TorchPotential(without_network(priors_of()), NUMBERS, "float64")(places)
    frames = []
    for k, (x, f) in enumerate(zip(places, forces, strict=True)):
        frames.append(Atoms(NUMBERS[order], x[order], masses=[13.0] * len(order), info={"trajectory": f"{k % 4}"}))
        frames[-1].calc = SinglePointCalculator(frames[-1], forces=f[order])
    return frames


def test_training_learns_what_the_priors_leave(tmp_path, capsys):
    """From file to model: with the priors that made the forces, nothing is left to learn; without them, much is."""
    write(tmp_path / "frames.xyz", frames_of(40))
    write_priors(priors_of(), "of a test", tmp_path / "priors.json")
    keys = (
        'data = ["frames.xyz"]\nenergy_weight = 0.0\nn_features = 8\nn_interactions = 1\nn_rbf = 8\ncutoff_A = 12.0\nsteps = 4\n'
        "validation_every_steps = 4\nvalidation_fraction = 0.25\ntest_fraction = 0.25\nlearning_rate = 1e-9\ncompile = false\n"
    )
    config, errors = tmp_path / "train.toml", {}
    for name, key in (("with", 'priors_file = "priors.json"\n'), ("without", "")):
        config.write_text(keys + key)
        assert main(["train", str(config), "-o", str(tmp_path / name)]) == 0
        model = load_model(tmp_path / name)
        assert model.priors == (priors_of() if key else {})
        errors[name] = model.metadata["validation_errors"]["force_mae_eV_per_A"]
    assert errors["with"] < 0.2 * errors["without"]
    capsys.readouterr()
    config.write_text(keys.replace("cutoff_A = 12.0", "cutoff_A = 7.0") + 'priors_file = "priors.json"\n')
    assert main(["train", str(config), "-o", str(tmp_path / "no")]) == 2
    assert "expected at most the cutoff of 7 Å" in capsys.readouterr().err
    write(tmp_path / "frames.xyz", frames_of(8, tuple(range(8))))
    config.write_text(keys + 'priors_file = "priors.json"\n')
    assert main(["train", str(config), "-o", str(tmp_path / "no")]) == 2
    assert "8 beads: the prior is that of a chain of 9" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_types_of_residues():
    assert bead_types("ACYW").tolist() == [21, 2, 20, 22]
    assert bead_types("ACYW", False, False).tolist() == [1, 2, 20, 19]
    assert [name_of_type(number) for number in (1, 20, 21, 22, 30)] == ["A", "Y", "N-terminus", "C-terminus", "Zn"]
    with pytest.raises(InputError, match="sequence: 'B': expected letters of ACDEF"):
        check_sequence("ABA")
