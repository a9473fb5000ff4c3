"""Settlements that the store could not take in time, on disk until it has: one file per process.

    1 5d41402a {"request_id": …}     a line each: version, CRC-32 of what follows, the whole settlement as JSON

A file belongs to whoever holds its lock, which ends with its process. So a file that can be locked is an orphan's, and
whoever locks it may replay it. What cannot be read or replayed is kept aside in `NAME.aside`, never dropped.
"""

from __future__ import annotations

import fcntl
import logging
import os
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from apps.ledger.operations import Settle

logger = logging.getLogger(__name__)

VERSION: Final = b"1"
SUFFIX: Final = ".journal"
ASIDE: Final = ".aside"
"""After the suffix. To have such a file replayed again, once it can be, take this off its name."""
CHUNK_BYTES: Final = 1 << 20

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Settle).decode


class JournalFailed(Exception):
    """A settlement could not be written down, or the journal not be opened."""


class JournalFile:
    """One locked file, and what in it is not settled yet. Its methods block: call them in a thread."""

    def __init__(self, path: Path, descriptor: int, *, is_orphan: bool) -> None:
        self.path = path
        self.pending: dict[uuid.UUID, Settle] = {}
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._is_orphan = is_orphan

    @classmethod
    def create(cls, directory: Path, process_id: uuid.UUID) -> JournalFile:
        """Raises: OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{process_id}{SUFFIX}"
        # Locked before it has the name that others look for.
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            draft.rename(path)
            _sync_directory(directory)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor, is_orphan=False)

    @classmethod
    def adopt(cls, path: Path) -> JournalFile | None:
        """Take over a dead process's file; None where its process lives, or somebody else took it over.

        Raises: OSError, where it cannot be read, or what cannot be replayed not be kept aside.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:
                # Somebody replayed and removed it before we had the lock.
                os.close(descriptor)
                return None
            adopted = cls(path, descriptor, is_orphan=True)
            settlements, unreadable = parse(read_all(descriptor))
            if unreadable:
                adopted._keep_aside(unreadable)
                logger.error("%d lines of %s cannot be read: kept aside", len(unreadable), path)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        adopted.pending = {settlement.request_id: settlement for settlement in settlements}
        return adopted

    def append(self, settlements: Sequence[Settle]) -> None:
        """Write them down, all or none; on disk when this returns. Raises: JournalFailed."""
        data = b"".join(map(render, settlements))
        try:
            _write(self._descriptor, data)
            os.fsync(self._descriptor)
        except OSError as error:
            try:
                os.ftruncate(self._descriptor, self._size)
            except OSError:
                logger.exception("%s may hold settlements whose calls were told that they failed", self.path)
            raise JournalFailed(f"{self.path}: {error.strerror}") from error
        self._size += len(data)
        self.pending.update((settlement.request_id, settlement) for settlement in settlements)

    def forget(self, request_id: uuid.UUID) -> None:
        """It is settled. Until all are, those that are stay on disk: replayed once more, they change nothing."""
        if self.pending.pop(request_id, None) is None or self.pending:
            return
        if self._is_orphan:
            self.close()
        else:
            os.ftruncate(self._descriptor, 0)
            self._size = 0

    def put_aside(self, request_id: uuid.UUID) -> None:
        """The store refuses it, and will: let an operator see to it."""
        settlement = self.pending.get(request_id)
        if settlement is not None:
            self._keep_aside([render(settlement)])
            self.forget(request_id)

    def close(self) -> None:
        """Give it up: removed where nothing is pending, else left to whoever adopts it."""
        if self._descriptor < 0:
            return
        if not self.pending:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1

    def _keep_aside(self, lines: Iterable[bytes]) -> None:
        aside = os.open(f"{self.path}{ASIDE}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            _write(aside, b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
            os.fsync(aside)
        finally:
            os.close(aside)
        _sync_directory(self.path.parent)


def render(settlement: Settle) -> bytes:
    """The line of one settlement, without what the call was answered."""
    payload = _encode(settlement if settlement.reply is None else replace(settlement, reply=None))
    return b"%s %08x %s\n" % (VERSION, zlib.crc32(payload), payload)


def parse(data: bytes) -> tuple[list[Settle], list[bytes]]:
    """The settlements of a file, and the lines that are none: torn, damaged, or of another version."""
    settlements, unreadable = [], []
    *lines, tail = data.split(b"\n")
    for line in lines:
        settlement = _parse_line(line)
        if settlement is not None:
            settlements.append(settlement)
        else:
            unreadable.append(line)
    return settlements, [*unreadable, tail] if tail else unreadable


def _parse_line(line: bytes) -> Settle | None:
    version, _, rest = line.partition(b" ")
    checksum, _, payload = rest.partition(b" ")
    if version != VERSION or checksum != b"%08x" % zlib.crc32(payload):
        return None
    try:
        return _decode(payload)
    except msgspec.DecodeError:
        return None


def read_all(descriptor: int) -> bytes:
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    while part := os.read(descriptor, CHUNK_BYTES):
        parts.append(part)
    return b"".join(parts)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
