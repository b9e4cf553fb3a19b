"""``python -m analysis conformations``: closed forms of its numbers, the report, refusals."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from scipy.spatial.transform import Rotation

from analysis.__main__ import main
from analysis.chain.conformations import ANGLES, DIHEDRALS, LAMBDA, Conformations, overlap
from analysis.chain.conformations_report import ConformationsReport, conformations_figure
from analysis.chain.frames import Chain
from mlcalc.common.errors import InputError
from mlcalc.data.coarse_grain.residues import bead_types
from tests.analysis.run_folders import FRAME_FS, write_run

SEQUENCE = 12 * "A"
TYPES = bead_types(SEQUENCE, False, False)
THETA, TAU = 91.0, 51.0  # degrees, in the middle of bins


def helix(angle: float = THETA) -> np.ndarray:
    """(12, 3) Å: bonds of 3.8 Å with the same angle and dihedral angle everywhere."""
    atoms = [np.zeros(3), np.array([3.8, 0.0, 0.0])]
    bend, turn = np.radians(180.0 - angle), np.radians(TAU)
    frame = np.eye(3)
    local = Rotation.from_rotvec([turn, 0.0, 0.0]) * Rotation.from_rotvec([0.0, 0.0, bend])
    for _ in range(len(TYPES) - 2):
        frame = frame @ local.as_matrix()
        atoms.append(atoms[-1] + 3.8 * frame[:, 0])
    return np.array(atoms)


def conformations(*frames: np.ndarray, contact: float = 8.0, discard: float = 0.0) -> Conformations:
    return Conformations(Chain("frames", SEQUENCE, TYPES, np.array(frames)), helix(), contact, discard)


def test_the_native_structure_however_it_lies():
    turned = helix() @ Rotation.from_rotvec([0.3, -1.0, 2.0]).as_matrix() + [5.0, -40.0, 3.0]
    found = conformations(turned, -turned)
    assert found.rmsd[0] == pytest.approx(0.0, abs=1e-5) and found.rmsd[1] > 1.0  # its mirror image is another
    apart = np.linalg.norm(helix()[found.first] - helix()[found.second], axis=1)
    assert (found.second - found.first).min() == 4 and apart.max() < 8.0
    expected = np.mean(1.0 / (1.0 + np.exp(5.0 * (1.0 - LAMBDA) * apart)))
    np.testing.assert_allclose(found.native_contacts, expected, rtol=1e-6)
    assert expected > 0.9999
    middle = ANGLES.searchsorted(THETA) - 1, DIHEDRALS.searchsorted(TAU) - 1
    alone = conformations(turned).backbone
    assert alone[middle] > 0 and np.count_nonzero(alone) == 1  # one angle, one dihedral angle
    assert overlap(alone, alone) == pytest.approx(1.0) and overlap(alone, conformations(-turned).backbone) == 0.0


def test_backbones_with_sharp_angles():
    """Every angle counts: a chain with three in four of 55° shares a quarter with the native one; and so for any angle."""
    native = conformations(helix()).backbone
    mixed = conformations(*[helix(55.0)] * 3, helix()).backbone
    assert overlap(native, mixed) == pytest.approx(0.25)
    for angle in (1.0, 55.0, 178.0):
        sharp = conformations(helix(angle)).backbone
        assert overlap(sharp, sharp) == pytest.approx(1.0) and overlap(sharp, native) == 0.0
    torn = helix()
    torn[5] = torn[4]  # no angle there
    assert 0 < overlap(conformations(torn).backbone, native) < 1


def test_the_figure_begins_below_the_sharpest_angle():
    for angle, lowest in ((THETA, 60.0), (55.0, 54.0), (1.0, 0.0)):
        report = ConformationsReport([conformations(helix(angle))], conformations(helix()), 0.0)
        maps = [axes for axes in conformations_figure(report).axes if axes.get_ylabel() == "angle θ / degree"]
        assert [axes.get_ylim() for axes in maps] == [(lowest, 180.0)] * 2


def test_a_rod_has_no_contacts():
    rod = np.outer(np.arange(12), [0.0, 3.8, 0.0])
    found = conformations(rod)
    assert found.gyration[0] == pytest.approx(3.8 * np.sqrt((12**2 - 1) / 12))
    assert found.native_contacts[0] < 1e-6
    assert found.contacts.sum() == 12 + 2 * (11 + 10)  # itself, and neighbours up to 7.6 Å
    with pytest.raises(InputError, match="no residues more than 3 apart along the chain are nearer than 8 Å"):
        Conformations(found.chain, rod, 8.0)


def test_maps_leave_out_the_start_and_series_do_not():
    rod = np.outer(np.arange(12), [0.0, 3.8, 0.0])
    found = conformations(rod, rod, helix(), helix(), discard=0.5)
    native = np.linalg.norm(helix()[:, None] - helix(), axis=-1) < 8.0
    np.testing.assert_array_equal(found.contacts, native)
    assert len(found.rmsd) == 4 and found.rmsd[0] > 5.0


def test_the_command(tmp_path, monkeypatch, capsys):
    """A run that unfolds half way, and a file of folded frames beside it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write("native.xyz", Atoms(TYPES, helix(), info={"sequence": SEQUENCE}), format="extxyz")
    folded = [Atoms(TYPES, helix() + rng.normal(0, 0.1, (12, 3)), info={"sequence": SEQUENCE}) for _ in range(20)]
    write("folded.xyz", folded, format="extxyz")
    rod = np.outer(np.arange(12), [0.0, 3.8, 0.0])
    frames = np.array([helix()] * 20 + [rod] * 20) + rng.normal(0, 0.1, (40, 12, 3))
    write_run(tmp_path / "run", Atoms(TYPES, helix(), info={"sequence": SEQUENCE}), frames[:, None])
    command = [
        "conformations",
        "run",
        "folded.xyz",
        "--native",
        "native.xyz",
        "--beside",
        "folded.xyz",
        "-o",
        "out.png",
    ]
    assert main([*command, "--discard", "0.5", "--json"]) == 0
    run, file, _ = json.loads(capsys.readouterr().out)["found"]
    assert run["native_contacts"]["value"] < 0.01 and run["native_contacts_first_and_last_tenth"][0] > 0.99
    assert run["rmsd"]["value"] > 5.0 and file["rmsd"]["value"] < 0.4
    assert file["contacts_shared"] == pytest.approx(1.0) and file["backbone_shared"] == pytest.approx(1.0)
    assert run["contacts_shared"] < 0.1
    with np.load("out.npz") as arrays:
        np.testing.assert_allclose(arrays["source0_times_ps"], 1e-3 * FRAME_FS * np.arange(40))
        assert arrays["source0_gyration"].shape == (40,) and "source1_times_ps" not in arrays
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "1.00 → 0.00" in printed and " 0.00039 " in printed  # ns
    assert all((tmp_path / f"out{suffix}").stat().st_size for suffix in (".png", ".svg", ".txt", ".json"))


