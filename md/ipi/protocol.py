"""The client side of i-PI's socket protocol, independent of the meaning of the numbers.

Headers are 12 characters, integers int32, numbers float64, all in the byte order of the machine.

=========  ============================================  =======================================================
from i-PI  with                                          answer
=========  ============================================  =======================================================
STATUS                                                   NEEDINIT, READY or HAVEDATA
INIT       replica, length, text                         –
POSDATA    cell (9), inverse cell (9), N, positions      –
GETFORCE                                                 FORCEREADY, energy, N, forces, virial (9), length, text
EXIT                                                     –
=========  ============================================  =======================================================

If the text of INIT contains ``batch_size:B`` with B > 1, POSDATA comes with N, B × (cell, inverse cell), B × positions, and the
answer is FORCEREADY, B energies, N, B × forces, B × virials, B × (length, text). i-PI pads a short batch with its last structure.

Every integer from the wire is checked before memory is allocated. Every wait is limited: between two messages the server may be
silent for ``idle_s``, since i-PI may have to wait for other force fields; the next part of a message must arrive within
``MESSAGE_S``, and the entire message within that time plus one second per 64 KiB; the same limits apply to answers.
"""

import io
import socket
import struct
import time
from contextlib import suppress
from typing import NamedTuple

import numpy as np

_HEADER = 12
_LONGEST_TEXT = 1 << 20
_LARGEST_BATCH = 1 << 16
_LARGEST_MESSAGE = 1 << 28  # bytes
IDLE_S, MESSAGE_S = 1800.0, 20.0
_SLOWEST = 1 << 16  # bytes per second of a message
_CLOSING_S = 2.0  # limit for reading from a server that never stops sending
_PIECES = 64  # reads between checks of the clock
_TICK = struct.pack("@ll", 0, 250_000)  # timeval: interval at which a wait checks the clock


class ProtocolError(RuntimeError):
    """The other side violated the protocol; the message quotes what it sent."""


class Disconnected(ConnectionError):
    """The other side has closed the connection."""


class Stalled(RuntimeError):
    """The other side is connected but sends nothing, or reads nothing; the message gives the duration."""


class Structures(NamedTuple):
    """The content of POSDATA: cells (B, 3, 3) with lattice vectors in columns, positions (B, N, 3), both in Bohr."""

    cells: np.ndarray
    positions: np.ndarray


class _Wire(io.RawIOBase):
    """The receiving end of a socket; a read returns empty at intervals, so that the caller can check the clock.

    The system ends a wait (SO_RCVTIMEO), so that arriving bytes are not delayed.

    Attributes:
        ended: Whether the other side has closed.
    """

    def __init__(self, sock: socket.socket):
        super().__init__()
        self._socket, self._reads, self.ended = sock, 0, False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer) -> int | None:
        """Received bytes; None after a time without any, and at intervals if they arrive in small pieces."""
        self._reads += 1
        if not self._reads % _PIECES:
            return None
        try:
            count = self._socket.recv_into(buffer)
        except BlockingIOError:
            return None
        self.ended = not count
        return count


