"""Readouts beside the energy: symmetries, sums, closed forms; training beside forces or on finished features; what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from scipy.spatial.transform import Rotation

from mlcalc import InputError, NetworkCalculator, load_model
from mlcalc.architectures import ARCHITECTURES
from mlcalc.cli import main
from mlcalc.common.settings import build_settings, toml_value
from mlcalc.model_file import save_model
from mlcalc.outputs import scalar_of
from mlcalc.readouts import READOUTS, outputs_of
from mlcalc.structures.labels import LabelNames
from mlcalc.torch_potential import model_of, new_network
from mlcalc.torch_readouts import Readouts
from mlcalc.training.dataset import read_dataset
from mlcalc.training.energy_zero import fit_shifts
from mlcalc.training.loss import batch_loss, predicted
from mlcalc.training.padding import Largest, padded
from mlcalc.training.settings import TrainingSettings
from mlcalc.training.trainer import Trainer

SIZES = {"elements": (1, 6, 8), "n_features": 8, "n_interactions": 2, "n_rbf": 8, "cutoff": 4.0, "readout_hidden": 6}
CASES = [
    (architecture, readout)
    for architecture, row in ARCHITECTURES.items()
    for readout, of in READOUTS.items()
    if of.needs in row.features
]
every_case = pytest.mark.parametrize(("architecture", "readout"), CASES)
ZPVE = {"name": "ZPVE", "unit": "eV"}
CHARGES = {1: 0.12, 6: -0.1, 8: -0.4}  # e, of free atoms; a molecule's are shifted so that they add up to zero


def model_with(architecture: str, *readouts: str, **metadata):
    """A network at the start of a training."""
    torch.manual_seed(3)
    metadata |= {"scalar": ZPVE} if "scalar" in readouts else {}
    return model_of(new_network(ARCHITECTURES[architecture].config(**SIZES), torch.float64, readouts), metadata)


def evaluated(model, atoms: Atoms, positions=None) -> dict[str, np.ndarray]:
    return Readouts(model, "float64")(atoms.numbers, atoms.positions[None] if positions is None else positions)


def shaken(name: str = "CH3CH2OH", seed: int = 1) -> Atoms:
    atoms = molecule(name)
    atoms.positions += np.random.default_rng(seed).normal(0, 0.08, atoms.positions.shape)
    return atoms


# What they are


@every_case
def test_outputs_turn_with_the_molecule_and_do_not_move_with_it(architecture, readout):
    model, atoms = model_with(architecture, readout), shaken()
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.0]).as_matrix()
    found = evaluated(model, atoms)
    turned = evaluated(model, atoms, (atoms.positions @ turn.T + [3.0, -40.0, 5.0])[None])
    for name in outputs_of([readout]):
        expected = found[_plural(name)]
        if name == "dipole":
            expected = expected @ turn.T
        if name == "polarizability":
            expected = turn @ expected @ turn.T
        np.testing.assert_allclose(turned[_plural(name)], expected, rtol=0, atol=1e-11)
        assert np.abs(expected).max() > 1e-3


@every_case
def test_outputs_do_not_depend_on_the_order_of_atoms(architecture, readout):
    model, atoms = model_with(architecture, readout), shaken()
    order = np.random.default_rng(2).permutation(len(atoms))
    found, other = evaluated(model, atoms), evaluated(model, atoms[order])
    for name in outputs_of([readout]):
        expected = found[_plural(name)][:, order] if name == "charges" else found[_plural(name)]
        np.testing.assert_allclose(other[_plural(name)], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("charge", [0, -1])
@pytest.mark.parametrize(("architecture", "readout"), [("schnet", "charges"), ("painn", "dipole")])
def test_charges_add_up_to_the_charge(architecture, readout, charge):
    found = evaluated(model_with(architecture, readout, domain={"charge": charge}), shaken())
    np.testing.assert_allclose(found["charges"].sum(), charge, atol=1e-12)
    assert ("dipoles" in found) == (charge == 0)  # that of an ion depends on the origin


def test_the_dipole_of_charges_is_their_first_moment():
    model, atoms = model_with("schnet", "charges"), shaken()
    found = evaluated(model, atoms)
    np.testing.assert_allclose(found["dipoles"][0], found["charges"][0] @ atoms.positions, atol=1e-12)
    np.testing.assert_allclose(found["dipole_moments"][0], np.linalg.norm(found["dipoles"][0]), rtol=1e-9)


@pytest.mark.parametrize(
    ("architecture", "readout"),
    [case for case in CASES if case[0] != "dtnn" and case[1] in ("polarizability", "scalar")],
)
def test_sums_over_atoms_are_additive(architecture, readout):
    """Two molecules far apart have the sum of theirs, where atoms far apart are no neighbours."""
    model, one, other = model_with(architecture, readout), shaken(), shaken("CH4", 2)
    other.positions += [60.0, 20.0, 0.0]
    together, *parts = (evaluated(model, atoms)[_plural(readout)] for atoms in (one + other, one, other))
    np.testing.assert_allclose(together, sum(parts), atol=1e-11)


def test_polarizabilities_are_symmetric():
    found = evaluated(model_with("painn", "polarizability"), shaken())["polarizabilities"]
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))


def test_scalars_have_a_scale_and_a_shift_of_each_element():
    """s = Σ a c_i + b_Z(i), also where the shifts are beyond the seven digits of float32."""
    model, atoms = model_with("schnet", "scalar"), shaken()
    shifts = {1: -13.6, 6: -1035.25, 8: -2042.5}
    plain = evaluated(model, atoms)["scalars"]
    model.weights["readouts.scalar.scale"][...] = 1e-3
    model.weights["readouts.scalar.shift"][:] = [shifts[z] for z in model.config.elements]
    expected = 1e-3 * plain + sum(shifts[z] for z in atoms.numbers.tolist())
    np.testing.assert_allclose(evaluated(model, atoms)["scalars"], expected, rtol=0, atol=1e-11)
    single = Readouts(model, "float32")(atoms.numbers, atoms.positions[None])["scalars"]
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-8)


def test_replicas_are_evaluated_one_by_one():
    model, atoms = model_with("painn", "dipole", "polarizability"), shaken()
    positions = atoms.positions + np.random.default_rng(4).normal(0, 0.05, (400, len(atoms), 3))  # more than one batch
    together = evaluated(model, atoms, positions)
    for name, array in together.items():
        alone = np.concatenate([evaluated(model, atoms, frame[None])[name] for frame in positions[[0, 1, 250, 399]]])
        np.testing.assert_allclose(array[[0, 1, 250, 399]], alone, rtol=0, atol=1e-12)


def _plural(name: str) -> str:
    return {"charges": "charges", "polarizability": "polarizabilities"}.get(name, f"{name}s")


# Model files and calculators


@every_case
def test_files_keep_readouts(tmp_path, architecture, readout):
    model = model_with(architecture, readout)
    save_model(model, tmp_path / "net.safetensors")
    read = load_model(tmp_path / "net.safetensors")
    assert read.readouts == (readout,)
    for name, array in evaluated(model, shaken()).items():
        np.testing.assert_array_equal(evaluated(read, shaken())[name], array)


def test_energies_and_forces_are_those_without_readouts():
    model, atoms = model_with("painn", "dipole"), shaken()
    plain = {name: w for name, w in model.weights.items() if not name.startswith("readouts.")}
    found = [
        NetworkCalculator(its, precision="float64").get_forces(atoms)
        for its in (model, replace(model, weights=plain, readouts=()))
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_calculators_give_what_ase_knows(backend):
    model, atoms = model_with("painn", "dipole", "polarizability"), shaken()
    atoms.calc = NetworkCalculator(model, precision="float64", backend=backend)
    expected = evaluated(model, atoms)
    assert "dipole" not in atoms.calc.results
    np.testing.assert_allclose(atoms.get_dipole_moment(), expected["dipoles"][0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(atoms.get_charges(), expected["charges"][0], rtol=0, atol=1e-12)
    assert set(atoms.calc.readouts(atoms)) == {"charges", "dipole", "dipole_moment", "polarizability"}
    atoms.positions[0] += 0.1
    assert not np.allclose(atoms.get_charges(), expected["charges"][0], atol=1e-6)
    atoms.calc.set(model=model_with("painn"))
    with pytest.raises(PropertyNotImplementedError, match="dipole"):
        atoms.get_dipole_moment()


def test_crystals_have_charges_but_no_dipole():
    crystal = bulk("CH", "rocksalt", 3.9)
    crystal.calc = NetworkCalculator(model_with("painn", "dipole"), precision="float64")
    assert abs(crystal.get_charges().sum()) < 1e-12
    with pytest.raises(PropertyNotImplementedError, match="neutral molecules"):
        crystal.get_dipole_moment()
    assert set(crystal.calc.readouts(crystal)) == {"charges"}


# Training

NAMES = ["CH3CH2OH", "CH4", "H2O", "CH3OH", "C2H6", "H2CO"]
KEYS = {"architecture": "painn", "n_features": 16, "n_interactions": 1, "n_rbf": 8, "cutoff_A": 4.0, "split": "random",
        "test_fraction": 0.0, "validation_fraction": 0.2, "batch_size": 8, "steps": 300, "validation_every_steps": 100,
        "learning_rate": 5e-3, "warmup_steps": 10, "ema_decay": 0.95, "compile": False}  # fmt: skip


SHIFTS = {1: 0.2, 6: -1000.0, 8: 30.0}  # eV


def labelled(n: int = 60, forces: bool = True, **more) -> list[Atoms]:
    """Molecules with the charges CHARGES, shifted, and the dipole that these make; energies of springs between all atoms.

    Their ZPVE is that energy, and a constant of each element.
    """
    frames = []
    for k in range(n):
        atoms = shaken(NAMES[k % len(NAMES)], seed=k)
        charges = np.array([CHARGES[z] for z in atoms.numbers.tolist()])
        charges -= charges.mean()
        vectors = atoms.positions - atoms.positions.mean(axis=0)
        results = {"energy": 0.05 * (vectors**2).sum(), "charges": charges, "dipole": charges @ atoms.positions}
        results |= {"forces": -0.1 * vectors} if forces else {}
        atoms.info["dipole_moment_eA"] = float(np.linalg.norm(results["dipole"]))
        atoms.info["ZPVE_eV"] = sum(SHIFTS[z] for z in atoms.numbers.tolist()) + results["energy"]
        atoms.calc = SinglePointCalculator(atoms, **(results | more))
        frames.append(atoms)
    return frames


def train(folder, keys: dict, *options: str, frames: list[Atoms] | None = None) -> int:
    write(folder / "train.xyz", frames or labelled(), format="extxyz")
    table = KEYS | {"data": ("train.xyz",)} | keys
    (folder / "train.toml").write_text("".join(f"{key} = {toml_value(value)}\n" for key, value in table.items()))
    return main(["train", str(folder / "train.toml"), "-o", str(folder / "net"), *options])


@pytest.mark.parametrize(
    "keys",
    [
        {"architecture": "schnet", "readouts": ("charges",), "charges_weight": 10.0},
        {"readouts": ("dipole",), "dipole_weight": 10.0},
        {"architecture": "schnet", "readouts": ("charges",), "dipole_moment_weight": 10.0},
    ],
    ids=["charges", "dipole", "moment"],
)
def test_readouts_are_learnt_beside_forces(tmp_path, capsys, monkeypatch, keys):
    """To a fifth of the spread of their labels, and evaluate says so."""
    monkeypatch.chdir(tmp_path)  # of the parity plot
    assert train(tmp_path, keys) == 0
    write(tmp_path / "test.xyz", labelled(90)[60:], format="extxyz")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "net"), str(tmp_path / "test.xyz"), "--record", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["readouts"]
    learnt = next(key.removesuffix("_weight") for key in keys if key.endswith("_weight"))
    errors = {item["output"]: item for item in found}
    assert set(errors) == {"charges", "dipole", "dipole_moment"}
    assert errors[learnt]["rmse"] < 0.2 * errors[learnt]["spread"]
    assert errors[learnt]["frames"] == 30
    recorded = load_model(tmp_path / "net").metadata["test_errors"]["test.xyz"]
    assert any(key.startswith(learnt.rstrip("s")) for key in recorded)
    assert main(["info", str(tmp_path / "net")]) == 0
    assert f"beside energies: {', '.join(outputs_of(keys['readouts']))}" in capsys.readouterr().out


SCALAR = {"readouts": ("scalar",), "scalar_key": "ZPVE_eV", "scalar_weight": 10.0}


def test_a_scalar_is_learnt_beside_forces(tmp_path, capsys, monkeypatch):
    """To a third of what shifts by element leave, whatever these are; its name and unit are those of the label."""
    monkeypatch.chdir(tmp_path)
    assert train(tmp_path, SCALAR | {"architecture": "schnet"}) == 0
    assert "ZPVE_eV in all" in capsys.readouterr().out
    test = labelled(90)[60:]
    write(tmp_path / "test.xyz", test, format="extxyz")
    counts = np.array([[np.sum(atoms.numbers == z) for z in (1, 6, 8)] for atoms in test])
    energies = np.array([atoms.get_potential_energy() for atoms in test])
    rest = energies - counts @ np.linalg.lstsq(counts, energies, rcond=None)[0]
    assert main(["evaluate", str(tmp_path / "net"), str(tmp_path / "test.xyz"), "--record"]) == 0
    table = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("scalar ZPVE"))
    assert table.endswith("eV")
    model = load_model(tmp_path / "net")
    recorded = model.metadata["test_errors"]["test.xyz"]
    assert recorded["scalar_ZPVE_rmse_eV"] < rest.std() / 3.0
    assert tuple(model.scalar) == ("ZPVE", "eV")
    assert "validation_scalar_ZPVE_mae_eV" in (tmp_path / "net" / "log.jsonl").read_text()
    assert main(["info", str(tmp_path / "net")]) == 0
    shown = capsys.readouterr().out
    assert "beside energies: scalar ZPVE in eV" in shown
    assert f"scalar ZPVE {1e3 * recorded['scalar_ZPVE_mae_eV']:.3g} meV" in shown


def test_shifts_and_scale_of_a_scalar_are_fitted(tmp_path):
    """Three compositions of three elements, each with ±2 eV per √N: shifts exact, scale 2."""
    frames = []
    for name in ("CH4", "H2O", "CO", "CH4"):
        for sign in (1.0, -1.0):
            atoms = molecule(name)
            rest = sign * 2.0 * np.sqrt(len(atoms))
            atoms.info["ZPVE_eV"] = sum(SHIFTS[z] for z in atoms.numbers.tolist()) + rest
            atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((len(atoms), 3)))
            frames.append(atoms)
    write(tmp_path / "train.xyz", frames, format="extxyz")
    data = read_dataset([tmp_path / "train.xyz"], [LabelNames(scalar="ZPVE_eV")], outputs=("scalar",))
    shifts, scale = fit_shifts(data, np.arange(len(data)), [1, 6, 8])
    np.testing.assert_allclose(shifts, [SHIFTS[z] for z in (1, 6, 8)], rtol=1e-6)
    assert scale == pytest.approx(2.0, rel=1e-6)


def test_readouts_on_finished_features_leave_the_rest_as_it_is(tmp_path, capsys):
    """Energies, their zero and the domain are those of the model to start from; a training that is resumed gives the same bits."""
    assert train(tmp_path, {"steps": 100}) == 0
    begun = (tmp_path / "net").rename(tmp_path / "begun")
    keys = SCALAR | {
        "readouts": ("dipole", "scalar"),
        "dipole_weight": 10.0,
        "only_readouts": True,
        "energy_zeros": "shared",
    }
    frames = labelled(forces=False, energy=7.0)
    assert train(tmp_path, keys | {"energy_only": True}, "--init", str(begun), frames=frames) == 0
    before, after = load_model(begun), load_model(tmp_path / "net")
    assert all(np.array_equal(after.weights[name], array) for name, array in before.weights.items())
    assert after.domain == before.domain
    assert after.metadata["provenance"]["settings"] == before.metadata["provenance"]["settings"]
    assert after.metadata["provenance"]["readouts"]["steps"] == 300
    assert after.metadata["validation_errors"]["dipole_rmse_eA"] < 0.05
    assert after.metadata["validation_errors"]["scalar_ZPVE_rmse_eV"] < 0.11  # 0.15 by shifts alone
    capsys.readouterr()
    (tmp_path / "net").rename(tmp_path / "whole")
    half = keys | {"energy_only": True, "steps": 300, "patience": 1, "validation_every_steps": 300}
    assert train(tmp_path, half, "--init", str(begun), frames=frames) == 0
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "net"), "--resume"]) == 0
    assert load_model(tmp_path / "net").readouts == ("dipole", "scalar")


@pytest.mark.parametrize("readout", ["charges", "scalar"])
def test_a_readout_of_an_element_that_nothing_tells_is_refused(tmp_path, readout, capsys):
    """The model knows oxygen; the structures with labels of the readout have none."""
    assert train(tmp_path, {"steps": 5}) == 0
    begun = (tmp_path / "net").rename(tmp_path / "begun")
    frames = labelled(12)
    assert {z for atoms in frames for z in atoms.numbers.tolist()} == set(load_model(begun).config.elements)
    lost = [atoms for atoms in frames if 8 not in atoms.numbers]
    assert lost
    keys = {"charges": {"charges_weight": 1.0}, "scalar": SCALAR}[readout]
    keys = keys | {"readouts": (readout,), "only_readouts": True, "energy_only": True}
    assert train(tmp_path, keys, "--init", str(begun), frames=lost) == 2
    assert f"the network knows O, of which no structure to train on says the {readout}" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def trainer_of(folder, keys: dict, frames: list[Atoms]) -> Trainer:
    write(folder / "train.xyz", frames, format="extxyz")
    settings = build_settings(TrainingSettings, KEYS | {"data": ["train.xyz"]} | keys, "train.toml")
    data = read_dataset([folder / "train.xyz"], None, settings.energy_only, tuple(settings.readout_weights))
    return Trainer(settings, data)


def test_padding_changes_no_loss(tmp_path):
    keys = {"readouts": ("dipole",), "dipole_weight": 3.0, "charges_weight": 2.0, "precision": "float64"}
    trainer = trainer_of(tmp_path, keys, labelled(12))
    batch = trainer.batches.make(np.arange(7))
    shape = Largest(*trainer.batches.largest(np.arange(12), 8)).shape_of(batch)
    losses = [
        batch_loss(trainer.network, trainer.priors, trainer.parameters, its, trainer._terms)
        for its in (batch, padded(batch, shape, 4.0))
    ]
    np.testing.assert_allclose(losses[1].item(), losses[0].item(), rtol=1e-12)


def test_forces_that_nobody_has_are_not_computed(tmp_path, monkeypatch):
    trainer = trainer_of(tmp_path, {"energy_only": True}, labelled(20, forces=False))
    monkeypatch.setattr("mlcalc.training.loss.grad", None)
    assert set(trainer._terms) == {"energy"}
    batch = trainer.batches.make(np.arange(4))
    found = predicted(trainer.network, trainer.priors, dict(trainer.network.named_parameters()), batch, ("energy",))
    assert set(found) == {"energy"}
    assert trainer._loss_function()(trainer.parameters, batch).isfinite()


def test_a_molecule_without_a_dipole_has_a_gradient(tmp_path):
    """|p| of methane is zero by symmetry, where the root of a square has none."""
    frames = labelled(12)
    frames[0].positions = molecule("CH3CH2OH").positions
    trainer = trainer_of(tmp_path, {"readouts": ("charges",), "dipole_moment_weight": 1.0}, frames)
    for parameter in trainer.network.parameters():
        torch.nn.init.zeros_(parameter)
    loss = trainer._loss_function()(trainer.parameters, trainer.batches.make(np.arange(4)))
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in trainer.network.parameters())


# What is refused


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"architecture": "schnet", "readouts": ("dipole",), "dipole_weight": 1.0},
            "a SchNet does not have: expected PaiNN, SO3net",
        ),
        ({"readouts": ("dipole",)}, "dipole learns nothing; set charges_weight or dipole_weight or dipole_moment_weight"),
        ({"dipole_weight": 1.0}, "dipole_weight without a readout of it: add charges or dipole"),
        ({"readouts": ("colour",)}, "readouts"),
        ({"readouts": ("charges", "dipole"), "dipole_weight": 1.0}, "more than one of charges, dipole, dipole_moment"),
        ({"only_readouts": True}, "nothing is left to learn"),
        ({"readouts": ("dipole",), "dipole_weight": 1.0, "only_readouts": True}, "expected --init MODEL"),
        ({"readouts": ("polarizability",), "polarizability_weight": 1.0}, "no structure has polarizability_xx_xy_yy_xz_yz_zz_A3"),
        (SCALAR | {"scalar_key": ""}, "scalar_key = '' beside readouts = ['scalar']: name the label of scalar, as ZPVE_eV"),
        (SCALAR | {"scalar_weight": 0.0}, "scalar learns nothing; set scalar_weight"),
        ({"scalar_key": "ZPVE_eV"}, "scalar_key = 'ZPVE_eV' beside readouts = []: add scalar to readouts"),
        (SCALAR | {"scalar_key": "ZPVE"}, "scalar 'ZPVE': expected a name that ends in its unit, as ZPVE_eV or Cv_eV_K"),
        (SCALAR | {"scalar_key": "Cv_eV_K"}, "no structure has Cv_eV_K, from which scalar is learnt; found ZPVE_eV"),
    ],
)  # fmt: skip
def test_refused_trainings(tmp_path, capsys, keys, message):
    assert train(tmp_path, keys) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charges": np.full(9, 0.1)}, "its charges add up to 0.900 e, but its charge is 0"),
        ({"dipole": np.array([0.1, np.nan, 0.0])}, "expected 3 finite number(s)"),
        ({"charges": np.zeros(9), "charge": 1}, "the dipole of an ion depends on the origin"),
    ],
)
def test_refused_labels(tmp_path, capsys, change, message):
    frames, charge = labelled(12), change.pop("charge", None)
    if charge is not None:
        for atoms in frames:
            atoms.info["charge"] = charge
            atoms.calc.results["charges"][:] = charge / len(atoms)
    frames[0].calc.results |= {} if charge is not None else change
    keys = {"readouts": ("dipole",), "dipole_weight": 1.0, "charges_weight": 1.0}
    assert train(tmp_path, keys, frames=frames) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "structure 3 has no ZPVE_eV, 11 of 12 structures have: expected it in all"),
        ("much", "structure 3: ZPVE_eV = much: expected one finite number(s)"),
        (float("nan"), "structure 3: ZPVE_eV = nan: expected one finite number(s)"),
        ([1.0, 2.0], "structure 3: ZPVE_eV = [1. 2.]: expected one finite number(s)"),
    ],
)
def test_refused_scalars(tmp_path, capsys, value, message):
    frames = labelled(12)
    frames[2].info |= {"ZPVE_eV": value}
    if value is None:
        del frames[2].info["ZPVE_eV"]
    assert train(tmp_path, SCALAR, frames=frames) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("key", "name", "unit"),
    [("ZPVE_eV", "ZPVE", "eV"), ("Cv_eV_K", "Cv", "eV_K"), ("R2_A2", "R2", "A2"), ("x_y_kcal_per_mol", "x_y", "kcal_per_mol")],
)  # fmt: skip
def test_units_are_the_ends_of_keys(key, name, unit):
    assert tuple(scalar_of(key)) == (name, unit)
    assert scalar_of(key).key == key


@pytest.mark.parametrize(
    "key", ["", "eV", "_eV", "ZPVE", "ZPVE_parsec", "eV_ZPVE", "Z PVE_eV", "Z\nPVE_eV", "x" * 70 + "_eV"]
)
def test_keys_without_a_unit(key):
    with pytest.raises(InputError, match="expected a name that ends in its unit"):
        scalar_of(key)


def test_models_of_other_scalars(tmp_path, capsys):
    """Weights of one scalar are no start for another; a file names its scalar, and nothing else."""
    model = model_with("painn", "scalar")
    save_model(model, tmp_path / "net.safetensors")
    keys = {"n_features": 8, "n_interactions": 2, "readout_hidden": 6, "repulsion_cutoff_A": "none"}
    frames = labelled(12)
    for atoms in frames:
        atoms.info["H_eV"] = 1.0
    assert (
        train(
            tmp_path, keys | SCALAR | {"scalar_key": "H_eV"}, "--init", str(tmp_path / "net.safetensors"), frames=frames
        )
        == 2
    )
    assert "scalar_key = 'H_eV': the model to start from or to resume learnt ZPVE_eV" in capsys.readouterr().err
    with pytest.raises(InputError, match="scalar: no entry that names it"):
        save_model(replace(model, metadata={}), tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="scalar: an entry that names one, but no readout of it"):
        save_model(model_with("painn", scalar=ZPVE), tmp_path / "other.safetensors")


def test_refused_models(tmp_path, capsys):
    model = model_with("painn", "dipole")
    with pytest.raises(InputError, match="that a SchNet does not have"):
        save_model(replace(model_with("schnet"), readouts=("dipole",)), tmp_path / "net.safetensors")
    save_model(model, tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "other.safetensors").write_bytes(content.replace(b'\\"dipole\\"', b'\\"colour\\"'))
    with pytest.raises(InputError, match="this mlcalc reads networks of energy, with charges, dipole"):
        load_model(tmp_path / "other.safetensors")
    keys = {"n_features": 8, "n_interactions": 2, "readout_hidden": 6, "repulsion_cutoff_A": "none"}
    assert train(tmp_path, keys, "--init", str(tmp_path / "net.safetensors")) == 2
    assert "the model has the readouts dipole: add them to readouts" in capsys.readouterr().err
