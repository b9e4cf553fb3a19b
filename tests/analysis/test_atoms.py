"""Energies and charges of atoms: environments, agreement of models and errors by closed forms, the command."""

import json

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from analysis.__main__ import main
from analysis.atoms.charges import AtomCharges, mean_over_molecules
from analysis.atoms.charges import by_element as by_element_charges
from analysis.atoms.charges import by_environment as by_environment_charges
from analysis.atoms.energies import atom_energies
from analysis.atoms.partition import by_element, by_environment
from analysis.atoms.values import AtomValues, environments
from analysis.probe.energies import ProbedMolecule
from mlcalc import NetworkCalculator
from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.model_file import save_model
from mlcalc.potential import make_potential
from mlcalc.priors import Repulsion
from mlcalc.torch_potential import model_of, new_network
from tests.conftest import SCHNETPACK_DIALECT, random_model


def painn(seed: int = 3, **metadata):
    config = PaiNNConfig(elements=(6, 1), n_features=8, n_interactions=1, n_rbf=8, readout_hidden=4, cutoff=4.0)
    return random_model(config, seed, np.float64, {"repulsion": Repulsion(1.2)}, **metadata)


def made(energies, environments, numbers=None) -> AtomValues:
    """Energies (n_models, n) of atoms in environments (n,), of one element unless numbers (n,) say otherwise."""
    energies = np.array(energies, dtype=float)
    n = energies.shape[1]
    numbers = np.full(n, 6) if numbers is None else np.array(numbers)
    names = [f"net{k}" for k in range(len(energies))]
    return AtomValues(names, energies, np.zeros(n, int), np.arange(n), numbers, np.array(environments))


@pytest.mark.parametrize(
    "atoms, expected",
    [
        (molecule("CH3CH2OH"), ["C(C,H,H,O)", "C(C,H,H,H)", "O(C,H)", "H(O)", *["H(C)"] * 5]),
        (molecule("C2H2"), ["C(C,H)", "C(C,H)", "H(C)", "H(C)"]),
        (Atoms("He"), ["He"]),
        (bulk("C"), ["C(C,C,C,C)"] * 2),  # bonds to images count
    ],
    ids=["ethanol", "acetylene", "atom", "diamond"],
)
def test_environments(atoms, expected):
    found = environments(atoms)
    assert found == expected or sorted(found) == sorted(expected)


@pytest.mark.parametrize(
    "atoms, atom, expected",
    [
        (molecule("CH3CHO"), "O", "O(C(C,H))"),  # an aldehyde
        (molecule("HCOOH"), "O", "O(C(H,O))"),  # an acid, and its hydroxyl
        (molecule("HCOOH"), "H", "H(C(O,O))"),
        (molecule("CH3CH2OH"), "O", "O(C(C,H,H),H)"),
        (molecule("H2"), "H", "H(H)"),
        (bulk("C"), "C", "C(C(C,C,C),C(C,C,C),C(C,C,C),C(C,C,C))"),
    ],
    ids=["aldehyde", "acid", "formyl", "alcohol", "hydrogen", "diamond"],
)
def test_two_shells_tell_functional_groups_apart(atoms, atom, expected):
    found = environments(atoms, shells=2)
    assert expected in [name for name, symbol in zip(found, atoms.symbols, strict=True) if symbol == atom]


def test_energies_of_atoms_add_up_and_are_those_of_the_probe():
    """Sum and constants give the energy; the last atom, as a probe of one block, has the same energy without its constant."""
    model, frames = painn(), [molecule("C2H2"), molecule("CH4"), molecule("CH4")]
    frames[2].rattle(0.05, seed=1)
    found = atom_energies({"net": model}, frames, "a.xyz")
    assert found.frames.tolist() == [0] * 4 + [1] * 5 + [2] * 5
    assert found.atoms[4:9].tolist() == [0, 1, 2, 3, 4]
    constants = dict(zip(model.config.elements, model.weights["energy_shift"], strict=True))
    for k, atoms in enumerate(frames):
        energy = make_potential(model, atoms, "float64", "torch")(atoms.positions[None])[0][0]
        total = found.values[0, found.frames == k].sum() + sum(constants[z] for z in atoms.numbers)
        assert total == pytest.approx(energy, abs=1e-9)
    without_last = frames[2][:-1]
    as_probe = ProbedMolecule(model, without_last).energies(1, frames[2].positions[-1:])
    assert found.values[0, -1] == pytest.approx(as_probe[0], abs=1e-9)


