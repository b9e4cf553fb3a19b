"""Features of molecular graphs, weave networks and their training."""

import dataclasses

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from mlcalc.common.errors import InputError
from mlcalc.molecules.graphs.autoencoder import train_denoiser, trained_encoders
from mlcalc.molecules.graphs.dataset import Batches, Graphs, joined, read_graphs, write_graphs
from mlcalc.molecules.graphs.features import ATOM_TYPES, N_ATOM, N_PAIR, PAIR_TYPES, Graph, graph_of
from mlcalc.molecules.graphs.training import (
    MODEL_FILE,
    STATE_FILE,
    GraphSettings,
    GraphTrainer,
    load_weave,
    predictions,
)
from mlcalc.molecules.graphs.weave import Weave, WeaveConfig

SMALL = GraphSettings("atoms of H", width=16, batch_size=8, steps=60, validation_every_steps=20, seed=3)


def columns(types: dict[str, int], name: str) -> slice:
    """Columns of a type of features."""
    start = sum(list(types.values())[: list(types).index(name)])
    return slice(start, start + types[name])


def random_graphs(n: int = 40, seed: int = 0) -> Graphs:
    """Graphs of 3 to 9 atoms with random features; the target counts the first element."""
    rng = np.random.default_rng(seed)
    graphs = []
    for size in rng.integers(3, 10, n).tolist():
        atoms = (rng.random((size, N_ATOM)) < 0.3).astype(np.float32)
        pairs = (rng.random((size * (size - 1) // 2, N_PAIR)) < 0.3).astype(np.float32)
        pairs[:, -1] = rng.uniform(1.0, 4.0, len(pairs))
        graphs.append(Graph(atoms, pairs))
    return joined(graphs, {"atoms of H": np.array([float(g.atoms[:, 0].sum()) for g in graphs])})


def embedded(smiles: str, seed: int = 7) -> Atoms:
    """A geometry of a SMILES by RDKit."""
    chem = pytest.importorskip("rdkit.Chem", reason="needs RDKit: pip install 'mlcalc[molecules]'")
    from rdkit.Chem import AllChem

    full = chem.AddHs(chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(full, randomSeed=seed) == 0
    return Atoms([a.GetSymbol() for a in full.GetAtoms()], full.GetConformer().GetPositions())


def test_features_of_known_molecules():
    pytest.importorskip("rdkit")
    ethyne = molecule("C2H2")
    graph = graph_of(ethyne, "C#C")
    assert graph.atoms.shape == (4, 21) and graph.pairs.shape == (6, 13)
    assert graph.atoms[:, columns(ATOM_TYPES, "hybridisation")].tolist()[:2] == [[1, 0, 0], [1, 0, 0]]  # sp
    assert graph.atoms[:, :2].sum(axis=0).tolist() == [2, 2]
    bonds = graph.pairs[:, columns(PAIR_TYPES, "bond type")]
    assert bonds.sum(axis=0).tolist() == [2, 0, 1, 0]
    assert graph.pairs[:, columns(PAIR_TYPES, "graph distance")].sum(axis=0).tolist() == [3, 5, 6, 6, 6, 6, 6]
    first, second = np.triu_indices(4, 1)
    np.testing.assert_allclose(graph.pairs[:, -1], ethyne.get_all_distances()[first, second], rtol=1e-6)

    benzene = graph_of(molecule("C6H6"), "c1ccccc1")
    assert benzene.atoms[:, columns(ATOM_TYPES, "aromatic")].sum() == 6
    assert benzene.atoms[:, columns(ATOM_TYPES, "ring sizes")].sum(axis=0).tolist() == [0, 0, 0, 6, 0, 0]
    assert benzene.pairs[:, columns(PAIR_TYPES, "bond type")].sum(axis=0).tolist() == [6, 0, 0, 6]
    assert benzene.pairs[:, columns(PAIR_TYPES, "same ring")].sum() == 15

    methanol = graph_of(molecule("CH3OH"), "CO")
    assert methanol.atoms[:, columns(ATOM_TYPES, "hydrogen bonds")].sum(axis=0).tolist() == [1, 1]
    assert methanol.atoms[:, columns(ATOM_TYPES, "Gasteiger charge")].sum() == pytest.approx(0.0, abs=1e-5)


def test_a_mirror_image_exchanges_the_columns_of_chirality():
    atoms = embedded("CC(O)(N)F")
    mirrored = Atoms(atoms.numbers, atoms.positions * [1, 1, -1])
    graphs = [graph_of(image, "CC(O)(N)F") for image in (atoms, mirrored)]
    chirality = columns(ATOM_TYPES, "chirality")
    assert graphs[0].atoms[:, chirality].sum() == 1
    assert graphs[0].atoms[:, chirality].tolist() == graphs[1].atoms[:, chirality][:, ::-1].tolist()
    np.testing.assert_array_equal(np.delete(graphs[0].atoms, [5, 6], 1), np.delete(graphs[1].atoms, [5, 6], 1))
    np.testing.assert_allclose(graphs[0].pairs, graphs[1].pairs, rtol=1e-6)


def test_features_follow_the_order_of_the_geometry():
    """The SMILES is written in another order than the atoms, whose charges are those of a zwitterion."""
    smiles = "[NH3+]CC(=O)[O-]"
    atoms = embedded(smiles)
    order = np.random.default_rng(1).permutation(len(atoms))
    graph, shuffled = graph_of(atoms, smiles), graph_of(atoms[order], smiles)
    np.testing.assert_allclose(shuffled.atoms, graph.atoms[order], atol=1e-6)
    charge = columns(ATOM_TYPES, "formal charge")
    assert sorted(graph.atoms[:, charge].ravel().tolist())[::9] == [-1, 1] and graph.atoms[:, charge].sum() == 0
    table = np.zeros((len(atoms), len(atoms), N_PAIR))
    first, second = np.triu_indices(len(atoms), 1)
    table[first, second] = table[second, first] = graph.pairs
    np.testing.assert_allclose(shuffled.pairs, table[order[first], order[second]], rtol=1e-6)


def test_bonds_across_a_small_cage_are_not_counted():
    """Bicyclo[1.1.1]pentane: the atoms at its bridge are nearer than some bonds are long, and not bonded."""
    smiles = "C1C2CC1C2"
    atoms = embedded(smiles)
    graph = graph_of(atoms, smiles)
    assert graph.pairs[:, columns(PAIR_TYPES, "bond type")].sum() == 6 + 8


@pytest.mark.parametrize(
    "name, smiles, message",
    [
        ("CH4", "not a molecule", "RDKit cannot read it"),
        ("CH4", "CC", "not the bonds of the geometry of CH4"),
        ("C2H4", "CC", "not the bonds"),
        ("CH3OH", "C.O", "not the bonds"),
        ("CH3SH", "CS", "element S: expected H, C, N, O, F"),
        ("CO", "[C-]#[O+]", "no Gasteiger charges"),
    ],
)
def test_what_does_not_fit_is_refused(name, smiles, message):
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match=message):
        graph_of(molecule(name), smiles)


def test_a_data_set_is_read_as_written(tmp_path):
    graphs, path = random_graphs(), tmp_path / "graphs.safetensors"
    write_graphs(graphs, path)
    again = read_graphs(path)
    for name in ("atoms", "pairs", "counts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(graphs, name))
    np.testing.assert_array_equal(again.targets["atoms of H"], graphs.targets["atoms of H"])
    write_graphs(dataclasses.replace(graphs, pairs=graphs.pairs[:-1]), path)
    with pytest.raises(InputError, match="no data set of molecular graphs: features of shapes"):
        read_graphs(path)
    write_graphs(dataclasses.replace(graphs, atoms=np.where(graphs.atoms == 1, np.nan, graphs.atoms)), path)
    with pytest.raises(InputError, match="not finite"):
        read_graphs(path)
    path.write_bytes(b"anything")
    with pytest.raises(InputError, match="no data set of molecular graphs"):
        read_graphs(path)


@pytest.mark.parametrize("code", [0, 6])
def test_a_prediction_depends_neither_on_the_batch_nor_on_the_order_of_atoms(code):
    torch.manual_seed(0)
    graphs = random_graphs(6)
    network, batches = Weave(WeaveConfig(16, 2, code), 0.3, 2.0).double(), Batches(graphs)

    def of(batch):
        return network(batch._replace(atoms=batch.atoms.double(), pairs=batch.pairs.double())).detach().numpy()

    together = of(batches.make(np.arange(6)))
    np.testing.assert_allclose(together, [of(batches.make(np.array([k])))[0] for k in range(6)], rtol=1e-12)
    np.testing.assert_allclose(together[[3, 1]], of(batches.make(np.array([3, 1]))), rtol=1e-12)
    batch = batches.make(np.array([2]))
    order = torch.randperm(len(batch.atoms))
    where = torch.argsort(order)
    turned = batch._replace(atoms=batch.atoms[order], first=where[batch.second], second=where[batch.first])
    np.testing.assert_allclose(of(turned), together[2:3], rtol=1e-12)


def test_training_learns_and_resumes_to_the_bit(tmp_path, monkeypatch):
    graphs = random_graphs(80)
    train, validation = np.arange(60), np.arange(60, 80)
    settings = dataclasses.replace(
        SMALL, steps=400, learning_rate=5e-3, warmup_steps=20, validation_every_steps=200, ema_decay=0.98
    )
    trainer = GraphTrainer(settings, graphs, train, validation)
    trainer.run(tmp_path / "long")
    assert np.abs(trainer.deviations(validation)).mean() < 0.4 * np.abs(graphs.targets["atoms of H"]).std()

    GraphTrainer(SMALL, graphs, train, validation).run(tmp_path / "once")
    advance = GraphTrainer._advance

    def stopped(self):
        if self.step == 30:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(GraphTrainer, "_advance", stopped)
    with pytest.raises(KeyboardInterrupt):
        GraphTrainer(SMALL, graphs, train, validation).run(tmp_path / "twice")
    monkeypatch.undo()
    GraphTrainer(SMALL, graphs, train, validation).run(tmp_path / "twice")
    states = [(tmp_path / name / STATE_FILE).read_bytes() for name in ("once", "twice")]
    assert states[0] == states[1]
    other, dimmed = (
        dataclasses.replace(SMALL, learning_rate=0.002),
        dataclasses.replace(graphs, atoms=0.5 * graphs.atoms),
    )
    moved = (np.arange(50), np.arange(50, 80))  # the same molecules, divided elsewhere
    for given in (other, graphs, train, validation), (SMALL, graphs, *moved), (SMALL, dimmed, train, validation):
        with pytest.raises(InputError, match="a training with other settings or data has begun there"):
            GraphTrainer(*given).run(tmp_path / "twice")
    networks = [load_weave(tmp_path / name / MODEL_FILE)[0] for name in ("once", "twice")]
    for one, other in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_network_is_read_as_written(tmp_path):
    graphs = random_graphs(20)
    settings = dataclasses.replace(SMALL, steps=2, code=5, encoder_steps=5)
    trainer = GraphTrainer(settings, graphs, np.arange(15), np.arange(15, 20))
    trainer.run(tmp_path)
    network, target = load_weave(tmp_path / MODEL_FILE)
    assert (target, network.config) == ("atoms of H", WeaveConfig(16, 2, 5))
    chosen = np.arange(5)
    found = predictions(network, Batches(graphs), chosen) - graphs.targets[target][chosen]
    np.testing.assert_allclose(found, trainer.deviations(chosen), rtol=1e-6)
    changed = dataclasses.replace(graphs, atoms=graphs.atoms.copy(), pairs=graphs.pairs.copy())
    changed.atoms[graphs.counts[:15].sum() :] = 0.0  # of molecules for validation, which the autoencoder does not see
    again = GraphTrainer(settings, changed, np.arange(15), np.arange(15, 20)).network.encoders["atoms"].weight
    assert torch.equal(
        again, GraphTrainer(settings, graphs, np.arange(15), np.arange(15, 20)).network.encoders["atoms"].weight
    )
    with pytest.raises(InputError, match="target 'mass': expected one of atoms of H"):
        GraphTrainer(dataclasses.replace(SMALL, target="mass"), graphs, np.arange(15), np.arange(15, 20))
    (tmp_path / MODEL_FILE).write_bytes((tmp_path / STATE_FILE).read_bytes())
    with pytest.raises(InputError, match="no weave network"):
        load_weave(tmp_path / MODEL_FILE)


def test_an_autoencoder_restores_what_noise_spoils():
    """Ten features of which two numbers decide: a code of four restores them, and the same seed gives the same bits."""
    rng = np.random.default_rng(2)
    hidden = rng.random((4000, 2)).astype(np.float32)
    rows = torch.from_numpy(hidden @ rng.standard_normal((2, 10)).astype(np.float32))
    denoiser = train_denoiser(rows, 4, 0.1, seed=1, steps=600)
    assert denoiser.loss(rows, torch.Generator().manual_seed(5)).item() < 0.1  # of the variance
    again = train_denoiser(rows, 4, 0.1, seed=1, steps=600)
    assert torch.equal(denoiser.encoder.weight, again.encoder.weight)
    encoders = trained_encoders(Batches(random_graphs(10)).make(np.arange(10)), 3, 0.1, 0, steps=5)
    assert encoders["atoms"].weight.shape == (3, N_ATOM) and encoders["pairs"].weight.shape == (3, N_PAIR)
