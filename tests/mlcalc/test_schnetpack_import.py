"""Import of SchNetPack 2 checkpoints, against numbers that SchNetPack computed (golden/make_schnetpack.py), without SchNetPack."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mlcalc import InputError, SchNetCalculator, load_model
from mlcalc.cli import main
from mlcalc.importers.schnetpack import _read, _translate, import_schnetpack
from mlcalc.importers.torch_file import Hollow
from mlcalc.model import Model

GOLDEN = Path(__file__).parent / "golden"
CHECKPOINT = GOLDEN / "schnetpack_best_model"
CASES = json.loads((GOLDEN / "schnetpack.json").read_text())["cases"]


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
    "PaiNN": (lambda m: setattr(m.representation, "__class__", another("PaiNN")), "of the class PaiNN: only SchNet"),
    "Bessel": (lambda m: setattr(m.representation.radial_basis, "__class__", another("BesselRBF")), "only GaussianRBF"),
    "cutoff": (lambda m: setattr(m.representation.cutoff_fn, "__class__", another("MollifierCutoff")), "CosineCutoff"),
    "filters": (lambda m: setattr(m.representation, "n_filters", 8), "8 filters for 16 features"),
    "charge": (
        lambda m: m.representation.electronic_embeddings._modules.update(x=Hollow()),
        "electronic embeddings",
    ),
    "tanh": (lambda m: setattr(block(m).f2out.children[0], "activation", another("tanh")), "the activation tanh"),
    "relu": (
        lambda m: setattr(m.output_modules.children[0].outnet.children[0], "activation", another("relu")),
        "a readout with the activation relu: only shifted_softplus and silu",
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
        "a readout of 3 layers and 1 outputs",
    ),
    "postprocessor": (
        lambda m: m.postprocessors._modules.update(z=another("ScaleProperty")()),
        "a postprocessor of the class ScaleProperty",
    ),
    "intensive": (lambda m: setattr(m.postprocessors.children[1], "is_extensive", False), "expected one per atom"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_cannot_be_imported_is_refused_with_the_reason(name, monkeypatch):
    change, message = UNSUPPORTED[name]
    module = _read(CHECKPOINT)
    change(module)
    monkeypatch.setattr("mlcalc.importers.schnetpack._read", lambda path: module)
    with pytest.raises(InputError, match=message):
        import_schnetpack(CHECKPOINT, "eV", "Ang")


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


@example(where=0.999, bit=0, cut=False)  # once a BadZipFile, from the question whether it is a zip file at all
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_an_input_error_or_harmless(tmp_path, where, bit, cut):
    content = bytearray(CHECKPOINT.read_bytes())
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