class Connection:
    """Reads and writes messages on a connected socket.

    Args:
        sock: Connected stream socket, blocking.
        n_atoms: N of every structure.
        first_s, idle_s: Longest silence before the first message, and between two; math.inf for no limit.
        message_s: Longest wait within a message.
    """

    def __init__(
        self, sock: socket.socket, n_atoms: int, first_s: float = IDLE_S, idle_s: float = IDLE_S,
        message_s: float = MESSAGE_S,
    ):  # fmt: skip
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, option, _TICK)
        self._socket, self._wire, self._n_atoms = sock, _Wire(sock), n_atoms
        self._reader = io.BufferedReader(self._wire, 1 << 16)
        self._silence_s, self._idle_s, self._message_s = first_s, idle_s, message_s
        self._began: float | None = None  # start time of the message being read, once it is awaited
        self.batch_size = 1

    def read_header(self) -> str:
        """The next header, without its blanks.

        Raises:
            Disconnected: The other side has closed. Stalled: It is silent for too long.
            ProtocolError: Not a header.
        """
        self._began = None
        raw = self._read(_HEADER, self._silence_s)
        self._silence_s = self._idle_s
        known = ("STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT")
        header = raw.decode("ascii", errors="replace").rstrip()
        if header not in known:
            raise ProtocolError(f"header {raw!r}: expected one of {', '.join(known)}")
        return header

    def read_init(self) -> int:
        """Read the body of INIT: returns the replica, and adopts a batch size from the text."""
        replica = self._read_int()
        length = self._read_int()
        if not 0 <= length <= _LONGEST_TEXT:
            raise ProtocolError(f"INIT with a text of {length} bytes: expected 0 to {_LONGEST_TEXT}")
        text = self._read(length).decode("utf-8", errors="replace")
        for entry in text.split(","):
            key, colon, value = entry.partition(":")
            if colon and key.strip() == "batch_size":
                self.batch_size = self._checked_batch(value.strip())
        return replica

    def _checked_batch(self, text: str) -> int:
        limit = min(_LARGEST_BATCH, _LARGEST_MESSAGE // (8 * (18 + 3 * self._n_atoms)))
        try:
            size = int(text)
        except ValueError:
            size = 0
        if not 1 <= size <= limit:
            raise ProtocolError(f"batch_size {text[:40]!r}: expected 1 to {limit}")
        return size

    def read_structures(self) -> Structures:
        """Read the body of POSDATA."""
        size, n = self.batch_size, self._n_atoms
        if size == 1:
            cells = self._read_floats(18)
            self._check_atoms()
        else:
            self._check_atoms()
            cells = self._read_floats(18 * size)
        positions = self._read_floats(size * n * 3)
        return Structures(cells.reshape(size, 2, 3, 3)[:, 0], positions.reshape(size, n, 3))

    def _check_atoms(self) -> None:
        found = self._read_int()
        if found != self._n_atoms:
            raise ProtocolError(f"{found} atoms from the server: expected {self._n_atoms}, as in the template")

    def write_header(self, header: str) -> None:
        """Send a header without a body."""
        self._send(_padded(header))

    def write_answer(self, energies: np.ndarray, forces: np.ndarray, virials: np.ndarray, extras: list[str]) -> None:
        """Send FORCEREADY with results for all structures of a batch, as one message."""
        texts = [text.encode() for text in extras]
        count = np.int32(self._n_atoms).tobytes()
        tail = b"".join(np.int32(len(text)).tobytes() + text for text in texts)
        self._send(
            _padded("FORCEREADY") + np.float64(energies).tobytes() + count + np.float64(forces).tobytes()
            + np.float64(virials).tobytes() + tail
        )  # fmt: skip

    def _send(self, data: bytes) -> None:
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def _send_rest(self, data: memoryview) -> None:
        limit = self._message_s + len(data) / _SLOWEST
        began = moved = time.monotonic()
        while data:
            now = time.monotonic()
            if now - moved > self._message_s or now - began > limit:
                raise Stalled(f"the server has not read an answer for {now - began:.0f} s")
            with suppress(BlockingIOError):
                data, moved = data[self._socket.send(data) :], time.monotonic()

    def fileno(self) -> int:
        """File descriptor of the socket."""
        return self._socket.fileno()

    def close(self) -> None:
        """Signal the end of sending, read the remaining bytes, and close."""
        end = time.monotonic() + _CLOSING_S
        with suppress(OSError):  # nothing left to read, or the connection is gone
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.setblocking(False)
            while self._socket.recv(1 << 16) and time.monotonic() < end:
                pass
        self._reader.close()
        self._socket.close()

    def _read(self, count: int, silence_s: float | None = None) -> bytes:
        """Read ``count`` bytes; with ``silence_s`` they begin a message, which may be this late."""
        try:
            data = self._reader.read(count)
            if data is None or len(data) < count:
                data = self._wait_for(data or b"", count, silence_s)
        except (ConnectionError, io.UnsupportedOperation) as error:
            raise error if isinstance(error, Disconnected) else Disconnected(str(error)) from error
        return data

    def _wait_for(self, data: bytes, count: int, silence_s: float | None) -> bytes:
        """Read the rest of ``count`` bytes."""
        parts, missing, moved = [data], count - len(data), time.monotonic()
        while missing:
            if self._wire.ended:
                raise Disconnected(f"closed after {count - missing} of {count} bytes" if missing < count else "closed")
            now = time.monotonic()
            if silence_s is None or missing < count:
                self._check_message(now, moved, count)
            elif now - moved > silence_s:
                raise Stalled(f"the server has sent nothing for {silence_s:g} s")
            if part := self._reader.read(missing):
                parts.append(part)
                missing, moved = missing - len(part), now
        return b"".join(parts)

    def _check_message(self, now: float, moved: float, count: int) -> None:
        self._began = now if self._began is None else self._began
        if now - moved > self._message_s or now - self._began > self._message_s + count / _SLOWEST:
            raise Stalled(f"incomplete message, the rest has not arrived for {now - self._began:.0f} s")

    def _read_int(self) -> int:
        return int(np.frombuffer(self._read(4), dtype=np.int32)[0])

    def _read_floats(self, count: int) -> np.ndarray:
        return np.frombuffer(self._read(8 * count), dtype=np.float64)


def _padded(header: str) -> bytes:
    return header.ljust(_HEADER).encode()