def test_periodic_structures():
    """A cell and its double: the same energies."""
    model, cell = painn(), bulk("C", cubic=True)
    found = atom_energies({"net": model}, [cell, cell.repeat((2, 1, 1))], "a.xyz")
    np.testing.assert_allclose(found.values, found.values[0, 0], atol=1e-9)
    assert set(found.environments) == {"C(C,C,C,C)"}


def test_two_environments_by_hand():
    """Energies 1, 1, 4 in one model and 2, 4, 6 in another."""
    found = made([[1, 1, 4], [2, 4, 6]], ["a", "a", "b"])
    item = by_element(found)["C"]
    np.testing.assert_allclose(item.means, [2, 4])
    # δ: −1 −1 2, and −2 0 2; means of a: −1 in both.
    assert item.over_environments == pytest.approx(np.sqrt((2 * 1 + 4) / 3))
    assert item.over_models == pytest.approx(np.sqrt((0.5 + 0.5 + 0) / 3))
    assert item.correlation == item.lowest == pytest.approx((2 + 4) / np.sqrt(6 * 8))
    assert item.ratio == pytest.approx(np.sqrt((1 / 3) / 2))
    environment = by_environment(found)["a"]
    assert environment.atoms == 2
    np.testing.assert_allclose(environment.means, [1, 3])
    np.testing.assert_allclose(environment.stds, [0, 1])
    np.testing.assert_allclose(environment.deviations, [-1, -1])
    assert list(by_environment(found)) == ["a", "b"]


def test_models_that_agree_and_models_that_do_not():
    """Energies of environments of variance A, and of every model and environment of variance B: S_env² = A + B, S_models² = B,
    r = A/(A + B), within four standard errors."""
    rng, n, size = np.random.default_rng(4), 2000, 3  # environments; atoms in each
    names = np.repeat([f"e{k:04d}" for k in range(n)], size)
    shared = rng.normal(0.0, 1.0, n)
    for b in (0.0, 0.25, 1e8):
        energies = np.repeat(shared + rng.normal(0.0, np.sqrt(b), (4, n)) + [[0.0], [5.0], [-3.0], [1.0]], size, axis=1)
        item = by_element(made(energies, names))["C"]
        error = 4 * np.sqrt(2 / n)  # relative, of a variance; of a correlation it is smaller
        assert item.over_environments**2 == pytest.approx(1 + b, rel=error)
        assert item.over_models**2 == pytest.approx(b, rel=error, abs=1e-12)
        assert item.correlation == pytest.approx(1 / (1 + b), abs=error)
        assert item.lowest <= item.correlation + 1e-12
        assert item.ratio == pytest.approx(np.sqrt(b / (1 + b)), rel=error, abs=1e-6)


def test_constants_of_elements_do_not_matter():
    """A model that gives every atom of an element more by a constant agrees perfectly."""
    rng, numbers = np.random.default_rng(0), np.repeat([1, 6], 10)
    one, names = rng.normal(size=20), np.repeat(["H(C)", "H(H)", "C(H)", "C(C)"], 5)
    found = by_element(made([one, one + np.where(numbers == 1, 0.7, -0.3)], names, numbers))
    assert list(found) == ["H", "C"]
    for item in found.values():
        assert item.over_models == pytest.approx(0.0, abs=1e-12)
        assert item.correlation == pytest.approx(1.0)


def test_one_model_or_one_kind_of_atom():
    item = by_element(made([[1, 2, 4]], ["a", "a", "b"]))["C"]
    assert item.over_environments > 0
    assert np.isnan([item.over_models, item.ratio, item.correlation, item.lowest]).all()
    alike = by_element(made([[1, 1], [2, 2]], ["a", "a"]))["C"]
    assert (alike.over_models, alike.over_environments) == (0.0, 0.0)
    assert np.isnan([alike.ratio, alike.correlation]).all()


# Charges


def charged(charges, labels, molecules, environments=None) -> AtomCharges:
    """Charges (n_models, n) and labels (n,) of carbon atoms in molecules (n,)."""
    values = made(charges, environments or ["a"] * len(labels))
    return AtomCharges(values._replace(frames=np.array(molecules)), np.array(labels, dtype=float), ["somewhere"])


