"""Engine strings: what the family ``ase`` imports and with which arguments; engines as potentials of beads, in worker processes."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.data import covalent_radii
from ase.io import read, write

from mlcalc.common.errors import InputError
from mlcalc.data.engine_potential import AseForces, EnginePotential
from mlcalc.data.engines import engine_fingerprint, is_repeatable, make_calculator, runs_code
from mlcalc.data.labelling import label_file
from mlcalc.geometry.domain import physical_limits

BROKEN = "ase:tests.mlcalc.broken_calculators"


def test_calculators_by_name_and_by_importable_name():
    assert isinstance(make_calculator("ase:emt"), EMT)
    assert isinstance(make_calculator("ase:ase.calculators.emt.EMT"), EMT)
    made = make_calculator('ase:ase.calculators.lj.LennardJones {"sigma": 3.4, "epsilon": 0.0104, "rc": 9.0}')
    assert isinstance(made, LennardJones) and made.parameters.sigma == 3.4 and made.parameters.rc == 9.0
    assert make_calculator('ase:lj {"sigma": 2.5}').parameters.sigma == 2.5
    assert make_calculator(BROKEN + '.Springs {"fails": "a { b } + schnet"}').fails == "a { b } + schnet"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("ase.calculators.emt.EMT()", "is no importable name"),
        ("ase.calculators.emt.EMT {asap_cutoff: true}", "its arguments: not JSON"),
        ("ase.calculators.lj.LennardJones {'sigma': 1}", "its arguments: not JSON"),
        ('ase.calculators.lj.LennardJones {"sigma": NaN}', "its arguments: holds the number NaN"),
        ('ase.calculators.lj.LennardJones {"sigma": 1, "sigma": 2}', "its arguments: has the key 'sigma' twice"),
        ("ase.calculators.lj.LennardJones [1]", "expected a name, or a name and a JSON object"),
        ('ase.calculators.lj.LennardJones {"sigma": 1} {}', "its arguments: not JSON"),
        ('tests.mlcalc.broken_calculators.Springs {"fail": 1}', "cannot be created with these arguments: TypeError"),
        ("no_such_package.calculator", "there is no module 'no_such_package'"),
        ("ase.calculators.emt.Nothing", "ase.calculators.emt has no 'Nothing'"),
        ("ase.calculators.emt._private", "is no importable name"),
        ("__import__.os", "is no importable name"),
        ("ase.calculators.emt..EMT", "is no importable name"),
        ("nothing", "ASE has no calculator of that name"),
        ("tests.mlcalc.broken_calculators.no_calculator", "no_calculator gives a dict: expected an ASE calculator"),
        ("tests.mlcalc.broken_calculators.np.pi.real", "cannot be created with its default settings: TypeError"),
    ],
)
def test_what_names_no_calculator_is_refused(argument, message):
    with pytest.raises(InputError) as caught:
        make_calculator(f"ase:{argument}")
    assert message in str(caught.value) and f"'ase:{argument}'" in str(caught.value)


def test_engines_that_name_code():
    assert [runs_code(f"ase:{name}") for name in ("emt", "emt {}", 'emt {"a": 1}', "ase.calculators.emt.EMT")] == [
        False, False, True, True
    ]  # fmt: skip
    assert not runs_code("tblite:GFN2-xTB")
    assert is_repeatable("tblite:GFN2-xTB") and not is_repeatable("ase:emt")


def test_a_missing_file_has_no_fingerprint(tmp_path):
    with pytest.raises(InputError, match="its file cannot be read"):
        engine_fingerprint(f"cp2k:{tmp_path}/none.inp")


@pytest.fixture
def beads():
    """(5, 4, 3) Å of acetylene."""
    return molecule("C2H2").positions + np.random.default_rng(0).normal(0.0, 0.05, (5, 4, 3))


def test_workers_compute_what_the_calculator_does(beads):
    """To the bit: shares of the beads, fewer beads than workers, one that is not finite, the cell of a call."""
    atoms = molecule("C2H2")
    ours, twin = EnginePotential("ase:emt", atoms, 2), AseForces(atoms, EMT())
    broken = beads.copy()
    broken[1, 2, 0] = np.inf
    for place in ((beads,), (beads[:1],), (broken,), (beads[::-1],)):
        for found, expected in zip(ours(*place), twin(*place), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert ours.smallest_distance() == pytest.approx(twin.smallest_distance())
    ours.close()
    crystal, cell = bulk("Cu", cubic=True), np.eye(3) * 3.7
    ours, twin = EnginePotential("ase:emt", crystal, 1), AseForces(crystal, EMT())
    for place in ((crystal.positions[None],), (crystal.positions[None], cell)):
        assert ours(*place)[0] == twin(*place)[0]
    ours.close()


def test_workers_that_end(beads):
    """One that is asked to end is replaced, one that dies fails the call, and the next call has new ones."""
    potential = EnginePotential("ase:emt", molecule("C2H2"), 2)
    expected = potential(beads)
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = multiprocessing.active_children()[0]
        os.kill(process.pid, number)
        process.join()
        if number == signal.SIGKILL:
            with pytest.raises(CalculationFailed, match=r"the worker process died \(exit code -9\)"):
                potential(beads)
        for found, known in zip(potential(beads), expected, strict=True):
            np.testing.assert_array_equal(found, known)
    potential.close()
    for process in multiprocessing.active_children():
        process.join(20)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        ("raises", "bead 0: RuntimeError: the self-consistency did not converge"),
        ("nan", "not a finite number"),
        ("dies", r"died \(exit code -9\)"),
        ("leaves", r"died \(exit code 0\)"),  # again after it was replaced
    ],
)
def test_calculations_that_fail(beads, fails, message):
    potential = EnginePotential(f'{BROKEN}.Springs {{"fails": "{fails}"}}', molecule("C2H2"), 1)
    with pytest.raises(CalculationFailed, match=message):
        potential(beads[:2])


def test_the_pair_nearest_to_its_limit(beads):
    """By all distances of ASE: half the sum of two covalent radii."""
    atoms = molecule("C2H2")
    limits = physical_limits([1, 6])
    assert limits == pytest.approx(0.5 * np.add.outer(covalent_radii[[1, 6]], covalent_radii[[1, 6]]))
    beads[3, 2] = beads[3, 0] + [0.3, 0.0, 0.0]  # a hydrogen on a carbon
    potential = AseForces(atoms, EMT())
    potential(beads)
    pair = potential.closest_pair(limits)
    radii = covalent_radii[atoms.numbers]
    first, second = np.triu_indices(4, 1)
    ratios = np.linalg.norm(beads[:, first] - beads[:, second], axis=2) / (0.5 * (radii[first] + radii[second]))
    replica, worst = np.unravel_index(ratios.argmin(), ratios.shape)
    assert (pair.replica, pair.first, pair.second) == (replica, first[worst], second[worst]) == (3, 0, 2)
    assert pair.distance == pytest.approx(0.3) and pair.limit == pytest.approx(0.5 * (radii[0] + radii[2]))


def test_labels_keep_the_engine_string(tmp_path):
    """With quotes and braces, through extxyz."""
    engine = 'ase:lj {"sigma": 2.5, "rc": 6.0}'
    write(tmp_path / "in.xyz", molecule("C2H2"))
    for done in (0, 1):
        assert label_file(tmp_path / "in.xyz", engine, tmp_path / "out.xyz").resumed == done
    assert read(tmp_path / "out.xyz").info["engine"] == engine
