"""The launcher: i-PI and its clients as one command that always terminates.

i-PI waits forever if no client answers; a client that dies leaves its work to the others, if there are any. The launcher starts
both, forwards their output, restarts dead clients, and ends a run without progress for a set time.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path

from ase import Atoms

from md.ipi.client import DONE, REFUSED, Address, Signalled, signals_raise
from md.ipi.input import force_fields, read_root
from md.ipi.protocol import IDLE_S
from mlcalc.common.errors import InputError

STALLED, CLIENTS_FAILED = 4, 1  # exit codes besides those of i-PI
_POLL_S, _GRACE_S = 0.1, 10.0
_RESTARTS = 5  # per client: further restarts are unlikely to help


def addresses(input_path: str | Path) -> list[Address]:
    """The addresses of the force fields of an i-PI input; InputError if it is not such an input or has no ``ffsocket``."""
    root = read_root(input_path)
    prefix = root.get("sockets_prefix", "/tmp/ipi_").strip()
    found = []
    for field in (each.element for each in force_fields(root) if each.kind == "ffsocket"):
        name = (field.findtext("address") or "localhost").strip()
        port = (field.findtext("port") or "65535").strip()
        if field.get("mode", "inet").strip() == "unix":
            found.append(Address(unix=name, prefix=prefix))
        elif port.isdigit():
            found.append(Address(host="localhost" if name in ("0.0.0.0", "") else name, port=int(port)))
        else:
            raise InputError(f"{input_path}: port {port!r} of a force field: expected a number")
    if not found:
        raise InputError(f"{input_path}: no <ffsocket>: clients have no work; run i-pi directly")
    return found


def check_wrapping(input_path: str | Path, template: Atoms) -> None:
    """Raise InputError if i-PI would wrap the atoms of a non-periodic template individually."""
    if template.pbc.all():
        return
    for field in force_fields(read_root(input_path)):
        if field.kind == "ffsocket" and field.wraps:
            raise InputError(
                f"{input_path}: <ffsocket name={field.name!r} pbc='True'>, but the template is not periodic"
                f"{' in all directions' if template.pbc.any() else ''}: i-PI would move every atom into its cell and cut the "
                "molecule; write pbc='False', or give a template with pbc"
            )


def check_free(address: Address) -> None:
    """Remove a Unix socket file without a listening server; InputError if another server listens."""
    if address.unix is None:
        return
    try:
        address.connect().close()
    except FileNotFoundError:
        return
    except ConnectionRefusedError:
        os.unlink(str(address))
        return
    except OSError as error:
        raise InputError(f"{address}: {error}") from error
    raise InputError(f"{address}: another server listens there already; stop it, or choose another <address>")


class Child:
    """A process whose output lines are forwarded; ``last_line_at`` is the time of the last one."""

    def __init__(self, command: list[str], prefix: str):
        self.name, self.last_line_at = prefix, time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            bufsize=1,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def _pass_on(self) -> None:
        for line in self.process.stdout:
            self.last_line_at = time.monotonic()
            print(f"{self.name}{line}", end="", flush=True)

    @property
    def code(self) -> int | None:
        """Exit code, 128 + signal if a signal ended it; None while it runs."""
        code = self.process.poll()
        return code if code is None or code >= 0 else 128 - code

    def end(self, grace_s: float = _GRACE_S) -> int:
        """Send SIGTERM, and SIGKILL after a delay; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._thread.join(1.0)
        return self.code


class Launch:
    """i-PI and ``count`` clients for each of its sockets.

    Args:
        input_path: i-PI's input.
        count: Clients per socket.
        client_options: Options of ``rpmd ipi-client`` without the address.
        stall_s: Seconds without a line from i-PI or an evaluation by a client after which the run is ended.
    """

    def __init__(self, input_path: str | Path, count: int, client_options: list[str], stall_s: float):
        where = addresses(input_path)
        for address in where:
            check_free(address)
        self._options, self._stall_s = client_options, stall_s
        self.server = Child([_ipi_program(), str(input_path)], "")
        self._slots = [address for address in where for _ in range(count)]
        self.clients = [self._start_client(k) for k in range(len(self._slots))]
        self._restarts = [0] * len(self._slots)

    def _start_client(self, slot: int) -> Child:
        address = self._slots[slot]
        place = ["--unix", address.unix, "--prefix", address.prefix] if address.unix is not None else [
            "--host", address.host, "--port", str(address.port)
        ]  # fmt: skip
        quiet_s = min(self._stall_s / 4.0, 10.0)  # a working client logs within this time
        command = [
            sys.executable,
            "-P",
            "-m",
            "md.cli",
            "ipi-client",
            *self._options,
            *place,
            "--log-every-s",
            f"{quiet_s:g}",
            "--idle-s",
            f"{max(IDLE_S, 2.0 * self._stall_s):g}",
        ]
        return Child(command, f"[client {slot}] ")

    def run(self) -> int:
        """Wait for the end; returns i-PI's exit code, 1 or 2 if clients failed, 4 after a stall, 128 + signal."""
        try:
            with signals_raise():
                while self.server.code is None:
                    time.sleep(_POLL_S)
                    code = self._mind_clients()
                    if code is None and self._silence() > self._stall_s:
                        _say(f"no progress for {self._stall_s:g} s: ending the run")
                        code = STALLED
                    if code is not None:
                        return code
                return self.server.code
        except Signalled as stopped:
            _say(f"signal {stopped.number}: waiting for i-PI's restart file, then ending the run")
            return 128 + stopped.number
        finally:
            self.server.end()
            for client in self.clients:
                client.end(5.0)

    def _silence(self) -> float:
        return time.monotonic() - max(child.last_line_at for child in (self.server, *self.clients))

    def _mind_clients(self) -> int | None:
        """Restart dead clients; returns the exit code of the launcher if that cannot help."""
        for slot, client in enumerate(self.clients):
            if client.code in (None, DONE) or self.server.code is not None:
                continue
            if client.code == REFUSED:
                _say(f"client {slot} cannot serve this input (see above): ending the run")
                return REFUSED
            if self._restarts[slot] == _RESTARTS:
                _say(f"client {slot} has died {_RESTARTS + 1} times: ending the run")
                return CLIENTS_FAILED
            self._restarts[slot] += 1
            _say(f"client {slot} ended with code {client.code}: restarting it")
            self.clients[slot] = self._start_client(slot)
        return None


def _ipi_program() -> str:
    """The i-PI program of this environment, or the first on the path."""
    beside = Path(sysconfig.get_path("scripts")) / "i-pi"
    found = str(beside) if beside.is_file() else shutil.which("i-pi")
    if not found:
        raise InputError("i-pi: program not found; install it with: pip install ipi")
    return found


def _say(line: str) -> None:
    print(f"rpmd ipi-launch: {line}", flush=True)
