"""Import of SchNetPack 2 checkpoints, against numbers that SchNetPack computed (golden/make_schnetpack.py), without SchNetPack."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.io import read
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlcalc import InputError, SchNetCalculator, load_model
from mlcalc.architectures.painn.config import PaiNNConfig
from mlcalc.architectures.so3net.config import SO3netConfig
from mlcalc.architectures.so3net.harmonics import clebsch_gordan
from mlcalc.cli import main
from mlcalc.importers.schnetpack import _read, _translate, import_schnetpack
from mlcalc.importers.torch_file import Hollow
from mlcalc.model import Model
from mlcalc.torch_potential import TorchPotential

GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "schnetpack_best_model"
PAINN, SHARED_PAINN = GOLDEN / "schnetpack_painn_best_model", GOLDEN / "schnetpack_painn_shared_best_model"
SO3NET, SHARED_SO3NET = GOLDEN / "schnetpack_so3net_best_model", GOLDEN / "schnetpack_so3net_shared_best_model"
PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "schnetpack_models"
ETHANOL, METHANE = PUBLISHED / "md_ethanol.model", PUBLISHED / "so3net_methane_best_model"
KCAL = units.kcal / units.mol


def cases_of(name: str) -> list[dict]:
    return json.loads((GOLDEN / f"{name}.json").read_text())["cases"]


CASES = cases_of("schnetpack")


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("case", CASES, ids=["molecule", "crystal"])
@pytest.mark.parametrize(
    ("units_of", "energy", "length"), [(("eV", "Ang"), 1.0, 1.0), (("Hartree", "Bohr"), units.Hartree, units.Bohr)]
)
def test_numbers_of_schnetpack(case, units_of, energy, length, backend):
    model = import_schnetpack(CHECKPOINT, *units_of)
    assert model.config.elements == (1, 6, 8)
    atoms = Atoms(
        case["numbers"], np.array(case["positions"]) * length, cell=np.array(case["cell"]) * length, pbc=case["pbc"]
    )
    atoms.calc = SchNetCalculator(model, dtype="float64", backend=backend)
    assert atoms.get_potential_energy() / energy == pytest.approx(case["energy"], abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces() * length / energy, case["forces"], atol=1e-6)


@pytest.mark.parametrize("name", ["schnetpack_painn", "schnetpack_painn_shared"])
@pytest.mark.parametrize("structure", [0, 1], ids=["molecule", "crystal"])
@pytest.mark.parametrize(
    ("units_of", "energy", "length"), [(("eV", "Ang"), 1.0, 1.0), (("Hartree", "Bohr"), units.Hartree, units.Bohr)]
)
def test_numbers_of_painn(name, structure, units_of, energy, length):
    model = import_schnetpack(GOLDEN / f"{name}_best_model", *units_of)
    assert type(model.config) is PaiNNConfig and model.config.elements == (1, 6, 8)
    case = cases_of(name)[structure]
    found, forces = TorchPotential(
        model, np.array(case["numbers"]), "float64", cell=np.array(case["cell"]) * length, pbc=case["pbc"]
    )(np.array([case["positions"]]) * length)
    assert found[0] / energy == pytest.approx(case["energy"], abs=1e-9)
    np.testing.assert_allclose(forces[0] * length / energy, case["forces"], atol=1e-9)


@pytest.mark.parametrize(("name", "lmax"), [("schnetpack_so3net", 2), ("schnetpack_so3net_shared", 3)])
@pytest.mark.parametrize("structure", [0, 1], ids=["molecule", "crystal"])
@pytest.mark.parametrize(
    ("units_of", "energy", "length"), [(("eV", "Ang"), 1.0, 1.0), (("Hartree", "Bohr"), units.Hartree, units.Bohr)]
)
def test_numbers_of_so3net(name, lmax, structure, units_of, energy, length):
    """SchNetPack rounds coefficients and harmonics to float32, 1e-7; with exact ones the same numbers agree to 2e-15."""
    model = import_schnetpack(GOLDEN / f"{name}_best_model", *units_of)
    assert type(model.config) is SO3netConfig
    assert (model.config.lmax, model.config.elements, model.config.n_interactions) == (lmax, (1, 6, 8), 2)
    case = cases_of(name)[structure]
    found, forces = TorchPotential(
        model, np.array(case["numbers"]), "float64", cell=np.array(case["cell"]) * length, pbc=case["pbc"]
    )(np.array([case["positions"]]) * length)
    assert found[0] / energy == pytest.approx(case["energy"], abs=1e-6)
    np.testing.assert_allclose(forces[0] * length / energy, case["forces"], rtol=0, atol=1e-6)
    assert np.abs(case["forces"]).max() > 0.02


@pytest.mark.skipif(not METHANE.exists(), reason="the published SO3net of methane is not in shared/data")
def test_published_methane():
    """Energy, forces and energies of atoms that its authors' program gives, in kcal/mol, as far as digits are known."""
    model, frame = import_schnetpack(METHANE, "kcal/mol", "Ang", ("C",)), np.load(PUBLISHED / "methane_frame0.npz")
    potential = TorchPotential(model, frame["atomic_numbers"], "float64", frame["cell"][0].astype(float), frame["pbc"])
    found = potential.evaluate(frame["positions"][None].astype(float))
    assert found["energies"][0] == pytest.approx(-20.195179 * KCAL, abs=1e-6)
    np.testing.assert_allclose(found["forces"][0, 0] / KCAL, [0.238109, -3.788190, 0.189190], rtol=0, atol=2e-6)
    assert np.sqrt(np.square(found["forces"]).mean()) / KCAL == pytest.approx(2.13024, abs=1e-5)
    np.testing.assert_allclose(
        found["atomic_energies"][0, :3] / KCAL, [-0.074783, -0.772134, -0.152494], rtol=0, atol=1e-6
    )
    product = _read(METHANE).representation.so3product
    coefficients = np.zeros((9, 9, 9))
    coefficients[product.idx_in_1, product.idx_in_2, product.idx_out] = product.clebsch_gordan
    np.testing.assert_allclose(coefficients, clebsch_gordan(2), rtol=0, atol=1e-7)


