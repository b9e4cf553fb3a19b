"""Isotope effects: hydrogens in wells against exact partition functions at finite P, and what is refused."""

import json

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from analysis.__main__ import main
from analysis.isotopes import report
from analysis.isotopes.harmonic import Reference
from analysis.isotopes.masses import quadrature
from analysis.isotopes.report import Wanted
from analysis.isotopes.scaled import Weights
from analysis.isotopes.sites import read_sites
from md.bias.settings import BiasSettings
from md.runs.config import RunSettings
from md.runs.start import run
from mlcalc.common.errors import InputError
from mlcalc.vibrations import HBAR, modes_of_hessian, quantum_correction
from tests.conftest import rpmd_run, write_acetylene

# Two hydrogens 100 Å apart, each in a well of its own: spring constants (eV/Å²) in x, y, z; the first anharmonic in x if asked.
H, D = 1.008, 2.01410177784
SPRINGS = np.array([[15.0, 10.0, 6.0], [2.0, 2.0, 1.0]])
PLACES = np.array([[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]])
TEMPERATURE, BEADS = 300.0, 8
THERMAL = units.kB * TEMPERATURE
DEPTH, RANGE = 2.0, 1.9  # eV, 1/Å, of a Morse well


def wells(positions, cell=None):
    u = positions - PLACES
    return 0.5 * (SPRINGS * u**2).sum(axis=(1, 2)), -SPRINGS * u


def morse(positions, cell=None):
    """As wells, but a Morse well along x of the first atom."""
    energies, forces = wells(positions)
    x = positions[:, 0, 0]
    decay = np.exp(-RANGE * x)
    energies += DEPTH * (1.0 - decay) ** 2 - 0.5 * SPRINGS[0, 0] * x**2
    forces[:, 0, 0] = -2.0 * DEPTH * RANGE * (1.0 - decay) * decay
    return energies, forces


