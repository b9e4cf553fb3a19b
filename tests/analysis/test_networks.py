"""``python -m analysis networks`` on short periodic runs with random networks, against explaining them one by one."""

import json

import numpy as np
import pytest
from ase import Atoms

from analysis.__main__ import main
from analysis.networks.comparison import at, compare
from analysis.networks.report import pairs_figure
from analysis.relevance.along_run import Binned, analyse
from analysis.runs.universe import bead_positions, open_run
from mlcalc import save_model
from mlcalc.architectures.painn.config import PaiNNConfig
from mlcalc.architectures.schnet.config import SchNetConfig
from mlcalc.priors import AngularPrior, BondPrior, Repulsion
from tests.analysis.run_folders import write_run
from tests.conftest import random_model

SIZE = {"elements": (6,), "n_features": 8, "n_interactions": 2, "n_rbf": 6, "cutoff": 4.5}
ANGLES = {"repulsion": Repulsion(3.0), "angular": AngularPrior(strength=2.0, cosine=-0.3, decay=1.0, cutoff=4.0)}
GAMMAS = ["--gamma", "0", "0.5"]
FEW = ["--frames", "4", "--discard", "0", "--workers", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs of one liquid with two networks, of another with one, and the first liquid in atoms."""
    folder = tmp_path_factory.mktemp("networks")
    save_model(random_model(SchNetConfig(**SIZE), priors=ANGLES), folder / "schnet.safetensors")
    save_model(random_model(SchNetConfig(**SIZE), priors={}), folder / "plain.safetensors")
    save_model(random_model(PaiNNConfig(**SIZE), priors={}), folder / "painn.safetensors")
    sites = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)
    for name, edge, models in (("dense", 3.4, ("schnet", "painn")), ("thin", 3.8, ("schnet", "plain"))):
        atoms = Atoms("C27", edge * sites, cell=3 * [3 * edge], pbc=True)
        positions = atoms.positions + np.random.default_rng(1).normal(0.0, 0.2, (6, 1, 27, 3))
        for model in models:
            write_run(folder / f"{name}-{model}", atoms, positions, model=str(folder / f"{model}.safetensors"))
    curve = {"edges": [0.0, 2.0, 4.0], "value": [0.0, 1.5], "error": [0.0, 0.1]}
    structure = {"g": curve, "shell_A": 4.25}
    (folder / "liquid.json").write_text(json.dumps({"liquids": [structure]}))
    return folder


def arguments(folder) -> list[str]:
    runs = [f"dense={folder}/dense-schnet", f"dense={folder}/dense-painn", f"thin={folder}/thin-schnet"]
    return [
        "networks",
        *runs,
        "--atoms",
        f"dense={folder}/liquid.json",
        *FEW,
    ]


def test_numbers_are_those_of_every_run(folder, tmp_path, capsys):
    """One shell for all networks of a liquid; orders a bead in meV; a run and γ in a row each."""
    output = tmp_path / "out.png"
    assert main([*arguments(folder), *GAMMAS, "-o", str(output)]) == 0
    text, found = capsys.readouterr().out, json.loads(output.with_suffix(".json").read_text())["runs"]
    assert [(row["liquid"], row["network"], row["gamma"]) for row in found] == [
        (liquid, network, gamma)
        for liquid, network in (
            ("dense", "SchNet, angular prior"),
            ("dense", "PaiNN"),
            ("thin", "SchNet, angular prior"),
        )
        for gamma in (0.0, 0.5)
    ]
    assert [row["shell_A"] for row in found[:4]] == 4 * [4.25]
    alone = analyse(open_run(folder / "dense-painn"), 0.5, 4, 0.0, shell=4.25, workers=1)
    expected = alone.orders["2"] / 27 * 1e3
    numbers = found[3]["numbers"]
    assert numbers["order 2"]["value"] == pytest.approx(expected.mean())
    assert numbers["order 2"]["error"] == pytest.approx(expected.std(ddof=1) / 2)
    assert numbers["57°"]["value"] == pytest.approx(1e3 * at(alone.triples, 57.0)[0])
    for name in (output, output.with_suffix(".svg"), tmp_path / "out.triples.png"):
        assert name.stat().st_size > 10_000
    assert output.with_suffix(".txt").read_text().splitlines() == text.splitlines()[: -len(list(tmp_path.iterdir()))]


def test_chains_in_a_cell(folder, tmp_path, capsys):
    """Rows of three beads with springs: the network without priors, whose energy a bead stands below."""
    springs = {"bonds": BondPrior((3.0, 3.0), (3.4, 3.4), 4.5)}
    model = random_model(SchNetConfig(**SIZE), priors=springs)
    save_model(model, tmp_path / "chain.safetensors")
    run = open_run(folder / "dense-schnet")
    write_run(tmp_path / "run", run.structure, bead_positions(run, range(4)), model=str(tmp_path / "chain.safetensors"))
    command = [
        "networks",
        f"chains={tmp_path}/run",
        *FEW,
        "--gamma",
        "0",
    ]
    assert main([*command, "-o", str(tmp_path / "out.png")]) == 0
    text, (found,) = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text())["runs"]
    places = bead_positions(run, range(4))[:, 0].reshape(4, 9, 3, 3)
    bonds = np.linalg.norm(np.diff(places, axis=2), axis=3)
    expected = (1.5 * (bonds - 3.4) ** 2).sum(axis=(1, 2)).mean()
    assert found["network"] == "SchNet without priors"
    assert found["prior_energies_eV"]["bonds"] == pytest.approx(expected, rel=1e-4)
    (line,) = (
        line for line in text.splitlines() if line.startswith("chains, SchNet without priors: energies of its priors")
    )
    assert float(line.split("bonds ")[1].split()[0]) == pytest.approx(1e3 * expected / 27, rel=0.1)


def test_signs_that_all_agree_on(folder, tmp_path, capsys):
    """The angular prior alone makes triples at 57° positive; a γ twice counts twice."""
    run = f"dense={folder}/dense-schnet"
    options = [
        *FEW,
        "--gamma",
        "0.1",
        "0.1",
        "-o",
        str(tmp_path / "out.png"),
    ]
    assert main(["networks", run, *options]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("57°"))
    assert line.split()[1:] == ["+", "in", "all", "2"]


@pytest.mark.parametrize("more, rows", [(["thin-plain"], 2), (["thin-plain", "thin-schnet"], 3)])
def test_architectures_have_a_row_each(more, rows, folder):
    """A SchNet with a prior stands beside one without, in the other liquid; two of one liquid have a row each."""
    runs = [(name.partition("-")[0], folder / name) for name in ["dense-schnet", "dense-painn", *more]]
    found = compare(runs, {}, [0.0], frames=4, discard=0.0, workers=1)
    panels = [axes for axes in pairs_figure(found, {}).axes if axes.get_title(loc="left") and axes.get_visible()]
    assert len(panels) == len(runs)
    assert panels[0].get_gridspec().nrows == rows


def test_a_bin_is_found_by_its_place():
    binned = Binned(np.array([0.0, 1.0, 2.0]), np.array([[1, 2], [1, 4]]), np.array([[5.0, 2.0], [7.0, 4.0]]))
    assert at(binned, 0.5) == pytest.approx((6.0, 1.0)) and at(binned, 1.5)[0] == pytest.approx(1.0)


def test_refusals(folder, tmp_path, capsys):
    run, output = f"dense={folder}/dense-schnet", ["-o", str(tmp_path / "out.png")]
    for given, message in (
        ([run, run, *output], "dense with SchNet, angular prior: 2 runs: expected one of every network"),
        (
            [run, "--atoms", f"other={folder}/liquid.json", *output],
            "--atoms other=…: expected one for a liquid of the runs: dense",
        ),
        ([run, "--atoms", f"dense={folder}/none.json", *output], "none.json: cannot be read"),
        ([run, "--atoms", f"dense={folder}/schnet.safetensors", *output], "expected the JSON file that"),
        ([run, "--frames", "4", "--gamma", "-1", *output], "gamma = -1.0"),
        ([run, "-o", "out.pdf"], "expected a name that ends in .png"),
    ):
        assert main(["networks", "--workers", "1", *given]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="2"):
        main(["networks", str(folder / "dense-schnet"), *output])
    assert "expected LIQUID=PATH" in capsys.readouterr().err