def test_what_blocks_share_is_written_for_each():
    weights = import_schnetpack(SHARED_PAINN, "eV", "Ang").weights
    first, second = np.split(weights["filter_net.weight"], 2)
    np.testing.assert_array_equal(first, second)
    for name in ("interactions.{}.interatomic_context_net.1.weight", "mixing.{}.mu_channel_mix.weight"):
        np.testing.assert_array_equal(weights[name.format(0)], weights[name.format(1)])


@pytest.mark.skipif(not ETHANOL.exists(), reason="md_ethanol.model of SchNetPack's repository is not in shared/data")
def test_ethanol_of_an_early_release():
    """Keys of its table of casts are dtypes; no electronic_embeddings, no spk_version; a mean per atom."""
    model = import_schnetpack(ETHANOL, "kcal/mol", "Ang", ("H", "C", "O"))
    atoms = read(ETHANOL.with_suffix(".xyz"))
    energy, forces = TorchPotential(model, atoms.numbers, "float64")(atoms.positions[None])
    assert energy[0] / KCAL == pytest.approx(-97_208.25193, abs=1e-5)
    assert np.abs(forces).max() / KCAL == pytest.approx(29.548, abs=5e-4)  # three decimals are known


def test_files_of_releases_before_electronic_embeddings(monkeypatch):
    module, usual = _read(PAINN), import_schnetpack(PAINN, "eV", "Ang")
    del module.representation._modules["electronic_embeddings"], module.spk_version
    monkeypatch.setattr("mlcalc.importers.schnetpack._read", lambda path: module)
    model = import_schnetpack(PAINN, "eV", "Ang")
    assert model.metadata["provenance"]["imported_from"] == "SchNetPack 2 checkpoint"
    assert all((model.weights[name] == usual.weights[name]).all() for name in usual.weights)


@pytest.mark.parametrize("switch", [False, None])
def test_offsets_that_the_file_switches_off(switch):
    """SchNetPack applies them only where do_postprocessing says so; its trainer writes True into best_model."""
    module = _read(PAINN)
    module.do_postprocessing = switch
    config, weights = _translate(module, ("H", "O"), 1.0, 1.0)
    assert config.elements == (1, 8)
    np.testing.assert_array_equal(weights["energy_shift"], 0.0)


