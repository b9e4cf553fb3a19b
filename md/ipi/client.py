"""The socket client: connects to i-PI, evaluates its structures, and reconnects when the connection breaks."""

import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from md.ipi.guest import Answer, CellError, Guest, GuestError
from md.ipi.protocol import IDLE_S, Connection, Disconnected, ProtocolError, Stalled

DONE, FAILED, REFUSED, NO_SERVER = 0, 1, 2, 3  # exit codes
_LONGEST_PAUSE_S = 2.0
_CONNECT_S = 10.0  # limit of one attempt
_FIRST_WORD_S = 5.0  # at least: a server that accepts a connection and sends nothing is not i-PI


@dataclass(frozen=True)
class Address:
    """The address of i-PI: a Unix socket ``prefix + name``, or a host and a port.

    Attributes:
        unix: Name of the Unix socket, or None; prefix: Text that i-PI puts before it.
        host, port: Of the internet socket otherwise.
    """

    unix: str | None = None
    host: str = "localhost"
    port: int = 31415
    prefix: str = "/tmp/ipi_"

    def __str__(self) -> str:
        return f"{self.prefix}{self.unix}" if self.unix is not None else f"{self.host}:{self.port}"

    def connect(self, timeout_s: float = _CONNECT_S) -> socket.socket:
        """Make one attempt; OSError if no server listens, or none answers in time."""
        if self.unix is not None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.settimeout(timeout_s)
            try:
                sock.connect(f"{self.prefix}{self.unix}")
            except OSError:
                sock.close()
                raise
            sock.settimeout(None)
            return sock
        sock = self._reach(timeout_s)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return sock

    def _reach(self, timeout_s: float) -> socket.socket:
        """A socket connected to the first of the host's addresses that answers, within a total time."""
        deadline, last = time.monotonic() + timeout_s, OSError(f"{self.host}: no address")
        for family, kind, protocol, _, place in _look_up(self.host, self.port, timeout_s):
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(max(deadline - time.monotonic(), 0.05))
            try:
                sock.connect(place)
                return sock
            except OSError as error:
                sock.close()
                last = error
        raise last


def _look_up(host: str, port: int, timeout_s: float) -> list:
    """Addresses of a host from socket.getaddrinfo, which has no time limit and is abandoned after ``timeout_s``."""
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        found = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(f"looking up {host} has taken {timeout_s:g} s") from None
    if isinstance(found, OSError):
        raise found
    return found


class Rate:
    """Counts evaluations and reports the count at intervals."""

    def __init__(self, report: Callable[[str], None], interval_s: float):
        self.evaluations, self._report, self._interval_s = 0, report, interval_s
        self._began = self._logged = time.monotonic()
        self._then = 0

    def add(self, count: int) -> None:
        """Count evaluations that have just been sent."""
        self.evaluations += count
        now = time.monotonic()
        if now - self._logged > self._interval_s:
            rate = (self.evaluations - self._then) / (now - self._logged)
            self._report(f"{self.evaluations} evaluations served, {rate:.1f} per second")
            self._logged, self._then = now, self.evaluations

    def __str__(self) -> str:
        return f"{self.evaluations} evaluations in {time.monotonic() - self._began:.1f} s"


# Shares the descriptor of a connection. When its standard input ends, because the client closed or died in any way, it reads until
# the other side has closed too: i-PI 3.3.1 waits forever if a socket was closed with unread data, or if it writes to a closed one.
# Signals to the client's group do not reach it.
_GUARDIAN = """
import socket, sys, time
sock = socket.socket(fileno=int(sys.argv[1]))
sys.stdin.buffer.read()
try:
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(60.0)
    end = time.monotonic() + 300.0
    while sock.recv(1 << 16) and time.monotonic() < end:
        pass
except OSError:
    pass
"""


@contextmanager
def guarded(connection: Connection) -> Iterator[None]:
    """Context in which, and for some seconds after, a second process makes sure that i-PI sees the connection end cleanly."""
    descriptor = connection.fileno()
    guardian = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARDIAN, str(descriptor)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(descriptor,),
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        connection.close()
        guardian.stdin.close()
        threading.Thread(target=guardian.wait, daemon=True).start()


class Signalled(Exception):
    """SIGTERM or SIGINT arrived."""

    def __init__(self, number: int):
        self.number = number


