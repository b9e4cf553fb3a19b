"""Names that no file can have, links in a circle and pipes, wherever a command takes a name: a sentence and exit code 2."""

import os
import shutil
from pathlib import Path

import pytest

import analysis.__main__
import md.cli
import mlcalc.cli

REPOSITORY = Path(__file__).parents[1]
MAIN = {"mlcalc": mlcalc.cli.main, "rpmd": md.cli.main, "analysis": analysis.__main__.main}
NAMES = {
    "long": "x" * 300,
    "deep": "d/" * 3000 + "x",
    "circle": "circle",
    "nul": "a\0b",
    "under a file": "c20.xyz/x",
    "pipe": "pipe",
}
COMMANDS = """
mlcalc label NAME --engine ase:emt -o out.xyz
mlcalc label c20.xyz --engine cp2k:NAME -o out.xyz
mlcalc label c20.xyz --engine schnet:NAME -o out.xyz
mlcalc sample normal-modes --engine schnet:c20 NAME -o out.xyz
mlcalc train NAME -o out
mlcalc evaluate NAME c20.xyz
mlcalc evaluate c20 NAME
mlcalc modes NAME
mlcalc modes c20.xyz --model NAME
mlcalc modes c20.xyz --engine cp2k:NAME
mlcalc relax NAME --engine schnet:c20 -o out.xyz
mlcalc info NAME
mlcalc import schnet-tf NAME -o out.safetensors
mlcalc import dtnn-7ib NAME -o out.safetensors
mlcalc coarse-grain NAME -o out
mlcalc coarse-grain liquid.toml -o out --set molecule=NAME
mlcalc coarse-grain liquid.toml -o out --set force_field=['NAME']
rpmd run NAME
rpmd run run.toml --model NAME
rpmd run run.toml --set structure=NAME
rpmd run run.toml --set committee=['NAME']
rpmd run run.toml --set thermostat=GLE --set gle_file=NAME
rpmd resume NAME
rpmd check NAME
rpmd info NAME
rpmd frames NAME -o out.xyz
rpmd ipi-client --template NAME --unix x
rpmd ipi-launch NAME --template c20.xyz
rpmd ipi-launch pimd-socket.xml --template NAME
analysis properties NAME
analysis distances NAME
analysis convergence NAME NAME
analysis transfer NAME
analysis relevance NAME
analysis relevance c20.xyz --model NAME
analysis liquid NAME -o out.png
analysis embeddings NAME -o out.png
analysis atoms NAME --model c20 -o out.png
analysis atoms c20.xyz --model NAME -o out.png
analysis spectrum NAME
analysis from-ipi NAME -o out
mlcalc label c20.xyz --engine schnet:c20 -o NAME/out.xyz
mlcalc sample normal-modes --engine schnet:c20 c20.xyz -o NAME/out.xyz
mlcalc relax c20.xyz --engine schnet:c20 -o NAME/out.xyz
mlcalc evaluate c20 c20.xyz -o NAME/out.png
mlcalc import schnet-tf x -o NAME/out.safetensors
mlcalc coarse-grain liquid.toml -o NAME
rpmd run run.toml --output NAME
rpmd run run.toml --output NAME --overwrite
rpmd run run.toml --output NAME/out
analysis from-ipi pimd-socket.xml -o NAME
""".strip().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("names")
    for name in ("c20/c20.xyz", "methane/methane.pdb", "methane/opls_methane.xml", "ipi/pimd-socket.xml"):
        shutil.copy(REPOSITORY / "inputs" / name, place)
    (place / "run.toml").write_text('structure = "c20.xyz"\nsteps = 2\noutput = "out"\n')
    (place / "liquid.toml").write_text(
        'molecule = "methane.pdb"\nforce_field = ["opls_methane.xml"]\ncount = 27\nbox_A = [12.6, 12.4, 12.2]\nbead = "C"\n'
        "temperature_K = 150.0\nframes = 3\ncutoff_A = 6.0\n"
    )
    (place / "circle").symlink_to("circle")
    os.mkfifo(place / "pipe")
    return place


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("line", COMMANDS)
def test_commands(folder, monkeypatch, capsys, line, kind):
    monkeypatch.chdir(folder)
    before = sorted(os.listdir())
    program, *words = line.split()
    assert MAIN[program]([word.replace("NAME", NAMES[kind]) for word in words]) == 2
    error = [text for text in capsys.readouterr().err.splitlines() if not text.startswith("note: ")]
    assert len(error) == 1 and "\0" not in error[0], error
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("host", ["x" * 300, "a..b", "a\0b", "a\udc80"])
def test_hosts(folder, monkeypatch, capsys, host):
    monkeypatch.chdir(folder)
    assert md.cli.main(["ipi-client", "--template", "c20.xyz", "--host", host, "--wait-s", "0"]) == 2
    assert "--host" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["-o", "out.png"], ["--frames", "4"], ["--rdf"], ["--workers", "1"]])
def test_options_that_a_file_of_structures_has_no_use_for(folder, monkeypatch, capsys, options):
    monkeypatch.chdir(folder)
    assert analysis.__main__.main(["relevance", "c20.xyz", *options]) == 2
    assert "an option for runs only" in capsys.readouterr().err
