"""The angular prior: triples one by one, moments compiled and in torch, forces, virials, and what stands on them."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from mlcalc import InputError
from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.model_file import load_model, save_model
from mlcalc.model_summary import describe
from mlcalc.priors import AngularPrior, Repulsion
from mlcalc.priors.angular import triple_energies
from mlcalc.torch_potential import TorchPotential
from mlcalc.training.settings import TrainingSettings
from tests.conftest import SCHNETPACK_DIALECT, THREADS, random_model

CONFIG = replace(SCHNETPACK_DIALECT, elements=(8,), cutoff=5.0)
PRIOR = AngularPrior(strength=9.0, cosine=-0.4, decay=2.5, cutoff=3.9)
PRIORS = {"repulsion": Repulsion(1.2), "angular": PRIOR}


def fluid(n: int = 40, side: float = 10.6) -> Atoms:
    """Beads at the density of water, none nearer than 2.3 Å to another."""
    rng, places = np.random.default_rng(0), []
    while len(places) < n:
        place = rng.uniform(0.0, side, 3)
        apart = [(other - place + side / 2) % side - side / 2 for other in places]
        if not apart or np.linalg.norm(apart, axis=1).min() > 2.3:
            places.append(place)
    return Atoms(f"O{n}", places, cell=[side] * 3, pbc=True)


def without_network(**changes):
    """A model whose energy is its angular prior."""
    model = random_model(CONFIG, priors={"angular": replace(PRIOR, **changes)})
    model.weights["energy_scale"], model.weights["energy_shift"] = np.zeros(()), np.zeros(1)
    return model


@pytest.mark.parametrize("cosine", [1.0, 0.0, -1 / 3, -1.0])
def test_three_atoms(cosine):
    """By hand: the apex alone has two neighbours; c = cos θ costs nothing."""
    model = without_network(cosine=-1 / 3)
    prior, sine = model.priors["angular"], np.sqrt(1 - cosine**2)
    positions = np.array([[0, 0, 0], [2.9, 0, 0], [3.1 * cosine, 3.1 * sine, 0]])
    weights = [np.exp(2.5 / (r - 3.9)) for r in (2.9, 3.1)]
    expected = 9.0 * weights[0] * weights[1] * (cosine + 1 / 3) ** 2
    if cosine < 0:  # the others are farther apart than the cutoff
        energy, forces = SchNetKernel(model, [8, 8, 8], "float64")(positions[None])
        assert energy[0] == pytest.approx(expected, abs=1e-12)
        assert cosine > -0.9 or np.abs(forces).max() > 0.01
        assert cosine != -1 / 3 or np.abs(forces).max() < 1e-12
    assert triple_energies(positions[1:2], positions[2:], prior)[0] == pytest.approx(expected, rel=1e-12)


def test_moments_are_triples_one_by_one():
    atoms = fluid()
    model = without_network()
    offsets = atoms.positions[None] - atoms.positions[:, None]
    offsets -= 10.6 * np.rint(offsets / 10.6)
    by_apex = np.zeros(len(atoms))
    for i in range(len(atoms)):
        others = [j for j in range(len(atoms)) if j != i]
        j, k = np.array([(j, k) for j in others for k in others if j < k]).T
        by_apex[i] = triple_energies(offsets[i, j], offsets[i, k], model.priors["angular"]).sum()
    assert by_apex.min() > 1e-3
    box = {"cell": atoms.cell.array, "pbc": atoms.pbc}
    found = SchNetKernel(model, atoms.numbers, "float64", **box).evaluate(atoms.positions[None])
    np.testing.assert_allclose(found["atomic_energies"][0], by_apex, rtol=1e-10)
    assert found["energies"][0] == pytest.approx(by_apex.sum(), rel=1e-10)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("side", [10.6, None])
def test_kernel_agrees_with_torch(side, threads):
    atoms = fluid()
    box = {"cell": atoms.cell.array, "pbc": atoms.pbc} if side else {}
    model = random_model(CONFIG, priors=PRIORS)
    replicas = atoms.positions + np.random.default_rng(1).normal(0.0, 0.05, (3, len(atoms), 3))
    compiled = SchNetKernel(model, atoms.numbers, "float64", threads, **box).evaluate(replicas)
    reference = TorchPotential(model, atoms.numbers, "float64", **box).evaluate(replicas)
    for key, expected in reference.items():
        np.testing.assert_allclose(compiled[key], expected, rtol=1e-6, atol=2e-5, err_msg=key)


def test_nothing_happens_at_the_cutoff():
    """Energy and force vanish where a neighbour leaves, but for what rounding leaves of moments of equal size."""
    model = without_network()
    for dtype, tolerance in (("float32", 1e-6), ("float64", 1e-14)):
        of_torch = TorchPotential(model, [8, 8, 8], dtype)
        compiled = SchNetKernel(model, [8, 8, 8], dtype)
        for r in (3.9 - 1e-6, 3.9, 3.9 + 1e-6):
            positions = np.array([[[0, 0, 0], [2.7, 0, 0], [0, r, 0]]])
            for potential, bound in ((of_torch, tolerance), (compiled, 1e-14)):
                energies, forces = potential(positions)
                assert abs(energies[0]) < bound and np.abs(forces).max() < bound


def test_a_square_below_the_cutoff_s_with_a_root_that_is_the_cutoff():
    """Rounding makes such distances; 1/(r − a) must not be taken of them."""
    below = np.nextafter(2.5**2, 0.0)
    assert np.sqrt(below) == 2.5
    sides = ((x, np.sqrt(below - x * x)) for x in np.linspace(1.0, 2.0, 1000))
    x, y = next((x, y) for x, y in sides if x * x + y * y == below)
    positions = np.array([[[0, 0, 0], [x, y, 0], [0, 0, 2.2]]])
    energies, forces = SchNetKernel(without_network(cutoff=2.5), [8, 8, 8], "float64")(positions)
    assert abs(energies[0]) < 1e-14 and np.abs(forces).max() < 1e-14


def test_model_file(tmp_path):
    model = random_model(CONFIG, priors=PRIORS)
    save_model(model, tmp_path / "net.safetensors")
    found = load_model(tmp_path / "net.safetensors")
    assert found.priors == PRIORS
    assert describe(found).endswith("angular prior of 9 eV towards 114° below 3.9 Å")  # arccos(−0.4) = 113.6°


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cutoff": 6.0}, "angular: cutoff = 6.0: expected at most the cutoff of 5 Å"),
        ({"cutoff": -1.0}, "angular: cutoff = -1.0"),
        ({"decay": 0.0}, "angular: decay = 0.0"),
        ({"strength": -2.0}, "angular: strength = -2.0 eV"),
        ({"cosine": 109.47}, "a cosine from -1 to 1"),
    ],
)
def test_bad_numbers(changes, words):
    with pytest.raises(InputError, match=re.escape(words)):
        without_network(**changes)


def test_a_training_file_gives_all_four_numbers_or_none():
    with pytest.raises(InputError, match=re.escape("= (9.0, -0.4, None, 3.9): expected all four, or none")):
        TrainingSettings(("a.xyz",), angle_strength_eV=9.0, angle_cosine=-0.4, angle_cutoff_A=3.9)
