"""Priors of chains: closed forms, compiled against torch, gradients, invariances, chains that are none."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mlcalc import InputError
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.model_file import load_model, save_model
from mlcalc.model_summary import describe
from mlcalc.potential import build_potential
from mlcalc.priors import AnglePrior, BeadRepulsion, BondPrior, DihedralPrior
from mlcalc.torch_potential import TorchPotential
from tests.conftest import SCHNETPACK_DIALECT, THREADS, random_model

CUTOFF, N = 12.0, 9
TYPES = (3, 1, 20)
CONFIG = replace(SCHNETPACK_DIALECT, elements=TYPES, cutoff=CUTOFF)
NUMBERS = np.array([TYPES[k % 3] for k in range(N)])


def priors_of(n: int = N, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    table = rng.uniform(3.0, 6.0, (3, 3))

    def rows(*shape):
        return tuple(map(tuple, rng.normal(0.0, 0.3, shape)))

    return {
        "bonds": BondPrior(tuple(rng.uniform(3.0, 8.0, n - 1)), tuple(rng.uniform(3.7, 3.9, n - 1)), 8.0),
        "angles": AnglePrior(rows(n - 2, 5), 8.0),
        "dihedrals": DihedralPrior(tuple(rng.normal(size=n - 3)), rows(n - 3, 4), rows(n - 3, 4), 8.0),
        "bead_repulsion": BeadRepulsion(0.05, TYPES, tuple(map(tuple, (table + table.T) / 2)), n, 3, 11.0),
    }


def with_network(priors: dict, config=CONFIG):
    model = random_model(config, priors=priors)
    model.weights["energy_shift"] = np.zeros(3)
    return model


def without_network(priors: dict):
    """A model whose energy is its priors."""
    model = with_network(priors)
    model.weights["energy_scale"] = np.zeros(())
    return model


def chain(n: int = N, seed: int = 1) -> np.ndarray:
    """A chain (n, 3) Å of bonds of about 3.8 Å whose beads are no nearer than 3 Å, and whose dihedrals are well defined."""
    rng = np.random.default_rng(seed)
    places = [np.zeros(3)]
    while len(places) < n:
        step = rng.normal(size=3)
        trial = places[-1] + step * rng.uniform(3.6, 4.0) / np.linalg.norm(step)
        if np.linalg.norm(np.array(places) - trial, axis=1).min() > 3.0:
            places.append(trial)
    return np.array(places)


def both(priors: dict, numbers, positions, **box):
    model = without_network(priors)
    for make in (SchNetKernel, TorchPotential):
        yield make(model, numbers, "float64", **box).evaluate(np.asarray(positions, dtype=float)[None])


def test_a_bond():
    for found in both({"bonds": BondPrior((6.0,), (3.8,), 8.0)}, TYPES[:2], [[0, 0, 0], [0, 0, 4.1]]):
        assert found["energies"][0] == pytest.approx(0.5 * 6.0 * 0.3**2, rel=1e-12)
        np.testing.assert_allclose(found["forces"][0], [[0, 0, 1.8], [0, 0, -1.8]], atol=1e-12)
        np.testing.assert_allclose(found["atomic_energies"][0], [0.135, 0.135], rtol=1e-12)
        assert found["virials"][0, 2, 2] == pytest.approx(4.1 * 1.8, rel=1e-12)


@pytest.mark.parametrize("degrees", [60.0, 90.0, 123.0, 180.0])
def test_an_angle(degrees):
    """The bead in the middle has all of it; bonds of other lengths change nothing."""
    coefficients, theta = (0.3, -0.2, 0.7, 0.1, -0.4), np.radians(degrees)
    positions = [[3.8, 0, 0], [0, 0, 0], [3.1 * np.cos(theta), 3.1 * np.sin(theta), 0]]
    expected = sum(c * np.cos(theta) ** n for n, c in enumerate(coefficients))
    for found in both({"angles": AnglePrior((coefficients,), 8.0)}, TYPES, positions):
        np.testing.assert_allclose(found["atomic_energies"][0], [0, expected, 0], atol=1e-12)
        # Turning about the apex: torque on the third bead is −dE/dθ.
        torque = np.cross(positions[2], found["forces"][0][2])[2]
        slope = sum(-n * c * np.cos(theta) ** (n - 1) * np.sin(theta) for n, c in enumerate(coefficients) if n)
        assert torque == pytest.approx(-slope, abs=1e-12)


@pytest.mark.parametrize("degrees", [-170.0, -60.0, 0.0, 50.0, 180.0])
def test_a_dihedral_angle(degrees):
    """IUPAC: looking along the middle bond, the far bond is clockwise of the near one by a positive angle."""
    phi, constant, cosines, sines = np.radians(degrees), 0.4, (0.3, -0.2), (0.5, 0.1)
    # Along +z; clockwise, seen from below, is anticlockwise seen from above.
    positions = [[3.6, 0, 0], [0, 0, 0], [0, 0, 3.8], [3.0 * np.cos(phi), 3.0 * np.sin(phi), 4.5]]
    expected = constant + sum(
        c * np.cos(n * phi) + s * np.sin(n * phi) for n, (c, s) in enumerate(zip(cosines, sines, strict=True), 1)
    )
    slope = sum(
        n * (s * np.cos(n * phi) - c * np.sin(n * phi)) for n, (c, s) in enumerate(zip(cosines, sines, strict=True), 1)
    )
    prior = DihedralPrior((constant,), (cosines,), (sines,), 8.0)
    for found in both({"dihedrals": prior}, [*TYPES, 3], positions):
        np.testing.assert_allclose(found["atomic_energies"][0], [0, expected / 2, expected / 2, 0], atol=1e-12)
        torque = np.cross(positions[3], found["forces"][0][3])[2]
        assert torque == pytest.approx(-slope, abs=1e-12)


def test_the_sign_of_dihedral_angles_is_that_of_ase():
    from ase import Atoms

    positions = chain(4, seed=5)
    phi = np.radians(Atoms("H4", positions).get_dihedral(0, 1, 2, 3))
    for found in both({"dihedrals": DihedralPrior((0.0,), ((0.0,),), ((1.0,),), 8.0)}, [*TYPES, 3], positions):
        assert found["energies"][0] == pytest.approx(np.sin(phi), rel=1e-10)


@pytest.mark.parametrize(("apart", "repels"), [(1, False), (3, False), (4, True)])
def test_a_pair_of_beads(apart, repels):
    """Beads ``apart`` places along the chain, the others farther than the cutoff; a power of six below half of the cutoff."""
    prior = replace(priors_of(5)["bead_repulsion"], cutoff=10.0)
    positions = np.array([[0, 50.0 * k, 0] for k in range(5)], dtype=float)
    positions[apart] = [4.9, 0, 0]
    numbers = [1, 3, 3, 3, 3]
    expected = 0.05 * (prior.distances[1][0] / 4.9) ** 6 if repels else 0.0
    for found in both({"bead_repulsion": prior}, numbers, positions):
        assert found["energies"][0] == pytest.approx(expected, rel=1e-12)
        assert found["forces"][0, apart, 0] == pytest.approx(6 * expected / 4.9, rel=1e-12)


def test_repulsion_ends_smoothly():
    prior = replace(priors_of(5)["bead_repulsion"], cutoff=10.0, excluded=0)
    for r, share in ((7.5, 0.5), (10.0 - 1e-5, 0.0), (10.1, 0.0)):  # the switch is ½ half-way
        for found in both(
            {"bead_repulsion": prior}, [3] * 5, [[0, 50.0 * k, 0] if k else [r, 50, 0] for k in range(5)]
        ):
            expected = 0.05 * share * (prior.distances[0][0] / r) ** 6
            assert found["energies"][0] == pytest.approx(expected, rel=1e-10, abs=1e-15)


def test_repulsion_acts_between_copies_of_a_chain():
    prior = BeadRepulsion(0.05, TYPES, ((4.0,) * 3,) * 3, 2, 3, 11.0)
    positions = [[0, 0, 0], [3.8, 0, 0], [0, 5, 0], [3.8, 5, 0]]
    expected = 2 * 0.05 * (4 / 5) ** 6
    cross = np.hypot(5, 3.8)
    u = 2 * cross / 11 - 1
    expected += 2 * 0.05 * (4 / cross) ** 6 * (1 - u**3 * (10 - 15 * u + 6 * u**2))
    for found in both({"bead_repulsion": prior}, [3, 1, 3, 1], positions):
        assert found["energies"][0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("names", [("bonds",), ("angles",), ("dihedrals",), ("bead_repulsion",), tuple(priors_of())])
@pytest.mark.parametrize("threads", THREADS)
def test_kernel_agrees_with_torch_and_finite_differences(names, threads):
    priors = {name: prior for name, prior in priors_of().items() if name in names}
    model = without_network(priors)
    replicas = np.stack([chain(seed=k) for k in (1, 2)])
    kernel = SchNetKernel(model, NUMBERS, "float64", threads)
    compiled, reference = kernel.evaluate(replicas), TorchPotential(model, NUMBERS, "float64").evaluate(replicas)
    for key, expected in reference.items():
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(compiled[key], expected, rtol=1e-10, atol=1e-10, err_msg=key)
    step = 1e-5
    moved = step * np.eye(3 * N).reshape(-1, N, 3)
    slopes = (kernel(replicas[0] + moved)[0] - kernel(replicas[0] - moved)[0]) / (2 * step)
    np.testing.assert_allclose(compiled["forces"][0], -slopes.reshape(N, 3), rtol=1e-6, atol=1e-7)
    # The virial is that of free particles, and the energy that of its beads.
    virials = -np.einsum("pia,pib->pab", replicas, compiled["forces"])
    np.testing.assert_allclose(compiled["virials"], virials, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(compiled["atomic_energies"].sum(1), compiled["energies"], rtol=1e-12)


def test_invariances():
    """Moved, turned: the same; mirrored: not, since dihedral angles have a sign; read from the other end: another energy."""
    from scipy.spatial.transform import Rotation

    kernel, positions = SchNetKernel(without_network(priors_of()), NUMBERS, "float64"), chain()
    turn = Rotation.from_rotvec([0.3, -1.0, 0.7]).as_matrix()
    energies, forces = kernel(
        np.stack([positions, positions @ turn.T + [1, -2, 3], positions * [1, 1, -1], positions[::-1]])
    )
    assert energies[1] == pytest.approx(energies[0], rel=1e-12)
    np.testing.assert_allclose(forces[1], forces[0] @ turn.T, atol=1e-10)
    np.testing.assert_allclose(forces.sum(axis=1), 0.0, atol=1e-10)
    np.testing.assert_allclose(np.cross(positions, forces[0]).sum(axis=0), 0.0, atol=1e-9)
    assert abs(energies[2] - energies[0]) > 0.01 and abs(energies[3] - energies[0]) > 0.01


def test_copies_of_a_chain_in_a_cell():
    """Two copies far apart, one cut by the cell: twice the energy of one."""
    positions = chain()
    one = SchNetKernel(without_network(priors_of()), NUMBERS, "float64").evaluate(positions[None])
    side = 90.0
    two = np.concatenate([positions, (positions + 45.0) % side])
    for found in both(priors_of(), np.tile(NUMBERS, 2), two, cell=np.eye(3) * side, pbc=[True] * 3):
        assert found["energies"][0] == pytest.approx(2 * one["energies"][0], rel=1e-10)
        np.testing.assert_allclose(found["virials"][0], 2 * one["virials"][0], atol=1e-9)


@pytest.mark.parametrize("name", ["bonds", "angles", "dihedrals"])
def test_a_torn_chain_has_no_energy(name):
    positions = chain()
    positions[4:] += 30.0
    for found in both({name: priors_of()[name]}, NUMBERS, positions):
        assert np.isnan(found["energies"][0])


def test_parallel_bonds_have_no_dihedral_angle():
    straight = [[3.8 * k, 0, 0] for k in range(4)]
    for found in both({"dihedrals": DihedralPrior((1.0,), ((0.3,),), ((0.2,),), 8.0)}, [*TYPES, 3], straight):
        assert np.isnan(found["energies"][0])


def test_model_file_and_networks(tmp_path):
    """Stored and read; a PaiNN adds them to its energy, compiled and in torch."""
    model = with_network(priors_of())
    save_model(model, tmp_path / "net.safetensors")
    found = load_model(tmp_path / "net.safetensors")
    assert found.priors == priors_of()
    assert describe(found).endswith(
        "springs of 8 bonds, quartics of 7 angles, Fourier series of 6 dihedral angles, repulsion between beads more than 3 apart "
        "along the chain, below 11 Å"
    )
    config = PaiNNConfig(elements=TYPES, n_features=8, n_interactions=1, n_rbf=8, cutoff=CUTOFF, readout_hidden=4)
    with_priors, bare = with_network(priors_of(), config), with_network({}, config)
    alone = SchNetKernel(without_network(priors_of()), NUMBERS, "float64")(chain()[None])[0]
    for backend in ("numba", "torch"):
        energies = [build_potential(m, NUMBERS, "float64", backend)(chain()[None])[0] for m in (with_priors, bare)]
        np.testing.assert_allclose(energies[0] - energies[1], alone, rtol=1e-8)


def test_model_file_of_a_long_chain(tmp_path):
    """Every bond of a protein has its own numbers: tens of kilobytes, which a reader must not take for an attack."""
    save_model(with_network(priors_of(300)), tmp_path / "net.safetensors")
    assert load_model(tmp_path / "net.safetensors").priors == priors_of(300)


def test_exchanging_a_type_changes_the_repulsion_alone():
    mutant = NUMBERS.copy()
    mutant[4] = TYPES[(TYPES.index(NUMBERS[4]) + 1) % 3]
    for name, prior in priors_of().items():
        wild, changed = (next(both({name: prior}, numbers, chain()))["energies"][0] for numbers in (NUMBERS, mutant))
        assert (wild != changed) == (name == "bead_repulsion")


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("bonds", {"length": (3.8,)}, "8 of stiffness, 1 of length: expected as many"),
        ("bonds", {"stiffness": (-1.0,) * 8}, "stiffness = -1.0 eV/Å²"),
        ("bonds", {"cutoff": 13.0}, "bonds: cutoff = 13.0: expected at most the cutoff of 12 Å"),
        ("angles", {"coefficients": ((1.0, 2.0),)}, "expected at least one, and 5 of each"),
        ("angles", {"coefficients": ((1.0, 2.0, np.nan, 0.0, 0.0),)}, "not finite"),
        ("dihedrals", {"constants": (1.0,)}, "1 constants, 6 rows of cosines"),
        ("dihedrals", {"sines": ((1.0,),) * 6}, "of lengths [1, 4]"),
        ("bead_repulsion", {"types": (3, 3, 1)}, "expected different whole numbers"),
        ("bead_repulsion", {"distances": ((1.0,),)}, "expected 3 rows of 3"),
        ("bead_repulsion", {"distances": ((1.0, 2.0, 3.0),) * 3}, "expected a symmetric table"),
        ("bead_repulsion", {"strength": 0.0}, "expected a strength above 0"),
    ],
)
def test_bad_numbers(name, changes, words):
    with pytest.raises(InputError, match=re.escape(words)):
        without_network({name: replace(priors_of()[name], **changes)})


def test_structures_that_are_no_chain():
    for make in (SchNetKernel, TorchPotential):
        with pytest.raises(InputError, match="bonds: 8 beads: the prior is that of a chain of 9"):
            make(without_network(priors_of()), NUMBERS[:8])
    with pytest.raises(InputError, match=re.escape("a bead of type 1: expected one of [3, 7, 20]")):
        SchNetKernel(
            without_network({"bead_repulsion": replace(priors_of()["bead_repulsion"], types=(3, 7, 20))}), NUMBERS
        )
