"""HDF5 files that stay readable if their writer is killed at any moment, and intact when the disk is full.

HDF5 updates a file by a dozen small writes in its own order; if it is killed between two of them, or runs out of space, the index
may point beyond the end. This module collects the writes of HDF5 and carries them out in an order in which every step leaves a
readable file:

1. new blocks, which nothing refers to yet; only they need space, and they are removed again if there is none;
2. raw data;
3. the superblock, which holds the length of the file;
4. nodes of the chunk index, parents before children;
5. object headers, which hold the numbers of frames, in one write.

Frames are removed in the reverse order.

Format: HDF5 File Format Specification 3.0, sections II.A (superblock) and III.A.1 (B-trees).
"""

import io
import os
import weakref
from pathlib import Path

import h5py

from md.files.received import open_regular

_SUPERBLOCK = 96  # bytes of its version 0, with the root group's entry
_NODE = b"TREE"
_HEADER = 1 << 12  # no object header is this large; index nodes of this size begin with their signature
_SPAN = 1 << 16  # object headers are close to each other: one write covers them all

Block = tuple[int, bytes]  # offset and content


class CommittedH5:
    """An HDF5 file whose changes are carried out by ``commit``.

    Args:
        path: The file.
        create: Whether to create it or to open an existing one.

    Attributes:
        file: The h5py.File.
        close: Function that closes the file, if it is open; changes since the last commit are discarded.

    Raises:
        FileExistsError: The file to create exists. FileNotFoundError: The file to open does not. OSError: Not an HDF5 file.
        InputError: Not a regular file.
    """

    def __init__(self, path: str | Path, create: bool):
        self._changes = _Changes(path, create)
        try:
            # Newer file versions keep an "open for writing" mark that a killed run would leave behind.
            self.file = h5py.File(self._changes, "w" if create else "r+", libver=("earliest", "v108"))
        except BaseException:
            self._changes.close()
            raise
        # HDF5 would call a Python object that no longer exists if the program ended with the file open.
        self.close = weakref.finalize(self, _close, self.file, self._changes)

    def commit(self, removing: bool = False) -> None:
        """Carry out all changes; ``removing`` tells that entries were removed.

        Raises:
            OSError: Usually no space left; the file is then unchanged.
        """
        h5py.h5f.flush(self.file.id)
        self._changes.carry_out(removing)

    def sync(self) -> None:
        """Wait until all committed changes are on disk."""
        os.fsync(self._changes.descriptor)


def _close(file: h5py.File, changes: "_Changes") -> None:
    file.close()
    changes.close()


class _Changes(io.RawIOBase):
    """The target of h5py's ``fileobj`` driver: the file, overlaid with writes that are not committed yet."""

    def __init__(self, path: str | Path, create: bool):
        super().__init__()
        self.descriptor = open_regular(path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0))
        self._size = self._committed_size = os.fstat(self.descriptor).st_size
        self._position = 0
        self._pending: dict = {}

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Where the next read or write begins."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Where the next read or write begins."""
        return self._position

    def readinto(self, buffer) -> int:
        """Read what was written, committed or not."""
        begin, count = self._position, max(min(len(buffer), self._size - self._position), 0)
        content = bytearray(os.pread(self.descriptor, count, begin).ljust(count, b"\0"))
        for offset, block in self._pending.items():
            low, high = max(offset, begin), min(offset + len(block), begin + count)
            if low < high:
                content[low - begin : high - begin] = block[low - offset : high - offset]
        buffer[:count] = content
        self._position += count
        return count

    def write(self, data) -> int:
        """Record a write."""
        begin, block = self._position, bytes(data)
        end = begin + len(block)
        hidden = [offset for offset, other in self._pending.items() if offset < end and begin < offset + len(other)]
        if hidden:
            begin, block = self._laid_over(begin, block, [(offset, self._pending.pop(offset)) for offset in hidden])
        self._pending[begin] = block
        self._position, self._size = end, max(self._size, end)
        return len(data)

    @staticmethod
    def _laid_over(begin: int, block: bytes, earlier: list[Block]) -> Block:
        """One block from a block and the earlier ones that it overlaps."""
        first = min(begin, *(offset for offset, _ in earlier))
        whole = bytearray(max(begin + len(block), *(offset + len(other) for offset, other in earlier)) - first)
        for offset, other in [*earlier, (begin, block)]:
            whole[offset - first : offset - first + len(other)] = other
        return first, bytes(whole)

    def truncate(self, size: int | None = None) -> int:
        """Record the new length of the file."""
        self._size = self._position if size is None else size
        return self._size

    def carry_out(self, removing: bool) -> None:
        """Carry out the recorded writes, in the order for added or for removed frames."""
        new, *changes = self._in_order()
        try:
            if self._size > self._committed_size:
                os.posix_fallocate(self.descriptor, self._committed_size, self._size - self._committed_size)
            self._write_all(new[::-1])  # the superblock of a new file comes last
        except OSError:
            os.ftruncate(self.descriptor, self._committed_size)
            raise
        for blocks in reversed(changes) if removing else changes:
            self._write_all(blocks)
        if self._size < self._committed_size:
            os.ftruncate(self.descriptor, self._size)
        self._committed_size, self._pending = self._size, {}

    def close(self) -> None:
        """Close the file; discard what is not committed."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor, self._pending = -1, {}
        super().close()

    def _in_order(self) -> tuple[list[Block], ...]:
        """The recorded writes as new blocks, raw data, superblock, index nodes, headers; each by address."""
        new, raw, superblock, nodes, headers = [], [], [], [], []
        for offset, block in sorted(self._pending.items()):
            inside = self._committed_size - offset
            if inside < len(block):
                new.append((offset + max(inside, 0), block[max(inside, 0) :]))
                block = block[: max(inside, 0)]
            if not block:
                continue
            if block.startswith(_NODE):
                nodes.append((offset, block))
            elif len(block) > _HEADER:
                raw.append((offset, block))
            else:
                headers.append((offset, block))
        if headers and headers[0][0] < _SUPERBLOCK:
            superblock.append(headers.pop(0))
        return new, raw, superblock, nodes, self._joined(headers)

    def _joined(self, blocks: list[Block]) -> list[Block]:
        """The same as one block, if they are close to each other."""
        if len(blocks) < 2 or blocks[-1][0] - blocks[0][0] > _SPAN:
            return blocks
        begin, end = blocks[0][0], blocks[-1][0] + len(blocks[-1][1])
        whole = bytearray(os.pread(self.descriptor, end - begin, begin).ljust(end - begin, b"\0"))
        for offset, block in blocks:
            whole[offset - begin : offset - begin + len(block)] = block
        return [(begin, bytes(whole))]

    def _write_all(self, blocks: list[Block]) -> None:
        for offset, block in blocks:
            done = os.pwrite(self.descriptor, block, offset)
            while done < len(block):
                done += os.pwrite(self.descriptor, block[done:], offset + done)