def moved(folder, mass, potential=wells, **others):
    """A run in which the first hydrogen has this mass."""
    folder.parent.mkdir(exist_ok=True)
    structure = folder.parent / f"{folder.name}.xyz"
    write(structure, Atoms("H2", PLACES, masses=[mass, H]), format="extxyz")
    keys = {
        "beads": BEADS,
        "steps": 6000,
        "engine": "python:wells",
        "seed": round(1000 * mass),
        "temperature_K": TEMPERATURE,
    }
    keys |= others
    settings = RunSettings(
        str(structure), output=str(folder), integrator="BCOCB", equilibration_steps=300,
        properties_every_steps=200, trajectory_every_steps=10, remove_com=False, centroid_time_fs=20.0, energy_guard="off",
        bond_guard="off", domain_guard="record", per_atom=True, **keys,
    )  # fmt: skip
    assert run(settings, overwrite=True, potential=potential)[0] == 0
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Of three masses of the first hydrogen."""
    folder = tmp_path_factory.mktemp("wells")
    return [moved(folder / name, mass) for name, mass in (("H", H), ("M", 1.4), ("D", D))]


def exact(springs, mass, new, n_beads=BEADS):
    """ln β from the normal modes of the ring: Z_P/Z_1 = Π_{k>0} ω_k/√(ω_k² + ω²)·const, one dimension after the other."""
    modes = 2.0 * BEADS * THERMAL / HBAR * np.sin(np.arange(1, n_beads) * np.pi / n_beads)

    def correction(m):
        return -0.5 * np.log1p((np.asarray(springs)[:, None] / m) / modes**2).sum()

    return correction(new) - correction(mass)


def test_closed_form_of_an_oscillator():
    """The product over the modes of the ring, and its limits."""
    for constant in (1.0, 15.0):
        energies = [HBAR * np.sqrt(constant / m) for m in (H, D)]
        corrections = [quantum_correction(np.array([e]), TEMPERATURE, BEADS) for e in energies]
        assert corrections[1] - corrections[0] == pytest.approx(exact([constant], H, D), rel=1e-10)
    energies = np.array([0.01, 0.3])
    assert quantum_correction(energies, TEMPERATURE, 1) == pytest.approx(0.0, abs=1e-12)
    limit = quantum_correction(energies, TEMPERATURE, None)
    assert quantum_correction(energies, TEMPERATURE, 1024) == pytest.approx(limit, rel=1e-4)
    x = energies / THERMAL
    assert limit == pytest.approx(np.log(x / (2.0 * np.sinh(0.5 * x))).sum(), rel=1e-12)


def test_scaled_rings_and_integration_are_exact(runs):
    """One site, three masses: integration, and scaled rings of both ends, each within its own error."""
    found = report.analyse(runs, 0.0, Wanted(), potential=wells).effects
    wanted = exact(SPRINGS[0], H, D)
    assert [effect.method for effect in found] == ["integration", "scaled", "scaled"]
    assert [effect.sampled for effect in found] == [None, pytest.approx(H), pytest.approx(D)]
    for effect in found:
        value, error, _ = effect.log_ratio
        assert abs(value - wanted) < 3.0 * error and 0.0 < error < 0.08 * wanted
        assert effect.masses == (pytest.approx(H), pytest.approx(D)) and str(effect.site) == "H0"
        assert effect.harmonic is None  # no model


def test_two_sites_of_one_run_and_of_two(runs):
    """ln α, whose error from the same frames is not that of independent ones; atoms together; any of two."""
    found = report.analyse(runs[:1], 0.0, Wanted("0,0+1,0/1,1"), potential=wells)
    both = [exact(springs, H, D) for springs in SPRINGS]
    wanted = [both[0], sum(both), np.log(np.mean(np.exp(both))), both[1]]
    for effect, value in zip(found.effects, wanted, strict=True):
        assert abs(effect.log_ratio.value - value) < 3.0 * effect.log_ratio.error
    assert [str(one.other.site) for one in found.preferences] == ["H1"] * 3
    for one, value in zip(found.preferences, wanted, strict=False):
        assert abs(one.log_ratio.value - (value - both[1])) < 3.0 * one.log_ratio.error
    (one,) = report.analyse(runs[:1], 0.0, Wanted("0"), runs[:1], "1", potential=wells).preferences
    assert one.log_ratio == pytest.approx(found.preferences[0].log_ratio, rel=1e-9)
    other = report.analyse(runs[:1], 0.0, Wanted("0"), runs[1:2], "1", potential=wells)
    errors = [effect.log_ratio.error for effect in other.effects]
    assert other.preferences[0].log_ratio.error == pytest.approx(np.hypot(*errors))  # of independent runs
    with pytest.raises(InputError, match="no two sites with the same masses"):
        report.analyse(runs[:1], 0.0, Wanted("0"), runs[1:2], "0", potential=wells)  # 1.4 u there
    (none,) = report.analyse(runs[:1], 0.0, Wanted("0/1,1/0"), potential=wells).preferences
    assert none.log_ratio[:2] == pytest.approx((0.0, 0.0), abs=1e-12)  # what sites share cancels from the error, too


def test_morse_against_matrix_multiplication(tmp_path):
    """One anharmonic dimension of three."""
    folder = moved(tmp_path / "H", H, morse)
    (effect,) = report.analyse([folder], 0.0, Wanted("0"), potential=morse).effects

    def log_trace(mass):
        x, spacing = np.linspace(-0.7, 1.6, 500, retstep=True)
        beta = 1.0 / (BEADS * THERMAL)
        half = np.exp(-0.5 * beta * DEPTH * (1.0 - np.exp(-RANGE * x)) ** 2)
        springs = np.exp(-0.5 * mass * (x[:, None] - x) ** 2 / (beta * HBAR**2))
        matrix = half[:, None] * springs * half * spacing * np.sqrt(mass / (2.0 * np.pi * beta * HBAR**2))
        return np.log(np.trace(np.linalg.matrix_power(matrix, BEADS)))

    wanted = log_trace(D) - log_trace(H) - 0.5 * np.log(D / H) + exact(SPRINGS[0, 1:], H, D)
    assert abs(effect.log_ratio.value - wanted) < 3.0 * effect.log_ratio.error
    assert effect.log_ratio.error < 0.05 * wanted


def test_harmonic_reference_of_a_diatomic():
    """The vibration of the reduced mass; the Hessian is rebuilt from the modes."""
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], masses=[H, H])
    hessian = np.zeros((6, 6))
    hessian[2, 2] = hessian[5, 5] = 35.0
    hessian[2, 5] = hessian[5, 2] = -35.0
    reference = Reference(modes_of_hessian(atoms, hessian), TEMPERATURE, BEADS)
    sites = read_sites("0,0+1,0/1", atoms)
    energies = [HBAR * np.sqrt(35.0 * (1 / H + 1 / m)) for m in (H, D)] + [HBAR * np.sqrt(70.0 / D)]
    single, double = (
        [
            quantum_correction(np.array([energies[k]]), TEMPERATURE, p)
            - quantum_correction(np.array([energies[0]]), TEMPERATURE, p)
            for p in (BEADS, None)
        ]
        for k in (1, 2)
    )
    for site, expected in zip(sites, (single, double, single), strict=True):
        assert reference.log_ratios(site, H, D) == pytest.approx(expected, rel=1e-9)
    # Q/g of a quantum oscillator is constant, so that a line through two masses is nearly enough.
    masses = np.array([H, D])
    assert abs(reference.quadrature_error(sites[1], masses)) < 0.02 * double[0]
    dense = np.linspace(H, D, 9)
    assert abs(reference.quadrature_error(sites[1], dense)) < 1e-5


def test_quadrature_of_polynomials():
    masses = np.array([1.0, 1.3, 1.7, 2.0])
    g = 1.0 / np.sqrt(masses)
    for n, degree in ((2, 1), (3, 2), (4, 3)):
        chosen = masses[[0, *range(1, n - 1), 3]]
        ends = g[0] ** (degree + 1) - g[3] ** (degree + 1)
        assert quadrature(chosen) @ chosen ** (-0.5 * degree) == pytest.approx(ends / (degree + 1), rel=1e-12)


def test_effective_frames():
    """Kish's number, of any choice of atoms, without overflow; the value is the logarithm of the mean."""
    weights = Weights(np.log([[1.0, 1.0, 2.0, 4.0]]) + 1000.0)
    assert weights.n_effective == pytest.approx(64.0 / 22.0)
    assert weights.log_mean.value == pytest.approx(1000.0 + np.log(2.0))
    assert Weights(np.log([[1.0, 3.0], [3.0, 1.0]])).n_effective == pytest.approx(2.0)


