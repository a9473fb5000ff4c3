"""Events come out whole wherever their bytes were cut, with any line end."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.dialects.common import sse
from apps.dialects.common.sse import COMMENT, Event, EventTooLarge, Splitter
from tests.dialects.bodies import relaxed


def split(data: bytes) -> list[Event]:
    splitter = Splitter()
    return splitter.feed(data) + splitter.end()


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: {}\n\n", [Event(b"", b"{}", b"data: {}\n\n")]),
        (b"event: ping\ndata: {}\n\n", [Event(b"ping", b"{}", b"event: ping\ndata: {}\n\n")]),
        (b"\xef\xbb\xbfdata: 1\n\n", [Event(b"", b"1", b"data: 1\n\n")]),
        (b"data:1\n\n", [Event(b"", b"1", b"data: 1\n\n")]),
        (b"data: 1\r\n\r\ndata: 2\r\n\r\n", [Event(b"", b"1", b"data: 1\n\n"), Event(b"", b"2", b"data: 2\n\n")]),
        (b"data: 1\r\rdata: 2\r\r", [Event(b"", b"1", b"data: 1\n\n"), Event(b"", b"2", b"data: 2\n\n")]),
        (b"data: {\ndata: }\n\n", [Event(b"", b"{ }", b"data: { }\n\n")]),
        (b"id: 7\nretry: 5\njunk\ndata: 1\nevent: x\n\n", [Event(b"x", b"1", b"event: x\ndata: 1\n\n")]),
        (b": OPENROUTER PROCESSING\n\n", [Event(b"", b"", COMMENT)]),
        (b": hello\ndata: 1\n\n", [Event(b"", b"1", b"data: 1\n\n")]),
        (b"\n\n\n\ndata: 1\n\n\n\n", [Event(b"", b"1", b"data: 1\n\n")]),
        (b"retry: 10\n\n", []),
        (b"data\n\n", []),
        (b"data: 1", [Event(b"", b"1", b"data: 1\n\n")]),
        (b"data: 1\n", [Event(b"", b"1", b"data: 1\n\n")]),
        (b"", []),
    ],
)
def test_events_are_read_and_framed_alike(data: bytes, events: list[Event]) -> None:
    assert split(data) == events


LINES = st.sampled_from(
    [b"data: {\"a\":1}", b"data:2", b"event: ping", b": comment", b"id: 3", b"", b"", b"junk", b"data: \xc3\xa9"]
)  # fmt: skip
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@relaxed
@given(
    lines=st.lists(st.tuples(LINES, ENDS), max_size=20),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_cuts_make_no_difference(lines: list[tuple[bytes, bytes]], bom: bytes, cuts: list[int]) -> None:
    stream = bom + b"".join(line + end for line, end in lines)
    splitter = Splitter()
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    found: list[Event] = []
    for start, stop in itertools.pairwise(edges):
        found += splitter.feed(stream[start:stop])
    assert found + splitter.end() == split(stream)


def test_every_single_byte_cut() -> None:
    stream = b"\xef\xbb\xbfevent: a\r\ndata: 1\r\n\r\n: hi\n\ndata: 2\r\rdata: 3\n\n"
    splitter = Splitter()
    found: list[Event] = []
    for at in range(len(stream)):
        found += splitter.feed(stream[at : at + 1])
    assert found + splitter.end() == split(stream)
    assert [event.data for event in found] == [b"1", b"", b"2", b"3"]


def test_an_event_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1_000)
    splitter = Splitter()
    assert splitter.feed(b"data: " + b"x" * 900) == []
    with pytest.raises(EventTooLarge):
        splitter.feed(b"x" * 200)
    with pytest.raises(EventTooLarge):
        Splitter().feed(b"data: 1\n\ndata: " + b"x" * 2_000 + b"\n\n")
    assert len(Splitter().feed((b"data: " + b"x" * 500 + b"\n\n") * 10)) == 10


def test_a_large_event_comes_whole_out_of_many_pieces() -> None:
    payload = b"A" * 3_000_000
    stream = b"data: " + payload + b"\n\n"
    splitter = Splitter()
    found: list[Event] = []
    for start in range(0, len(stream), 65_536):
        found += splitter.feed(stream[start : start + 65_536])
    assert [event.data for event in found] == [payload]