def test_charges_by_hand():
    """Labels 0, 2, 4 in two molecules; one model is off by +1 everywhere, another gives −q."""
    found = charged([[1, 3, 5], [0, -2, -4]], [0, 2, 4], [0, 0, 1])
    item = by_element_charges(found)["C"]
    assert (item.atoms, item.molecules, item.labelled) == (3, 2, 3)
    # x − x̄: −2, 0 | 2: sums over molecules −2 and 2: SE² = 2/1 (4 + 4)/9.
    assert (item.label, item.label_error) == (2.0, pytest.approx(4 / 3))
    assert item.label_spread == pytest.approx(np.sqrt(8 / 3))
    np.testing.assert_allclose(item.means, [3, -2])
    np.testing.assert_allclose(item.mean_errors, [4 / 3, 4 / 3])
    np.testing.assert_allclose(item.spreads, np.sqrt(8 / 3))
    np.testing.assert_allclose(item.maes, [1, 4])
    np.testing.assert_allclose(item.mae_errors, [0, 8 / 3])
    np.testing.assert_allclose(item.correlations, [1, -1])
    assert item.over_models == pytest.approx(np.sqrt((0.5 * 1 + 0.5 * 25 + 0.5 * 81) / 3))
    assert by_element_charges(found)["all"].maes.tolist() == item.maes.tolist()


def test_charges_of_which_the_file_has_some_or_none():
    nan = float("nan")
    found = charged([[1, 3, 5, 7]], [nan, 2, 4, nan], [0, 1, 1, 2], ["b", "b", "a", "c"])
    items = by_environment_charges(found)
    assert list(items) == ["b", "a", "c"]  # by mean charge
    assert [item.labelled for item in items.values()] == [1, 1, 0]
    assert items["b"].maes.tolist() == [1]
    assert np.isnan([items["b"].mae_errors[0], items["b"].correlations[0], items["b"].over_models]).all()
    assert np.isnan([items["c"].maes[0], items["c"].label]).all()
    assert found.compared
    assert not charged([[1, 3]], [nan, nan], [0, 0]).compared


def test_standard_errors_are_over_molecules():
    """n atoms in each of M molecules share a deviation of variance a, and have one of variance b of their own: the mean has the
    variance (a + b/n)/M, where atoms as independent samples would have (a + b)/(nM)."""
    rng, m, n = np.random.default_rng(2), 4000, 5
    values = (rng.normal(0, 1.0, (m, 1)) + rng.normal(0, 0.7, (m, n))).ravel()
    _, error = mean_over_molecules(values, np.repeat(np.arange(m), n))
    assert error**2 == pytest.approx((1.0 + 0.49 / n) / m, rel=4 * np.sqrt(2 / m))


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model(painn(), "one.safetensors")
    save_model(painn(4), "two.safetensors")
    save_model(painn(domain={"correction_to": "tblite:GFN2-xTB"}), "correction.safetensors")
    save_model(random_model(SCHNETPACK_DIALECT), "schnet.safetensors")
    for seed in (5, 6):
        torch.manual_seed(seed)
        save_model(model_of(new_network(painn().config, torch.float64, ("charges",))), f"charges{seed}.safetensors")
    write("some.xyz", [molecule("C2H6"), molecule("C2H4"), molecule("CH4")], format="extxyz")
    write("atom.xyz", Atoms("H"), format="extxyz")
    write("water.xyz", [molecule("CH4"), molecule("H2O")], format="extxyz")
    excess = molecule("CH4")
    excess.calc = SinglePointCalculator(excess, charges=np.full(5, 0.1))
    write("excess.xyz", excess, format="extxyz")
    (tmp_path / "empty.xyz").touch()
    return tmp_path


def atoms(source: str, *models: str) -> int:
    return main(["atoms", source, *(word for model in models for word in ("--model", model)), "-o", "out.png"])


