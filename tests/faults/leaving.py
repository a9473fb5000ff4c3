"""C2, C3: callers that leave where nothing was said yet, and callers that stay and do not read."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import psutil

from tests.faults.callers import Seen, new_tag
from tests.faults.races import CALL_CREDITS, MOST_TOKENS
from tests.faults.rig import EXACT_MODEL, ROOMY, Rig, own_rig
from tests.faults.table import Row
from tests.faults.wish import Wish
from tests.flows.endpoints import CHAT, ENDPOINTS, TEXT_ENDPOINTS, Endpoint
from tests.flows.raw_socket import Connection
from tests.flows.rig import Person, eventually

ROUNDS: Final = 10
THINKING_MS: Final = 400
"""An upstream is silent for so long: its caller leaves meanwhile."""
PLACE_S: Final = 0.1
"""Within this a place in the queue is free again."""
READERS: Final = 24
KILOBYTES: Final = 6_000
"""Of an answer: more than a connection's buffers take."""
STUCK_S: Final = 5.0
MOST_GROWTH_MB: Final = 64.0
SMALL_BUFFER: Final = 4_096


def run(scale: float = 1.0, *, is_embedded: bool = False) -> list[Row]:
    with own_rig(is_embedded=is_embedded, workers=1) as rig:
        left = leave(rig, max(1, round(ROUNDS * scale)))
    with own_rig(is_embedded=is_embedded, workers=1) as rig:
        return [left, do_not_read(rig, max(8, round(READERS * scale)))]


def leave(rig: Rig, rounds: int) -> Row:
    seen: list[Seen] = []
    violations: list[str] = []
    for _ in range(rounds):
        alice = rig.person("alice")
        short = rig.person("short", credits=str(CALL_CREDITS))
        rig.operator.tell_server()
        for endpoint in ENDPOINTS:
            seen += [leave_working(rig, alice, endpoint, is_stream=is_stream) for is_stream in (False, True)]
        for endpoint in TEXT_ENDPOINTS:
            seen += leave_waiting_for_credits(rig, short, endpoint, violations)
            rig.operator.run("top_up", short.account_id, CALL_CREDITS, "--reference", new_tag("again"))
        seen += leave_queue(rig, alice, violations)
    eventually(lambda: rig.held_micro() == 0, timeout_s=20)
    violations += rig.prove(seen)
    figures = f"{len(seen)} calls: plain and streamed before a byte came, waiting for held credits, in the queue"
    return Row("C2 callers that leave before an answer", len(seen), violations, figures)


def leave_working(rig: Rig, person: Person, endpoint: Endpoint, *, is_stream: bool) -> Seen:
    """The upstream works on it: it is billed, whoever still listens."""
    wish = Wish(new_tag("left"), gap_ms=THINKING_MS, parts=1)
    with posted(person, endpoint, wish, is_stream=is_stream) as (_, seen):
        eventually(lambda: wish.tag in rig.oracle.calls())
    return seen


def leave_waiting_for_credits(rig: Rig, person: Person, endpoint: Endpoint, violations: list[str]) -> list[Seen]:
    """Another call holds all there is: whoever leaves while it waits costs nothing and reaches nobody."""
    exact = {"model": EXACT_MODEL, **endpoint.at_most(MOST_TOKENS)}
    first = Wish(new_tag("holds"), gap_ms=THINKING_MS, output=MOST_TOKENS)
    second = Wish(new_tag("waits"), output=MOST_TOKENS)
    with posted(person, endpoint, first, is_stream=False, **exact) as (_, holding):
        eventually(lambda: first.tag in rig.oracle.calls())
        with posted(person, endpoint, second, is_stream=False, **exact) as (_, waiting):
            time.sleep(0.1)
    eventually(lambda: person.balance == 0)
    if second.tag in rig.oracle.calls():
        violations.append(f"C2: {second.tag} was forwarded after its caller had left")
    return [holding, waiting]


