"""The client of i-PI against a server made of raw bytes, honest or hostile."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.io import write

import md.ipi.client
import md.ipi.guest
from md.ipi.client import DONE, FAILED, NO_SERVER, REFUSED, Address, run_client
from md.ipi.guest import Guest, GuestError
from md.ipi.protocol import Connection, Disconnected, ProtocolError, Stalled
from mlcalc.architectures.schnet.kernel import SchNetKernel
from mlcalc.model_file import save_model
from tests.conftest import SCHNETPACK_DIALECT, random_model

ACETYLENE, N = molecule("C2H2"), 4
MODEL = random_model(SCHNETPACK_DIALECT)
CELL = 40.0 * np.eye(3)


def header(text: str) -> bytes:
    return text.ljust(12).encode()


def init(text: str = "", replica: int = 0) -> bytes:
    return header("INIT") + struct.pack("=ii", replica, len(text)) + text.encode()


def posdata(positions_A: np.ndarray, n: int = N) -> bytes:
    cell = CELL / units.Bohr
    return (
        header("POSDATA") + cell.tobytes() + np.linalg.inv(cell).tobytes() + struct.pack("=i", n)
        + (positions_A / units.Bohr).tobytes()
    )  # fmt: skip


def batch(positions_A: np.ndarray) -> bytes:
    cell = CELL / units.Bohr
    cells = np.array([[cell, np.linalg.inv(cell)]] * len(positions_A))
    return header("POSDATA") + struct.pack("=i", N) + cells.tobytes() + (positions_A / units.Bohr).tobytes()


class Server:
    """One side of a Unix socket with a client of ours on the other, in a thread."""

    def __init__(self, folder: Path, guest: Guest | None = None, idle_s: float = 60.0):
        self.idle_s = idle_s
        self.address = Address(unix="test", prefix=str(folder / "ipi_"))
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "ipi_test"))
        self.listener.listen()
        self.lines: list[str] = []
        self.code: int | None = None
        self.thread = threading.Thread(
            target=self._run, args=(guest or Guest(MODEL, ACETYLENE, "float64"),), daemon=True
        )
        self.thread.start()
        self.accept()

    def _run(self, guest):
        self.code = run_client(guest, self.address, 3.0, self.lines.append, idle_s=self.idle_s)

    def accept(self):
        self.socket, _ = self.listener.accept()
        self.socket.settimeout(30.0)

    def send(self, data: bytes):
        self.socket.sendall(data)

    def receive(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "closed"
            data += part
        return data

    def status(self) -> str:
        self.send(header("STATUS"))
        return self.receive(12).decode().strip()

    def forces(self, size: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        assert self.receive(12) == header("FORCEREADY")
        energies = np.frombuffer(self.receive(8 * size))
        assert struct.unpack("=i", self.receive(4)) == (N,)
        forces = np.frombuffer(self.receive(24 * N * size)).reshape(size, N, 3)
        virials = np.frombuffer(self.receive(72 * size)).reshape(size, 3, 3)
        extras = [self.receive(struct.unpack("=i", self.receive(4))[0]).decode() for _ in range(size)]
        return energies, forces, virials, extras

    def ends_with(self) -> int:
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.code


@pytest.fixture
def server(tmp_path):
    started = Server(tmp_path)
    yield started
    started.socket.close()
    started.listener.close()


def shaken(count: int, seed: int = 1) -> np.ndarray:
    return ACETYLENE.positions + np.random.default_rng(seed).normal(0, 0.05, (count, N, 3))


def expected(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    energies, forces = SchNetKernel(MODEL, ACETYLENE.numbers, "float64")(positions)
    return energies / units.Hartree, forces / units.Hartree * units.Bohr


def test_a_conversation(server):
    assert server.status() == "NEEDINIT"
    server.send(init("some text"))
    assert server.status() == "READY"
    (q,) = shaken(1)
    server.send(posdata(q))
    assert server.status() == "HAVEDATA"
    server.send(header("GETFORCE"))
    energies, forces, virials, extras = server.forces()
    np.testing.assert_allclose(energies, expected(q[None])[0], rtol=1e-12)
    np.testing.assert_allclose(forces, expected(q[None])[1], rtol=1e-9, atol=1e-12)
    assert extras == [""]
    assert server.status() == "READY"
    server.send(header("EXIT"))
    assert server.ends_with() == DONE
    assert "1 evaluations" in server.lines[-1]


def test_messages_that_come_together_or_byte_by_byte(server):
    (q,) = shaken(1)
    server.send(init() + posdata(q) + header("GETFORCE") + posdata(q) + header("GETFORCE"))
    first, second = server.forces(), server.forces()
    assert np.array_equal(first[1], second[1])
    for byte in posdata(q) + header("GETFORCE"):
        server.send(bytes([byte]))
    assert np.array_equal(server.forces()[1], first[1])


def test_batches(server):
    q = shaken(5)
    server.send(init("x: y, batch_size:5"))
    server.send(batch(q) + header("GETFORCE"))
    energies, forces, _, extras = server.forces(5)
    np.testing.assert_allclose(energies, expected(q)[0], rtol=1e-12)
    np.testing.assert_allclose(forces, expected(q)[1], rtol=1e-9, atol=1e-12)
    assert extras == [""] * 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GET / HTTP/1.1\r\n", "header b'GET / HTTP/1': expected one of STATUS, INIT"),
        (bytes(range(200, 212)), "expected one of STATUS"),
        (header("INIT") + struct.pack("=ii", 0, -1), "a text of -1 bytes"),
        (header("INIT") + struct.pack("=ii", 0, 2**31 - 1), "a text of 2147483647 bytes"),
        (init("batch_size:0"), "batch_size '0': expected 1 to"),
        (init("batch_size:-1"), "batch_size '-1': expected 1 to"),
        (init("batch_size:1000000000"), "batch_size '1000000000': expected 1 to 65536"),
        (init("batch_size:many"), "batch_size 'many': expected 1 to"),
        (init("batch_size:" + "9" * 10_000), "9': expected 1 to 65536"),
        (header("INIT") + struct.pack("=ii", 0, 1 << 24), "a text of 16777216 bytes: expected 0 to 1048576"),
        (posdata(shaken(1)[0], n=5), "5 atoms from the server: expected 4, as in the template"),
        (posdata(shaken(1)[0], n=-1), "-1 atoms from the server"),
        (posdata(shaken(1)[0], n=2**31 - 1), "2147483647 atoms from the server"),
        (header("GETFORCE"), "GETFORCE before POSDATA"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nonsense_is_refused(server, data, message):
    server.send(data)
    assert server.ends_with() == REFUSED
    assert message in server.lines[-1]
    assert len(server.lines[-1]) < 200


@pytest.mark.parametrize("what", [np.nan, np.inf, 1e300])
def test_a_cell_that_is_none(server, what):
    cell = CELL.copy()
    cell[1, 1] = what
    message = posdata(shaken(1)[0])
    server.send(init() + message[:12] + cell.tobytes() + message[84:] + header("GETFORCE"))
    assert server.ends_with() == REFUSED
    assert "expected finite numbers below 1e+09" in server.lines[-1]
    assert server.socket.recv(1) == b""


@pytest.mark.parametrize("what", [1e300, -1e300, 1e7])
def test_positions_beyond_all_proportion(server, what):
    (q,) = shaken(1)
    q[2, 1] = what
    server.send(init() + posdata(q) + header("GETFORCE"))
    assert server.ends_with() == FAILED
    assert "from the origin: expected less than 1e+06" in server.lines[-1]
    assert server.socket.recv(1) == b""


def test_a_server_that_accepts_and_says_nothing(tmp_path, monkeypatch):
    """--wait-s also limits the wait for the first message."""
    monkeypatch.setattr(md.ipi.client, "_FIRST_WORD_S", 0.1)
    began, started = time.monotonic(), Server(tmp_path)  # looks for 3 s
    assert started.ends_with() == NO_SERVER
    assert "the server has sent nothing for 3 s" in started.lines[-1]
    assert time.monotonic() - began < 20.0
    assert started.socket.recv(1) == b""


def test_a_server_that_falls_silent(tmp_path):
    started = Server(tmp_path, idle_s=1.0)
    assert started.status() == "NEEDINIT"
    assert started.ends_with() == NO_SERVER
    assert "the server has sent nothing for 1 s; 0 evaluations" in started.lines[-1]


def test_a_server_may_be_silent_for_ever(tmp_path):
    started = Server(tmp_path, idle_s=float("inf"))
    assert started.status() == "NEEDINIT"
    time.sleep(1.5)
    assert started.status() == "NEEDINIT"
    started.send(header("EXIT"))
    assert started.ends_with() == DONE


def pair(n_atoms: int = N, **limits) -> tuple[socket.socket, Connection]:
    here, there = socket.socketpair()
    return here, Connection(there, n_atoms, **limits)


@pytest.mark.parametrize(
    "sent", [b"STAT", header("POSDATA"), posdata(ACETYLENE.positions)[:200], header("INIT") + b"1234"]
)
def test_half_a_message_ends_the_wait(sent):
    here, connection = pair(message_s=0.5, idle_s=60.0)
    here.sendall(sent)
    began = time.monotonic()
    with pytest.raises(Stalled, match="incomplete message"):
        while True:
            name = connection.read_header()
            connection.read_init() if name == "INIT" else connection.read_structures()
    assert time.monotonic() - began < 10.0
    connection.close()


@pytest.mark.slow
def test_a_message_that_trickles_in():
    """Byte by byte, faster than any clock tick: stopped at the limit; within the limit the message arrives."""
    for message_s, arrives in ((0.3, False), (30.0, True)):
        here, connection = pair(message_s=message_s)
        text = init("x" * 400)

        def trickle(here=here, text=text):
            try:
                for byte in text:
                    here.sendall(bytes([byte]))
                    time.sleep(0.005)
            except OSError:
                pass

        thread = threading.Thread(target=trickle)
        thread.start()
        assert connection.read_header() == "INIT"
        if arrives:
            assert connection.read_init() == 0
        else:
            with pytest.raises(Stalled, match="incomplete message"):
                connection.read_init()
        connection.close()
        thread.join()


def test_an_answer_that_nobody_takes():
    n = 100_000
    _here, connection = pair(n, message_s=0.5)
    with pytest.raises(Stalled, match="has not read an answer"):
        for _ in range(20):
            connection.write_answer(np.zeros(1), np.zeros((1, n, 3)), np.zeros((1, 3, 3)), [""])
    connection.close()


def test_an_answer_that_is_taken_slowly():
    n = 100_000
    here, connection = pair(n, message_s=30.0)
    forces = np.random.default_rng(0).normal(size=(1, n, 3))
    sender = threading.Thread(target=connection.write_answer, args=(np.zeros(1), forces, np.zeros((1, 3, 3)), [""]))
    sender.start()
    data = b""
    while len(data) < 24 + 24 * n + 76:
        data += here.recv(1 << 15)
        time.sleep(0.002)
    sender.join()
    assert data[24 : 24 + 24 * n] == forces.tobytes()
    connection.close()


def test_a_server_that_never_stops_sending(tmp_path):
    """The client ends although the other side keeps sending."""
    here, connection = pair()
    stop = threading.Event()

    def talk():
        try:
            while not stop.is_set():
                here.sendall(bytes(1 << 16))
        except OSError:
            pass

    thread = threading.Thread(target=talk)
    thread.start()
    began = time.monotonic()
    connection.close()
    assert time.monotonic() - began < 10.0
    stop.set()
    thread.join()


def test_large_batches_go_through_in_parts(monkeypatch):
    """Bit for bit the result of the full batch, and no call exceeds the memory limit."""
    guest, q = Guest(MODEL, ACETYLENE, "float64"), shaken(50) / units.Bohr
    cells = np.repeat(CELL[None], 50, axis=0) / units.Bohr
    whole, inner, sizes = guest(cells, q), guest.potential, []
    monkeypatch.setattr(md.ipi.guest, "_ATOMS_AT_ONCE", 7 * N)
    monkeypatch.setattr(md.ipi.guest, "_FEWEST_AT_ONCE", 1)
    guest.potential = lambda positions: sizes.append(len(positions)) or inner(positions)
    parts = guest(cells, q)
    assert sizes == [7] * 7 + [1]
    for name in ("energies", "forces", "virials"):
        assert np.array_equal(getattr(parts, name), getattr(whole, name)), name


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_positions_that_are_not_finite(server, what):
    (q,) = shaken(1)
    q[2, 1] = what
    server.send(init() + posdata(q) + header("GETFORCE"))
    assert server.ends_with() == FAILED
    assert "positions of structure(s) [0] are not finite" in server.lines[-1]
    assert server.socket.recv(1) == b""  # nothing was answered


def test_a_number_that_is_not_finite_is_never_sent(tmp_path):
    guest = Guest(MODEL, ACETYLENE, "float64")
    inner = guest.potential
    guest.potential = lambda q: (np.array([1.0, np.nan]), inner(q)[1])
    started = Server(tmp_path, guest)
    started.send(init("batch_size:2") + batch(shaken(2)) + header("GETFORCE"))
    assert started.ends_with() == FAILED
    assert "energy or forces of structure(s) [1] are not finite" in started.lines[-1]
    assert started.socket.recv(1) == b""


def test_the_socket_is_empty_before_it_is_closed(tmp_path):
    """i-PI may have sent more than a failing client will read; a close with unread data would reset the connection."""
    guest = Guest(MODEL, ACETYLENE, "float64")
    guest.potential = None
    guest.__class__ = type("Broken", (Guest,), {"__call__": lambda *_: (_ for _ in ()).throw(GuestError("broken"))})
    started = Server(tmp_path, guest)
    started.send(init() + posdata(shaken(1)[0]) + header("GETFORCE") + 1000 * header("STATUS"))
    assert started.ends_with() == FAILED
    assert started.socket.recv(1) == b""  # an orderly end, not ConnectionResetError


@pytest.mark.parametrize("cut", [b"", header("STATUS")[:5], posdata(shaken(1)[0])[:200]])
def test_a_server_that_hangs_up_is_looked_for_again(server, cut):
    server.send(init() + cut)
    server.socket.close()
    server.accept()
    assert server.status() == "NEEDINIT"  # a new life
    server.send(header("EXIT"))
    assert server.ends_with() == DONE
    assert any("connection lost" in line for line in server.lines)


def test_a_server_that_hangs_up_while_we_compute(server):
    server.send(init() + posdata(shaken(1)[0]) + header("GETFORCE"))
    server.socket.close()
    server.accept()
    server.send(header("EXIT"))
    assert server.ends_with() == DONE


def test_exit_while_we_compute(server):
    server.send(init() + posdata(shaken(1)[0]) + header("EXIT"))
    assert server.ends_with() == DONE


def test_a_server_that_is_late(tmp_path):
    address, lines = Address(unix="late", prefix=str(tmp_path / "ipi_")), []
    codes = []
    thread = threading.Thread(
        target=lambda: codes.append(run_client(Guest(MODEL, ACETYLENE), address, 20.0, lines.append)), daemon=True
    )
    thread.start()
    time.sleep(1.5)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "ipi_late"))
    listener.listen()
    connection, _ = listener.accept()
    connection.sendall(header("EXIT"))
    thread.join(30)
    assert codes == [DONE]
    assert "waiting for a server" in lines[0]


def test_no_server(tmp_path):
    """Neither a missing socket nor one without a listening server."""
    lines = []
    address = Address(unix="none", prefix=str(tmp_path / "ipi_"))
    assert run_client(Guest(MODEL, ACETYLENE), address, 0.3, lines.append) == NO_SERVER
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "ipi_none"))
    stale.close()
    began = time.monotonic()
    assert run_client(Guest(MODEL, ACETYLENE), address, 0.3, lines.append) == NO_SERVER
    assert time.monotonic() - began < 5.0
    assert f"no server at {tmp_path}/ipi_none for 0.3 s" in lines[-1]


def test_over_tcp():
    listener = socket.create_server(("localhost", 0))
    address, codes = Address(host="localhost", port=listener.getsockname()[1]), []
    thread = threading.Thread(target=lambda: codes.append(run_client(Guest(MODEL, ACETYLENE), address, 5.0, print)))
    thread.start()
    connection, _ = listener.accept()
    connection.sendall(init() + posdata(shaken(1)[0]) + header("GETFORCE"))
    assert connection.recv(12) == header("FORCEREADY")
    connection.sendall(header("EXIT"))
    thread.join(30)
    assert codes == [DONE]


def test_sigterm_empties_the_socket(tmp_path):
    save_model(MODEL, tmp_path / "net.safetensors")
    write(tmp_path / "start.xyz", ACETYLENE, format="extxyz")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "ipi_x"))
    listener.listen()
    command = [
        sys.executable, "-c", "import sys; from md.cli import main; sys.exit(main())", "ipi-client", "--model",
        str(tmp_path / "net.safetensors"), "--template", str(tmp_path / "start.xyz"), "--unix", "x", "--prefix",
        str(tmp_path / "ipi_"), "--threads", "1", "--atomic-energies",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    connection, _ = listener.accept()
    connection.sendall(init() + posdata(shaken(1)[0]) + header("GETFORCE"))
    answer = b""
    while b"atomic_energies" not in answer or not answer.endswith(b"]}"):
        answer += connection.recv(4096)
    energies = json.loads(answer[answer.index(b'{"atomic') :])["atomic_energies"]
    assert sum(energies) == pytest.approx(np.frombuffer(answer[12:20])[0], rel=1e-6)
    process.send_signal(signal.SIGTERM)
    connection.sendall(100 * header("STATUS"))
    assert process.wait(30) == 128 + signal.SIGTERM
    assert "stopped by signal 15" in process.stdout.read()


def test_protocol_without_a_client():
    here, there = socket.socketpair()
    connection = Connection(there, 2)
    here.sendall(b"STAT")
    here.close()
    with pytest.raises(Disconnected, match="closed after 4 of 12 bytes"):
        connection.read_header()
    here, there = socket.socketpair()
    here.sendall(b"NOTHING     ")
    with pytest.raises(ProtocolError, match="NOTHING"):
        Connection(there, 2).read_header()


def strained(positions, cell, strain):
    return positions @ (np.eye(3) + strain).T, cell @ (np.eye(3) + strain).T


@pytest.mark.parametrize("periodic", [False, True])
def test_virial_is_minus_the_derivative_by_strain(periodic):
    """W_ab = −dE/dε_ba, in Hartree, with the lattice vectors of i-PI's cell in columns."""
    cell = np.array([[5.0, 0.0, 0.0], [0.3, 5.2, 0.0], [0.1, -0.2, 5.4]]) * (1.0 if periodic else 4.0)
    atoms = Atoms(ACETYLENE.numbers, shaken(1)[0] + 2.0, cell=cell, pbc=periodic)
    guest, h = Guest(MODEL, atoms, "float64"), 1e-5
    answer = guest(cell.T[None] / units.Bohr, atoms.positions[None] / units.Bohr)
    derivative = np.empty((3, 3))
    for a in range(3):
        for b in range(3):
            energies = []
            for sign in (1, -1):
                strain = np.zeros((3, 3))
                strain[a, b] = sign * h
                q, vectors = strained(atoms.positions, cell, strain)
                energies.append(guest(vectors.T[None] / units.Bohr, q[None] / units.Bohr).energies[0])
            derivative[a, b] = (energies[0] - energies[1]) / (2 * h)
    np.testing.assert_allclose(answer.virials[0], -derivative.T, atol=1e-6)
    assert np.abs(derivative).max() > 1e-3


