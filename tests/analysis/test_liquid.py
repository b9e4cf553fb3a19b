"""g(r) and angles of liquids: crystals and gases whose numbers are known, errors against repeated draws, and the command."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from scipy.spatial.transform import Rotation

from analysis.__main__ import main
from analysis.liquid.structure import Liquid, analyse, jackknife, landmarks, neighbour_angles, overlaps, read_liquid
from analysis.liquid.wedges import ANGLE_EDGES, wedge_count, wedges
from tests.analysis.run_folders import write_run

BOX = np.array([11.0, 12.0, 13.0])


def gas(seed: int, frames: int = 40) -> Liquid:
    atoms = Atoms("Ar60", cell=BOX, pbc=True)
    return Liquid("gas", atoms, np.random.default_rng(seed).random((20, frames // 20, 60, 3)) * BOX, frames)


def crystal(width: float, seed: int = 0, n: int = 3) -> Liquid:
    """Argon with normally distributed displacements of its atoms."""
    atoms = bulk("Ar", "fcc", 5.3, cubic=True) * (n, n, n)
    positions = atoms.positions + np.random.default_rng(seed).normal(0.0, width, (20, 2, len(atoms), 3))
    return Liquid("crystal", atoms, positions, 40)


def test_wedges_are_all_pairs_of_edges_at_an_atom():
    source = np.array([2, 0, 2, 5, 0, 2, 0, 0])
    one, two = wedges(source)
    expected = {frozenset((a, b)) for a in range(8) for b in range(a) if source[a] == source[b]}
    assert {frozenset(pair) for pair in zip(one.tolist(), two.tolist(), strict=True)} == expected
    assert len(one) == len(expected) == wedge_count(source)
    assert len(wedges(np.zeros(0, dtype=int))[0]) == 0


def test_angles_of_a_crystal():
    """12 neighbours make 66 angles: 24 of 60, 12 of 90, 24 of 120, 6 of 180 degrees."""
    atoms = bulk("Ar", "fcc", 5.3, cubic=True) * (3, 3, 3)
    angles = neighbour_angles(atoms.positions, 4.2, atoms.cell.array, atoms.pbc)
    values, counts = np.unique(angles.round(3), return_counts=True)
    assert values.tolist() == [60.0, 90.0, 120.0, 180.0]
    assert (counts / len(atoms)).tolist() == [24.0, 12.0, 24.0, 6.0]
    # A cell so small that neighbours are images of one atom.
    small = bulk("Ar", "fcc", 5.3)
    assert len(neighbour_angles(small.positions, 4.2, small.cell.array, small.pbc)) == 66


def test_angles_of_a_gas():
    """sin θ / 2, whatever the shell, and g = 1."""
    (found,) = analyse([gas(1, 200)], shell=4.0)
    theta = np.radians(ANGLE_EDGES)
    exact = -np.diff(np.cos(theta)) / 2.0 / np.diff(ANGLE_EDGES)
    density = found.angle_density
    assert np.abs((density.value - exact)[5:-5] / density.error[5:-5]).max() < 4.5
    assert abs((found.g.value[50:] - 1.0).mean()) < 0.01


def test_landmarks_of_a_crystal():
    """First peak at a/√2; the minimum behind it lies before a; errors shrink where atoms are more alike."""
    (found,) = analyse([crystal(0.25)])
    values, errors = landmarks(found)
    assert values[0] == pytest.approx(5.3 / np.sqrt(2.0), abs=0.05)
    assert values[0] < values[2] < 5.3
    assert values[1] > values[5] > values[3]
    assert (errors > 0).all()


def test_jackknife():
    """A ratio of means: the error is that of repeated draws, within a tenth."""
    rng = np.random.default_rng(4)
    draws = rng.normal([3.0, 2.0], [0.6, 0.4], (1000, 20, 2))
    found = [jackknife(lambda mean: np.array([mean[0] / mean[1]]), blocks) for blocks in draws]
    values, errors = np.array(found)[:, 0, 0], np.array(found)[:, 1, 0]
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.1)


def test_overlaps():
    """1 with itself; with a wider crystal that of two normal peaks; between independent draws 1 up to noise that has a bias."""
    narrow, same, wide = analyse([crystal(0.1), crystal(0.1, seed=1), crystal(0.2)], shell=4.4)
    values, _ = overlaps(narrow, narrow)
    assert values == pytest.approx([1.0, 1.0])
    values, errors = overlaps(narrow, same)
    assert (values > 0.9).all()
    values, errors = overlaps(narrow, wide)
    # Normal peaks whose widths are as 1 to 2 share 67.7 % if they do not meet others.
    assert 0.64 < values[0] < 0.75
    assert (errors < 0.02).all()


def test_command(tmp_path, capsys):
    for name, width in (("one.xyz", 0.25), ("two.xyz", 0.35)):
        liquid = crystal(width)
        frames = [Atoms(liquid.structure.numbers, positions, cell=liquid.structure.cell, pbc=True)
                  for positions in liquid.positions.reshape(40, -1, 3)]  # fmt: skip
        write(tmp_path / name, frames, format="extxyz")
    sources = [str(tmp_path / "one.xyz"), str(tmp_path / "two.xyz")]
    assert main(["liquid", *sources, "--discard", "0", "-o", str(tmp_path / "out.png")]) == 0
    printed = capsys.readouterr().out
    assert "first maximum: g" in printed
    assert "overlap of angles with the first" in printed
    numbers = json.loads((tmp_path / "out.json").read_text())["liquids"]
    assert [entry["frames"] for entry in numbers] == [40, 40]
    assert numbers[0]["overlap_of_pairs"] == pytest.approx(1.0)
    assert numbers[0]["first_maximum"]["g"] > numbers[1]["first_maximum"]["g"]
    for suffix in ("png", "svg", "txt"):
        assert (tmp_path / f"out.{suffix}").stat().st_size > 100


def test_frames_of_a_run_are_those_of_a_file(tmp_path):
    liquid = crystal(0.2)
    positions = liquid.positions.reshape(40, 1, -1, 3)
    run = write_run(tmp_path / "run", liquid.structure, positions)
    frames = [Atoms(liquid.structure.numbers, frame[0], cell=liquid.structure.cell, pbc=True) for frame in positions]
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    one, two = analyse([read_liquid(run, 0.0), read_liquid(tmp_path / "frames.xyz", 0.0)])
    np.testing.assert_allclose(one.rdf, two.rdf, atol=0.05)  # single entries may change their bin by rounding
    assert one.rdf.mean() == pytest.approx(two.rdf.mean(), rel=1e-4)


def turned(liquid: Liquid, swap: bool = False) -> Liquid:
    """The same liquid, turned; with the cell's vectors in another order and of the other handedness if asked for."""
    turn = Rotation.from_euler("zyx", [30, 20, 10], degrees=True).as_matrix()
    structure = liquid.structure.copy()
    cell = liquid.structure.cell.array @ turn.T
    structure.set_cell(-cell[[1, 0, 2]] + [cell[0], 0 * cell[0], 2 * cell[1]] if swap else cell)
    return Liquid("turned", structure, liquid.positions @ turn.T, liquid.frames)