def leave_queue(rig: Rig, person: Person, violations: list[str]) -> list[Seen]:
    """One slot, one place in the queue: whoever leaves it makes room at once, and reaches nobody."""
    rig.operator.run("set_policy", CHAT.model, "--concurrency", 1, "--queue-length", 1, "--queue-seconds", 5)
    rig.operator.tell_server()
    wishes = [Wish(new_tag("queue"), gap_ms=2 * THINKING_MS) for _ in range(3)]
    with posted(person, CHAT, wishes[0], is_stream=False) as (running, first):
        eventually(lambda: wishes[0].tag in rig.oracle.calls())
        with posted(person, CHAT, wishes[1], is_stream=False) as (_, second):
            time.sleep(0.1)
        time.sleep(PLACE_S)
        with posted(person, CHAT, wishes[2], is_stream=False) as (waiting, third):
            statuses = [running.reply().status, waiting.reply().status]
    if statuses != [200, 200]:
        violations.append(f"C2: a place in the queue was not free after {PLACE_S} s: {statuses}")
    if wishes[1].tag in rig.oracle.calls():
        violations.append(f"C2: {wishes[1].tag} was forwarded after its caller had left the queue")
    rig.operator.run("set_policy", CHAT.model, *ROOMY, "--queue-length", 64)
    rig.operator.tell_server()
    return [first, second, third]


@contextmanager
def posted(
    person: Person, endpoint: Endpoint, wish: Wish, *, is_stream: bool, **fields: Any
) -> Iterator[tuple[Connection, Seen]]:
    """A call under way; leaving the block hangs up."""
    asked: dict[str, Any] = {"stream": True, **fields} if is_stream else fields
    body = endpoint.body(wish.prompt, **asked)
    with Connection(person.server.port) as connection:
        connection.post(endpoint.path, body, key=person.key)
        yield connection, Seen(wish, endpoint, is_stream, person.account_id, was_left=True)


def do_not_read(rig: Rig, readers: int) -> Row:
    """Everybody asks for a long stream and takes nothing of it; then everybody leaves."""
    alice = rig.person("alice")
    rig.operator.tell_server()
    (process,) = rig.gateway.web
    memory = psutil.Process(process.pid)
    alice.call(CHAT.path, CHAT.body(Wish(new_tag("warm")).prompt))
    before_mb = megabytes(memory)
    wishes = [Wish(new_tag("stuck"), kilobytes=KILOBYTES, parts=400) for _ in range(readers)]
    with ExitStack() as held:
        for wish in wishes:
            held.enter_context(stuck(alice, wish))
        grown_mb = peak_mb(memory, STUCK_S) - before_mb
        healthy = alice.call(CHAT.path, CHAT.body(Wish(new_tag("healthy")).prompt)).status
    eventually(lambda: rig.held_micro() == 0, timeout_s=30)
    seen = [Seen(wish, CHAT, True, alice.account_id, was_left=True) for wish in wishes]
    violations = rig.prove(seen)
    if grown_mb >= MOST_GROWTH_MB:
        violations.append(f"I13: {readers} readers that do not read cost {grown_mb:.0f} MB")
    if healthy != 200:
        violations.append(f"C3: another caller got {healthy}")
    asked_mb = readers * KILOBYTES / 1_000
    figures = f"{asked_mb:.0f} MB of answers that nobody took cost {max(grown_mb, 0):.0f} MB of memory"
    return Row("C3 callers that do not read", readers, violations, figures)


@contextmanager
def stuck(person: Person, wish: Wish) -> Iterator[None]:
    content = json.dumps(CHAT.body(wish.prompt, stream=True)).encode()
    head = (
        f"POST {CHAT.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {person.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with socket.socket() as connection:
        # Before it connects: a window that was offered is never taken back.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        connection.connect(("127.0.0.1", person.server.port))
        connection.sendall(head.encode() + content)
        yield


def megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 1_000_000


def peak_mb(process: psutil.Process, seconds: float) -> float:
    ends_at, peak = time.monotonic() + seconds, 0.0
    while time.monotonic() < ends_at:
        peak = max(peak, megabytes(process))
        time.sleep(0.1)
    return peak
