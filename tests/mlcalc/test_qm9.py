"""QM9 from tables like those of qm9pack, with three of its molecules (MIT licence)."""

import numpy as np
import pytest
from ase import units
from ase.io import read

from mlcalc.cli import main
from mlcalc.data import qm9
from mlcalc.data.qm9 import PARTS, TENSORS, read_qm9

HEADER = (
    "XYZ_file,Index,SMILES,InChi,N_atoms,Stoichiometry,Elements,XYZ_Ang,Mulliken_pop,Harmonic_Freq_cmi,RotA_GHz,RotB_GHz,RotC_GHz,"
    "Dipole_debye,Polarizability_bohr3,HOMO_au,LUMO_au,HOMO_LUMO_gap_au,R2_bohr2,ZPVE_au,InternalEnergy_0K_au,InternalEnergy_298K_au,"
    "Enthalphy_298K_au,GibbsFreeEnergy_298K_au,Heatcapacity_Cv_cal_mol_K"
)
ROWS = [
    """"1.xyz",1,"C","InChI=1S/CH4/h1H4",5,"[4,1,0,0,0]","['C','H','H','H','H']","[[-0.0126981359,1.0858041578,0.0080009958],"""
    """[0.002150416,-0.0060313176,0.0019761204],[1.0117308433,1.4637511618,0.0002765748],[-0.540815069,1.4475266138,-0.8766437152],"""
    """[-0.5238136345,1.4379326443,0.9063972942]]","[-0.535689,0.133921,0.133922,0.133923,0.133923]","[1341.307,1341.3284,1341.365,"""
    """1562.6731,1562.7453,3038.3205,3151.6034,3151.6788,3151.7078]",157.7118,157.70997,157.70699,0.,13.21,-0.3877,0.1171,0.5048,"""
    """35.3641,0.044749,-40.47893,-40.476062,-40.475117,-40.498597,6.469""",
    """"3.xyz",3,"O","InChI=1S/H2O/h1H2",3,"[2,0,0,1,0]","['O','H','H']","[[-0.0343604951,0.9775395708,0.0076015923],"""
    """[0.0647664923,0.0205721989,0.0015346341],[0.8717903737,1.3007924048,6.931336*^-4]]","[-0.589706,0.294853,0.294853]","""
    """"[1.,2.,3.,1671.4222,3803.6305,3907.698]",799.58812,437.90386,282.94545,1.8511,6.31,-0.2928,0.0687,0.3615,19.0002,"""
    """0.021375,-76.404702,-76.401867,-76.400922,-76.422349,6.002""",
    """"5.xyz",5,"C#N","InChI=1S/CHN/c1-2/h1H",3,"[1,1,1,0,0]","['C','N','H']","[[-0.0133239314,1.1324657151,0.0082758861],"""
    """[0.0023107217,-0.0191585871,0.0019287305],[-0.0278026991,2.1989492963,0.0141537903]]","[-0.049656,-0.188473,0.238128]","""
    """"[799.0101,799.0101,2198.4393,3490.3686]",0.,44.59,44.59,2.8937,12.99,-0.3604,0.0191,0.3796,48.7476,0.016601,-93.411888,"""
    """-93.40937,-93.408425,-93.431246,6.278""",
]
WATER = 1  # its list of frequencies has that of another calculation in front


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One molecule in each part."""
    monkeypatch.setattr(qm9, "MOLECULES", 3)
    for name, row in zip(PARTS, ROWS, strict=True):
        (tmp_path / name).write_text(f"{HEADER}\n{row}\n")
    tensors = ["1.xyz,13.211,0.000,13.211,0.000,0.000,13.211", "3.xyz,4.492,0.000,8.049,0.000,0.000,6.398"]
    tensors.append("5.xyz,9.553,0.000,9.553,0.000,0.000,19.879")
    (tmp_path / TENSORS).write_text("XYZ_file,A_xx,A_xy,A_yy,A_xz,A_yz,A_zz\n" + "\n".join(tensors) + "\n")
    return tmp_path


def test_molecules_have_their_geometries_labels_and_properties(folder):
    methane, water, cyanide = read_qm9(folder)
    assert [str(atoms.symbols) for atoms in (methane, water, cyanide)] == ["CH4", "OH2", "CNH"]
    assert methane.get_distance(0, 1) == pytest.approx(1.092, abs=1e-3)
    assert methane.get_potential_energy() == pytest.approx(-40.47893 * 27.211386, rel=1e-7)
    assert water.positions[2, 2] == pytest.approx(6.931336e-4)  # Mathematica's exponent
    assert water.info["dipole_moment_eA"] / units.Debye == pytest.approx(1.8511)
    assert water.info["H_eV"] - water.info["G_eV"] == pytest.approx((76.422349 - 76.400922) * 27.211386, rel=1e-6)
    for atoms in (methane, water, cyanide):
        assert abs(atoms.calc.results["charges"].sum()) < 2e-6
        assert atoms.info["polarizability_principal_A3"].mean() == pytest.approx(
            atoms.info["polarizability_A3"], rel=2e-3
        )
        # The zero-point energy is half the sum of the frequencies: of linear molecules, too, and of rows with two lists.
        assert 0.5 * atoms.info["frequencies_cm"].sum() * units.invcm == pytest.approx(atoms.info["ZPVE_eV"], abs=1e-3)


def test_tensors_in_another_orientation_are_left_out(folder):
    """HCN lies along y, but the long axis of the table's tensor is z: only what no rotation changes is kept."""
    cyanide = list(read_qm9(folder))[2]
    assert np.ptp(cyanide.positions, axis=0).argmax() == 1
    tensor = (folder / TENSORS).read_text().splitlines()[3].split(",")
    assert max(tensor[1:], key=float) == tensor[6]
    assert not any("xx_xy" in key for key in cyanide.info)
    np.testing.assert_allclose(
        cyanide.info["polarizability_principal_A3"] / units.Bohr**3, [9.553, 9.553, 19.879], rtol=1e-9
    )


