"""Priors know the beads of their chain: another order is refused wherever structures meet them, single exchanges are not."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from analysis.relevance.explain import explain
from md.cli import main as rpmd
from mlcalc import InputError
from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.cli import main
from mlcalc.data.coarse_grain.chain_priors import fit_chain_priors
from mlcalc.data.coarse_grain.residues import bead_types
from mlcalc.importers.chain_prior import read_chain_prior
from mlcalc.model_file import load_model, save_model
from mlcalc.priors import BondPrior, check_atoms
from mlcalc.priors.prior_file import read_priors, write_priors
from mlcalc.torch_potential import TorchPotential
from tests.mlcalc.test_chain_prior_files import frames_of, published
from tests.mlcalc.test_chain_priors import NUMBERS, chain, priors_of, with_network, without_network

SEQUENCE = "MKVIAGLLDEF"  # 11 residues
CHAINS = ("bonds", "angles", "dihedrals")
REVERSED = "6 of 9 beads have other types than in the chain of the prior; the first is bead 1, Y (type 20): expected D (type 3)"


def springs(types) -> dict:
    n = len(types) - 1
    return {"bonds": BondPrior((5.0,) * n, (3.8,) * n, 8.0, tuple(int(z) for z in types))}


def exchanged(types: np.ndarray, **letters: str) -> np.ndarray:
    """Types with those of beads b1, b2 … exchanged."""
    types = types.copy()
    for bead, letter in letters.items():
        types[int(bead[1:]) - 1] = bead_types(letter, False, False)[0]
    return types


def typed() -> dict:
    """Priors that know their chain, in so far as they go by places."""
    known = tuple(NUMBERS.tolist())
    return {name: replace(prior, chain_types=known) if name in CHAINS else prior for name, prior in priors_of().items()}


FREE, CAPPED = bead_types(SEQUENCE), bead_types(SEQUENCE, False, False)


@pytest.mark.parametrize(
    ("types", "numbers"),
    [
        (FREE, FREE), (FREE, np.tile(FREE, 2)), (FREE, exchanged(FREE, b5="K")),
        (FREE, exchanged(FREE, b2="A", b3="A", b4="A", b6="A", b7="A")), (CAPPED, exchanged(CAPPED, b1="A")),
        (CAPPED, exchanged(CAPPED, b11="A")),
    ],
    ids=["itself", "copies", "one exchange", "less than half", "a first residue", "a last residue"],
)  # fmt: skip
def test_chains_that_are_served(types, numbers):
    check_atoms(springs(types), numbers)


@pytest.mark.parametrize(
    ("types", "numbers", "words"),
    [
        (FREE, FREE[::-1], "bonds: 10 of 11 beads have other types than in the chain of the prior; the first is bead 1, C-terminus "
         "(type 22): expected N-terminus (type 21); is the order of beads that along the chain?"),
        (FREE, CAPPED, "2 of 11 beads have other types than in the chain of the prior; the first is bead 1, M (type 11): expected"),
        (FREE, exchanged(FREE, b1="M"), "1 of 11 beads have other types than in the chain of the prior; the first is bead 1, M"),
        (FREE, exchanged(FREE, b11="F"), "the first is bead 11, F (type 5): expected C-terminus (type 22)"),
        (CAPPED, exchanged(CAPPED, b4="A", b11="A"),
         "2 of 11 beads have other types than in the chain of the prior; the first is bead 4, "),
        (FREE, exchanged(FREE, b2="A", b3="A", b4="A", b6="A", b7="A", b8="A"), "6 of 11 beads"),
        (CAPPED, np.concatenate([CAPPED, CAPPED[::-1]]), "the first is bead 12, F (type 5): expected M (type 11)"),
    ],
    ids=["reversed", "capped", "first not free", "last not free", "two exchanges, one at an end", "more than half", "a copy"],
)  # fmt: skip
def test_other_chains(types, numbers, words):
    with pytest.raises(InputError, match=re.escape(words)):
        check_atoms(springs(types), numbers)
    check_atoms({"bonds": replace(springs(types)["bonds"], chain_types=None)}, numbers)  # of an older file


@pytest.mark.parametrize("name", CHAINS)
def test_potentials_and_relevance_refuse_a_reversed_chain(name):
    model = with_network({name: typed()[name]})
    for make in (SchNetKernel, TorchPotential):
        make(model, NUMBERS)
        with pytest.raises(InputError, match=re.escape(f"{name}: {REVERSED}")):
            make(model, NUMBERS[::-1].copy())
    with pytest.raises(InputError, match=re.escape(f"{name}: {REVERSED}")):
        explain(model, Atoms(NUMBERS[::-1], chain()[::-1]), 0.1)


def test_files(tmp_path):
    """Types are read as they were written; files without them, such as older ones, have none and gain none."""
    for priors in (typed(), priors_of()):
        write_priors(priors, "of a test", tmp_path / "priors.json")
        save_model(with_network(priors), tmp_path / "net.safetensors")
        assert read_priors(tmp_path / "priors.json") == load_model(tmp_path / "net.safetensors").priors == priors
        for path in ("priors.json", "net.safetensors"):
            assert (b"chain_types" in (tmp_path / path).read_bytes()) == (priors == typed())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([3, 1], "bonds: chain_types of 2 beads: expected one for each of 9"),
        ([0] * 9, "bonds: chain_types: 0: expected whole numbers from 1 to 118"),
        ("DAYDAYDAY", "chain_types = 'DAYDAYDAY': expected a list"),
        ([3.5] * 9, "expected a list, each item a whole number"),
    ],
)
def test_bad_types(tmp_path, value, words):
    write_priors(priors_of(), "of a test", tmp_path / "priors.json")
    table = json.loads((tmp_path / "priors.json").read_text())
    table["priors"]["bonds"]["chain_types"] = value
    (tmp_path / "priors.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=re.escape(words)):
        read_priors(tmp_path / "priors.json")


def test_new_priors_know_their_chain(tmp_path):
    frames = chain() + np.random.default_rng(0).normal(0.0, 0.05, (20, 9, 3))
    fitted = fit_chain_priors(frames, NUMBERS, 300.0, 12.0)
    published(tmp_path / "prior.npz", "MKVIAGLL")
    read = read_chain_prior(tmp_path / "prior.npz", "MKVIAGLL", 60.0)
    for name in CHAINS:
        assert fitted[name].chain_types == tuple(NUMBERS)
        assert read[name].chain_types == tuple(bead_types("MKVIAGLL"))


def test_training_and_evaluation_refuse_a_reversed_chain(tmp_path, capsys):
    frames = frames_of(8)
    back = frames_of(8, tuple(range(9))[::-1])
    write(tmp_path / "frames.xyz", [*frames[:5], *back[5:]])
    write_priors(typed(), "of a test", tmp_path / "priors.json")
    (tmp_path / "train.toml").write_text(
        'data = ["frames.xyz"]\nenergy_weight = 0.0\nn_features = 8\nn_interactions = 1\nn_rbf = 8\ncutoff_A = 12.0\nsteps = 4\n'
        'validation_every_steps = 4\nvalidation_fraction = 0.25\ntest_fraction = 0.25\npriors_file = "priors.json"\n'
    )
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "out")]) == 2
    assert f"bonds: {REVERSED}" in capsys.readouterr().err and not (tmp_path / "out").exists()
    save_model(without_network(typed()), tmp_path / "net.safetensors")
    assert main(["evaluate", str(tmp_path / "net.safetensors"), str(tmp_path / "frames.xyz")]) == 2
    assert f"bonds: {REVERSED}" in capsys.readouterr().err


def test_a_run_refuses_a_reversed_chain(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save_model(without_network(typed()), tmp_path / "net.safetensors")
    (tmp_path / "run.toml").write_text(
        'structure = "chain.xyz"\nmodel = "net.safetensors"\nbeads = 1\nsteps = 2\ntemperature_K = 300.0\ntimestep_fs = 1.0\n'
    )
    write(tmp_path / "chain.xyz", Atoms(NUMBERS[::-1], chain()[::-1], masses=[100.0] * 9))
    assert rpmd(["run", "run.toml"]) == 2
    error = capsys.readouterr().err
    assert f"bonds: {REVERSED}" in error and error.count("\n") == 1 and not (tmp_path / "run").exists()
