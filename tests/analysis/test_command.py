"""``python -m analysis distances``: its output, its files and its refusals."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from analysis.__main__ import main
from mlcalc.common.tables import aligned, with_error
from mlcalc.model_file import save_model
from mlcalc.modes import relaxed_modes
from mlcalc.vibrations import position_variance
from tests.analysis.run_folders import harmonic_beads, write_run
from tests.conftest import SCHNETPACK_DIALECT, random_model

ATOMS = Atoms("C2", [[0, 0, 0], [0, 0, 1.2]])
STRETCH = np.array([1800.0]) * units.invcm


def write_stretch(folder: Path, n_beads: int, seed: int, model: str = "none") -> Path:
    """A run of a harmonic C2 with known width."""
    q = harmonic_beads(np.random.default_rng(seed), STRETCH, 300.0, n_beads, 1000, memory=0.5)[..., 0]
    positions = np.zeros((1000, n_beads, 2, 3))
    positions[..., 1, 2] = 1.2 + q / np.sqrt(6.0)
    return write_run(folder, ATOMS, positions, model=model)


@pytest.fixture
def runs(tmp_path) -> list[str]:
    return [str(write_stretch(tmp_path / f"P{p}", p, seed=p)) for p in (1, 8)]


def test_two_runs(tmp_path, runs, capsys):
    assert main(["distances", *runs]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "distances.txt").read_text() in printed
    for suffix in (".png", ".svg", ".json", ".npz"):
        path = tmp_path / f"distances{suffix}"
        assert path.stat().st_size > 0 and str(path) in printed
    assert "no harmonic reference: model 'none'" in printed
    report = json.loads((tmp_path / "distances.json").read_text())
    assert [run["beads"] for run in report["runs"]] == [8, 1]
    widths = {p: float(np.sqrt(position_variance(STRETCH, 300.0, p)[0] / 6.0)) for p in (1, 8)}
    for run in report["runs"]:
        assert run["frames"] == 900
        bonds = run["groups"]["bonds"]["beads"]
        assert abs(bonds["std_A"] - widths[run["beads"]]) < 4 * bonds["std_error_A"]
    broadening = report["broadening"][0]
    assert abs(broadening["std_ratio"] - widths[8] / widths[1]) < 4 * broadening["std_ratio_error"]
    with np.load(tmp_path / "distances.npz", allow_pickle=False) as arrays:
        assert arrays["run0_P8_all_beads_density"].shape == arrays["r_A"].shape
        assert arrays["run1_P1_bonds_centroid_error"].shape == arrays["r_A"].shape


@pytest.mark.slow
def test_the_same_runs_give_the_same_files(tmp_path, runs):
    for name in ("one", "two"):
        assert main(["distances", *runs, "-o", str(tmp_path / f"{name}.png")]) == 0
    for suffix in (".png", ".svg", ".json"):
        assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


def test_harmonic_reference_of_the_run_s_own_model(tmp_path, capsys):
    model = random_model(SCHNETPACK_DIALECT, seed=5)  # bound, at 1.16 Å
    save_model(model, tmp_path / "model.safetensors")
    run = write_stretch(tmp_path / "run", 4, seed=1, model=str(tmp_path / "model.safetensors"))
    assert main(["distances", str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    bonds = report["runs"][0]["groups"]["bonds"]
    energies = relaxed_modes(ATOMS, model).energies
    reduced = ATOMS.get_masses()[0] / 2
    for kind, beads in (("beads", 4), ("centroid", 1)):
        expected = np.sqrt(position_variance(energies, 300.0, beads)[0] / reduced)
        assert bonds[kind]["harmonic_std_A"] == pytest.approx(expected, rel=1e-6)
    assert (run / "distances.png").exists()  # one run: the files lie in it


@pytest.mark.slow
def test_pooled_pieces_give_the_numbers_of_the_whole(tmp_path, capsys):
    q = harmonic_beads(np.random.default_rng(1), STRETCH, 300.0, 4, 1000, memory=0.5)[..., 0]
    positions = np.zeros((1000, 4, 2, 3))
    positions[..., 1, 2] = 1.2 + q / np.sqrt(6.0)
    whole = write_run(tmp_path / "whole", ATOMS, positions)
    pieces = [write_run(tmp_path / f"piece{k}", ATOMS, part) for k, part in enumerate(np.split(positions, 4))]
    reports = []
    for arguments in ([str(whole)], [*map(str, pieces), "--pool"]):
        assert main(["distances", *arguments, "--discard", "0", "--json", "-o", str(tmp_path / "figure.png")]) == 0
        reports.append(json.loads(capsys.readouterr().out)["runs"])
    (whole_report,), (pooled_report,) = reports
    assert len(pooled_report["folders"]) == 4
    for key in ("groups", "frames", "shortest_A"):
        assert pooled_report[key] == whole_report[key]


def write_properties(folder: Path, values: np.ndarray) -> str:
    run = write_run(folder, ATOMS, np.tile(ATOMS.positions, (2, 1, 1, 1)))
    names = ("temperature_K", "potential_eV", "kinetic_virial_eV", "kinetic_primitive_eV", "gyration_radius_A")
    lines = [f"{k},{0.5 * k}," + ",".join(repr(float(v + n)) for n in range(len(names))) for k, v in enumerate(values)]
    (run / "properties.csv").write_text(
        "# comment\n" + ",".join(["step", "time_fs", *names]) + "\n" + "\n".join(lines) + "\n"
    )
    return str(run)


def test_properties_of_pooled_runs(tmp_path, capsys):
    values = np.random.default_rng(2).normal(300.0, 5.0, (2, 4000))
    runs = [write_properties(tmp_path / str(k), part) for k, part in enumerate(values)]
    assert main(["properties", *runs, "--pool", "--discard", "0.25", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    kept = values[:, 1000:].ravel()
    potential = report["properties"]["potential_eV"]
    assert potential["value"] == pytest.approx(kept.mean() + 1.0, rel=1e-12)
    assert potential["error"] == pytest.approx(
        5.0 / np.sqrt(6000), rel=0.25
    )  # uncorrelated: blocking finds the naive error
    assert report["properties"]["potential_eV"]["autocorrelation_time_ps"] == pytest.approx(0.5 * 0.5e-3, rel=0.1)
    assert main(["properties", *runs, "--discard", "auto"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("P = 1: ") == 2 and "temperature / K" in printed


def test_a_spoilt_table_of_properties_is_refused(tmp_path, capsys):
    run = write_properties(tmp_path / "run", np.ones(10))
    with open(Path(run) / "properties.csv", "a") as stream:
        stream.write("10,5.0,1.0\n")
    assert main(["properties", run]) == 2
    assert "not a table of properties" in capsys.readouterr().err


def bad_calls(tmp_path, runs):
    other = write_run(tmp_path / "other", Atoms("CO", ATOMS.positions), np.tile(ATOMS.positions, (50, 1, 1, 1)))
    short = write_run(tmp_path / "short", ATOMS, np.tile(ATOMS.positions, (21, 1, 1, 1)))
    empty = write_run(tmp_path / "empty", ATOMS, np.zeros((0, 1, 2, 3)))
    return {
        "missing": ([str(tmp_path / "nowhere")], "not a run folder"),
        "parent": ([str(tmp_path)], "not a run folder"),
        "different molecules": ([runs[0], str(other)], "expected the same atoms"),
        "too short": ([str(short)], "21 frames, 19 after discarding the first 10%; expected at least 20"),
        "no frames": ([str(empty)], "0 frames"),
        "discard": ([runs[0], "--discard", "1.0"], "--discard 1.0: expected a share"),
        "discard NaN": ([runs[0], "--discard", "nan"], "--discard nan: expected a share"),
        "discard auto": ([runs[0], "--discard", "auto"], "--discard auto: expected a share"),
        "suffix": ([runs[0], "-o", str(tmp_path / "figure.jpeg")], "ends in .png"),
        "no folder": ([runs[0], "-o", str(tmp_path / "nowhere" / "figure.png")], "nowhere does not exist"),
        "model": ([runs[0], "--model", "unheard-of"], "model 'unheard-of'"),
    }


@pytest.mark.parametrize(
    "case",
    ["missing", "parent", "different molecules", "too short", "no frames", "discard", "discard NaN", "discard auto", "suffix",
     "no folder", "model"],
)  # fmt: skip
def test_bad_input_is_refused_and_nothing_written(tmp_path, runs, capsys, case):
    arguments, message = bad_calls(tmp_path, runs)[case]
    before = sorted(tmp_path.rglob("*"))
    assert main(["distances", *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err and output.err.count("\n") == 1 and output.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_help_answers_at_once():
    code = (
        "import sys\nfrom analysis.__main__ import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'numba', 'matplotlib', 'MDAnalysis', 'ase', 'numpy') if m in sys.modules])"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr
    assert time.monotonic() - start < 1.0


def test_numbers_carry_their_error():
    assert with_error(0.053123, 0.00042) == "0.05312 ± 0.00042"
    assert with_error(1234.5, 17.2) == "1234 ± 17"
    assert with_error(1.5, 0.0) == with_error(1.5, 1e-16) == "1.5000 ± 0"
    assert with_error(1.5, float("nan")) == "1.5000 ± nan"


def test_tables_are_aligned():
    lines = aligned(["P", "std / Å"], [["8", "0.05"], ["16", "0.0531"]]).splitlines()
    assert lines == [" P  std / Å", "───────────", " 8     0.05", "16   0.0531"]