def test_weights_of_few_frames_are_refused_or_get_a_warning(runs, tmp_path):
    found = report.analyse(runs[:1], 0.9, Wanted("1"), potential=wells).effects  # 60 frames, fewer than 100
    assert any("few frames decide" in text for text in report.warnings(found))
    assert not report.warnings(report.analyse(runs[:1], 0.0, Wanted("1"), potential=wells).effects)
    cold = moved(
        tmp_path / "cold", H, steps=400, temperature_K=60.0
    )  # βħω = 96 in place of 19: one frame has half the weight
    with pytest.raises(InputError, match="are worth .* equal ones, fewer than 10"):
        report.analyse([cold], 0.0, Wanted("0+1", 10.0), potential=wells)
    heavy = report.analyse(runs[:1], 0.0, Wanted("1", 3.016), potential=wells)
    assert any("2.99 times as heavy" in text for text in report.warnings(heavy.effects))


def test_files_and_text(runs, tmp_path):
    found = report.analyse(runs, 0.0, Wanted(frames=300), potential=wells)
    assert found.effects[1].weights.logarithms.shape[1] == 201  # every third of 601
    paths = report.write_files(found, tmp_path / "isotopes.png")
    assert [path.suffix for path in paths] == [".txt", ".png", ".svg", ".json"]
    numbers = json.loads((tmp_path / "isotopes.json").read_text())
    assert numbers["effects"][0]["integral_masses_u"] == pytest.approx([H, 1.4, D])
    assert numbers["effects"][2]["sampled_u"] == pytest.approx(D)
    assert "integration, 3 runs" in (tmp_path / "isotopes.txt").read_text()


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        ("0,x", "expected sites between commas"), ("0,2", "indices from 0 to 1"), ("0+0", "different indices"),
        ("0/1+1", "expected sites between commas"), ("1,1", "each site once"),
    ],
)  # fmt: skip
def test_sites_that_are_refused(atoms, message):
    with pytest.raises(InputError, match=message):
        read_sites(atoms, Atoms("H2", PLACES))


