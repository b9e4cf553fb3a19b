"""Networks as metatomic gets them, and what is refused: tests that do not need metatomic."""

from dataclasses import replace

import pytest
import torch

from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.geometry.pairs import pairs_within
from mlcalc.metatomic import export
from mlcalc.metatomic.networks import PaiNN, SchNet
from mlcalc.model_file import save_model
from mlcalc.torch_potential import network_of
from tests.mlcalc.architectures import CUTOFF, SYSTEMS, model_of


@pytest.mark.parametrize("system", ["crystal", "small cell"])
@pytest.mark.parametrize(("name", "network"), [("schnet", SchNet), ("painn", PaiNN)])
def test_networks_are_ours(name, network, system):
    """Half pairs and all features of ours against full lists and TorchScript, with gradients, in several calls."""
    model, atoms = model_of(name), SYSTEMS[system]
    ours = network_of(model, torch.float64)
    theirs = network(model.config).double()
    theirs.load_state_dict(
        {key: torch.as_tensor(w) for key, w in model.weights.items() if not key.startswith("energy_")}
    )
    theirs = torch.jit.script(theirs.requires_grad_(False))
    pairs = pairs_within(atoms.positions, CUTOFF, atoms.cell.array, True)
    half = torch.as_tensor(atoms.positions[pairs.second] - atoms.positions[pairs.first] + pairs.shift)
    first, second = torch.as_tensor(pairs.first), torch.as_tensor(pairs.second)
    species = torch.tensor([model.config.elements.index(z) for z in atoms.numbers])
    for _ in range(3):
        half = (half * 1.01).detach().requires_grad_(True)
        vectors, receivers, senders = torch.cat([half, -half]), torch.cat([first, second]), torch.cat([second, first])
        distance = vectors.norm(dim=1)
        found = ours.energy_scale * theirs(species, receivers, senders, distance, vectors / distance[:, None])
        expected = ours(species, first, second, half)["energy"]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
        gradients = [torch.autograd.grad(energies.sum(), half, retain_graph=True)[0] for energies in (found, expected)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-11)
        assert gradients[1].abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("so3net", "architecture SO3net: the export to metatomic knows SchNet, PaiNN"),
        ("dtnn", "architecture DTNN: the export to metatomic knows SchNet, PaiNN"),
        ("wacsf", "architecture wACSF: the export to metatomic knows SchNet, PaiNN"),
        ("schnet-original", "a network without a cutoff"),
        ("schnet-angular", "prior 'angular': the export to metatomic knows repulsion"),
        ("painn-priors", "prior 'angular': the export to metatomic knows repulsion"),
    ],
)
def test_what_cannot_be_exported(tmp_path, capsys, name, message):
    save_model(model_of(name), tmp_path / "model.safetensors")
    assert main(["export", "metatomic", str(tmp_path / "model.safetensors"), "-o", str(tmp_path / "out.pt")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out.pt").exists()


def test_readouts_and_corrections_are_refused():
    with pytest.raises(InputError, match="readouts charges: the export to metatomic knows energies, forces and stress"):
        export.check_model(replace(model_of("painn"), readouts=("charges",)))
    with pytest.raises(InputError, match="a correction to tblite"):
        export.check_model(replace(model_of("schnet"), metadata={"domain": {"correction_to": "tblite:GFN2-xTB"}}))


def test_bad_arguments(tmp_path, capsys):
    out = str(tmp_path / "out.pt")
    assert main(["export", "metatomic", "c20", "c20-large", "-o", out]) == 2
    assert "2 models, a committee: the export to metatomic takes one" in capsys.readouterr().err
    assert main(["export", "metatomic", "c20", "-o", str(tmp_path / "out.safetensors")]) == 2
    assert "expected a name that ends in .pt" in capsys.readouterr().err
    assert main(["export", "metatomic", "c20", "-o", str(tmp_path / "absent" / "out.pt")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_metatomic(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    assert main(["export", "metatomic", "c20", "-o", str(tmp_path / "out.pt")]) == 2
    assert "metatomic is not installed: pip install 'mlcalc[metatomic]'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_torchscript_that_is_switched_off(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: name)
    monkeypatch.setenv("PYTORCH_JIT", "0")
    with pytest.raises(InputError, match="PYTORCH_JIT = '0': TorchScript is switched off"):
        export.check_installed()


def test_the_interaction_range_is_that_of_all_layers():
    assert export.interaction_range(model_of("painn")) == pytest.approx(2 * CUTOFF)