def test_a_choice_is_of_this_seed(folder):
    one, other = (["".join(map(str, atoms.symbols)) for atoms in read_qm9(folder, 2, seed)] for seed in (1, 1))
    assert one == other and len(one) == 2


def test_the_command_writes_what_is_read_again(folder, capsys):
    output = folder / "out.xyz"
    assert main(["data", "qm9", "--folder", str(folder), "-o", str(output)]) == 0
    assert "out.xyz: 3 molecules" in capsys.readouterr().out
    for found, expected in zip(read(output, ":"), read_qm9(folder), strict=True):
        assert found.get_potential_energy() == pytest.approx(expected.get_potential_energy())
        np.testing.assert_allclose(found.get_charges(), expected.get_charges())
        np.testing.assert_allclose(found.info["frequencies_cm"], expected.info["frequencies_cm"])


def _cut(folder):
    (folder / PARTS[2]).write_text(f"{HEADER}\n")


def _remove(folder):
    (folder / TENSORS).unlink()


def _shift(folder):
    (folder / PARTS[1]).write_text(f"{HEADER}\n{ROWS[WATER].replace('0.294853,0.294853', '0.294853')}\n")


def _mix(folder):
    (folder / PARTS[1]).write_text(f"{HEADER}\n{ROWS[WATER].replace('-76.404702', 'NaN')}\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "2 molecules, expected 3; install qm9pack again"),
        (_remove, f"{TENSORS} is missing"),
        (_shift, f"{PARTS[1]}, line 2: not a row of QM9 (3 elements, 3 positions and 2 charges)"),
        (_mix, f"{PARTS[1]}, line 2: not a row of QM9 (a number that is not finite)"),
    ],
)
def test_damaged_tables_are_refused_before_anything_is_written(folder, damage, message, capsys):
    damage(folder)
    assert main(["data", "qm9", "--folder", str(folder), "-o", str(folder / "out.xyz")]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "out.xyz").exists()


def test_what_there_is_not(folder, monkeypatch, capsys):
    output = ["-o", str(folder / "out.xyz")]
    assert main(["data", "qm9", "--folder", str(folder), "--number", "4", *output]) == 2
    assert "number = 4: expected 1 to 3 molecules" in capsys.readouterr().err
    monkeypatch.setattr(qm9, "find_spec", lambda name: None)
    assert main(["data", "qm9", *output]) == 2
    assert "pip install qm9pack" in capsys.readouterr().err
