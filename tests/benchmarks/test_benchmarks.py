"""The code of the benchmarks: peers compute the same network, and the floor counts the products that PyTorch executes."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from torch.utils.flop_counter import FlopCounterMode

from mlcalc.architectures import ARCHITECTURES, name_of
from mlcalc.common.errors import InputError
from mlcalc.model_file import save_model
from mlcalc.potential import build_potential
from mlcalc.torch_potential import network_of
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import drift as energy_drift
from tests.benchmarks import fast_and_slow
from tests.benchmarks.floor import PRODUCTS, floor_ms, flops
from tests.benchmarks.pareto import chosen, draw, front
from tests.benchmarks.pareto import main as pareto
from tests.benchmarks.peer_process import in_agreement, run_peer
from tests.benchmarks.problem import benchmark_case, benchmark_model, write_problem
from tests.benchmarks.programs import PEERS

PEERS_FOLDER = Path(__file__).parent / "peers"
SMALL = ["schnet:8,2", "painn:8,2", "so3net:8,2"]


def molecule() -> Atoms:
    rng = np.random.default_rng(3)
    return Atoms("C5", np.array([[1.5 * k, 0.0, 0.7 * (k % 2)] for k in range(5)]) + rng.normal(0.0, 0.1, (5, 3)))


@pytest.fixture
def problem(request, tmp_path) -> Path:
    return write_problem(benchmark_model(request.param), molecule(), tmp_path / "problem.npz")


def test_every_architecture_has_peers_that_exist():
    assert PEERS.keys() == ARCHITECTURES.keys()
    assert all((PEERS_FOLDER / peer.script).is_file() for peers in PEERS.values() for peer in peers.values())


@pytest.mark.parametrize("problem", [*SMALL, "dtnn:8,2", "wacsf:8,0"], indirect=True)
def test_our_step_is_measured(problem):
    """In its process, as the commands start it."""
    found = run_peer("mlcalc", "mlcalc_rpmd.py", None, None, 1, [str(problem), "2", "1", "--seconds", "0.01"])
    assert found["low_ms"] <= found["median_ms"] <= found["high_ms"] and len(found["forces"]) == 2 * 5 * 3


def test_a_liquid_is_measured_with_its_priors(tmp_path):
    atoms = Atoms("C8", np.array(list(itertools.product([0.0, 4.0], repeat=3))) + 0.1, cell=8.0 * np.eye(3), pbc=True)
    problem = write_problem(benchmark_model("methane-cg"), atoms, tmp_path / "problem.npz", with_priors=True)
    with np.load(problem) as archive:
        assert json.loads(str(archive["priors"]))["repulsion"]["cutoff"] > 0
    found = run_peer("mlcalc", "mlcalc_liquid.py", None, None, 1, [str(problem), "1", "1", "--seconds", "0.01"])
    assert found["median_ms"] > 0 and np.abs(found["forces"]).max() > 0


@pytest.mark.parametrize("problem", ["painn:8,2"], indirect=True)
def test_the_dense_painn_is_the_network(problem, monkeypatch):
    monkeypatch.syspath_prepend(PEERS_FOLDER)
    from common import Problem
    from own_model import model_of
    from torch_painn import make_energy

    read = Problem(problem)
    q = read.replicas(3)
    ours = build_potential(model_of(read), read.numbers, "float64", backend="torch")(q)[1]
    energy = make_energy(read)
    theirs = torch.func.grad(lambda q: -energy(q))(torch.as_tensor(q, dtype=torch.float32))
    np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize("name", SMALL)
def test_idle_interactions_change_no_force(name, tmp_path):
    model, numbers = benchmark_model(name), molecule().numbers
    save_model(model, tmp_path / "small.safetensors")
    deeper = benchmark_model(f"{tmp_path / 'small.safetensors'}+2")
    assert deeper.config == replace(model.config, n_interactions=model.config.n_interactions + 2)
    q = molecule().positions[None]
    for one, other in zip(*(build_potential(m, numbers, "float64", "torch")(q) for m in (model, deeper)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "message"), [("dtnn:8,2", "interactions of shared weights"), ("wacsf:8,0", "of a network without any")]
)
def test_networks_that_have_no_idle_interactions(name, message, tmp_path):
    save_model(benchmark_model(name), tmp_path / "small.safetensors")
    with pytest.raises(InputError, match=message):
        benchmark_model(f"{tmp_path / 'small.safetensors'}+2")


def test_atoms_of_random_networks_are_heavy(tmp_path):
    write(tmp_path / "c5.xyz", molecule())
    assert benchmark_case("painn:8,2", tmp_path / "c5.xyz")[1].get_masses().min() > 1e5
    assert benchmark_case("c20", tmp_path / "c5.xyz")[1].get_masses().max() < 13


@pytest.mark.parametrize("name", ["painn:8", "mlp:8,2", "painn:8,2,1", "wacsf:8,2"])
def test_unknown_networks_are_refused(name):
    with pytest.raises(InputError, match=name):
        benchmark_model(name)


def _painn_extras(config, n_atoms, n_pairs) -> int:
    """Filters; the first block's context and a third of the last block's factors, which a program may leave out."""
    f = config.n_features
    filters = 2 * n_pairs * config.n_rbf * config.n_interactions * 3 * f
    return filters + 2 * n_atoms * (f * f + 3 * f * f + f * f)


def _so3net_extras(config, n_atoms, n_pairs) -> int:
    """Filters, couplings, messages, Clebsch–Gordan products; components of the last block, which a program may leave out."""
    f, degrees, blocks = config.n_features, config.lmax + 1, config.n_interactions
    s = degrees**2
    messages = 2 * s * degrees * f * (1 + (blocks - 1) * s)  # in the first block of scalars alone
    of_pairs = blocks * config.n_rbf * degrees * f + messages + s * degrees * s * s
    return 2 * n_pairs * of_pairs + 2 * n_atoms * (blocks * s**3 * f + 2 * (s - 1) * f * f + (degrees - 1) * f * f)


@pytest.mark.parametrize(("name", "extras"), [("painn:16,3", _painn_extras), ("so3net:16,3", _so3net_extras)])
def test_products_are_those_that_pytorch_executes(name, extras):
    model, n_atoms = benchmark_model(name), 5
    config, first_second = model.config, np.triu_indices(n_atoms, 1)
    pairs = [torch.as_tensor(x) for x in first_second]
    vectors = torch.as_tensor(molecule().positions[first_second[1]] - molecule().positions[first_second[0]]).float()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network_of(model)(torch.zeros(n_atoms, dtype=torch.long), *pairs, vectors)
    last_layer = 2 * n_atoms * config.readout_hidden  # a vector product: too small to count
    forward = n_atoms * flops(PRODUCTS[name_of(config)](config)) // 2
    assert counter.get_total_flops() - extras(config, n_atoms, len(vectors)) - last_layer == forward


@pytest.mark.parametrize(("beads", "threads"), [(1, 1), (8, 2), (32, 2)])
def test_floor_at_one_rate(beads, threads):
    """Where every product runs at 100 GFLOP/s, the floor is all FLOPs at that rate."""

    class AtOneRate(dict):
        def __missing__(self, shape):
            m, k, n = map(int, shape.split("x"))
            return 2 * m * k * n / 100e3

    products = PRODUCTS["painn"](benchmark_model("painn:64,3").config)
    expected = 20 * beads * flops(products) / 100e9 / threads * 1e3
    assert floor_ms(products, 20, beads, threads, AtOneRate()) == pytest.approx(expected, rel=1e-12)


def test_programs_that_disagree_are_left_out(capsys):
    answers = {"a": [0.0, 1.0], "b": [0.0, 1.0005], "c": [0.0, 1.1], "d": None}
    found = list(in_agreement(list(answers), lambda name: answers[name] and {"forces": answers[name]}))
    assert [row["peer"] for row in found] == ["a", "b"]
    assert "c: forces differ by 0.1 eV/Å" in capsys.readouterr().err


def test_table_compares_with_us_and_with_the_floor():
    row = {"model": "m", "beads": 8, "threads": 1, "low_ms": 1.0, "high_ms": 4.0, "version": "v", "floor_ms": 0.5}
    table = benchmarks.as_table([row | {"peer": "mlcalc", "median_ms": 2.0}, row | {"peer": "JAX", "median_ms": 3.0}])
    assert table.splitlines()[-1].split() == ["m", "8", "1", "JAX", "3.000", "1.000–4.000", "1.5", "6", "v"]


def test_front_is_what_nothing_beats():
    costs, errors = np.random.default_rng(0).random((2, 40))
    unbeaten = [
        k for k in range(40) if not any(costs[j] <= costs[k] and errors[j] <= errors[k] for j in range(40) if j != k)
    ]
    assert sorted(front(costs, errors)) == unbeaten and (np.diff(costs[front(costs, errors)]) > 0).all()


def test_pareto_writes_table_numbers_and_figure(tmp_path, monkeypatch, capsys):
    """Labels by one of the models: it has no error on the structures that are chosen."""
    models, atoms = {}, molecule()
    for name in SMALL:
        models[name] = tmp_path / f"{name[:2]}.safetensors"
        save_model(benchmark_model(name), models[name])
    labels = build_potential(benchmark_model(SMALL[0]), atoms.numbers, backend="torch")(atoms.positions[None])
    atoms.info["energy"], atoms.arrays["forces"] = float(labels[0][0]), labels[1][0]
    hot = atoms.copy()
    atoms.info["temperature_K"], hot.info["temperature_K"] = 300.0, 600.0
    hot.info["energy"], hot.arrays["forces"] = 0.0, np.ones((5, 3))
    write(tmp_path / "test.xyz", [atoms, hot, atoms], format="extxyz")
    write(tmp_path / "start.xyz", atoms)
    with pytest.raises(InputError, match="no structure has temperature_K=100.0"):
        chosen(tmp_path / "test.xyz", ["temperature_K=100.0"], tmp_path)
    where = ["--where", "temperature_K=300.0"]
    where += ["--test", tmp_path / "test.xyz", "--structure", tmp_path / "start.xyz", "-o", tmp_path / "out"]
    brief = ["--beads", 2, "--seconds", 0.01, "--repeats", 1]
    monkeypatch.setattr(sys, "argv", ["pareto", *map(str, [*models.values(), *where, *brief])])
    assert pareto() == 0
    rows = json.loads((tmp_path / "out" / "pareto.json").read_text())
    assert {row["model"]: row["title"] for row in rows} == {"sc": "SchNet", "pa": "PaiNN", "so": "SO3net"}
    assert "made the labels" in (tmp_path / "out" / "pareto.txt").read_text()
    assert all((tmp_path / "out" / f"pareto.{kind}").stat().st_size for kind in ("png", "svg"))
    assert draw(rows, "x").axes


def test_drift_is_measured_of_other_networks_than_schnets(tmp_path, monkeypatch):
    """Both precisions conserve the energy of a short run."""
    structure = molecule()
    structure.set_masses(np.full(len(structure), 1e6))
    write(tmp_path / "c5.xyz", structure, columns=["symbols", "positions", "masses"])
    save_model(benchmark_model("painn:8,2"), tmp_path / "m.safetensors")
    monkeypatch.setattr(energy_drift, "THERMALISATION_STEPS", 10)
    given = ["drift", "--model", str(tmp_path / "m.safetensors"), "--structure", str(tmp_path / "c5.xyz")]
    monkeypatch.setattr("sys.argv", [*given, "--beads", "2", "--length", "1", "-o", str(tmp_path / "out")])
    assert energy_drift.main() == 0
    rows = json.loads((tmp_path / "out/drift.json").read_text())
    assert [row["precision"] for row in rows] == ["float32", "float64"]
    assert all(row["fluctuation_meV_per_atom"] < 0.01 for row in rows)


def test_fast_and_slow_forces_are_measured(tmp_path, monkeypatch, capsys):
    """A network as its own fast part has the energies of the plain run; what resonates is refused."""
    monkeypatch.setattr(fast_and_slow, "TURN_FS", 8.0)
    monkeypatch.setattr(fast_and_slow, "SAMPLE_FS", 2.0)
    given = ["fast_and_slow", "--fast", "c20", "--beads", "3", "--threads", "1", "--length", "0.04", "--warm-up", "0"]
    monkeypatch.setattr(sys, "argv", [*given, "--settings", "0.5", "0.5:2:4", "-o", str(tmp_path / "out")])
    assert fast_and_slow.main() == 0
    plain, split = json.loads((tmp_path / "out/fast_and_slow.json").read_text())["rows"]
    assert plain["times_faster"] == 1.0 and split["ms_per_fs"] > 0
    for name, (value, _) in plain["averages"].items():
        assert split["averages"][name][0] == pytest.approx(value, abs=2e-3), name
    assert "0.5 fs, 2 beads every 4 steps" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*given, "--settings", "0.5:3:400", "-o", str(tmp_path / "none")])
    with pytest.raises(InputError, match="a resonance"):
        fast_and_slow.main()
