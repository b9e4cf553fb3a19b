"""Real i-PI with our clients, plug-in and launcher: the examples run, agree to the last digit, and survive failures."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from md.cli import main
from md.ipi.launch import STALLED, Launch, addresses, check_free

EXAMPLES = Path(__file__).parents[2] / "inputs" / "ipi"
PLUGIN = Path(__file__).parents[2] / "md" / "ipi_driver.py"
OPTIONS = ["--template", "c20.xyz", "--threads", "1"]
CLIENT = [sys.executable, "-P", "-m", "md.cli", "ipi-client", *OPTIONS, "--wait-s", "30"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the examples, short, with a socket of their own."""
    pytest.importorskip("ipi")
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    for path in EXAMPLES.iterdir():
        text = path.read_text().replace("<total_steps>2000", "<total_steps>40").replace("PATH<", f"{PLUGIN}<")
        text = text.replace("<address>c20<", f"<address>{port}<").replace("<port>31415<", f"<port>{port}<")
        (tmp_path / path.name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def outputs(name: str) -> np.ndarray:
    return np.loadtxt(f"{name}.out")


def i_pi(name: str, **options) -> subprocess.Popen:
    program = Path(sys.executable).with_name("i-pi")
    return subprocess.Popen([program, f"{name}.xml"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)


def steps(count: int, name: str = "pimd-socket") -> None:
    path = Path(f"{name}.xml")
    path.write_text(path.read_text().replace("<total_steps>40", f"<total_steps>{count}"))


@pytest.mark.parametrize(
    "name",
    [
        "pimd-socket",
        pytest.param("pimd-inet", marks=pytest.mark.slow),
        pytest.param("rpmd-nve", marks=pytest.mark.slow),
    ],
)
def test_examples_over_sockets(place, name, capfd):
    assert main(["ipi-launch", f"{name}.xml", *OPTIONS, "--clients", "2"]) == 0
    printed = capfd.readouterr().out
    assert "[client 0] rpmd ipi-client: server sent EXIT" in printed
    assert "[client 1] rpmd ipi-client: server sent EXIT" in printed
    found = outputs(name)
    assert found[-1, 0] == 40
    assert np.ptp(found[:, 2]) < 0.05  # eV of the conserved energy: forces fit energies


@pytest.mark.slow
def test_ipis_own_driver_takes_the_plug_in(place):
    server = i_pi("pimd-socket")
    name = addresses("pimd-socket.xml")[0].unix
    command = [Path(sys.executable).with_name("i-pi-py_driver"), "-u", "-a", name, "-m", "custom", "-P", str(PLUGIN)]
    wait_for(Path(f"/tmp/ipi_{name}").exists)
    driver = subprocess.Popen([*command, "-o", "model=c20,template=c20.xyz"], stdout=subprocess.DEVNULL)
    assert server.wait(60) == 0
    driver.wait(30)
    assert outputs("pimd-socket")[-1, 0] == 40


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("pimd-socket", None),
        pytest.param("pimd-inet", ["127.0.0.1", "127.0.0.2"], marks=pytest.mark.slow),
    ],
)
def test_a_client_killed_while_computing(place, name, hosts):
    """Four clients, for TCP on two addresses of this machine; one gets SIGKILL: the numbers are those of i-PI undisturbed.

    Undisturbed and without any socket: inside i-PI's process.
    """
    steps(250, "pimd-direct")
    steps(250, name)
    assert i_pi("pimd-direct").wait(60) == 0
    server, address = i_pi(name), addresses(f"{name}.xml")[0]
    places = (
        [["--unix", address.unix]] if hosts is None else [["--host", h, "--port", str(address.port)] for h in hosts]
    )
    clients = [subprocess.Popen([*CLIENT, *places[k % len(places)]], stdout=subprocess.DEVNULL) for k in range(4)]
    wait_for(lambda: Path(f"{name}.out").exists() and len(Path(f"{name}.out").read_text().splitlines()) > 20)
    clients[0].kill()
    assert server.wait(120) == 0
    assert [client.wait(30) for client in clients] == [-signal.SIGKILL, 0, 0, 0]
    np.testing.assert_array_equal(outputs(name), outputs("pimd-direct"))


@pytest.mark.slow
def test_a_client_whose_model_fails_leaves_its_work_to_another(place):
    steps(200)
    server, name = i_pi("pimd-socket"), addresses("pimd-socket.xml")[0].unix
    script = (
        "import md.ipi.guest as g, sys\n"
        "call, count = g.Guest.__call__, [0]\n"
        "def breaking(self, *given):\n"
        "    count[0] += 1\n"
        "    if count[0] > 50: raise g.GuestError('out of memory')\n"
        "    return call(self, *given)\n"
        "g.Guest.__call__ = breaking\n"
        "from md.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    broken = subprocess.Popen(
        [sys.executable, "-P", "-c", script, "ipi-client", *OPTIONS, "--unix", name], stdout=subprocess.DEVNULL
    )
    assert broken.wait(60) == 1
    healthy = subprocess.Popen([*CLIENT, "--unix", name], stdout=subprocess.DEVNULL)
    assert server.wait(120) == 0
    assert healthy.wait(30) == 0
    assert outputs("pimd-socket")[-1, 0] == 200


