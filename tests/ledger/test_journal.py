"""Journal files: what is written down comes back, who may take it over, and what cannot be read is kept."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apps.core.ids import new_id
from apps.core.tokens import TokenUsage
from apps.ledger.journal.file import JournalFailed, JournalFile, parse, render
from apps.ledger.journal.journal import Journal
from apps.ledger.journal.survey import survey
from apps.ledger.operations import HeldWindow, Settle
from tests.ledger.scripted import hold, settle

DAY = HeldWindow("account", "daily", datetime(2026, 11, 27, tzinfo=UTC), 5_000)

KEEPS_A_JOURNAL = """
import sys, uuid
from pathlib import Path
from apps.ledger.journal.file import JournalFile, parse
settlements, _ = parse(Path(sys.argv[2]).read_bytes())
JournalFile.create(Path(sys.argv[1]), uuid.UUID(int=7)).append(settlements)
print("written", flush=True)
sys.stdin.read()
"""


def whole() -> Settle:
    """A settlement with everything that one can have."""
    settlement = settle(hold(), 12_345)
    settlement.windows = (DAY,)
    settlement.record.use(TokenUsage(input=1_200, output=300, cache_read=7))
    settlement.record.price_version_id = new_id()
    settlement.record.facts = {"limit": "none", "value": "1.5"}
    settlement.record.client = "söme client/1.0"
    return settlement


def left_behind(directory: Path, *lines: bytes) -> Path:
    """What a process that was killed leaves: a file without a lock."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{new_id()}.journal"
    path.write_bytes(b"".join(lines))
    return path


def test_a_settlement_comes_back_as_it_was() -> None:
    settlements = [whole(), settle(hold(), 0)]
    assert parse(b"".join(map(render, settlements))) == (settlements, [])


def test_what_is_written_is_on_disk_under_a_lock(tmp_path: Path) -> None:
    first, second = whole(), whole()
    file = JournalFile.create(tmp_path / "journal", new_id())
    file.append([first])
    file.append([second])
    assert parse(file.path.read_bytes()) == ([first, second], [])
    assert (file.path.stat().st_mode & 0o777, file.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert JournalFile.adopt(file.path) is None


def test_a_file_is_empty_once_all_of_it_is_settled(tmp_path: Path) -> None:
    first, second = whole(), whole()
    file = JournalFile.create(tmp_path, new_id())
    file.append([first, second])
    file.forget(first.request_id)
    assert parse(file.path.read_bytes())[0] == [first, second]
    file.forget(second.request_id)
    file.forget(second.request_id)
    assert file.path.read_bytes() == b""
    file.append([first])
    assert parse(file.path.read_bytes()) == ([first], [])
    file.forget(first.request_id)
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_process_leaves_is_taken_over_once(tmp_path: Path) -> None:
    settlement = whole()
    path = left_behind(tmp_path, render(settlement))
    adopted = JournalFile.adopt(path)
    assert adopted is not None
    assert adopted.pending == {settlement.request_id: settlement}
    assert JournalFile.adopt(path) is None
    # Not settled: the next one may try.
    adopted.close()
    again = JournalFile.adopt(path)
    assert again is not None
    again.forget(settlement.request_id)
    assert list(tmp_path.iterdir()) == []
    assert JournalFile.adopt(path) is None


def test_a_killed_processs_settlements_are_there_for_others(tmp_path: Path) -> None:
    settlements = [whole(), settle(hold(), 20)]
    given, directory = tmp_path / "given", tmp_path / "journal"
    given.write_bytes(b"".join(map(render, settlements)))
    with subprocess.Popen(
        [sys.executable, "-c", KEEPS_A_JOURNAL, str(directory), str(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        (path,) = directory.iterdir()
        assert JournalFile.adopt(path) is None
        process.send_signal(signal.SIGKILL)
    adopted = JournalFile.adopt(path)
    assert adopted is not None
    assert list(adopted.pending.values()) == settlements
    adopted.close()


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda line: line[:-20], id="torn"),
        pytest.param(lambda line: line[:-1], id="torn just before its end"),
        pytest.param(lambda line: line.replace(b'"charge_micro":12345', b'"charge_micro":12346'), id="another charge"),
        pytest.param(lambda line: b"2" + line[1:], id="another version"),
        pytest.param(lambda line: b"\0" * 100 + b"\n", id="zeros"),
    ],
)
def test_a_damaged_line_is_kept_aside_and_hurts_no_other(tmp_path: Path, damage: Damage) -> None:
    first, last = whole(), whole()
    damaged = damage(render(whole()))
    is_torn = not damaged.endswith(b"\n")
    lines = [render(first), render(last), damaged] if is_torn else [render(first), damaged, render(last)]
    path = left_behind(tmp_path, *lines)
    adopted = JournalFile.adopt(path)
    assert adopted is not None
    assert list(adopted.pending.values()) == [first, last]
    aside = Path(f"{path}.aside")
    assert aside.read_bytes() == damaged.rstrip(b"\n") + b"\n"
    for settlement in (first, last):
        adopted.forget(settlement.request_id)
    assert list(tmp_path.iterdir()) == [aside]


def test_what_the_store_refuses_is_kept_aside_until_somebody_puts_it_back(tmp_path: Path) -> None:
    refused, other = whole(), whole()
    path = left_behind(tmp_path, render(refused), render(other))
    adopted = JournalFile.adopt(path)
    assert adopted is not None
    adopted.put_aside(refused.request_id)
    adopted.forget(other.request_id)
    (aside,) = tmp_path.iterdir()
    assert aside.name == f"{path.name}.aside"
    assert survey(tmp_path, patience_s=0).aside == [str(aside)]
    aside.rename(path)
    again = JournalFile.adopt(path)
    assert again is not None
    assert again.pending == {refused.request_id: refused}
    again.close()


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = JournalFile.create(tmp_path, new_id())
    kept, lost = whole(), whole()
    file.append([kept])
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        if len(data) < 200:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_some)
    with pytest.raises(JournalFailed, match="No space left on device"):
        file.append([lost])
    monkeypatch.undo()
    assert parse(file.path.read_bytes()) == ([kept], [])
    assert list(file.pending.values()) == [kept]
    file.append([lost])
    assert parse(file.path.read_bytes()) == ([kept, lost], [])
    file.close()


async def test_a_journal_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    in_the_way = tmp_path / "journal"
    in_the_way.write_text("a file")
    journal = Journal(in_the_way, new_id())
    with pytest.raises(JournalFailed, match="cannot be written in"):
        await journal.open()
    await journal.close()


async def test_empty_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    left_behind(tmp_path)
    settlement = whole()
    left_behind(tmp_path, render(settlement))
    journal = Journal(tmp_path, new_id())
    await journal.open()
    (adopted,) = await journal.adopt()
    assert (len(list(tmp_path.iterdir())), journal.pending) == (2, 1)
    assert await journal.adopt() == []
    await journal.forget(adopted, settlement.request_id)
    assert journal.pending == 0
    await journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_survey_tells_orphans_from_the_living(tmp_path: Path) -> None:
    file = JournalFile.create(tmp_path, new_id())
    file.append([whole(), whole()])
    orphan = left_behind(tmp_path, render(whole()))
    left_behind(tmp_path)
    found = survey(tmp_path, patience_s=-1)
    assert (found.pending, found.orphaned, found.aside) == (3, [str(orphan)], [])
    assert survey(tmp_path, patience_s=60).orphaned == []
    assert survey(tmp_path / "nowhere", patience_s=0).pending == 0
    file.close()