def test_sites_of_an_element_and_of_unequal_atoms():
    water = Atoms("OH2", [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert [str(site) for site in read_sites("H", water)] == ["H1", "H2"]
    with pytest.raises(InputError, match="one element and one mass"):
        read_sites("0/1", water)


def test_runs_that_are_refused(runs, tmp_path, capsys):
    def refused(folders, message, wanted=None, potential=wells):
        with pytest.raises(InputError, match=message):
            report.analyse(folders, 0.0, wanted or Wanted("0"), potential=potential)

    short = {"steps": 400}
    refused([moved(tmp_path / "one", H, beads=1, **short)], "classical nuclei")
    refused([moved(tmp_path / "trpmd", H, thermostat="T-RPMD", **short)], "thermostat = 'T-RPMD'")
    bias = (BiasSettings("distance", (0, 1), "mean", "harmonic", at_A=100.0, force_constant_eV_A2=1.0),)
    refused([moved(tmp_path / "biased", H, bias=bias, **short)], "a run with a bias")
    refused([moved(tmp_path / "few", H, steps=100)], "expected at least 32")
    refused([runs[0], moved(tmp_path / "beads", D, beads=4, **short)], "beads = 4", Wanted())
    refused(runs, "runs of several masses set both")
    cold = moved(tmp_path / "colder", H, temperature_K=250.0, **short)
    with pytest.raises(InputError, match="temperature_K = 250.0, but 300.0"):
        report.analyse(runs[:1], 0.0, Wanted("0"), [cold], "0", potential=wells)
    refused(runs[:1], "expected --atoms", Wanted())
    refused(runs[:1], "have it already", Wanted("0", H))
    refused(runs[:1], "expected 0.1 to 1000", Wanted("0", float("nan")))
    refused(
        runs[:1], "expected the potential of the run", potential=lambda q, cell=None: (wells(q)[0] + 1.0, wells(q)[1])
    )
    refused(runs[:1], "a potential from Python", potential=None)
    assert main(["isotopes", str(runs[0]), "--atoms", "0"]) == 2
    assert "a potential from Python" in capsys.readouterr().err
    assert not (runs[0] / "isotopes.png").exists()


def test_a_run_of_a_model_from_the_command_line(tmp_path, capsys):
    """Evaluated with the run's own model, harmonic values beside; the other ends of a symmetric molecule are alike."""
    write_acetylene(tmp_path, "steps = 200\nbeads = 3\ntrajectory_every_steps = 5\n")
    assert rpmd_run(tmp_path) == 0
    capsys.readouterr()
    folder = str(tmp_path / "out")
    words = ["--atoms", "2", "--against", folder, "--against-atoms", "3", "--discard", "0"]
    assert main(["isotopes", folder, *words, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    one, other = numbers["effects"]
    assert (one["atoms"], one["frames"], one["masses_u"]) == ("H2", 41, pytest.approx([H, D]))
    assert one["ln_beta"]["value"] > 0.0 and one["ln_beta"]["error"] > 0.0
    assert one["harmonic"] == pytest.approx(other["harmonic"], rel=1e-4)
    (preference,) = numbers["preferences"]
    assert preference["ln_alpha"]["value"] == pytest.approx(one["ln_beta"]["value"] - other["ln_beta"]["value"])
    assert "41 frames are worth 41" in (tmp_path / "out" / "isotopes.txt").read_text()
    assert main(["isotopes", folder, "--atoms", "0"]) == 2
    assert "without --mass hydrogen becomes deuterium" in capsys.readouterr().err
