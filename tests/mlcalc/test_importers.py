"""Original SchNet checkpoints: read without TensorFlow, equal to the formulas, refused when damaged."""

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.io import read
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.importers.schnet_tf import import_schnet_tf
from mlcalc.importers.tf_bundle import masked_crc32c, read_tf_bundle
from mlcalc.model_file import load_model
from tests.mlcalc.tf_bundles import schnet_tensors, write_bundle

C20_NETWORKS = Path(__file__).parents[3] / "shared" / "data" / "schnet_tf_c20"
KCAL = units.kcal / units.mol


@pytest.fixture
def folder(tmp_path) -> Path:
    write_bundle(tmp_path / "net" / "validation" / "best_model", schnet_tensors())
    return tmp_path / "net"


def test_checksum_of_the_standard():
    """CRC-32C of "123456789" is E3069283 (RFC 3720, B.4); masked: rotated by 15 bits, plus a constant."""
    crc = 0xE3069283
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.mark.parametrize("per_block", [1, 3, 100])
def test_bundle_round_trip(tmp_path, per_block):
    tensors = schnet_tensors() | {"counter": np.arange(300, dtype=np.int64).reshape(3, 100), "scalar": np.array(2.5)}
    write_bundle(tmp_path / "x", tensors, per_block)
    found = read_tf_bundle(tmp_path / "x")
    assert found.keys() == tensors.keys()
    assert all(
        np.array_equal(found[name], tensors[name]) and found[name].dtype == tensors[name].dtype for name in tensors
    )


def ssp(x):
    return np.log(0.5 * np.exp(x) + 0.5)


def energy_by_the_book(tensors: dict, numbers: np.ndarray, positions: np.ndarray) -> float:
    """The original network, loop by loop, in kcal/mol."""
    w = {name.removesuffix(":0"): np.float64(array) for name, array in tensors.items()}
    centers = np.linspace(0, 20, len(w["interaction_0/SchNetFilter/Dense/W"]))
    x = w["atom_embedding/embeddings/W"][numbers]
    t = 0
    while f"interaction_{t}/Dense/W" in w:
        p = f"interaction_{t}/"
        y = x @ w[p + "CFConv/in2fac/W"]
        message = np.zeros_like(x)
        for i in range(len(numbers)):
            for j in range(len(numbers)):
                if i != j:
                    rbf = np.exp(-10.0 * (np.linalg.norm(positions[i] - positions[j]) - centers) ** 2)
                    hidden = ssp(rbf @ w[p + "SchNetFilter/Dense/W"] + w[p + "SchNetFilter/Dense/b"])
                    message[i] += y[j] * ssp(hidden @ w[p + "SchNetFilter/Dense_1/W"] + w[p + "SchNetFilter/Dense_1/b"])
        v = ssp(message @ w[p + "CFConv/fac2out/W"] + w[p + "CFConv/fac2out/b"])
        x = x + v @ w[p + "Dense/W"] + w[p + "Dense/b"]
        t += 1
    atomic = ssp(x @ w["Dense/W"] + w["Dense/b"]) @ w["Dense_1/W"] + w["Dense_1/b"]
    return float((w["std_per_atom"] * atomic + w["mean_per_atom"]).sum())


def test_import_is_the_network_by_the_book(folder):
    numbers = np.array([6, 1, 6, 1])
    positions = np.random.default_rng(2).normal(size=(4, 3)) * 1.5
    model = import_schnet_tf(folder, ("H", "C"))
    assert model.config.elements == (1, 6)
    energies, _ = SchNetKernel(model, numbers, "float64")(positions[None])
    # The filter table of the kernel is exact to 1e-7 of the largest filter.
    assert energies[0] / KCAL == pytest.approx(energy_by_the_book(schnet_tensors(), numbers, positions), abs=1e-5)


def test_command_writes_a_model(folder, tmp_path, capsys):
    assert main(["import", "schnet-tf", str(folder), "-o", str(tmp_path / "m.safetensors")]) == 0
    assert "SchNet (4, 2)" in capsys.readouterr().out
    assert load_model(tmp_path / "m.safetensors").config.elements == (6,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "-o", "m.safetensors"], "no checkpoint; expected validation/best_model.index"),
        (["net", "-o", "m.pt"], "ends in .safetensors"),
        (["net", "--elements", "Q", "-o", "m.safetensors"], "element 'Q': expected chemical symbols"),
        (["net", "--elements", "Fe", "-o", "m.safetensors"], "atomic number 26: the embedding has rows for 1 to 9"),
    ],
)
def test_refusals(folder, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["import", "schnet-tf", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("m.*"))


def test_foreign_network(tmp_path):
    write_bundle(tmp_path / "other", {"dense/kernel": np.zeros((2, 2), np.float32)})
    with pytest.raises(InputError, match="'atom_embedding/embeddings/W' is missing"):
        import_schnet_tf(tmp_path / "other")


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_damage_is_noticed(tmp_path, suffix, where, bit, cut):
    """A flipped bit or a torn end: InputError, or (in bytes that carry nothing, such as padding) the same tensors."""
    tensors = schnet_tensors()
    write_bundle(tmp_path / "x", tensors)
    path = tmp_path / f"x.{suffix}"
    content = bytearray(path.read_bytes())
    at = int(where * len(content))
    if cut:
        content = content[:at]
    else:
        content[at] ^= 1 << bit
    path.write_bytes(content)
    try:
        found = read_tf_bundle(tmp_path / "x")
    except InputError:
        return
    assert not cut
    assert found.keys() == tensors.keys()
    assert all(np.array_equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.skipif(not C20_NETWORKS.is_dir(), reason=f"needs the authors' C20 networks in {C20_NETWORKS.parent.name}")
@pytest.mark.parametrize(
    ("name", "energy", "force"), [("energy_model", 43.4689, 84.934), ("force_model", 44.5041, 84.487)]
)
def test_the_authors_networks(name, energy, force):
    """Reference energies and forces of the original program at the supplied structure, kcal/mol(/Å), to their last digit."""
    from mlcalc.torch_potential import TorchPotential

    model = import_schnet_tf(C20_NETWORKS / name)
    atoms = read(C20_NETWORKS / "C20.xyz")
    # In torch: the kernel's table of 200 Gaussians up to 20 Å takes long to make in float64.
    energies, forces = TorchPotential(model, atoms.numbers, "float64")(atoms.positions[None])
    assert energies[0] / KCAL - 20 * model.weights["energy_shift"][0] / KCAL == pytest.approx(energy, abs=2e-4)
    assert np.abs(forces).max() / KCAL == pytest.approx(force, abs=1e-3)
