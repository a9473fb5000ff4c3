"""`python -m tests.faults.oracle JOURNAL`: the upstream of all fault tests, in a process that no fault reaches.

What it does is asked for in the prompt itself (`Wish`), in any of the four protocols; what it was asked, what it
reported and how far it got is in its journal, an SQLite file that outlives everybody (`journal.py` reads it). It prints
`{"url": …}` and ends with its standard input.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from tests.faults.wish import Wish, parse_wish
from tests.flows.endpoints import ENDPOINTS, MESSAGES, Endpoint
from tests.flows.upstream import Answer, Cut, Received, ScriptedUpstream, Step, plain, streamed

SCHEMA: Final = """
CREATE TABLE call (
    id INTEGER PRIMARY KEY, tag TEXT NOT NULL, endpoint TEXT NOT NULL, is_stream INTEGER NOT NULL, at REAL NOT NULL,
    input INTEGER NOT NULL, output INTEGER NOT NULL, max_tokens INTEGER, prompt TEXT NOT NULL,
    said INTEGER NOT NULL DEFAULT 0, is_reported INTEGER NOT NULL DEFAULT 0, is_sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX call_by_tag ON call (tag);
"""
"""`said`: parts of the text that were sent so far. `is_reported`: the bytes with the usage were about to be sent.
`is_sent`: the whole reply was."""

STALL_S: Final = 600.0
"""Whoever waits for more gives up before."""


def read_wish(endpoint: Endpoint, body: dict[str, Any]) -> Wish:
    """Find the prompt where each protocol has it."""
    text = body.get("prompt") or body.get("input")
    if text is None:
        content = body["messages"][0]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
    elif not isinstance(text, str):
        content = text[0]["content"]
        text = content if isinstance(content, str) else content[0]["text"]
    return parse_wish(text)


class Journal:
    """Written by the upstream's one loop."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # It survives whatever happens to others; only this machine's own crash would lose something.
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.executescript(SCHEMA)

    def asked(self, wish: Wish, endpoint: Endpoint, body: dict[str, Any]) -> int:
        tokens = wish.tokens(endpoint)
        maximum = body.get(endpoint.maximum or "")
        facts = (wish.tag, endpoint.name, bool(body.get("stream")), time.time(), tokens.input, tokens.output, maximum)
        cursor = self._connection.execute(
            "INSERT INTO call (tag, endpoint, is_stream, at, input, output, max_tokens, prompt)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*facts, wish.prompt),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def note(self, call: int, column: str, value: int = 1) -> Callable[[], None]:
        """A step that writes down how far a reply has got."""
        statement = f"UPDATE call SET {column} = ? WHERE id = ?"

        def write() -> None:
            self._connection.execute(statement, (value, call))

        return write


class Oracle:
    """Answers as it is wished, and writes down what it does before it does it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def answer(self, received: Received) -> Answer:
        endpoint = next(one for one in ENDPOINTS if received.path.endswith(one.upstream_path))
        body = received.json
        wish = read_wish(endpoint, body)
        call = self._journal.asked(wish, endpoint, body)
        if wish.status != 200:
            return plain(b'{"error": {"message": "as wished"}}', status=wish.status, x_request_id=wish.tag)
        if body.get("stream"):
            return streamed(self._stream(endpoint, wish, call), x_request_id=wish.tag)
        whole = plain(endpoint.reply(wish.tokens(endpoint), wish.text), x_request_id=wish.tag)
        steps: list[Step] = [wish.gap_ms / 1000, self._journal.note(call, "is_reported"), *whole.steps]
        return Answer(whole.status, whole.headers, [*steps, self._journal.note(call, "is_sent")])

    def _stream(self, endpoint: Endpoint, wish: Wish, call: int) -> list[Step]:
        events = endpoint.events(wish.tokens(endpoint), wish.text, parts=wish.parts)
        reports = next(index for index, event in enumerate(events) if reports_usage(endpoint, event))
        said = 0
        steps: list[Step] = []
        for index, event in enumerate(events):
            if index == wish.cut_after:
                return [*steps, Cut]
            if index == wish.stall_after:
                return [*steps, STALL_S]
            if index == reports:
                steps.append(self._journal.note(call, "is_reported"))
            steps.append(wish.gap_ms / 1000)
            if any(mark in event for mark in DELTAS):
                said += 1
                steps.append(self._journal.note(call, "said", said))
            steps.append(event)
        return [*steps, self._journal.note(call, "is_sent")]


def reports_usage(endpoint: Endpoint, event: bytes) -> bool:
    """Whether this event gives the final count: from there on the call has been served."""
    if endpoint is MESSAGES:
        return b'"message_delta"' in event
    return b'"usage": {' in event


DELTAS: Final = (b'"delta": {"content"', b"response.output_text.delta", b'"text_delta"')
"""Marks of the events that carry text."""


def main(path: str) -> int:
    scripted = ScriptedUpstream()
    script = scripted.script(Oracle(Journal(path)).answer)
    print(json.dumps({"url": script.base_url}), flush=True)
    sys.stdin.read()
    scripted.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
