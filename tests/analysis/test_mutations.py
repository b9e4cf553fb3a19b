"""``python -m analysis mutations``: closed forms of what an exchange of a type does, and exchanges that are none."""

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis.__main__ import main
from analysis.chain.mutations import Exchange, mutate_chain, parse_exchange, scan, unseen_share
from mlcalc import InputError
from mlcalc.model_file import save_model
from mlcalc.potential import build_potential
from tests.analysis.chains import SEQUENCE, TYPES, frames, network, write_chain, write_models

D4Y = Exchange(3, "D", "Y")


@pytest.mark.parametrize("name", ["schnet", "painn"])
def test_energies(name):
    """ΔE is that of the network alone; the exchange undone undoes it, in the map too."""
    found, model = frames(), network(name)
    item = mutate_chain(model, name, found, [D4Y], 0.1)
    mutant = found.numbers.copy()
    mutant[3] = 20
    bare = replace(model, priors={})
    energies = [build_potential(bare, z, "float64", "torch")(found.positions)[0] for z in (mutant, found.numbers)]
    np.testing.assert_allclose(item.energy[0], energies[0] - energies[1], rtol=1e-8)
    back = mutate_chain(model, name, found._replace(numbers=mutant, sequence="DAYYAYDAY"), [Exchange(3, "Y", "D")], 0.1)
    for one, other in ((item.energy, back.energy), (item.pairs, back.pairs), (item.priors, back.priors)):
        np.testing.assert_allclose(one, -other, rtol=1e-9, atol=1e-12)
    assert item.explained == "network without priors"


def test_without_biases_relevance_takes_the_whole_change():
    model = network()
    weights = {
        name: np.zeros_like(array) if name.endswith("bias") and "filter" not in name else array
        for name, array in model.weights.items()
    }
    item = mutate_chain(replace(model, weights=weights), "net", frames(), [D4Y], 0.1)
    np.testing.assert_allclose(sum(item.orders.values()), item.energy, rtol=1e-9)
    # The change of the sum of pairs is that of the map.
    np.testing.assert_allclose(item.pairs.sum(axis=(2, 3)) / 2, item.orders["2"], rtol=1e-9)


def test_types_of_one_vector_are_one_type():
    """The network changes nothing; the repulsion changes by its own formula, and no other prior does."""
    found, model = frames(), network()
    model.weights["embedding.weight"][2] = model.weights["embedding.weight"][0]  # Y as D
    item = mutate_chain(model, "net", found, [D4Y], 0.1)
    assert not item.energy.any() and not item.pairs.any() and not any(values.any() for values in item.orders.values())
    prior = model.priors["bead_repulsion"]
    rows = [TYPES.index(z) for z in found.numbers.tolist()]
    distances, expected = found.distances()[:, 3], np.zeros(3)
    for j, row in enumerate(rows):
        if abs(j - 3) > prior.excluded:
            r = distances[:, j]
            u = np.clip(2 * r / prior.cutoff - 1, 0, 1)
            switch = 1 - 10 * u**3 + 15 * u**4 - 6 * u**5
            reach = prior.distances[2][row] ** 6 - prior.distances[0][row] ** 6
            expected += prior.strength * reach / r**6 * switch
    assert np.abs(expected).max() > 1e-6
    np.testing.assert_allclose(item.priors[0], expected, rtol=1e-8)
    chain_alone = {kind: value for kind, value in model.priors.items() if kind != "bead_repulsion"}
    assert not mutate_chain(replace(model, priors=chain_alone), "net", found, [D4Y], 0.1).priors.any()


def test_a_constant_of_a_type(tmp_path, monkeypatch, capsys):
    """Beads that do not feel each other: ΔE is one number in all frames, and nothing in the difference to other frames."""
    monkeypatch.chdir(tmp_path)
    model = network()
    for name in model.weights:
        if "in2f" in name:
            model.weights[name] = np.zeros_like(model.weights[name])
    # Constants of types themselves are left out altogether.
    shifted = replace(model, weights=model.weights | {"energy_shift": np.array([5.0, 7.0, 11.0])})
    one, other = (mutate_chain(item, "net", frames(), [D4Y], 0.0) for item in (model, shifted))
    assert np.ptp(one.energy) < 1e-12 and abs(one.energy[0, 0]) > 1e-3 and not one.pairs.any()
    np.testing.assert_array_equal(one.energy, other.energy)
    save_model(model, "net.safetensors")
    write_chain(tmp_path)
    write_chain(tmp_path, "others.xyz", seed=5)
    command = ["mutations", "net.safetensors", "frames.xyz", "--mutate", "D4Y", "-o", "out.png", "--json"]
    assert main([*command, "--against", "others.xyz"]) == 0
    changes = json.loads(capsys.readouterr().out)["exchanges"][0]["changes"]["net"]
    assert changes["ΔE of the network"]["value_eV"] == pytest.approx(one.energy[0, 0], rel=1e-9)
    assert changes["difference to --against"]["value_eV"] == pytest.approx(0.0, abs=1e-12)


def test_neighbours_that_training_never_had():
    """Y beside D never, beside A only from 4 Å on, beside Y always: counted by hand."""
    model = network(min_distances_A={"Ca-H": 4.0, "Ca-Ca": 0.1, "H-H": 0.1}, min_distance_A=0.1)
    found = frames()
    distances, unseen, near = found.distances()[:, 3], 0, 0
    for j, letter in enumerate(SEQUENCE):
        if j != 3:
            inside = distances[:, j] < 12.0
            near += inside.sum()
            unseen += {"D": inside, "A": inside & (distances[:, j] < 4.0), "Y": np.zeros(3, bool)}[letter].sum()
    assert 0 < unseen < near
    assert unseen_share(model, found, D4Y) == pytest.approx(unseen / near)
    assert np.isnan(unseen_share(network(), found, D4Y))