@contextmanager
def signals_raise() -> Iterator[None]:
    """Context in which SIGTERM and SIGINT raise Signalled; only in the main thread, the one that Python delivers signals to."""

    def stop(number, frame):
        raise Signalled(number)

    catches = threading.current_thread() is threading.main_thread()
    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT) if catches}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_client(
    guest: Guest,
    address: Address,
    wait_s: float = 60.0,
    report: Callable[[str], None] = print,
    log_every_s: float = 10.0,
    idle_s: float = IDLE_S,
) -> int:
    """Serve i-PI until it sends EXIT; returns the exit code.

    0 after EXIT; 1 if the model failed; 2 if the server sends an invalid request (another number of atoms, a cell that does not fit
    the template, a malformed message); 3 if there was no server for ``wait_s`` seconds, at the start or after a lost connection, or
    one that is silent, stops within a message or does not read an answer. SIGTERM and SIGINT act like EXIT, with 128 + signal. In
    every case the socket is emptied before it is closed, so that i-PI can give its work to another client.

    Args:
        wait_s: Longest wait for the server, with growing pauses, and for its first message (5 s at least).
        report: Called with each log line; log_every_s: Interval between reports of the count of evaluations.
        idle_s: Longest silence between two messages; math.inf for no limit.
    """
    first_s = min(max(wait_s, _FIRST_WORD_S), idle_s)
    rate = Rate(report, log_every_s)
    try:
        with signals_raise():
            while True:
                sock = _find(address, wait_s, report)
                if sock is None:
                    report(f"no server at {address} for {wait_s:g} s; {rate}")
                    return NO_SERVER
                report(f"connected to {address}")
                code = _serve_until_lost(Connection(sock, guest.n_atoms, first_s, idle_s), guest, rate, report)
                if code is not None:
                    return code
    except Signalled as stopped:
        report(f"stopped by signal {stopped.number}; {rate}")
        return 128 + stopped.number


def _serve_until_lost(connection: Connection, guest: Guest, rate: Rate, report: Callable[[str], None]) -> int | None:
    """The exit code, or None if the connection broke and the client should reconnect."""
    try:
        with guarded(connection):
            serve(connection, guest, rate)
        report(f"server sent EXIT; {rate}")
        return DONE
    except (Disconnected, BrokenPipeError, ConnectionResetError) as error:
        report(f"connection lost ({error}); {rate}; reconnecting")
        return None
    except Stalled as error:
        report(f"error: {error}; {rate}; see --wait-s and --idle-s")
        return NO_SERVER
    except (ProtocolError, CellError) as error:
        report(f"error: {error}")
        return REFUSED
    except GuestError as error:
        report(f"error: {error}; {rate}")
        return FAILED


def serve(connection: Connection, guest: Guest, rate: Rate) -> None:
    """Answer messages until EXIT.

    Raises:
        Disconnected, OSError: The connection is lost. Stalled: The server is silent for too long.
        ProtocolError, GuestError: See protocol.py and guest.py.
    """
    known, answer = False, None
    while True:
        header = connection.read_header()
        if header == "STATUS":
            connection.write_header("HAVEDATA" if answer else "READY" if known else "NEEDINIT")
        elif header == "INIT":
            connection.read_init()
            known = True
        elif header == "POSDATA":
            answer = guest(*connection.read_structures())
        elif header == "GETFORCE":
            if answer is None:
                raise ProtocolError("GETFORCE before POSDATA")
            _send(connection, answer)
            rate.add(len(answer.energies))
            answer = None
        else:
            return


def _send(connection: Connection, answer: Answer) -> None:
    connection.write_answer(answer.energies, answer.forces, answer.virials, answer.extras)


def _find(address: Address, wait_s: float, report: Callable[[str], None]) -> socket.socket | None:
    """Retry to connect, with pauses that double, until ``wait_s`` seconds have passed."""
    deadline, pause, told = time.monotonic() + wait_s, 0.02, False
    while True:
        try:
            return address.connect(min(max(deadline - time.monotonic(), 0.1), _CONNECT_S))
        except OSError as error:
            if time.monotonic() + pause > deadline:
                return None
            if not told and pause > 0.5:
                report(f"waiting for a server at {address}: {error.strerror or error}")
                told = True
            # Many clients that lost one server should not reconnect at the same moment.
            time.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2.0 * pause, _LONGEST_PAUSE_S)
