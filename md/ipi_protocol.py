"""i-PI's socket protocol as a client speaks it; nothing here knows what the numbers mean.

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

Where the text of INIT says ``batch_size:B`` with B > 1, POSDATA comes with N, B × (cell, inverse cell), B × positions, and the
answer is FORCEREADY, B energies, N, B × forces, B × virials, B × (length, text). i-PI pads a short batch with its last structure.

Every integer from the wire is checked before memory is asked for.
"""

import io
import socket
from typing import NamedTuple

import numpy as np

_HEADER = 12
_LONGEST_TEXT = 1 << 24
_LARGEST_BATCH = 1 << 16
_LARGEST_MESSAGE = 1 << 30  # bytes


class ProtocolError(RuntimeError):
    """The other side said what the protocol does not allow; the message quotes it."""


class Disconnected(ConnectionError):
    """The other side is gone."""


class Structures(NamedTuple):
    """What POSDATA brings: cells (B, 3, 3) with lattice vectors in columns, positions (B, N, 3), both in Bohr."""

    cells: np.ndarray
    positions: np.ndarray


class Connection:
    """Reads and writes messages on a connected socket.

    Args:
        sock: Connected stream socket, blocking.
        n_atoms: N that every structure must have.
    """

    def __init__(self, sock: socket.socket, n_atoms: int):
        self._socket, self._reader, self._n_atoms = sock, sock.makefile("rb", buffering=1 << 16), n_atoms
        self.batch_size = 1

    def read_header(self) -> str:
        """The next header, without its blanks.

        Raises:
            Disconnected: The other side has closed.
            ProtocolError: Not a header.
        """
        raw = self._read(_HEADER)
        known = ("STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT")
        header = raw.decode("ascii", errors="replace").rstrip()
        if header not in known:
            raise ProtocolError(f"header {raw!r}: expected one of {', '.join(known)}")
        return header

    def read_init(self) -> int:
        """The body of INIT: the replica; a batch size in its text is taken over."""
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
            raise ProtocolError(f"batch_size {text!r}: expected 1 to {limit}")
        return size

    def read_structures(self) -> Structures:
        """The body of POSDATA."""
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
        """Send a header alone."""
        self._socket.sendall(_padded(header))

    def write_answer(self, energies: np.ndarray, forces: np.ndarray, virials: np.ndarray, extras: list[str]) -> None:
        """Send FORCEREADY with results for all structures of a batch, as one message."""
        texts = [text.encode() for text in extras]
        count = np.int32(self._n_atoms).tobytes()
        tail = b"".join(np.int32(len(text)).tobytes() + text for text in texts)
        self._socket.sendall(
            _padded("FORCEREADY") + np.float64(energies).tobytes() + count + np.float64(forces).tobytes()
            + np.float64(virials).tobytes() + tail
        )  # fmt: skip

    def fileno(self) -> int:
        """File descriptor of the socket."""
        return self._socket.fileno()

    def close(self) -> None:
        """Say that nothing more will come, read what has come, and close."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.setblocking(False)
            while self._socket.recv(1 << 16):
                pass
        except OSError:  # nothing left to read, or nobody left to read from
            pass
        self._reader.close()
        self._socket.close()

    def _read(self, count: int) -> bytes:
        try:
            data = self._reader.read(count)
        except (ConnectionError, io.UnsupportedOperation) as error:
            raise Disconnected(str(error)) from error
        if len(data) < count:
            raise Disconnected(f"closed after {len(data)} of {count} bytes" if data else "closed")
        return data

    def _read_int(self) -> int:
        return int(np.frombuffer(self._read(4), dtype=np.int32)[0])

    def _read_floats(self, count: int) -> np.ndarray:
        return np.frombuffer(self._read(8 * count), dtype=np.float64)


def _padded(header: str) -> bytes:
    return header.ljust(_HEADER).encode()