def test_structures_with_different_cells():
    cell = np.diag([5.0, 5.2, 5.4])
    atoms = Atoms(ACETYLENE.numbers, ACETYLENE.positions, cell=cell, pbc=True)
    guest, q = Guest(MODEL, atoms, "float64", atomic_energies=True), shaken(3) / units.Bohr
    cells = np.array([cell, 1.1 * cell, cell]) / units.Bohr
    together = guest(cells, q)
    for b in range(3):
        alone = guest(cells[b : b + 1], q[b : b + 1])
        np.testing.assert_allclose(together.energies[b], alone.energies[0], rtol=1e-12)
        np.testing.assert_allclose(together.virials[b], alone.virials[0], atol=1e-12)
        assert sum(json.loads(together.extras[b])["atomic_energies"]) == pytest.approx(alone.energies[0])
    assert abs(together.energies[0] - together.energies[1]) > 1e-6


def test_a_start_in_the_wrong_units(tmp_path):
    model = random_model(SCHNETPACK_DIALECT, domain={"min_distance_A": 0.9, "max_nearest_distance_A": 1.4})
    with pytest.raises(GuestError, match="converted twice"):
        Guest(model, ACETYLENE)(CELL[None], ACETYLENE.positions[None])


def test_bad_options(tmp_path, capsys):
    from md.cli import main

    write(tmp_path / "start.xyz", ACETYLENE, format="extxyz")
    good = ["--template", str(tmp_path / "start.xyz"), "--unix", "x"]
    for options, message in (
        ([*good, "--port", "70000"], "--port = 70000: expected at least 1 and at most 65535"),
        ([*good, "--model", "none"], "no such file"),
        (["--template", "none.xyz", "--unix", "x"], "no such file"),
        ([*good, "--idle-s", "nan"], "--idle-s = nan: expected at least 0 seconds"),
        ([*good, "--wait-s", "nan"], "--wait-s = nan: expected at least 0 seconds"),
        ([*good[:2], "--unix", "x" * 200], "is too long: expected at most 107 bytes"),
        (good, "this model knows C"),
    ):
        assert main(["ipi-client", *options]) == 2
        assert message in capsys.readouterr().err
    assert os.path.samefile(md_driver_path(capsys), Path(__file__).parents[2] / "md" / "ipi_driver.py")


