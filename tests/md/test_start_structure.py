"""Masses and momenta of the start structure are used, or a message says that they are not; constraints are in test_clamped.py."""

import h5py
import numpy as np
import pytest
from ase import units
from ase.build import molecule
from ase.io import read, write

from md.runs import run
from md.runs.config import RunSettings
from md.runs.identity import REAL_TIME, RUN
from md.runs.input_files import identity_of
from mlcalc.common.errors import InputError

MOMENTA = np.array([[1.0, -2.0, 0.5], [0.0, 0.3, -0.4], [0.2, 0.0, 0.1], [-1.2, 1.7, -0.2]])  # they add up to zero


def free(positions):
    """Nothing acts on any atom."""
    return np.zeros(len(positions)), np.zeros(positions.shape)


@pytest.fixture
def start(tmp_path):
    """A function that writes acetylene with momenta, and returns settings of a run of free atoms."""

    def write_start(momenta_of_atoms=None, **keys) -> RunSettings:
        atoms = molecule("C2H2")
        if momenta_of_atoms is not None:
            atoms.set_momenta(momenta_of_atoms)
        write(tmp_path / "start.xyz", atoms, format="extxyz")
        known = {"beads": 4, "steps": 4, "trajectory_every_steps": 4, "thermostat": "none", "remove_com": False}
        return RunSettings(
            str(tmp_path / "start.xyz"), engine="python:free", output=str(tmp_path / "out"), **known | keys
        )

    return write_start


def moved(settings: RunSettings) -> np.ndarray:
    """(N, 3) Å by which the centroids move in four steps."""
    assert run(settings, potential=free, overwrite=True)[0] == 0
    with h5py.File(f"{settings.output}/trajectory.h5") as file:
        frames = file["particles/trajectory/position/value"][:].reshape(2, -1, 4, 3).astype(float)
    return np.diff(frames.mean(axis=1), axis=0)[0]


@pytest.mark.parametrize("beads", [1, 4])
def test_centroids_begin_with_the_momenta_of_the_structure(start, beads):
    """Free atoms: each centroid goes p t/m, whatever the springs do."""
    found = moved(start(MOMENTA, beads=beads, momenta="structure"))
    expected = MOMENTA / molecule("C2H2").get_masses()[:, None] * 4 * 0.5 * units.fs
    np.testing.assert_allclose(found, expected, atol=1e-6)  # float32 in the file


def test_internal_modes_stay_thermal(start):
    """The rings of free atoms widen as those of a thermal start do, with the same random numbers."""
    widths = []
    for keys in ({"momenta": "structure"}, {}):
        moved(start(MOMENTA, **keys))
        with h5py.File(f"{start(MOMENTA).output}/trajectory.h5") as file:
            last = file["particles/trajectory/position/value"][-1].reshape(4, 4, 3)
        widths.append(last - last.mean(axis=0))
    assert np.abs(widths[0]).max() > 1e-3
    np.testing.assert_allclose(widths[0], widths[1], atol=1e-6)


def test_momenta_that_are_not_used_are_named_and_change_nothing(start, capsys):
    """A run from a structure with momenta is that from one without, and so are the runs of earlier releases."""
    without = moved(start()), identity_of(start(), RUN)
    assert "momenta" not in capsys.readouterr().err
    found = moved(start(MOMENTA)), identity_of(start(MOMENTA), RUN)
    assert "its momenta are not used, the start is drawn at the temperature" in capsys.readouterr().err
    assert (found[0] == without[0]).all() and found[1] == without[1]
    assert identity_of(start(MOMENTA, momenta="structure"), RUN) != without[1]
    moved(start(MOMENTA, remove_com=True, momenta="structure"))
    assert "not used" not in capsys.readouterr().err
    moved(start(MOMENTA + [0.1, 0, 0], remove_com=True, momenta="structure"))
    assert "the momentum of the centre of mass is not used (remove_com = true)" in capsys.readouterr().err


def test_momenta_that_cannot_be_used_are_refused(start, tmp_path):
    def refused(settings: RunSettings, message: str, kind: str = RUN) -> None:
        with pytest.raises(InputError, match=message):
            run(settings, potential=free, kind=kind)
        assert not (tmp_path / "out").exists()

    settings = RunSettings(**{**vars(start()), "momenta": "structure"})
    refused(settings, "but it has no momenta")
    text = (tmp_path / "start.xyz").read_text().replace("pos:R:3", "pos:R:3:velocities:R:3")
    lines = [line + (" 0 0 1" if number > 1 else "") for number, line in enumerate(text.splitlines())]
    (tmp_path / "start.xyz").write_text("\n".join(lines) + "\n")
    refused(settings, "a column velocities of unknown unit")
    start(np.where(MOMENTA == 0.5, np.nan, MOMENTA))
    refused(settings, "not three finite numbers for each atom")
    start(MOMENTA)
    refused(settings, "start thermalised; leave it out", REAL_TIME)
    text = (tmp_path / "start.xyz").read_text().replace("momenta:R:3", "momenta:R:3:move_mask:L:1")
    lines = [
        line + (" F" if number == 2 else " T" if number > 2 else "") for number, line in enumerate(text.splitlines())
    ]
    (tmp_path / "start.xyz").write_text("\n".join(lines) + "\n")
    refused(settings, "atoms that a constraint holds have momenta")


def test_deuterium_by_symbol_or_by_masses(start, tmp_path):
    """Free atoms of the same random numbers go √(m_H/m_D) as far, and the run folder has their masses."""
    settings = start(beads=1)
    light = moved(settings)
    masses = molecule("C2H2").get_masses()
    atoms = read(tmp_path / "start.xyz")
    atoms.set_masses(np.where(atoms.numbers == 1, 2.0141017781, masses))
    texts = [(tmp_path / "start.xyz").read_text().replace("\nH ", "\nD ")]
    write(tmp_path / "start.xyz", atoms, format="extxyz")
    texts.append((tmp_path / "start.xyz").read_text())
    for text in texts:
        (tmp_path / "start.xyz").write_text(text)
        heavy = moved(settings)
        kept = read(tmp_path / "out" / "structure.xyz").get_masses()
        assert kept == pytest.approx(atoms.get_masses(), abs=1e-6)
        np.testing.assert_allclose(heavy, light * np.sqrt(masses / kept)[:, None], atol=2e-6)
    assert not np.allclose(heavy, light, atol=1e-3)