@pytest.mark.parametrize("swap", [False, True], ids=["turned", "of other vectors"])
@pytest.mark.parametrize("n", [2, 6], ids=["few atoms", "many atoms"])
def test_orientation_and_choice_of_the_cell_change_nothing(swap, n):
    liquid = crystal(0.3, n=n)
    if n == 6:
        liquid = Liquid("crystal", liquid.structure, liquid.positions[:, :1], 20)
    one, two = analyse([liquid, turned(liquid, swap)], shell=4.4)
    np.testing.assert_allclose(two.rdf, one.rdf, atol=1e-12)
    np.testing.assert_allclose(two.angles, one.angles, atol=1e-12)


def breathing(frames: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Cells (n, 3, 3) Å that change, and an ideal gas (n, 60, 3) in them."""
    rng = np.random.default_rng(12)
    cells = np.diag(BOX) * rng.uniform(0.8, 1.3, (frames, 1, 1)) + rng.normal(0.0, 0.5, (frames, 3, 3))
    return cells, rng.random((frames, 60, 3)) @ cells


def test_cells_that_change(tmp_path, capsys):
    """A gas of changing density has g = 1 with the volume of each frame; file and run agree; bins end within the smallest cell."""
    cells, positions = breathing(400)
    frames = [Atoms("Ar60", place, cell=cell, pbc=True) for place, cell in zip(positions, cells, strict=True)]
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    run = write_run(tmp_path / "run", frames[0], positions[:, None], cells=cells)
    liquids = [read_liquid(tmp_path / "frames.xyz", 0.0), read_liquid(run, 0.0)]
    for liquid in liquids:
        np.testing.assert_allclose(liquid.volumes, [atoms.get_volume() for atoms in frames], rtol=1e-6)
    one, two = analyse(liquids, shell=3.5)
    heights = [1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0) for cell in cells]
    assert one.edges[-1] == pytest.approx(0.5 * np.min(heights), abs=0.05)
    drawn = one.g.error > 0
    excess = (one.g.value[drawn] - 1.0) / one.g.error[drawn]
    assert np.abs(excess[10:]).max() < 5.0 and abs(excess[10:].mean()) < 4 / np.sqrt(len(excess) - 10)
    np.testing.assert_allclose(
        two.rdf[:, 20:], one.rdf[:, 20:], atol=0.1
    )  # single entries may change their bin by rounding
    assert two.rdf.mean() == pytest.approx(one.rdf.mean(), rel=1e-3)
    np.testing.assert_allclose(two.angles, one.angles, atol=1e-4)
    assert main(["liquid", str(run), "--shell", "3.5", "-o", str(tmp_path / "out.png")]) == 0
    assert "run: cells differ, volume " in capsys.readouterr().out


def test_refusals(tmp_path, capsys):
    write(tmp_path / "molecule.xyz", [molecule("CH4")] * 30, format="extxyz")
    frames = [bulk("Ar", "fcc", 5.3, cubic=True)] * 30
    write(tmp_path / "few.xyz", frames[:7], format="extxyz")
    write(tmp_path / "mixed.xyz", [*frames, bulk("Kr", "fcc", 5.3, cubic=True)], format="extxyz")
    slab, flat = frames[0].copy(), frames[0].copy()
    slab.pbc = [True, True, False]
    flat.cell[2] = 0.0
    write(tmp_path / "slab.xyz", [*frames, slab], format="extxyz")
    write(tmp_path / "flat.xyz", [flat] * 30, format="extxyz")
    for name, message in (
        ("molecule.xyz", "g(r) needs a cell that is periodic in all directions"),
        ("few.xyz", "7 frames are left: expected at least 20"),
        ("mixed.xyz", "mixed.xyz: the atoms of structure 31 differ from those of the first"),
        (
            "slab.xyz",
            "slab.xyz, structure 31: g(r) needs a cell that is periodic in all directions, and this has pbc [True, True",
        ),
        ("flat.xyz", "flat.xyz: pbc = [True, True, True] with cell"),
        ("none.xyz", "no such file"),
    ):
        assert main(["liquid", str(tmp_path / name), "--discard", "0", "-o", str(tmp_path / "out.png")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    write(tmp_path / "three.xyz", frames[:3], format="extxyz")
    assert main(["liquid", str(tmp_path / "three.xyz"), "--discard", "0.9", "-o", str(tmp_path / "out.png")]) == 2
    assert "three.xyz: 3 frames, 0 after discarding the first 90%; expected at least 1" in capsys.readouterr().err
    write(tmp_path / "good.xyz", frames, format="extxyz")
    assert main(["liquid", str(tmp_path / "good.xyz"), "--shell", "-1", "-o", str(tmp_path / "out.png")]) == 2
    assert "--shell = -1.0: expected more than 0" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()