@pytest.mark.slow
def test_the_launcher_starts_dead_clients_again(place, capfd):
    steps(300)
    launch = Launch("pimd-socket.xml", 1, OPTIONS, 60.0)

    def kill() -> None:
        wait_for(lambda: Path("pimd-socket.out").exists() and len(Path("pimd-socket.out").read_text()) > 2000)
        launch.clients[0].process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    assert launch.run() == 0
    thread.join()
    assert "client 0 ended with code 137: restarting it" in capfd.readouterr().out
    assert outputs("pimd-socket")[-1, 0] == 300


@pytest.mark.slow
def test_the_launcher_ends_a_run_that_stands_still(place, capfd):
    steps(100_000)
    launch = Launch("pimd-socket.xml", 1, OPTIONS, 3.0)

    def freeze() -> None:
        wait_for(lambda: Path("pimd-socket.out").exists() and len(Path("pimd-socket.out").read_text()) > 2000)
        launch.clients[0].process.send_signal(signal.SIGSTOP)

    thread = threading.Thread(target=freeze)
    thread.start()
    assert launch.run() == STALLED
    thread.join()
    assert "no progress for 3 s: ending the run" in capfd.readouterr().out
    assert launch.server.code is not None
    assert launch.clients[0].code is not None


def test_the_launcher_passes_a_signal_on(place):
    steps(1_000_000)
    command = [sys.executable, "-P", "-m", "md.cli", "ipi-launch", "pimd-socket.xml", *OPTIONS]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    wait_for(lambda: Path("pimd-socket.out").exists() and len(Path("pimd-socket.out").read_text()) > 2000)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert Path("RESTART").exists()  # i-PI could say goodbye


@pytest.mark.slow
def test_the_launcher_ends_when_clients_cannot_serve(place, capfd):
    Path("methane.xyz").write_text("2\n\nC 0 0 0\nC 0 0 1.4\n")
    assert main(["ipi-launch", "pimd-socket.xml", "--template", "methane.xyz", "--threads", "1"]) == 2
    assert "20 atoms from the server: expected 2, as in the template" in capfd.readouterr().out


def test_an_exception_in_the_plug_in_ends_ipi(place):
    """The start of i-PI in Bohr read as Å is outside the model's domain: i-PI must not wait forever."""
    text = Path("c20.xyz").read_text().replace("positions{angstrom}", "positions{atomic_unit}")
    Path("bohr.xyz").write_text(text)
    path = Path("pimd-direct.xml")
    path.write_text(path.read_text().replace("<file mode='xyz'> c20.xyz", "<file mode='xyz'> bohr.xyz"))
    process = i_pi("pimd-direct")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"mlcalc: error: the typical nearest-neighbour distance is" in errors


@pytest.mark.parametrize(("wraps", "code"), [("True", 1), pytest.param("False", 0, marks=pytest.mark.slow)])
def test_a_molecule_that_ipi_wraps_apart(place, wraps, code):
    """In the middle of its box, whose corner is i-PI's origin: wrapped, it is in eight pieces, each with sound bonds."""
    rows = [line.split() for line in Path("c20.xyz").read_text().splitlines()]
    moved = [f"{row[0]} {' '.join(str(float(x) + 15.0) for x in row[1:])}" for row in rows[2:]]
    Path("c20.xyz").write_text("\n".join([rows[0][0], " ".join(rows[1]), *moved]) + "\n")
    path = Path("pimd-direct.xml")
    path.write_text(path.read_text().replace("pbc='False'", f"pbc='{wraps}'"))
    process = i_pi("pimd-direct")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert (b"mlcalc: error: the molecule is cut by i-PI's cell" in errors) == bool(code)
    assert b"Traceback" not in errors


def test_what_the_launcher_refuses(place, capsys):
    Path("torn.xml").write_text("<simulation><ffsocket>")
    name = addresses("pimd-socket.xml")[0].unix
    for arguments, message in (
        (["none.xml"], "none.xml: no such file"),
        (["torn.xml"], "not an input of i-PI"),
        (["pimd-direct.xml"], "no <ffsocket>"),
        (["pimd-socket.xml", "--clients", "0"], "--clients = 0: expected at least 1"),
        (["pimd-socket.xml", "--model", "none"], "no such file"),
    ):
        assert main(["ipi-launch", *arguments, *OPTIONS]) == 2
        assert message in capsys.readouterr().err
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"/tmp/ipi_{name}")
        other.listen()
        assert main(["ipi-launch", "pimd-socket.xml", *OPTIONS]) == 2
        assert "another server listens there already" in capsys.readouterr().err
    check_free(addresses("pimd-socket.xml")[0])  # the file that it has left is stale now
    assert not os.path.exists(f"/tmp/ipi_{name}")


def test_the_batch_script_is_valid_bash(place):
    if shutil.which("bash") is None:
        pytest.skip("no bash")
    subprocess.run(["bash", "-n", "two-nodes.sbatch"], check=True)
