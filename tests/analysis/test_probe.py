"""Probe atoms: the twin of each architecture with messages one way, symmetries, the surface, the command."""

import json
import sys
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read, write
from ase.io.cube import read_cube
from scipy.spatial.transform import Rotation
from scipy.special import expit

from analysis.__main__ import main
from analysis.atoms.energies import atom_energies
from analysis.probe.energies import EXCHANGES, ProbedMolecule
from analysis.probe.report import local_potential
from analysis.probe.surface import isosurface, nearness
from mlcalc.architectures import ARCHITECTURES
from mlcalc.architectures.dtnn import DTNNConfig
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet import SchNetConfig
from mlcalc.architectures.so3net import SO3netConfig
from mlcalc.architectures.so3net.harmonics import clebsch_gordan, degrees, harmonics
from mlcalc.architectures.wacsf import WACSFConfig
from mlcalc.geometry.bonds import find_bonds
from mlcalc.model_file import load_model, save_model
from mlcalc.potential import build_potential
from mlcalc.priors import AngularPrior, Repulsion
from tests.conftest import ORIGINAL_DIALECT, SCHNETPACK_DIALECT, random_model

ROOT = Path(__file__).parents[2]
PRIORS = {"repulsion": Repulsion(2.0), "angular": AngularPrior(strength=4.0, cosine=-0.4, decay=0.8, cutoff=2.6)}
CUTOFF = 4.0
CONFIGS = {
    "schnet": SchNetConfig, "painn": PaiNNConfig, "so3net": SO3netConfig, "dtnn": DTNNConfig, "wacsf": WACSFConfig,
}  # fmt: skip
POINTS = np.random.default_rng(5).uniform(-2.5, 2.5, (12, 3))


def network(name: str, blocks: int, priors: dict | None = None):
    """A random network of an architecture for C and H, and a molecule for it."""
    sizes = {"n_features": 8, "n_interactions": blocks, "n_rbf": 8, "readout_hidden": 4, "cutoff": CUTOFF}
    sizes = {key: value for key, value in sizes.items() if key in get_type_hints(CONFIGS[name])}
    return random_model(CONFIGS[name](elements=(6, 1), **sizes), 3, np.float64, priors or {})


@pytest.fixture
def atoms() -> Atoms:
    found = molecule("C3H4_C3v")
    found.positions += np.random.default_rng(1).normal(0.0, 0.05, found.positions.shape)
    return found


# The twins: dense NumPy, x_i ← x_i + f(Σ_j heard[i, j]·message from j), where a probe is not heard.


def silu(x):
    return x * expit(x)


def ssp(x):
    return np.logaddexp(x, 0.0) - np.log(2.0)


class Twin:
    """Weights and geometry of all ordered pairs of atoms."""

    def __init__(self, model, numbers, positions, heard):
        self.w, self.config = model.weights, model.config
        vectors = positions[None] - positions[:, None]
        self.r = np.linalg.norm(vectors, axis=2)
        self.unit = vectors / np.where(self.r > 0, self.r, 1.0)[:, :, None]
        w = self.w
        self.basis = np.exp(-w["radial_basis.coefficients"] * (self.r[:, :, None] - w["radial_basis.centers"]) ** 2)
        ending = 0.5 * (np.cos(np.pi * self.r / CUTOFF) + 1.0) * (self.r < CUTOFF)
        self.heard = (heard * ending)[:, :, None]
        self.numbers, self.rows = np.asarray(numbers), [model.config.elements.index(z) for z in numbers]

    @property
    def x(self):
        return self.w["embedding.weight"][self.rows]

    def dense(self, name, x):
        y = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def energies(self, x):
        act = {"ssp": ssp, "silu": silu}[self.config.readout_activation]
        return self.dense("readout.1", act(self.dense("readout.0", x)))[:, 0] * self.w["energy_scale"]


def schnet_twin(t: Twin):
    x = t.x
    for name in (f"interactions.{k}" for k in range(t.config.n_interactions)):
        filters = t.dense(f"{name}.filter_network.1", ssp(t.dense(f"{name}.filter_network.0", t.basis))) * t.heard
        convolved = np.einsum("ijf,jf->if", filters, t.dense(f"{name}.in2f", x))
        x = x + t.dense(f"{name}.f2out.1", ssp(t.dense(f"{name}.f2out.0", convolved)))
    return t.energies(x)


