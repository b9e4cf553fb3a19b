"""Where a model may be used, as its training set says: elements, charge, spin, masses; and what cannot be trained on."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError as AseInputError
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from mlcalc import SchNetCalculator
from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.geometry.domain import set_bead_masses
from mlcalc.model_file import load_model
from mlcalc.priors import Repulsion
from mlcalc.training.dataset import read_dataset
from mlcalc.training.domain import automatic_repulsion, domain_of, state_of

FAST = """
data = ["train.xyz"]
split = "random"
validation_fraction = 0.2
test_fraction = 0.0
n_features = 8
n_interactions = 1
n_rbf = 8
steps = 20
validation_every_steps = 20
compile = false
"""


def labelled(atoms: Atoms, **info) -> Atoms:
    atoms.calc = EMT()
    atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    atoms.info.update(info)
    return atoms


def ethanols(count=10, **info) -> list:
    frames = []
    for k in range(count):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.05, seed=k)
        frames.append(labelled(atoms, **info))
    return frames


def free_atoms(*symbols) -> list:
    frames = []
    for symbol in symbols:
        atoms = Atoms(symbol, [[0, 0, 0]], info={"config_type": "IsolatedAtom"})
        atoms.calc = SinglePointCalculator(atoms, energy=0.1)
        frames.append(atoms)
    return frames


def dataset_of(tmp_path, frames):
    write(tmp_path / "train.xyz", frames, format="extxyz", columns=None)
    return read_dataset([tmp_path / "train.xyz"])


def train(tmp_path, extra="") -> int:
    (tmp_path / "train.toml").write_text(FAST + extra)
    return main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "net")])


def test_elements_known_as_free_atoms_are_refused_beside_others(tmp_path):
    write(tmp_path / "train.xyz", ethanols() + free_atoms(*"HCNO"), format="extxyz")
    assert train(tmp_path) == 0
    model = load_model(tmp_path / "net" / "model.safetensors")
    assert model.config.elements == (1, 6, 7, 8)
    assert model.domain["elements"] == [1, 6, 8]
    nitrogen, nitromethane = Atoms("N"), molecule("CH3NO2")
    nitrogen.calc = nitromethane.calc = SchNetCalculator(model, threads=1)
    with pytest.raises(AseInputError, match="element N: this model was trained on it only as a free atom"):
        nitromethane.get_potential_energy()
    if 7 in model.domain.get("lone_elements", []):  # its only frame may be one for validation
        assert np.isfinite(nitrogen.get_potential_energy())


def test_elements_of_validation_frames_alone_are_not_known(tmp_path):
    dataset = dataset_of(tmp_path, [*ethanols(3), labelled(molecule("CH3NO2"))])
    assert domain_of(dataset, np.arange(3), 6.0)["elements"] == [1, 6, 8]
    assert domain_of(dataset, np.arange(4), 6.0)["elements"] == [1, 6, 7, 8]


def test_neighbours_beyond_the_cutoff_do_not_count(tmp_path):
    far = labelled(Atoms("CO", [[0, 0, 0], [0, 0, 5.0]]))
    dataset = dataset_of(tmp_path, [*ethanols(2), far, *free_atoms("N")])
    assert domain_of(dataset, np.array([2, 3]), 4.0) == {
        "elements": [], "lone_elements": [6, 7, 8], "charge": 0,
        "free_elements": [7], "min_distance_A": 5.0, "max_nearest_distance_A": 5.0, "max_distance_A": 5.0,
    }  # fmt: skip
    assert domain_of(dataset, np.array([3]), 4.0)["lone_elements"] == [7]
    copper = dataset_of(tmp_path, [labelled(bulk("Cu"))])  # its neighbours are its own images
    assert domain_of(copper, np.array([0]), 4.0)["elements"] == [29]


def test_one_charge_for_one_model(tmp_path):
    cations = ethanols(3, charge=1, spin=2)
    assert state_of(dataset_of(tmp_path, cations + free_atoms("H", "O"))) == {"charge": 1, "multiplicity": 2}
    with pytest.raises(InputError, match="charge 0 in 2, charge 1 in 3 structures: this network has no charges"):
        state_of(dataset_of(tmp_path, cations + ethanols(2)))
    with pytest.raises(InputError, match="one composition with the multiplicities 1 and 3"):
        state_of(dataset_of(tmp_path, ethanols(1, spin=1) + ethanols(1, spin=3)))
    mixed = [*ethanols(1, spin=1), labelled(molecule("CH3"), spin=2)]
    assert state_of(dataset_of(tmp_path, mixed)) == {"charge": 0}


def test_a_model_of_cations(tmp_path, capsys):
    write(tmp_path / "train.xyz", ethanols(charge=1), format="extxyz")
    assert train(tmp_path) == 0
    assert (
        "10 structures of 9 atoms, energies in all (energy), forces in all (forces), charge 1"
        in capsys.readouterr().out
    )
    path = str(tmp_path / "net" / "model.safetensors")
    main(["info", path])
    assert "charge 1" in capsys.readouterr().out
    atoms = molecule("CH3CH2OH")
    atoms.calc = SchNetCalculator(path, threads=1)
    energy = atoms.get_potential_energy()  # says nothing: what the model knows
    atoms.info["charge"] = 1
    assert atoms.get_potential_energy() == energy
    atoms.info["charge"] = 0
    with pytest.raises(AseInputError, match="charge 0, but this model was trained on charge 1"):
        atoms.get_potential_energy()
    write(tmp_path / "test.xyz", ethanols(2, charge=-1), format="extxyz")
    assert main(["evaluate", path, str(tmp_path / "test.xyz"), "-o", str(tmp_path / "p.png")]) == 2
    assert "structure 1 has charge -1" in capsys.readouterr().err


def without_energy(frames) -> list:
    for atoms in frames:
        del atoms.calc.results["energy"]
    return frames


def test_energies_that_are_asked_for_have_to_be_there(tmp_path, capsys):
    frames = without_energy(ethanols())
    for atoms in frames:
        atoms.info["dft_energy"] = 1.0
    write(tmp_path / "train.xyz", frames, format="extxyz")
    assert train(tmp_path) == 2
    assert not (tmp_path / "net").exists()
    message = capsys.readouterr().err
    assert "energies in 0 of 10 structures, but energy_weight = 0.05; found dft_energy: set energy_key" in message
    assert train(tmp_path, 'energy_key = "dft_energy"\n') == 0
    write(tmp_path / "train.xyz", ethanols(6) + without_energy(ethanols(6)), format="extxyz")
    (tmp_path / "net").rename(tmp_path / "old")
    assert train(tmp_path) == 2
    assert "energies in 6 of 12 structures" in capsys.readouterr().err
    assert train(tmp_path, "energy_weight = 0.0\n") == 0


def test_names_for_each_file(tmp_path, capsys):
    foreign = without_energy(ethanols(5))
    for atoms in foreign:
        atoms.info["REF_energy"] = 1.0
    write(tmp_path / "train.xyz", ethanols(10), format="extxyz")
    write(tmp_path / "foreign.xyz", foreign, format="extxyz")
    keys = 'data = ["train.xyz", "foreign.xyz"]\nenergy_key = ["", "REF_energy"]\n'
    (tmp_path / "train.toml").write_text(FAST.replace('data = ["train.xyz"]\n', keys))
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "net")]) == 0
    found = load_model(tmp_path / "net" / "model.safetensors").metadata["provenance"]["training_data"]
    assert [entry["energies"] for entry in found] == [[10, "energy"], [5, "REF_energy"]]
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "n"), "--set", 'energy_key=["a"]']) == 2
    assert "expected one text, or one for each of the 2 files" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "train.toml"), "-o", str(tmp_path / "n"), "--set", "energy_unit=Ry"]) == 2
    assert "energy_unit = 'Ry': expected one of eV" in capsys.readouterr().err


def test_masses_of_beads_belong_to_the_model_and_those_of_isotopes_do_not(tmp_path):
    beads = without_energy(ethanols(2))
    for atoms in beads:
        atoms.set_masses(np.where(atoms.numbers == 1, 5.0, 20.0))
    dataset = dataset_of(tmp_path, beads)
    assert domain_of(dataset, np.arange(2), 6.0)["bead_masses_u"] == {"H": 5.0, "C": 20.0, "O": 20.0}
    deuterated = ethanols(2)
    for atoms in deuterated:
        atoms.set_masses(np.where(atoms.numbers == 1, 2.014, atoms.get_masses()))
    assert "bead_masses_u" not in domain_of(dataset_of(tmp_path, deuterated), np.arange(2), 6.0)


def test_structures_without_masses_get_those_of_the_beads(capsys):
    domain = load_model("methane-cg").domain
    atoms = Atoms("C2", [[0, 0, 0], [4, 0, 0]])
    set_bead_masses(atoms, domain)
    np.testing.assert_array_equal(atoms.get_masses(), [16.042568] * 2)
    assert "its atoms are the beads of the model (C 16.0426 u)" in capsys.readouterr().err
    set_bead_masses(atoms, domain)
    assert capsys.readouterr().err == ""
    atoms.set_masses([16.042568, 12.011])
    set_bead_masses(atoms, domain)
    assert atoms.get_masses()[1] == 12.011
    assert "atom 1 weighs 12.011 u in the structure, which is used" in capsys.readouterr().err
    set_bead_masses(atoms, load_model("c20").domain)
    assert capsys.readouterr().err == ""


def test_frames_with_energies_alone(tmp_path, capsys):
    frames = ethanols()
    for atoms in frames[:5]:
        del atoms.calc.results["forces"]
    write(tmp_path / "train.xyz", frames, format="extxyz")
    assert train(tmp_path) == 2
    assert "structure 1 has no forces; label the file first" in capsys.readouterr().err
    assert train(tmp_path, "energy_only = true\n") == 0
    assert "forces in 5 (forces)" in capsys.readouterr().out
    assert np.isfinite(load_model(tmp_path / "net" / "model.safetensors").weights["energy_scale"])
    write(tmp_path / "train.xyz", without_energy(frames), format="extxyz")
    (tmp_path / "net").rename(tmp_path / "old")
    assert train(tmp_path, "energy_only = true\nenergy_weight = 0.0\n") == 2


def test_shortest_distances_by_pair_of_elements(tmp_path):
    """Against ASE's table of distances; pairs that never come within the cutoff have no entry."""
    frames = ethanols(4) + free_atoms("O")
    domain = domain_of(dataset_of(tmp_path, frames), np.arange(5), 2.0)
    expected: dict = {}
    for atoms in frames:
        distances, symbols = atoms.get_all_distances(), atoms.get_chemical_symbols()
        for i in range(len(atoms)):
            for j in range(i):
                pair = "-".join(sorted((symbols[i], symbols[j])))
                expected[pair] = min(expected.get(pair, np.inf), distances[i, j])
    expected = {pair: pytest.approx(value) for pair, value in expected.items() if value < 2.0}
    assert domain["min_distances_A"] == expected
    assert set(expected) == {"C-C", "C-H", "C-O", "H-H", "H-O"}
    assert domain["min_distance_A"] == pytest.approx(min(domain["min_distances_A"].values()))
    assert domain["free_elements"] == [8]
    assert "lone_elements" not in domain