def test_files_hold_the_same_numbers(folder, capsys):
    models = ("one.safetensors", "two.safetensors", "schnet.safetensors")
    assert main(["atoms", "some.xyz", *(f"--model={m}" for m in models), "-o", "out.png", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert json.loads((folder / "out.json").read_text()) == printed
    assert printed["models"] == ["one", "two", "schnet"]
    assert (printed["structures"], printed["atoms"]) == (3, 19)
    assert list(printed["elements"]) == ["H", "C"]
    with np.load("out.npz") as arrays:
        energies, numbers, names = arrays["energies_eV"], arrays["numbers"], arrays["environments"]
    np.testing.assert_allclose(printed["elements"]["H"]["mean_eV"], energies[:, numbers == 1].mean(axis=1))
    for name, item in printed["environments"].items():
        assert item["atoms"] == (names == name).sum()
        np.testing.assert_allclose(item["mean_eV"], energies[:, names == name].mean(axis=1))
    np.testing.assert_allclose(printed["first_structure"]["energies_eV"], energies[:, :8])
    text = (folder / "out.txt").read_text()
    assert "C(C,H,H,H)" in text
    assert f"{printed['elements']['C']['correlation']:.2f}" in text
    assert [(folder / "out").with_suffix(f".{kind}").exists() for kind in ("png", "svg")] == [True, True]


@pytest.mark.parametrize("labelled", [True, False])
def test_charges_beside_those_of_the_file(folder, capsys, labelled):
    """Of the models that have any, as calculators give them."""
    frames = [molecule(name) for name in ("C2H6", "C2H4", "CH4")]
    rng = np.random.default_rng(3)
    for frame in frames[:2]:  # the third has none
        charges = rng.normal(0, 0.1, len(frame))
        frame.info["engine"] = "made up"
        if labelled:
            frame.calc = SinglePointCalculator(frame, energy=0.0, charges=charges - charges.mean())
    write("charged.xyz", frames, format="extxyz")
    options = [f"--model={name}" for name in ("one.safetensors", "charges5.safetensors", "charges6.safetensors")]
    assert main(["atoms", "charged.xyz", *options, "-o", "out.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["models"] == ["one", "charges5", "charges6"]
    found = found["charges"]
    assert found["models"] == ["charges5", "charges6"]
    expected = []
    for name in found["models"]:
        calculator = NetworkCalculator(f"{name}.safetensors", precision="float64")
        expected.append(np.concatenate([calculator.get_property("charges", frame.copy()) for frame in frames]))
    with np.load("out.npz") as arrays:
        np.testing.assert_allclose(arrays["charges_e"], expected, atol=1e-10)
        labels, numbers = arrays["file_charges_e"], arrays["numbers"]
    assert np.isfinite(labels).sum() == (14 if labelled else 0)
    text = (folder / "out.txt").read_text()
    if labelled:
        known = (numbers == 6) & np.isfinite(labels)
        maes = [np.abs(of_model - labels)[known].mean() for of_model in expected]
        np.testing.assert_allclose(found["elements"]["C"]["mae_e"], maes, atol=1e-10)
        assert found["file"] == ["made up"]
        assert f"{maes[0]:.3f}"[:5] in text
        assert "Those of the file (made up)" in text
    else:
        assert found["elements"]["C"]["mae_e"] == [None, None]
        assert "The file carries none to compare with" in text
    assert (folder / "out.png").read_bytes()[1:4] == b"PNG"


def test_one_model_and_one_atom(folder, capsys):
    assert atoms("atom.xyz", "one.safetensors") == 0
    assert "compare models of other seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    "source, models, message",
    [
        (
            "excess.xyz",
            ["charges5.safetensors"],
            "excess.xyz: structure 1: its charges add up to 0.500 e, but its charge is 0",
        ),
        ("water.xyz", ["one.safetensors"], "water.xyz: structure 2 with the model one: element O: this model knows"),
        ("some.xyz", ["one.safetensors", "one.safetensors"], "one.safetensors: given 2 times"),
        ("some.xyz", ["correction.safetensors"], "the model is a correction to tblite:GFN2-xTB"),
        ("some.xyz", ["none"], "none"),
        ("none.xyz", ["one.safetensors"], "none.xyz: no such file"),
        ("empty.xyz", ["one.safetensors"], "empty.xyz"),
    ],
)
def test_refusals(folder, capsys, source, models, message):
    before = sorted(folder.iterdir())
    assert atoms(source, *models) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert sorted(folder.iterdir()) == before