def painn_twin(t: Twin):
    q, mu = t.x, np.zeros((len(t.x), 3, t.config.n_features))
    filters = np.split(t.dense("filter_net", t.basis) * t.heard, t.config.n_interactions, axis=2)
    for k, of_block in enumerate(filters):
        context, mixing = f"interactions.{k}.interatomic_context_net", f"mixing.{k}.intraatomic_context_net"
        x = t.dense(f"{context}.1", silu(t.dense(f"{context}.0", q)))
        a, b, c = np.split(of_block * x[None], 3, axis=2)
        q, mu = q + a.sum(1), mu + np.einsum("ijf,ijx->ixf", b, t.unit) + np.einsum("ijf,jxf->ixf", c, mu)
        v, u = np.split(t.dense(f"mixing.{k}.mu_channel_mix", mu), 2, axis=2)
        norm = np.sqrt((v**2).sum(1) + t.config.norm_epsilon)
        s, g, p = np.split(
            t.dense(f"{mixing}.1", silu(t.dense(f"{mixing}.0", np.concatenate([q, norm], axis=1)))), 3, 1
        )
        q, mu = q + s + p * (v * u).sum(1), mu + g[:, None] * u
    return t.energies(q)


def so3net_twin(t: Twin):
    lmax, f = t.config.lmax, t.config.n_features
    of, c = degrees(lmax), clebsch_gordan(lmax)
    y = np.array(harmonics(*np.moveaxis(t.unit, 2, 0), lmax))
    x = np.zeros((len(t.x), len(of), f))
    x[:, 0] = t.x
    for name in (f"interactions.{k}" for k in range(t.config.n_interactions)):
        filters = (t.dense(f"{name}.filter_net", t.basis) * t.heard).reshape(*t.r.shape, lmax + 1, f)[:, :, of]
        delta = np.einsum("abs,aij,ijaf,jbf->isf", c, y, filters, x, optimize=True)
        delta = delta + np.einsum("abs,iaf,ibf->isf", c, delta, t.dense(f"{name}.mixings.0", delta))
        delta = t.dense(f"{name}.mixings.1", delta)
        gates = expit(t.dense(f"{name}.gating", delta[:, 0]))
        x = x + t.dense(f"{name}.mixings.2", delta * gates.reshape(-1, lmax + 1, f)[:, of])
    return t.energies(x[:, 0])


def dtnn_twin(t: Twin):
    """Passes share one block; messages end with D(r), where an atom is not heard too."""
    x, of_pairs = t.x, t.dense("distance_layer", t.basis) * t.heard
    act = {"tanh": np.tanh, "ssp": ssp, "silu": silu}[t.config.activation]
    for k in range(t.config.n_interactions):
        name = f"interactions.{k % t.config.n_blocks}"
        x = x + act(t.dense(f"{name}.factors2out", t.dense(f"{name}.in2factors", x) * of_pairs)).sum(1)
    return t.dense("readout.1", np.tanh(t.dense("readout.0", x)))[:, 0] * t.w["energy_scale"]


def wacsf_twin(t: Twin):
    """Nothing passes on: an atom that is not heard is no neighbour. Ordered pairs of neighbours, each counted half."""
    z = t.heard[:, :, 0] * t.numbers
    share = z[:, :, None] * np.exp(-t.w["angular_basis.coefficients"] * (t.r**2)[:, :, None])
    cosine = np.einsum("ijx,ikx->ijk", t.unit, t.unit)
    triples = 0.5 * share[:, :, None] * share[:, None] * (1.0 - np.eye(len(z)))[None, :, :, None]
    angular = [np.einsum("ijka,ijk->ia", triples, 1.0 + sign * cosine) for sign in (-1.0, 1.0)]
    functions = np.concatenate([np.einsum("ij,ijk->ik", z, t.basis), *angular], axis=1)
    x, energies = (functions - t.w["mean"][t.rows]) / t.w["deviation"][t.rows], []
    for row, of_atom in zip(t.rows, x, strict=True):
        for layer in range(2):
            of_atom = ssp(t.dense(f"networks.{row}.{layer}", of_atom))
        energies.append(t.dense(f"networks.{row}.2", of_atom)[0])
    return np.array(energies) * t.w["energy_scale"]


TWINS = {"schnet": schnet_twin, "painn": painn_twin, "so3net": so3net_twin, "dtnn": dtnn_twin, "wacsf": wacsf_twin}


def test_every_architecture_has_a_twin():
    assert set(EXCHANGES) == set(TWINS) <= set(ARCHITECTURES)