def md_driver_path(capsys) -> str:
    from md.cli import main

    assert main(["ipi-driver-path"]) == 0
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize(("clients", "sockets"), [(1, 1), (2, 1), (2, 3), (64, 1)])
def test_clients_of_a_launch_share_the_threads(tmp_path, monkeypatch, clients, sockets):
    """All of them together use no more than NUMBA_NUM_THREADS allows, unless there are more clients than threads."""
    import numba

    import md.ipi.launch
    from md.cli import main

    fields = "".join(f"<ffsocket name='f{k}' mode='unix'><address>a{k}</address></ffsocket>" for k in range(sockets))
    (tmp_path / "input.xml").write_text(f"<simulation>{fields}</simulation>")
    write(tmp_path / "start.xyz", ACETYLENE, format="extxyz")
    seen = []
    fake = type("Launch", (), {"__init__": lambda self, *arguments: seen.append(arguments), "run": lambda self: 0})
    monkeypatch.setattr(md.ipi.launch, "Launch", fake)
    arguments = ["--template", str(tmp_path / "start.xyz"), "--clients", str(clients)]
    assert main(["ipi-launch", str(tmp_path / "input.xml"), *arguments]) == 0
    (_, count, options, _), available = seen[0], numba.config.NUMBA_NUM_THREADS
    threads = int(options[options.index("--threads") + 1])
    assert count == clients
    assert threads == 1 or threads * clients * sockets <= available
    assert (threads + 1) * clients * sockets > available


def test_a_look_up_that_does_not_end(tmp_path, monkeypatch):
    """The system's own limit is half a minute and more."""
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait(30.0))
    lines: list[str] = []
    began = time.monotonic()
    assert run_client(Guest(MODEL, ACETYLENE, "float64"), Address(host="somewhere"), 0.3, lines.append) == NO_SERVER
    end.set()
    assert time.monotonic() - began < 5.0
    assert "no server at somewhere:31415 for 0.3 s" in lines[-1]


def test_a_host_with_several_addresses(monkeypatch):
    """The first that answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    found = socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
    closed = socket.create_server(("127.0.0.1", 0))
    refused = [(*found[0][:4], ("127.0.0.1", closed.getsockname()[1]))]
    closed.close()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: refused + found)
    sock = Address(host="somewhere", port=port).connect(5.0)
    assert sock.getpeername()[1] == port and sock.gettimeout() is None
    sock.close()
    listener.close()
