"""Whatever a file or a server says, a parser understands it or refuses it with its own error: never another, never half.

Valid inputs are damaged at random: bytes flipped, cut out, doubled, swapped for others. More of it:

    MLCALC_FUZZ=20000 pytest tests/test_parsers.py
"""

import hashlib
import json
import os
import socket
import threading
from contextlib import suppress

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.ipi.output import convert
from md.dynamics.gle import parse_gle
from md.files.checkpoint import NEWEST, Checkpoint, read_checkpoint, write_checkpoint
from md.files.layout import STATUS
from md.files.properties import PropertiesWriter, read_table
from md.files.run_status import read_status
from md.ipi.launch import addresses, check_wrapping
from md.ipi.protocol import Connection, Disconnected, ProtocolError
from md.runs.config import RunSettings, read_settings
from md.runs.structures import as_extxyz, read_structure
from mlcalc.common.errors import InputError, one_line
from mlcalc.common.json_text import to_json
from mlcalc.common.settings import as_toml, parse_assignment
from mlcalc.data.engines import engine_fingerprint
from mlcalc.data.journal import JOURNAL_FORMAT, open_journal
from mlcalc.model_file import load_model, save_model
from mlcalc.model_summary import as_json, as_text
from mlcalc.training.dataset import read_dataset
from tests.conftest import SCHNETPACK_DIALECT, random_model

fuzz = settings(
    max_examples=int(os.environ.get("MLCALC_FUZZ", "60")), deadline=None, derandomize="MLCALC_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
NUMBERS = ("-1", "0", "1e999", "nan", "inf", "-0", "99999999999999999999", "1e-320", "½", "0x10", "1_0", "")


@st.composite
def damages(draw):
    """A function bytes → bytes that spoils a few places."""
    blows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "cut", "double", "insert", "number", "end"]), st.floats(0, 1), st.integers(1, 40),
                st.binary(min_size=1, max_size=8), st.sampled_from(NUMBERS),
            ),
            min_size=1, max_size=4,
        )
    )  # fmt: skip

    def damage(data: bytes) -> bytes:
        for kind, place, length, other, number in blows:
            at = int(place * max(len(data) - 1, 0))
            if kind == "flip":
                data = data[:at] + bytes(b ^ 1 << (length % 8) for b in data[at : at + 1]) + data[at + 1 :]
            elif kind == "cut":
                data = data[:at] + data[at + length :]
            elif kind == "double":
                data = data[: at + length] + data[at:]
            elif kind == "insert":
                data = data[:at] + other + data[at:]
            elif kind == "number":  # the word there becomes another
                end = min([len(data), *(n for mark in b" \n,=<" if (n := data.find(mark, at)) >= 0)])
                data = data[:at] + number.encode() + data[end:]
            else:
                data = data[:at]
        return data

    return damage


