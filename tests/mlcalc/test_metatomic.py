"""Exported models through metatomic's engines against our calculator; skipped where metatomic is not installed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write
from ase.units import Bohr, Hartree

from mlcalc import NetworkCalculator
from mlcalc.architectures.schnet import SchNetConfig
from mlcalc.cli import main
from mlcalc.lammps.check import random_box
from mlcalc.metatomic.export import as_metatomic
from mlcalc.model import Model
from mlcalc.model_file import load_model, save_model
from mlcalc.priors import Repulsion
from tests.conftest import random_model
from tests.mlcalc.architectures import ATOM_ENERGIES, CUTOFF, ELEMENTS, SYSTEMS, model_of

_REASON = "metatomic is not installed: pip install metatomic-torch"
metatomic = pytest.importorskip("metatomic.torch", reason=_REASON)
metatomic_ase = pytest.importorskip("metatomic_ase", reason=_REASON)
Labels = pytest.importorskip("metatensor.torch", reason=_REASON).Labels
neighbor_lists_for_model = pytest.importorskip("vesin.metatomic", reason=_REASON).neighbor_lists_for_model

ROOT = Path(__file__).parents[2]
# Relative to the largest force, or atomic energy without its constant. Of float32: other orders of sums, distances rounded before
# or after their root. Of float64: sums with constants of 1e4 eV.
TOLERANCE = {"float32": 5e-6, "float64": 1e-11}
# The original filters have no cutoff function: pairs beyond the cutoff would count in full.
ABRUPT = random_model(
    SchNetConfig(ELEMENTS, 8, 3, 8, CUTOFF, "none", True, 4), dtype=np.float64, priors={"repulsion": Repulsion(1.5)}
)
MODELS = {
    "schnet": model_of("schnet"),
    "schnet-repulsion": model_of("schnet-repulsion"),
    "schnet-abrupt": ABRUPT,
    "painn": model_of("painn"),
    "painn-repulsion": replace(model_of("painn"), priors={"repulsion": Repulsion(2.0)}),
}
IN_EV = metatomic.ModelOutput(unit="eV", sample_kind="atom")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(model, precision) → path of its file."""
    folder, known = tmp_path_factory.mktemp("models"), {}

    def export(model: Model, precision: str = "float64"):
        key = id(model), precision
        if key not in known:
            known[key] = folder / f"{len(known)}.pt"
            known[key].write_bytes(as_metatomic(model, "a name", precision))
        return known[key]

    return export


def calculator(path, **options):
    return metatomic_ase.MetatomicCalculator(path, device="cpu", check_consistency=True, **options)


def results(atoms: Atoms, calculator) -> dict[str, np.ndarray]:
    atoms = atoms.copy()
    atoms.calc = calculator
    found = {name: np.array(getattr(atoms, f"get_{name}")()) for name in ("potential_energies", "forces")}
    found["energy"] = np.array(atoms.get_potential_energy())
    return found | ({"stress": atoms.get_stress()} if atoms.pbc.all() else {})


def check_equal(found: dict, expected: dict, atoms: Atoms, tolerance: float) -> None:
    scale = tolerance * (1.0 + np.abs(expected["forces"]).max())
    constants = 1e-15 * 1e4  # rounding of the constants themselves
    np.testing.assert_allclose(
        found["potential_energies"], expected["potential_energies"], rtol=0, atol=scale + constants
    )
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=scale)
    assert found["energy"] == pytest.approx(expected["energy"], rel=0, abs=len(atoms) * (scale + constants))
    assert ("stress" in found) == ("stress" in expected)
    if "stress" in expected:
        of_virial = 10.0 * len(atoms) * scale / atoms.get_volume()
        np.testing.assert_allclose(found["stress"], expected["stress"], rtol=0, atol=of_virial)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("name", MODELS)
def test_equals_our_calculator(exported, name, precision, system):
    """The small cell is thinner than the cutoff: atoms meet several images of each other and of themselves."""
    model, atoms = MODELS[name], SYSTEMS[system].copy()
    if (
        model is ABRUPT and not atoms.pbc.any()
    ):  # our networks in torch count all pairs of a molecule, whatever the cutoff
        atoms.set_cell(20.0 * np.eye(3))
        atoms.pbc = True
    calculators = calculator(exported(model, precision)), NetworkCalculator(model, precision, "torch")
    rng = np.random.default_rng(5)
    for _ in range(4):  # TorchScript rewrites its code in the second and third call; the neighbour list has a skin
        check_equal(*(results(atoms, each) for each in calculators), atoms, TOLERANCE[precision])
        atoms.positions += rng.normal(0.0, 0.02, atoms.positions.shape)
    assert np.abs(results(atoms, calculators[1])["forces"]).max() > 0.01