@pytest.mark.parametrize("name", TWINS)
def test_the_molecule_does_not_hear_the_probe(name, atoms):
    """The twin in which all are heard is the network itself; in the other the molecule keeps its energy."""
    model, n = network(name, 2), len(atoms)
    found = ProbedMolecule(model, atoms).energies(1, POINTS)
    numbers = np.append(atoms.numbers, 1)
    both = 1.0 - np.eye(n + 1)
    one_way = both * (np.arange(n + 1) < n)
    shift = model.weights["energy_shift"]
    constants = np.array([shift[model.config.elements.index(z)] for z in numbers])
    alone = build_potential(model, atoms.numbers, "float64", "torch").evaluate(atoms.positions[None])
    for point, energy in zip(POINTS, found, strict=True):
        positions = np.vstack([atoms.positions, point])
        network_itself = build_potential(model, numbers, "float64", "torch").evaluate(positions[None])
        full = TWINS[name](Twin(model, numbers, positions, both))
        np.testing.assert_allclose(full, network_itself["atomic_energies"][0] - constants, rtol=1e-9, atol=1e-9)
        of_atoms = TWINS[name](Twin(model, numbers, positions, one_way))
        np.testing.assert_allclose(of_atoms[:n], alone["atomic_energies"][0] - constants[:n], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(energy, of_atoms[n], rtol=1e-9, atol=1e-9)
        assert np.abs(full - of_atoms).max() > 1e-3


@pytest.mark.parametrize("name", TWINS)
def test_one_block_is_an_atom_like_any_other(name, atoms):
    """Only in the second block could what the molecule heard come back: the atomic energy of the potential, with all priors."""
    model = network(name, 1, PRIORS)
    found = ProbedMolecule(model, atoms).energies(6, POINTS)
    potential = build_potential(model, np.append(atoms.numbers, 6), "float64", "torch")
    positions = np.array([np.vstack([atoms.positions, point]) for point in POINTS])
    expected = potential.evaluate(positions)["atomic_energies"][:, -1] - model.weights["energy_shift"][0]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", TWINS)
def test_symmetries_and_the_limit_far_away(name, atoms):
    model = network(name, 2, PRIORS)
    probed = ProbedMolecule(model, atoms)
    expected, turn = probed.energies(1, POINTS), Rotation.random(random_state=2).as_matrix()
    order = np.random.default_rng(3).permutation(len(atoms))
    moved = Atoms(atoms.numbers[order], atoms.positions[order] @ turn.T + 7.0)
    np.testing.assert_allclose(ProbedMolecule(model, moved).energies(1, POINTS @ turn.T + 7.0), expected, rtol=1e-9)
    np.testing.assert_allclose(probed.energies(1, POINTS[4:6]), expected[4:6], rtol=1e-12)  # probes ignore each other
    free = build_potential(model, np.array([1]), "float64", "torch").evaluate(np.zeros((1, 1, 3)))
    lone = free["atomic_energies"][0, 0] - model.weights["energy_shift"][1]
    np.testing.assert_allclose(probed.energies(1, [[50.0, 0.0, 0.0]]), lone, rtol=1e-12)
    assert probed.alone(1) == pytest.approx(lone, rel=1e-12)
    assert probed.energies(1, np.zeros((0, 3))).shape == (0,)
    # Just inside the cutoff of one atom: no step.
    edge = Atoms("C", [[0.0, 0.0, 0.0]])
    assert ProbedMolecule(model, edge).energies(1, [[CUTOFF - 1e-4, 0.0, 0.0]]) == pytest.approx(lone, abs=1e-5)


def test_a_network_without_cutoff(atoms):
    """All atoms are heard at any distance; a batch is as good as one by one."""
    probed = ProbedMolecule(random_model(ORIGINAL_DIALECT), atoms)
    one_by_one = [probed.energies(6, point)[0] for point in POINTS]
    np.testing.assert_allclose(probed.energies(6, POINTS), one_by_one, rtol=1e-10)


@pytest.mark.parametrize(
    "positions, pieces, holes",
    [
        ([[0.1, 0.2, 0.3]], 1, 0),
        ([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]], 2, 0),
        ([[2 * np.cos(a), 2 * np.sin(a), 0.0] for a in np.linspace(0.0, 2 * np.pi, 12, endpoint=False)], 1, 1),
    ],
    ids=["sphere", "two", "ring"],
)
def test_the_surface_is_closed(positions, pieces, holes):
    """Each edge belongs to two triangles; corners, edges and faces count pieces and holes (Euler)."""
    positions = np.array(positions)
    surface = isosurface(positions, 3.7 if len(positions) < 3 else 6.0, 0.2)
    np.testing.assert_allclose(nearness(surface.points, positions), 3.7 if len(positions) < 3 else 6.0, rtol=1e-9)
    edges = np.sort(surface.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    assert len(surface.points) - len(unique) + len(surface.triangles) == 2 * (pieces - holes)


def test_area_and_mean_of_a_sphere():
    """Radius 1/√level; the mean of x² is r²/3; normals point outward."""
    surface = isosurface(np.zeros((1, 3)), 0.25, 0.1)
    assert surface.areas.sum() == pytest.approx(16 * np.pi, rel=2e-3)
    assert surface.mean(surface.points[:, 0] ** 2) == pytest.approx(4 / 3, rel=3e-3)
    large = surface.areas > 1e-8
    assert (np.einsum("mx,mx->m", surface.normals, surface.points[surface.triangles[:, 0]])[large] > 0).all()


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(random_model(SCHNETPACK_DIALECT, seed=3), "net.safetensors")
    write("one.xyz", molecule("C2H2"), format="extxyz")
    write("two.xyz", [molecule("C2H2"), molecule("CH4")], format="extxyz")
    write("water.xyz", molecule("H2O"), format="extxyz")
    write("crystal.xyz", bulk("C"), format="extxyz")
    return tmp_path


def probe(sources: str, *arguments: str, atom: str = "H", model: str = "net.safetensors") -> int:
    return main(
        ["probe", *sources.split(), "--model", model, "--atom", atom, "-o", "out.png", "--spacing", "0.3", *arguments]
    )


def test_files_hold_the_same_numbers(folder, capsys):
    assert probe("one.xyz", "--json", "--cube", "out.cube", "--cube-spacing", "1.0") == 0
    printed = json.loads(capsys.readouterr().out)
    found = local_potential(random_model(SCHNETPACK_DIALECT, seed=3), read("one.xyz"), "H", 3.7, 0.3)
    assert printed["minimum"]["energy_eV"] == pytest.approx(found.energies.min())
    assert printed["mean_eV"] == pytest.approx(found.surface.mean(found.energies))
    assert json.loads((folder / "out.json").read_text()) == printed
    with np.load("out.npz") as arrays:
        assert arrays["energies_eV"].min() == pytest.approx(printed["minimum"]["energy_eV"])
        assert arrays["points_A"][arrays["energies_eV"].argmax()] == pytest.approx(printed["maximum"]["position_A"])
        nearest = np.linalg.norm(printed["maximum"]["position_A"] - arrays["positions_A"], axis=1)
    assert (
        nearest[printed["maximum"]["nearest_atom"]] == nearest.min() == pytest.approx(printed["maximum"]["distance_A"])
    )
    assert "minimum" in (folder / "out.txt").read_text()
    assert (folder / "out.png").read_bytes()[1:4] == b"PNG"
    with open("out.cube") as file:
        cube = read_cube(file)
        comment = (folder / "out.cube").read_text().splitlines()[0]
    assert "in eV" in comment
    index = (1, 2, 0)
    point = cube["origin"] + cube["spacing"].T @ index
    assert cube["data"][index] == pytest.approx(found.molecule.energies(1, point)[0], rel=1e-4)


def test_the_web_page(folder, capsys):
    pytest.importorskip("chemiscope")
    assert probe("one.xyz", "--html") == 0
    page = (folder / "out.html").read_text(encoding="utf-8")
    assert "StructureVisualizer.load" in page
    assert page.count("</script>") == 2
    assert "src=" not in page.partition("<script>")[0]


def test_without_chemiscope_the_rest_is_written(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "chemiscope", None)
    assert probe("one.xyz", "--html") == 0
    assert "needs chemiscope: pip install 'mlcalc[notebooks]'" in capsys.readouterr().err
    assert (folder / "out.png").exists()
    assert not (folder / "out.html").exists()


@pytest.mark.parametrize(
    "source, options, keys, message",
    [
        ("water.xyz", (), {}, "element O: this model knows H, C"),
        ("one.xyz", (), {"atom": "O"}, "probe O: element O: this model knows H, C"),
        ("one.xyz", (), {"atom": "hydrogen"}, "probe 'hydrogen': expected the symbol of an element of this model: H, C"),
        ("crystal.xyz", (), {}, "the structure is periodic: expected a molecule"),
        ("two.xyz", (), {}, "two.xyz: 2 structures: expected one"),
        ("none.xyz", (), {}, "none.xyz: no such file"),
        ("one.xyz", (), {"model": "one.xyz"}, "one.xyz"),
        ("one.xyz", ("--level", "0"), {}, "level = 0.0: expected more than 0"),
        ("one.xyz", ("--level", "100"), {}, "spacing = 0.3: expected more than 0.0 and at most 0.1"),
        ("one.xyz", ("--spacing", "nan"), {}, "spacing = nan"),
        ("one.xyz", ("--spacing", "0.001"), {}, "choose a wider spacing"),
        ("one.xyz", ("--cube", "out.png"), {}, "--cube out.png: expected a name that ends in .cube"),
        ("one.xyz", ("--cube-spacing", "0.5"), {}, "--cube-spacing: an option of --cube only"),
        ("one.xyz", ("--cube", "out.cube", "--cube-spacing", "0"), {}, "cube spacing = 0.0"),
        ("one.xyz", ("-o", "out.pdf"), {}, "expected a name that ends in .png"),
    ],
)  # fmt: skip
def test_refusals(folder, capsys, source, options, keys, message):
    before = sorted(folder.iterdir())
    assert probe(source, *options, **keys) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert sorted(folder.iterdir()) == before


def test_an_architecture_without_a_row(folder, capsys, monkeypatch):
    monkeypatch.delitem(EXCHANGES, "schnet")
    assert probe("one.xyz") == 2
    assert (
        "no probe atoms for a SchNet: expected a model of PaiNN or SO3net or DTNN or wACSF" in capsys.readouterr().err
    )


def test_a_trained_network_knows_where_a_hydrogen_is_missing():
    """Acetylacetone without one of its eight hydrogens, whose network has never seen one missing: a probe H has a minimum within
    0.2 Å of the vacancy, lower than all around at twice the distance and than elsewhere along the broken bond, at its energy."""
    model, whole = load_model("acac"), read(ROOT / "inputs" / "acac" / "acac.xyz")
    energies = atom_energies({"acac": model}, [whole], "acac.xyz").values[0]
    bonds, sphere = find_bonds(whole), np.random.default_rng(0).normal(size=(100, 3))
    sphere /= np.linalg.norm(sphere, axis=1)[:, None]
    hydrogens = np.flatnonzero(whole.numbers == 1)
    assert len(hydrogens) == 8
    for k in hydrogens.tolist():
        rest, vacancy = ProbedMolecule(model, whole[np.arange(len(whole)) != k]), whole.positions[k]
        at = rest.energies(1, vacancy[None])[0]
        near, around = (rest.energies(1, vacancy + radius * sphere).min() for radius in (0.2, 0.4))
        assert min(at, near) < around
        assert at == pytest.approx(energies[k], abs=0.2)
        bond = next(i + j - k for i, j in zip(bonds.first.tolist(), bonds.second.tolist(), strict=True) if k in (i, j))
        lengths, direction = np.linspace(0.5, 3.0, 51), vacancy - whole.positions[bond]
        line = whole.positions[bond] + lengths[:, None] * direction / np.linalg.norm(direction)
        assert lengths[rest.energies(1, line).argmin()] == pytest.approx(np.linalg.norm(direction), abs=0.1)


def test_a_point_on_a_nucleus(atoms):
    with pytest.raises(ValueError, match="lies on atom 2: move it"):
        ProbedMolecule(network("painn", 1), atoms).energies(1, atoms.positions[2:3])


def test_several_molecules_and_models_are_compared(folder, capsys):
    other = random_model(SCHNETPACK_DIALECT, seed=4)
    save_model(other, "other.safetensors")
    write("methane.xyz", molecule("CH4"), format="extxyz")
    assert probe("one.xyz methane.xyz", "--model", "other.safetensors", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["molecule"], row["network"]) for row in rows] == [
        ("one", "net"), ("one", "other"), ("methane", "net"), ("methane", "other"),
    ]  # fmt: skip
    found = local_potential(other, read("one.xyz"), "H", 3.7, 0.3)
    assert rows[1]["minimum_eV"] == pytest.approx(found.energies.min())
    # The parts of the surface near each element make up the whole: deviations from its mean, weighted by area, cancel.
    shares = [found.surface.shares[found.atoms.numbers[found.nearest] == z].sum() for z in (1, 6)]
    near = rows[1]["near_elements_relative_to_mean_eV"]
    assert shares[0] * near["H"] + shares[1] * near["C"] == pytest.approx(0.0, abs=1e-9)
    assert sum(shares) == pytest.approx(1.0)
    assert rows[0]["correlation_with_first_network"] == pytest.approx(1.0)
    assert abs(rows[1]["correlation_with_first_network"]) < 1.0
    assert rows[1]["share_nearer_than_training"] is None
    assert "unknown" in (folder / "out.txt").read_text()
    assert (folder / "out.png").read_bytes()[1:4] == b"PNG"
    assert probe("one.xyz methane.xyz", "--html") == 2
    assert "for one molecule and one model" in capsys.readouterr().err