def test_exchanges_of_a_scan():
    found = frames()
    assert list(map(str, scan("A", None, found))) == ["D1A", "Y3A", "D4A", "Y6A", "D7A", "Y9A"]
    ends = found._replace(numbers=np.array([21, *found.numbers[1:8], 22]))
    assert list(map(str, scan("A", None, ends))) == ["Y3A", "D4A", "Y6A", "D7A"]
    assert [item.type for item in scan("Y", [4, 2], found)] == [20, 20]
    assert parse_exchange("D4Y", found) == D4Y
    for text, words in (
        ("K12M", "K12M: residue 12: expected 1 to 9"),
        ("A4Y", "A4Y: residue 4 is D in the sequence, not A"),
        ("D4D", "D4D: residue 4 is D already"),
        ("D4B", "mutation 'D4B': expected letter, number, new letter, as K12M, of ACDEFGHIKLMNPQRSTVWY"),
        ("D04Y", "mutation 'D04Y': expected letter, number, new letter"),
    ):
        with pytest.raises(InputError, match=words):
            parse_exchange(text, found)
    with pytest.raises(InputError, match="D1Y: bead 1 has the type N-terminus, whatever its residue"):
        parse_exchange("D1Y", ends)
    for letter, residues, words in (
        ("B", None, "--scan 'B': expected one letter"),
        ("AA", None, "--scan 'AA'"),
        ("A", [12], "--residues 12: expected 1 to 9"),
        ("A", [2], "A2A: residue 2 is A already"),
    ):
        with pytest.raises(InputError, match=words):
            scan(letter, residues, found)


def test_types_that_a_network_does_not_know():
    """None of its embeddings, one that training never touched, one that the repulsion lacks."""
    found, tryptophan = frames(), Exchange(3, "D", "W")
    with pytest.raises(InputError, match="D4W: the model net was never trained on the type W: it knows A, D, Y"):
        mutate_chain(network(), "net", found, [tryptophan], 0.0)
    with pytest.raises(InputError, match="D4Y: the model net was never trained on the type Y: it knows A, D$"):
        mutate_chain(network(elements=[1, 3]), "net", found, [D4Y], 0.0)
    model = network()
    few = replace(model.priors["bead_repulsion"], types=(1, 3), distances=((4.0, 4.0), (4.0, 4.0)))
    with pytest.raises(InputError, match="D4Y: the repulsion of beads of the model net has no type Y"):
        mutate_chain(replace(model, priors={"bead_repulsion": few}), "net", found, [D4Y], 0.0)


@pytest.mark.parametrize("many", [False, True])
def test_command(tmp_path, monkeypatch, capsys, many):
    """Two networks, few exchanges drawn as maps and many as rows; the report says what it cannot mean."""
    monkeypatch.chdir(tmp_path)
    write_models(tmp_path)
    write_chain(tmp_path, n=2)
    which = ["--scan", "A", "--residues", "1,3,4,6"] if many else ["--mutate", "D4Y", "--mutate", "A5D"]
    assert main(["mutations", "schnet.safetensors", "painn.safetensors", "frames.xyz", *which, "-o", "out.png"]) == 0
    text, found = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())
    for words in (
        "nothing relaxes",
        "no free energy",
        "undetermined",
        "extrapolation",
        "bonds, angles and dihedral angles keep",
    ):
        assert words in text and words in " ".join(found["meaning"])
    assert [row["exchange"] for row in found["exchanges"]] == (["D1A", "Y3A", "D4A", "Y6A"] if many else ["D4Y", "A5D"])
    first = found["exchanges"][0]["changes"]
    values = [first[name]["ΔE of the network"]["value_eV"] for name in ("schnet", "painn")]
    assert first["mean of networks"]["ΔE of the network"]["value_eV"] == pytest.approx(np.mean(values))
    assert first["mean of networks"]["ΔE of the network"]["error_eV"] == pytest.approx(abs(values[0] - values[1]) / 2)
    assert (tmp_path / "out.png").stat().st_size > 10_000 and len(np.load("out.npz").files) == 2 * 2 * len(
        found["exchanges"]
    )


def test_refusals(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_models(tmp_path)
    write_chain(tmp_path)
    start = ["schnet.safetensors", "frames.xyz", "-o", "out.png"]
    for arguments, words in (
        (start, "expected at least one exchange: --mutate K12M, or --scan A"),
        ([*start, "--residues", "4"], "--residues: an option of --scan only"),
        ([*start, "--mutate", "A4Y"], "A4Y: residue 4 is D in the sequence, not A"),
        ([*start, "--mutate", "D4W"], "D4W: the model schnet was never trained on the type W"),
        ([*start, "--mutate", "D4Y", "--mutate", "D4Y"], "D4Y: given 2 times: expected once"),
        ([*start, "--mutate", "D4Y", "--against", "none.xyz"], "none.xyz: no such file"),
    ):
        assert main(["mutations", *arguments]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not list(tmp_path.glob("out.*"))
    with pytest.raises(SystemExit, match="2"):
        main(["mutations", *start, "--scan", "A", "--residues", "4,b"])
    assert "'4,b': expected numbers such as 5,8" in capsys.readouterr().err