def test_repulsion_is_on_for_molecules_and_keeps_out_of_what_is_learnt(tmp_path):
    """ "auto" ends where structures begin to be refused; forces alone and periodic data have none; what is said is done."""
    dataset = dataset_of(tmp_path, ethanols())
    assert train(tmp_path) == 0
    model = load_model(tmp_path / "net")
    shortest = 0.75 * model.domain["min_distances_A"]["H-O"]  # hydrogen may come 25 % closer than in training
    assert shortest - 0.01 <= model.priors["repulsion"].cutoff <= shortest
    crystal = dataset_of(tmp_path, [labelled(bulk("Cu"))])
    assert automatic_repulsion(crystal, {"elements": [29], "min_distance_A": 2.5}, 6.0) is None
    assert automatic_repulsion(dataset, {}, 6.0) is None
    for said, cutoff in (("0", None), ('"none"', None), ("1.2", 1.2)):
        dataset_of(tmp_path, ethanols())
        folder = tmp_path / f"net{cutoff}{said[-1]}"
        (tmp_path / "train.toml").write_text(FAST + f"repulsion_cutoff_A = {said}\n")
        assert main(["train", str(tmp_path / "train.toml"), "-o", str(folder)]) == 0
        assert load_model(folder).priors == ({"repulsion": Repulsion(cutoff)} if cutoff else {})


def test_a_training_that_goes_on_keeps_its_repulsion(tmp_path):
    """Begun without one, before that was the default, it is resumed without one; so is what starts from another model."""
    dataset_of(tmp_path, ethanols())
    assert train(tmp_path, "repulsion_cutoff_A = 0\n") == 0
    (tmp_path / "train.toml").write_text(FAST.replace("steps = 20\n", "steps = 40\n", 1))
    command = ["train", str(tmp_path / "train.toml")]
    assert main([*command, "-o", str(tmp_path / "net"), "--resume"]) == 0
    assert not load_model(tmp_path / "net").priors
    assert main([*command, "-o", str(tmp_path / "next"), "--init", str(tmp_path / "net")]) == 0
    assert not load_model(tmp_path / "next").priors