def test_nothing_of_schnetpack_is_needed():
    assert "schnetpack" not in sys.modules


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["import", "schnetpack", str(CHECKPOINT), "-o", "m.safetensors"]
    assert main([*arguments, "--energy-unit", "eV", "--length-unit", "Ang"]) == 0
    assert "elements: 3, all that the file names" in capsys.readouterr().out
    model = load_model("m.safetensors")
    assert model.metadata["provenance"]["imported_from"].startswith("SchNetPack 2.")
    assert main([*arguments, "--energy-unit", "eV", "--length-unit", "Ang", "--elements", "O", "H"]) == 0
    assert load_model("m.safetensors").config.elements == (1, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--energy-unit and --length-unit missing: checkpoints of schnetpack carry no units"),
        (["--energy-unit", "eV"], "--length-unit missing"),
        (["--energy-unit", "ev", "--length-unit", "Ang"], "energy unit 'ev': expected one of eV, meV, Hartree"),
        (["--energy-unit", "eV", "--length-unit", "A"], "length unit 'A': expected one of Ang, Bohr, nm"),
        (["--energy-unit", "eV", "--length-unit", "Ang", "--elements", "Q"], "element 'Q'"),
    ],
)
def test_refusals_of_the_command(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["import", "schnetpack", str(CHECKPOINT), "-o", "m.safetensors", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_elements_when_the_file_does_not_say():
    module = _read(CHECKPOINT)
    module.postprocessors.children[1].add_atomrefs = False
    config, weights = _translate(module, None, 1.0, 1.0)
    assert config.elements == tuple(range(1, 100))
    np.testing.assert_array_equal(weights["energy_shift"], 0.75)


def another(name: str) -> type:
    return type(name, (Hollow,), {})


def block(module: Hollow) -> Hollow:
    return module.representation.interactions.children[0]


# What to do to the module, and what is then said.
UNSUPPORTED = {
    "model": (lambda m: setattr(m, "__class__", another("Other")), "a model of the class Other: only NeuralNetworkPot"),
    "FieldSchNet": (
        lambda m: setattr(m.representation, "__class__", another("FieldSchNet")),
        "a representation of the class FieldSchNet: only SchNet, PaiNN and SO3net",
    ),
    "Bessel": (lambda m: setattr(m.representation.radial_basis, "__class__", another("BesselRBF")), "only GaussianRBF"),
    "cutoff": (lambda m: setattr(m.representation.cutoff_fn, "__class__", another("MollifierCutoff")), "CosineCutoff"),
    "filters": (lambda m: setattr(m.representation, "n_filters", 8), "8 filters for 16 features"),
    "charge": (
        lambda m: m.representation.electronic_embeddings._modules.update(x=Hollow()),
        "electronic embeddings",
    ),
    "tanh": (
        lambda m: setattr(block(m).f2out.children[0], "activation", another("tanh")),
        "interactions.0.f2out.0 with the activation tanh: only shifted_softplus",
    ),
    "relu": (
        lambda m: setattr(m.output_modules.children[0].outnet.children[0], "activation", another("relu")),
        "readout.0 with the activation relu: only shifted_softplus and silu",
    ),
    "average": (lambda m: setattr(m.output_modules.children[0], "aggregation_mode", "avg"), "aggregated by avg"),
    "ZBL": (
        lambda m: m.output_modules._modules.update(z=another("ZBLRepulsionEnergy")()),
        "an output module of the class ZBLRepulsionEnergy: only Atomwise and Forces",
    ),
    "two": (
        lambda m: m.output_modules._modules.update(z=m.output_modules.children[0]),
        "2 modules Atomwise: expected one",
    ),
    "deep": (
        lambda m: m.output_modules.children[0].outnet._modules.update(z=Hollow()),
        "readout of 3 layers: expected two",
    ),
    "outputs": (lambda m: setattr(m.output_modules.children[0], "n_out", 3), "a readout of 3 outputs: expected one"),
    "layer": (
        lambda m: setattr(block(m).in2f, "__class__", another("Linear")),
        "interactions.0.in2f of the class Linear",
    ),
    "bias": (lambda m: block(m).in2f._parameters.update(bias=np.zeros(16)), "interactions.0.in2f with a bias"),
    "second": (
        lambda m: setattr(block(m).f2out.children[1], "activation", another("silu")),
        "interactions.0.f2out.1 with the activation silu: only Identity",
    ),
    "shape": (
        lambda m: block(m).in2f._parameters.update(weight=np.zeros((1 << 9, 16))),
        r"interactions.0.in2f.weight has shape \(512, 16\), expected \(16, 16\)",
    ),
    "dipole": (
        lambda m: m.output_modules._modules.update(z=another("DipoleMoment")()),
        "an output module of the class DipoleMoment: only Atomwise and Forces",
    ),
    "field": (
        lambda m: m.input_modules._modules.update(z=another("StaticExternalFields")()),
        "an input module of the class StaticExternalFields: only PairwiseDistances",
    ),
    "nuclear": (
        lambda m: setattr(m.representation.embedding, "__class__", another("NuclearEmbedding")),
        "an embedding of the class NuclearEmbedding: only Embedding",
    ),
    "norm": (lambda m: setattr(m.representation.embedding, "max_norm", 1.0), "an embedding with max_norm"),
    "postprocessor": (
        lambda m: m.postprocessors._modules.update(z=another("ScaleProperty")()),
        "a postprocessor of the class ScaleProperty",
    ),
    "intensive": (lambda m: setattr(m.postprocessors.children[1], "is_extensive", False), "expected one per atom"),
}


def mixing(module: Hollow) -> Hollow:
    return module.representation.mixing.children[1]


def context(module: Hollow) -> Hollow:
    return block(module).interatomic_context_net


UNSUPPORTED_PAINN = {
    "epsilon": (
        lambda m: setattr(mixing(m), "epsilon", 1e-6),
        r"mixings with epsilon \[1e-08, 1e-06\]: expected the same in all",
    ),
    "activation": (
        lambda m: setattr(context(m).children[0], "activation", another("tanh")),
        "interactions.0.interatomic_context_net.0 with the activation tanh: only silu",
    ),
    "own activation": (
        lambda m: setattr(mixing(m).intraatomic_context_net.children[0], "activation", another("shifted_softplus")),
        "mixing.1.intraatomic_context_net.0 with the activation shifted_softplus: only silu",
    ),
    "layers": (lambda m: context(m)._modules.update(z=Hollow()), "interatomic_context_net of 3 layers: expected two"),
    "filter": (
        lambda m: setattr(m.representation.filter_net, "activation", another("silu")),
        "filter_net with the activation silu: only Identity",
    ),
    "bias": (lambda m: mixing(m).mu_channel_mix._parameters.update(bias=np.zeros(16)), "mu_channel_mix with a bias"),
    "blocks": (lambda m: m.representation.mixing._modules.popitem(), "2 interactions and 1 mixings"),
    "shared": (lambda m: setattr(m.representation, "share_filters", 1), "a int where true or false belongs"),
    "shared shape": (
        lambda m: setattr(m.representation, "share_filters", True),
        r"filter_net.weight has shape \(48, 12\), expected \(24, 12\)",
    ),
    **{
        name: UNSUPPORTED[name]
        for name in ("Bessel", "cutoff", "charge", "nuclear", "dipole", "field", "ZBL", "two", "relu", "postprocessor")
    },
}


def convolution(module: Hollow) -> Hollow:
    return module.representation.so3convs.children[1]


def negative(owner: Hollow, name: str, where) -> None:
    """Change the sign of some numbers of a table."""
    table = np.array(owner._buffers[name])
    table[where] *= -1
    owner._buffers[name] = table


def other_order(module: Hollow) -> None:
    """Components x, y, z in place of y, z, x, in the table of one convolution."""
    place = np.array([0, 2, 3, 1, 4, 5, 6, 7, 8])
    buffers = convolution(module)._buffers
    buffers |= {name: place[buffers[name]] for name in ("idx_in_1", "idx_in_2", "idx_out")}


_TABLE = "differs from the table of mlcalc: another order, sign or norm of the components"
UNSUPPORTED_SO3NET = {
    "degree": (lambda m: setattr(m.representation, "lmax", 4), "lmax = 4: only 1 to 3 can be imported"),
    "degree zero": (lambda m: setattr(m.representation, "lmax", 0), "lmax = 0: only 1 to 3"),
    "another degree": (lambda m: setattr(m.representation, "lmax", 3), f"sphharm.lidx {_TABLE}"),
    "a word for a degree": (lambda m: setattr(m.representation, "lmax", "2"), "a str where a finite number belongs"),
    "signs": (
        lambda m: negative(m.representation.so3product, "clebsch_gordan", slice(20, 21)),
        f"so3product.clebsch_gordan {_TABLE}",
    ),
    "order": (other_order, f"so3convs.1.clebsch_gordan {_TABLE}"),
    "no number": (
        lambda m: convolution(m)._buffers.update(clebsch_gordan=np.full(83, np.nan, np.float32)),
        f"so3convs.1.clebsch_gordan {_TABLE}",
    ),
    "outside": (
        lambda m: convolution(m)._buffers.update(idx_out=np.full(83, 9)),
        f"so3convs.1.clebsch_gordan {_TABLE}",
    ),
    "filters": (lambda m: negative(convolution(m), "Widx", slice(None)), f"so3convs.1.Widx {_TABLE}"),
    "gates": (
        lambda m: setattr(m.representation.gatings.children[0], "lidx", np.arange(9)),
        f"gatings.0.lidx {_TABLE}",
    ),
    "harmonics": (lambda m: negative(m.representation.sphharm, "cBm", 0), f"sphharm {_TABLE}"),
    "harmonics that are no numbers": (
        lambda m: m.representation.sphharm._buffers.update(powers=np.full((2, 3, 2), 0.5, np.float32)),
        f"sphharm {_TABLE}",
    ),
    "orders": (lambda m: setattr(m.representation.sphharm, "midx", np.zeros(9, int)), f"sphharm.midx {_TABLE}"),
    "shape": (
        lambda m: m.representation.sphharm._buffers.update(cPi=np.zeros((3, 3, 9))),
        r"sphharm.cPi has shape \(3, 3, 9\), expected \(3, 3, 2\)",
    ),
    "gating": (
        lambda m: setattr(m.representation.gatings.children[1], "__class__", another("SO3GatedNonlinearity")),
        "gatings.1 of the class SO3GatedNonlinearity: only SO3ParametricGatedNonlinearity",
    ),
    "layer": (
        lambda m: setattr(m.representation.mixings2.children[0], "__class__", another("Dense")),
        "interactions.0.mixings.1 of the class Dense: only Linear",
    ),
    "bias": (
        lambda m: m.representation.mixings1.children[0]._parameters.update(bias=np.zeros(8)),
        "interactions.0.mixings.0 with a bias",
    ),
    "filter": (
        lambda m: setattr(convolution(m).filternet, "activation", another("silu")),
        "interactions.1.filter_net with the activation silu: only Identity",
    ),
    "blocks": (lambda m: m.representation.mixings3._modules.popitem(), "2 so3convs and 1 mixings3"),
    **{
        name: UNSUPPORTED[name]
        for name in ("Bessel", "cutoff", "charge", "nuclear", "dipole", "field", "ZBL", "two", "relu", "postprocessor")
    },
}
ALL_UNSUPPORTED = [(CHECKPOINT, *row) for row in UNSUPPORTED.values()] + [
    (path, *row) for path, table in ((PAINN, UNSUPPORTED_PAINN), (SO3NET, UNSUPPORTED_SO3NET)) for row in table.values()
]


@pytest.mark.parametrize(
    ("checkpoint", "change", "message"),
    ALL_UNSUPPORTED,
    ids=[
        *UNSUPPORTED,
        *(f"PaiNN {name}" for name in UNSUPPORTED_PAINN),
        *(f"SO3net {name}" for name in UNSUPPORTED_SO3NET),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(checkpoint, change, message, monkeypatch):
    module = _read(checkpoint)
    change(module)
    monkeypatch.setattr("mlcalc.importers.schnetpack._read", lambda path: module)
    with pytest.raises(InputError, match=message):
        import_schnetpack(checkpoint, "eV", "Ang")


class Trap:
    """Would make a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrap", [lambda trap: trap, lambda trap: {"state_dict": trap}], ids=["itself", "inside"])
def test_nothing_in_a_checkpoint_is_executed(tmp_path, wrap):
    torch.save(wrap(Trap(tmp_path / "sprung")), tmp_path / "trap")
    with pytest.raises(InputError, match="not readable|holds a dict|of the class mkdir"):
        import_schnetpack(tmp_path / "trap", "eV", "Ang")
    assert not (tmp_path / "sprung").exists()


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        import_schnetpack(tmp_path / "none", "eV", "Ang")
    (tmp_path / "text").write_text("best model")
    with pytest.raises(InputError, match=r"not written by torch\.save"):
        import_schnetpack(tmp_path / "text", "eV", "Ang")
    torch.save({"state_dict": {"w": torch.zeros(2)}}, tmp_path / "x.ckpt")
    with pytest.raises(InputError, match="holds a dict, not a network: expected best_model"):
        import_schnetpack(tmp_path / "x.ckpt", "eV", "Ang")


@pytest.mark.parametrize("checkpoint", [CHECKPOINT, SHARED_PAINN, SHARED_SO3NET], ids=["SchNet", "PaiNN", "SO3net"])
@example(where=0.999, bit=0, cut=False)  # once a BadZipFile, from the question whether it is a zip file at all
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_an_input_error_or_harmless(tmp_path, checkpoint, where, bit, cut):
    content = bytearray(checkpoint.read_bytes())
    at = int(where * len(content))
    if cut:
        content = content[:at]
    else:
        content[at] ^= 1 << bit
    (tmp_path / "damaged").write_bytes(content)
    try:
        model = import_schnetpack(tmp_path / "damaged", "eV", "Ang")
    except InputError:
        return
    assert not cut
    assert isinstance(model, Model)