SHIPPED = {
    "acac": lambda: read(ROOT / "inputs" / "acac" / "acac.xyz"),
    "c20-painn": lambda: read(ROOT / "inputs" / "c20" / "c20.xyz"),
    "methane-cg": lambda: random_box(np.random.default_rng(2), n_edge=3),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models(exported, name):
    """Against the compiled kernel, whose filters are tables."""
    model, atoms = load_model(name), SHIPPED[name]()
    found = results(atoms, calculator(exported(model, "float32")))
    check_equal(found, results(atoms, NetworkCalculator(model)), atoms, 1e-4)


def test_what_engines_are_told(exported):
    model = MODELS["schnet-abrupt"]
    loaded = metatomic.load_atomistic_model(exported(model))
    told = loaded.capabilities()
    assert (told.length_unit, told.dtype, told.atomic_types) == ("angstrom", "float64", list(ELEMENTS))
    assert told.interaction_range == pytest.approx(3 * CUTOFF)
    assert told.outputs["energy"].unit == "eV"
    assert told.outputs["energy"].sample_kind == "atom"
    (pairs,) = loaded.requested_neighbor_lists()
    assert (pairs.cutoff, pairs.full_list, pairs.strict) == (CUTOFF, True, True)
    assert "nuclear repulsion below 1.5 Å" in loaded.metadata().description


@pytest.mark.parametrize("name", ["schnet", "painn"])
def test_the_interaction_range_is_how_far_energies_reach(exported, name):
    """A chain: two layers carry the third atom (5 Å away, range 6 Å) to the first one, and not the fourth (7.5 Å)."""
    chain = Atoms("CHCH", [[2.5 * k, 0.2 * (k % 2), 0.0] for k in range(4)])
    own = calculator(exported(model_of(name)))
    first = [own.run_model(chain, {"energy": IN_EV})["energy"].block().values[0].item()]
    for k in (2, 3):
        moved = chain.copy()
        moved.positions[k, 0] += 0.1
        first.append(own.run_model(moved, {"energy": IN_EV})["energy"].block().values[0].item())
    assert abs(first[1] - first[0]) > 1e-6
    assert first[2] == first[0]


def test_several_systems_and_some_of_their_atoms(exported):
    model, systems = MODELS["painn-repulsion"], [SYSTEMS["crystal"], SYSTEMS["molecule"], SYSTEMS["small cell"]]
    own = calculator(exported(model))
    expected = [results(atoms, NetworkCalculator(model, "float64", "torch"))["potential_energies"] for atoms in systems]
    by_system = metatomic.ModelOutput(unit="eV", sample_kind="system")
    totals = own.run_model(systems, {"energy": by_system})["energy"].block()
    np.testing.assert_allclose(totals.values[:, 0], [each.sum() for each in expected], rtol=0, atol=1e-9)
    assert totals.samples.values.tolist() == [[0], [1], [2]]

    chosen = [[2, 1], [0, 3], [0, 1]]
    few = Labels(["system", "atom"], torch.tensor(chosen))
    found = own.run_model(systems, {"energy": IN_EV}, few)["energy"].block()
    of_atom = dict(zip(map(tuple, found.samples.values.tolist()), found.values[:, 0].tolist(), strict=True))
    assert of_atom == {(k, i): pytest.approx(expected[k][i], abs=1e-9) for k, i in chosen}
    partial = own.run_model(systems, {"energy": by_system}, few)["energy"].block()
    sums = dict(zip(partial.samples.values[:, 0].tolist(), partial.values[:, 0].tolist(), strict=True))
    assert sums == {
        0: pytest.approx(expected[0][3] + expected[0][1], abs=1e-9),
        2: pytest.approx(expected[2][1], abs=1e-9),
    }


def test_units_of_the_engine(exported):
    """nm in, meV out."""
    model, atoms = MODELS["schnet-repulsion"], SYSTEMS["crystal"]
    loaded = metatomic.load_atomistic_model(exported(model))
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array / 10.0, scale_atoms=True)
    system = metatomic.systems_to_torch(scaled, dtype=torch.float64)
    (pairs,) = neighbor_lists_for_model("nm", loaded)  # the system keeps a reference to its memory
    pairs.add_neighbor_list(system)
    in_meV = metatomic.ModelOutput(unit="meV", sample_kind="system")
    asked = metatomic.ModelEvaluationOptions(length_unit="nm", outputs={"energy": in_meV})
    found = loaded([system], asked, check_consistency=True)["energy"].block().values.item()
    expected = results(atoms, NetworkCalculator(model, "float64", "torch"))["energy"]
    assert found == pytest.approx(
        expected * 1000.0, rel=2e-6
    )  # metatomic's own meV is 1.4e-6 off a thousandth of its eV


@pytest.mark.parametrize("name", ["schnet", "painn-repulsion"])
def test_a_free_atom(exported, name):
    model, atoms = MODELS[name], Atoms("H", [[0.3, 0.2, 0.1]])
    found = results(atoms, calculator(exported(model)))
    check_equal(found, results(atoms, NetworkCalculator(model, "float64", "torch")), atoms, 1e-12)
    assert np.array_equal(found["forces"], np.zeros((1, 3)))