def test_the_table_of_files(tmp_path, monkeypatch, capsys):
    """One frame has no error; files leave out nothing, which table and numbers say."""
    monkeypatch.chdir(tmp_path)
    native = Atoms(TYPES, helix(), info={"sequence": SEQUENCE})
    write("native.xyz", native, format="extxyz")
    assert main(["conformations", "native.xyz", "--native", "native.xyz", "-o", "out.png"]) == 0
    row, *notes = capsys.readouterr().out.splitlines()[2:]
    assert "nan" not in row and "±" not in row and not [line for line in notes if "leave out" in line]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["discard"] == 0.0 and found["found"][0]["gyration"]["error"] is None
    write_run(tmp_path / "run", native, np.repeat(helix()[None, None], 8, axis=0))
    command = ["conformations", "native.xyz", "--beside", "run", "--native", "native.xyz", "-o", "out.png"]
    assert main([*command, "--discard", "0.125"]) == 0
    assert "Means and maps leave out the first 12.5% of each run." in capsys.readouterr().out


def test_nothing_left_of_a_short_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    native = Atoms(TYPES, helix(), info={"sequence": SEQUENCE})
    write("native.xyz", native, format="extxyz")
    write_run(tmp_path / "run", native, np.repeat(helix()[None, None], 3, axis=0))
    command = ["conformations", "run", "--native", "native.xyz", "-o", "out.png", "--discard"]
    assert main([*command, "0.9"]) == 2
    error = "run: 3 frames, 0 after discarding the first 90%; expected at least 1"
    assert error in capsys.readouterr().err and not list(tmp_path.glob("out.*"))
    assert main([*command, "0.8"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--discard", "1"], "--discard 1.0: expected a share of at least 0 and below 1"),
        (["--contact", "0"], "--contact = 0.0: expected more than 0.0"),
        (["--sequence", 12 * "G"], "bead 1 has the type A: expected G"),
        (["--frames", "0"], "--frames = 0: expected at least 1"),
    ],
)
def test_refusals(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("native.xyz", Atoms(TYPES, helix(), info={"sequence": SEQUENCE}), format="extxyz")
    assert main(["conformations", "native.xyz", "--native", "native.xyz", "-o", "out.png", *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["native.xyz"]
