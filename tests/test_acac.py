"""The network of acetylacetone that comes with mlcalc, beside labels of two DFT programs that its training never saw."""

from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from md.runs.config import read_settings
from md.runs.real_time import check_real_time
from mlcalc import NetworkCalculator, load_model
from mlcalc.common.settings import build_settings, read_toml
from mlcalc.structures.structure_files import read_atoms
from mlcalc.training.evaluation import evaluate
from mlcalc.training.settings import TrainingSettings

ACAC = Path(__file__).parents[1] / "inputs" / "acac"


def test_recorded_errors_are_those_of_the_committed_labels():
    """ORCA's labels: every thirteenth structure of both test files."""
    recorded = load_model("acac").metadata["test_errors"]["test.xyz"]
    found = evaluate("acac", ACAC / "test.xyz").total
    assert found.frames == recorded["frames"] == 100
    # float32 on another processor: the last digits of a mean over 10³ components.
    assert found.force_mae_eV_per_A == pytest.approx(recorded["force_mae_eV_per_A"], rel=1e-3)


def energies(path: str) -> tuple[np.ndarray, np.ndarray]:
    """PySCF's and the network's energies (n,) eV along a path, from its start, the start of the transfer."""
    frames = read(ACAC / "paths.xyz", ":")
    chosen = [frames[0]] + [frame for frame in frames if frame.info["path"] == path]
    calculator = NetworkCalculator("acac")
    found = np.array([[calculator.get_potential_energy(frame), frame.get_potential_energy()] for frame in chosen])
    network, dft = (found - found[0]).T
    return dft[1:], network[1:]


def test_the_way_of_the_proton_is_that_of_dft():
    """0.35 eV high, from a minimum to where both oxygens are alike; the network errs by less than 1 meV."""
    dft, network = energies("transfer")
    assert dft[-1] == pytest.approx(0.3475, abs=1e-4)
    np.testing.assert_allclose(network, dft, rtol=0, atol=1e-3)


def test_torsions_cost_what_they_cost_in_dft():
    """1.2 to 1.5 eV; the correction that labelled them never saw any."""
    dft, network = energies("torsion")
    assert len(dft) == 4
    np.testing.assert_allclose(network, dft, rtol=0.06)


def test_the_energy_is_smooth_along_the_transfer():
    """Fourth differences along the path show no wiggle: those of a polynomial of degree eight stay below a tenth of a meV."""
    frames = read(ACAC / "paths.xyz", ":6")
    start, end = frames[0].positions, frames[-1].positions
    calculator, places = NetworkCalculator("acac", precision="float64"), np.linspace(0.0, 1.0, 61)
    energy = [calculator.get_potential_energy(moved(frames[0], start + place * (end - start))) for place in places]
    fit = np.polynomial.Polynomial.fit(places, energy, 8)
    assert np.abs(fit(places) - energy).max() < 1e-4


def moved(atoms, positions):
    atoms = atoms.copy()
    atoms.positions = positions
    return atoms


def test_example_inputs_are_valid():
    for path in sorted(ACAC.glob("*.toml")):
        if path.name not in ("rpmd.toml", "infrared.toml", "isotopes.toml"):
            build_settings(TrainingSettings, read_toml(path), path)
    settings = read_settings(ACAC / "rpmd.toml", {})
    assert (settings.beads, settings.model) == ((32, 1), "acac")
    check_real_time(read_settings(ACAC / "infrared.toml", {}))
    assert read_settings(ACAC / "isotopes.toml", {}).per_atom


def test_deuterium_replaces_the_proton_between_the_oxygens():
    light, heavy = (read_atoms(ACAC / name)[0] for name in ("acac.xyz", "acac_d.xyz"))
    np.testing.assert_array_equal(light.positions, heavy.positions)
    heavier = heavy.get_masses() - light.get_masses()
    assert np.flatnonzero(heavier).tolist() == [11]
    assert heavier[11] == pytest.approx(2.014 - 1.008, abs=1e-3)