@st.composite
def json_values(draw):
    """Anything that JSON can hold, at most three levels deep."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return draw(
        st.recursive(
            leaves,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=6,
        )
    )


RUN = as_toml(RunSettings("start.xyz", beads=(1, 8), output="out"))


@fuzz
@given(damage=damages())
def test_input_of_a_run(tmp_path, damage):
    path = tmp_path / "run.toml"
    path.write_bytes(damage(RUN.encode()))
    try:
        found = read_settings(path, {})
    except InputError:
        return
    assert isinstance(found, RunSettings)
    path.write_text(as_toml(found), encoding="utf-8")
    again = read_settings(path, {"structure": found.structure, "gle_file": found.gle_file})
    assert again == found  # what is written into the run folder is what was read


@fuzz
@given(
    text=st.text(max_size=40)
    | st.builds("{}={}".format, st.sampled_from(["steps", "seed", "x y", ""]), st.text(max_size=20))
)
def test_assignments(text):
    try:
        key, value = parse_assignment(text)
    except InputError:
        return
    assert key
    assert value is not None


@pytest.fixture(scope="module")
def structures(tmp_path_factory):
    """Labelled structures as extxyz, behind a path so that no report prints them."""
    rng = np.random.default_rng(0)
    texts = []
    for name in ("C2H2", "CH4"):
        atoms = molecule(name)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=rng.normal(size=(len(atoms), 3)))
        texts.append(as_extxyz(atoms))
    path = tmp_path_factory.mktemp("structures") / "labels.xyz"
    path.write_text("".join(texts))
    return path


@fuzz
@given(damage=damages())
def test_structures(tmp_path, structures, damage):
    path = tmp_path / "start.xyz"
    path.write_bytes(damage(structures.read_bytes()))
    try:
        atoms = read_structure(path)
    except InputError:
        return
    assert atoms.positions.shape == (len(atoms), 3)
    path.write_text(as_extxyz(atoms))
    if np.isfinite(atoms.positions).all() and len(atoms):
        assert as_extxyz(read_structure(path)) == as_extxyz(atoms)


@fuzz
@given(damage=damages())
def test_labelled_structures(tmp_path, structures, damage):
    path = tmp_path / "labels.xyz"
    path.write_bytes(damage(structures.read_bytes()))
    try:
        data = read_dataset([path])
    except InputError:
        return
    assert data.forces.shape == data.positions.shape == (data.offsets[-1], 3)
    assert np.isfinite(data.forces).all()


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.safetensors"
    save_model(random_model(SCHNETPACK_DIALECT), path)
    return path


@fuzz
@given(damage=damages())
def test_damaged_models(tmp_path, model_path, damage):
    model_bytes, path = model_path.read_bytes(), tmp_path / "net.safetensors"
    size = 8 + int.from_bytes(model_bytes[:8], "little")
    path.write_bytes(damage(model_bytes[:size]) + model_bytes[size:])
    try:
        model = load_model(path)
    except InputError:
        return
    assert all(np.isfinite(array).all() for array in model.weights.values())


@fuzz
@given(
    key=st.sampled_from(["format", "format_version", "units", "config", "domain", "provenance", "test_errors", "validation_errors",
                         "elements", "cutoff", "n_rbf", "n_features", "filter_output_activation"]),
    value=json_values(),
)  # fmt: skip
def test_models_with_another_header(tmp_path, model_path, key, value):
    model_bytes = model_path.read_bytes()
    size = int.from_bytes(model_bytes[:8], "little")
    header = json.loads(model_bytes[8 : 8 + size])
    facts = json.loads(header["__metadata__"]["mlcalc"])
    (facts["config"] if key in facts["config"] else facts)[key] = value
    header["__metadata__"]["mlcalc"] = to_json(facts)
    text = json.dumps(header).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + model_bytes[8 + size :])
    try:
        model = load_model(path)
    except InputError:
        return
    assert model.config.elements
    assert isinstance(model.domain, dict)
    assert as_text("net", path, model) and as_json(model)


@pytest.fixture(scope="module")
def checkpoint_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    state = {"positions": np.zeros((2, 3, 3)), "heat": np.float64(1.0)}
    generator = np.random.default_rng(0).bit_generator.state
    write_checkpoint(folder, Checkpoint("production", 7, state, [generator], {"frames": 3, "bytes": 40}, {"steps": 10}))
    return folder / NEWEST


@fuzz
@given(damage=damages(), sealed=st.booleans())
def test_checkpoints(tmp_path, checkpoint_path, damage, sealed):
    """Damaged, or, what no accident does, damaged and given a checksum that fits."""
    checkpoint_bytes = checkpoint_path.read_bytes()
    block = damage(checkpoint_bytes[:-32]) if sealed else checkpoint_bytes[:-32]
    data = block + hashlib.sha256(block).digest() if sealed else damage(checkpoint_bytes)
    (tmp_path / NEWEST).write_bytes(data)
    try:
        found, _ = read_checkpoint(tmp_path)
    except InputError:
        return
    assert sealed or data == checkpoint_bytes
    assert all(isinstance(array, np.ndarray) for array in found.state.values())


GLE = b"# A MATRIX: (picoseconds^-1)\n5 40\n-40 60\n# C MATRIX: (K)\n300 0\n0 300\n"


@fuzz
@given(damage=damages())
def test_thermostat_matrices(damage):
    try:
        gle = parse_gle(damage(GLE).decode("utf-8", errors="replace"))
    except InputError:
        return
    assert gle.drift.shape[1] == gle.drift.shape[2]
    assert np.isfinite(gle.drift).all()


def wire(n_atoms: int, batch: int) -> bytes:
    """What i-PI sends for two steps."""
    text = f"batch_size:{batch}".encode()
    step = b"POSDATA".ljust(12)
    cells, atoms = np.eye(3).repeat(2, axis=0).tobytes(), np.int32(n_atoms).tobytes()
    step += cells + atoms if batch == 1 else atoms + cells * batch
    step += np.zeros((batch, n_atoms, 3)).tobytes() + b"GETFORCE".ljust(12)
    init = b"INIT".ljust(12) + np.int32(3).tobytes() + np.int32(len(text)).tobytes() + text
    return b"STATUS".ljust(12) + init + 2 * step + b"EXIT".ljust(12)


@fuzz
@given(damage=damages(), batch=st.integers(1, 3))
def test_ipi_wire(damage, batch):
    """Only the two errors of the protocol come out of a conversation, and it ends when the other side does."""
    mine, theirs = socket.socketpair()
    connection = Connection(mine, 4)
    data = damage(wire(4, batch))

    def talk() -> None:
        theirs.sendall(data)
        theirs.close()

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        while (header := connection.read_header()) != "EXIT":
            if header == "INIT":
                connection.read_init()
            elif header == "POSDATA":
                found = connection.read_structures()
                assert found.positions.shape == (connection.batch_size, 4, 3)
    except (ProtocolError, Disconnected):
        pass
    finally:
        connection.close()
        talker.join()


IPI_INPUT = b"""<simulation><output prefix='run'>
<properties filename='out' stride='1'>[step, time{picosecond}, temperature{kelvin}, potential{electronvolt}]</properties>
<trajectory filename='pos' stride='1'>positions{angstrom}</trajectory></output>
<system><initialize nbeads='2'/><ensemble><temperature units='kelvin'>300</temperature></ensemble>
<motion><dynamics><timestep units='femtosecond'>0.5</timestep></dynamics></motion></system></simulation>
"""
IPI_TABLE = (
    b"# column 1 --> step\n# column 2 --> time{picosecond}\n# column 3 --> temperature{kelvin}\n"
    + b"0 0.0 300.0\n1 0.0005 301.0\n"
)
IPI_POSITIONS = b"".join(
    f"2\n# CELL(abcABC): 10.0 10.0 10.0 90.0 90.0 90.0  Step: {step}  Bead: 0 positions{{angstrom}}  cell{{angstrom}}\n"
    f"C 0.0 0.0 0.{step}\nO 0.0 0.0 1.2\n".encode()
    for step in (0, 1)
)


@fuzz
@given(damage=damages(), which=st.sampled_from(["input.xml", "run.out", "run.pos_0.xyz", "run.pos_1.xyz"]))
def test_ipi_outputs(tmp_path_factory, damage, which):
    folder = tmp_path_factory.mktemp("ipi")
    files = {
        "input.xml": IPI_INPUT,
        "run.out": IPI_TABLE,
        "run.pos_0.xyz": IPI_POSITIONS,
        "run.pos_1.xyz": IPI_POSITIONS,
    }
    for name, content in files.items():
        (folder / name).write_bytes(damage(content) if name == which else content)
    try:
        convert(folder / "input.xml", folder / "run", "none")
    except InputError:
        return
    assert read_settings(folder / "run" / "input.toml", {}).beads >= 1


@fuzz
@given(damage=damages())
def test_tables_of_properties(tmp_path, damage):
    path = tmp_path / "properties.csv"
    path.unlink(missing_ok=True)
    writer = PropertiesWriter(path, ["temperature_K"])
    for step in range(4):
        writer.append(step, 0.5 * step, {"temperature_K": 300.0 + step})
    writer.close()
    path.write_bytes(damage(path.read_bytes()))
    with suppress(InputError):
        table = read_table(path)
        assert len({len(values) for values in table.values()}) == 1
        assert all(np.isfinite(values).all() for values in table.values())


STATUS_TEXT = (
    b'{"state": "finished", "step": 40, "steps": 40, "kind": "run", "error": null, "model": "c20", "versions": {}}'
)


@fuzz
@given(damage=damages())
def test_statuses(tmp_path, damage):
    (tmp_path / STATUS).write_bytes(damage(STATUS_TEXT))
    try:
        found = read_status(tmp_path)
    except InputError:
        return
    assert isinstance(found["state"], str) and type(found["step"]) is int
    assert one_line(found) == str(found)


LAUNCHED = b"""<simulation><ffsocket name='a' mode='unix' pbc='False'><address>c20</address></ffsocket>
<ffsocket name='b' mode='inet' matching='lock'><address>localhost</address><port>31415</port></ffsocket>
<system><forces><force forcefield='a'/></forces></system></simulation>
"""


@fuzz
@given(damage=damages())
def test_inputs_of_launches(tmp_path, damage):
    path = tmp_path / "input.xml"
    path.write_bytes(damage(LAUNCHED))
    try:
        found = addresses(path)
        check_wrapping(path, molecule("CH4"))
    except InputError:
        return
    assert found and all(place.unix or 0 < place.port < 65536 for place in found)


@fuzz
@given(damage=damages())
def test_journals_of_labels(tmp_path, structures, damage):
    """What was labelled is labelled again, or taken for what it is: numbers for every atom."""
    output = tmp_path / "out.xyz"
    journal = tmp_path / "out.xyz.journal"
    record = {"key": "k", "energy": -1.0, "forces": [[0.0, 0.0, 0.5]], "state": {}}
    lines = [{"format": JOURNAL_FORMAT, "engine": "ase:emt", "engine_sha256": engine_fingerprint("ase:emt")}, record]
    journal.write_bytes(damage("".join(json.dumps(line) + "\n" for line in lines).encode()))
    with suppress(InputError), open_journal(output, "ase:emt", {"k"}) as (_, found):
        assert set(found) <= {"k"}
        assert all(isinstance(entry, dict) for entry in found.values())
