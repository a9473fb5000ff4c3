"""Read the recorded exchanges that `HYPEREAL_CORPUS_DIR` names (default: `../shared/corpus` beside the project).

A recording is one JSON file with a provider's request and its reply, as they were. Where the folder is missing, the
tests that need it are skipped and say so.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(os.environ.get("HYPEREAL_CORPUS_DIR") or ROOT.parent / "shared" / "corpus")


@dataclass(frozen=True, slots=True)
class Recording:
    id: str
    dialect: str
    provider: str
    request: dict[str, Any] | None
    status: int
    is_stream: bool
    """The reply is a stream; the request may have asked for one and met an error."""
    headers: dict[str, str]
    body: Any
    """A plain reply's JSON."""
    sse: str
    """A stream as it was."""
    usage: dict[str, int] | None
    """What the provider counted, in disjoint buckets; None where it counted nothing."""
    features: frozenset[str]

    @property
    def name(self) -> str:
        """Short enough for a test's id: `anthropic-messages-048`."""
        number = self.id.removeprefix(f"{self.dialect}-").partition("-")[0]
        return f"{self.dialect}-{number}"

    @property
    def raw(self) -> bytes:
        """The reply's body as bytes."""
        if self.is_stream:
            return self.sse.encode()
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


def _read(path: Path) -> Recording:
    kept = json.loads(path.read_text())
    reply = kept["response"]
    return Recording(
        id=kept["id"],
        dialect=kept["dialect"],
        provider=kept["provider"],
        request=kept["request"],
        status=reply["status"],
        is_stream=reply.get("sse") is not None,
        headers={name.lower(): value for name, value in (reply.get("headers") or {}).items()},
        body=reply.get("body"),
        sse=reply.get("sse") or "",
        usage=kept["usage"],
        features=frozenset(kept["features"]),
    )


RECORDINGS: Final = tuple(_read(path) for path in sorted(FOLDER.glob("*/*.json")))

needs_corpus: Final = pytest.mark.skipif(
    not RECORDINGS, reason=f"no recordings in {FOLDER}: HYPEREAL_CORPUS_DIR names their folder"
)


def named(recording: Recording) -> str:
    return recording.name


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event with data; `json` is a string where the data is no JSON (`[DONE]`)."""

    name: str
    json: Any


def events_of(stream: bytes) -> list[Event]:
    """Every event with data, whatever its line ends."""
    text = stream.decode().replace("\r\n", "\n").replace("\r", "\n")
    events = []
    for block in text.split("\n\n"):
        name, lines = "", []
        for line in block.split("\n"):
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                lines.append(line[5:].removeprefix(" "))
        data = "\n".join(lines)
        if data:
            events.append(Event(name, data if data.strip() == "[DONE]" else json.loads(data, parse_float=Decimal)))
    return events


def with_crlf(stream: bytes) -> bytes:
    return stream.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def cut(stream: bytes, *, seed: str, pieces: int = 7) -> list[bytes]:
    """The stream in pieces, cut at offsets that are the same on every run."""
    draws = random.Random(seed)
    offsets = sorted({0, len(stream), *(draws.randrange(1, max(2, len(stream))) for _ in range(pieces - 1))})
    return [stream[start:end] for start, end in itertools.pairwise(offsets)]