def test_unknown_elements_are_refused(exported):
    """An element that the network has met only as free atoms is none of its own."""
    with pytest.raises(ValueError, match="does not support the atomic type '8'"):
        calculator(exported(MODELS["schnet"])).get_potential_energy(Atoms("CO", [[0, 0, 0], [0, 0, 1.2]]))
    lone = replace(MODELS["schnet"], metadata={"domain": {"elements": [1], "lone_elements": [6]}})
    path = exported(lone)
    assert metatomic.load_atomistic_model(path).capabilities().atomic_types == [1]
    with pytest.raises(ValueError, match="does not support the atomic type '6'"):
        calculator(path).get_potential_energy(Atoms("CH", [[0, 0, 0], [0, 0, 1.2]]))
    alone = calculator(path).get_potential_energy(Atoms("H2", [[0, 0, 0], [0, 0, 1.2]]))
    assert alone == pytest.approx(2 * ATOM_ENERGIES[1], abs=50.0)


def test_atoms_nearer_than_in_training_are_refused(exported):
    """At the distances at which our calculator stops: 0.9 of the shortest of the pair."""
    domain = {"elements": [1, 6], "min_distance_A": 0.8, "min_distances_A": {"C-C": 1.2, "C-H": 0.8}}
    model = replace(MODELS["painn"], metadata={"domain": domain})
    for apart in (1.09, 1.07):
        pair = Atoms("C2", [[0, 0, 0], [0, 0, apart]])
        if apart > 1.08:
            calculator(exported(model)).get_potential_energy(pair)
            continue
        with pytest.raises(
            torch.jit.Error, match=r"atoms 0 and 1 are 1\.07\d* Å apart, closer .* \(allowed from 1\.08\d* Å\)"
        ):
            calculator(exported(model)).get_potential_energy(pair)


@pytest.mark.parametrize("name", ["schnet-repulsion", "painn-repulsion"])
@pytest.mark.parametrize("batched", [False, True], ids=["one", "batch"])
def test_driver_of_ipi(exported, tmp_path, name, batched):
    """Atomic units, cell vectors in columns; the virial is −V·stress."""
    from ipi.pes.metatomic import MetatomicDriver

    model, atoms = MODELS[name], SYSTEMS["crystal"]
    write(tmp_path / "template.xyz", atoms)
    driver = MetatomicDriver(
        template=str(tmp_path / "template.xyz"), model=str(exported(model)), check_consistency=True, verbosity="quiet"
    )
    rng, beads = np.random.default_rng(3), []
    for _ in range(3):
        bead = atoms.copy()
        bead.positions += rng.normal(0.0, 0.05, bead.positions.shape)
        beads.append(bead)
    cells, positions = [bead.cell.array.T / Bohr for bead in beads], [bead.positions / Bohr for bead in beads]
    if batched:
        found = driver.compute(cells, positions)
    else:
        found = [driver.compute(cell, place) for cell, place in zip(cells, positions, strict=True)]
    for bead, (energy, forces, virial, extras) in zip(beads, found, strict=True):
        expected = results(bead, NetworkCalculator(model, "float64", "torch"))
        in_eV = Hartree * (1 + 1e-6)  # i-PI's own constants differ by 1e-7
        assert energy * Hartree == pytest.approx(expected["energy"], rel=2e-6)
        np.testing.assert_allclose(np.reshape(forces, (-1, 3)) * in_eV / Bohr, expected["forces"], rtol=2e-5, atol=1e-5)
        voigt = np.reshape(virial, (3, 3))[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        stress = -voigt * Hartree / bead.get_volume()
        np.testing.assert_allclose(stress, expected["stress"], rtol=2e-5, atol=1e-7)
        assert json.loads(extras) == {}


def test_the_command(tmp_path, capsys):
    """The file is the model: the same energies after saving, exporting and loading."""
    model, atoms = (
        replace(model_of("painn"), metadata={"domain": {"charge": 1, "elements": [6, 1]}}),
        SYSTEMS["molecule"],
    )
    save_model(model, tmp_path / "mine.safetensors")
    command = ["export", "metatomic", str(tmp_path / "mine.safetensors"), "-o", str(tmp_path / "mine.pt")]
    assert main([*command, "--precision", "float64"]) == 0
    printed = capsys.readouterr()
    assert "interaction range 6 Å, elements C H" in printed.out
    assert "the charge +1: metatomic does not check that" in printed.err
    assert metatomic.load_atomistic_model(tmp_path / "mine.pt").metadata().name == "mine"
    expected = results(atoms, NetworkCalculator(model_of("painn"), "float64", "torch"))
    check_equal(results(atoms, calculator(tmp_path / "mine.pt")), expected, atoms, 1e-11)
