"""A paid call on a bench: a caller, an upstream and a ledger that do what a test says. No socket, no database."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast

from apps.accounts.cache import AccountSnapshot
from apps.catalog.cache import ModelSnapshot
from apps.catalog.pricing import Price
from apps.catalog.rules import Bounds, Capacity, InsurancePolicy, Worth
from apps.core import clock
from apps.core.money import payout_micro
from apps.dialects.passage import PassThrough
from apps.dialects.protocol import Request
from apps.dialects.registry import BY_ENDPOINT
from apps.gateway.alerts import Alerts
from apps.gateway.call import Call, Message, read_head
from apps.gateway.counting import Counter
from apps.gateway.forward import Forwarded
from apps.gateway.permit import Permit
from apps.gateway.retries import Retries
from apps.gateway.running import Running
from apps.gateway.stores import Stores
from apps.gateway.ways import first_way
from apps.governor.store.memory import MemoryGovernor
from apps.governor.store.protocol import Admission, Ask
from apps.governor.telemetry.tally import Telemetry
from apps.keys.rules import KeySnapshot
from apps.ledger.operations import Granted, Pending, Release, Settle, Settled
from apps.upstreams.rules import RouteSnapshot
from apps.upstreams.transport.protocol import UpstreamCall
from apps.usage.record import Record

CHAT = BY_ENDPOINT["chat"]
KEY_ID, ACCOUNT_ID = uuid.UUID(int=1), uuid.UUID(int=2)
KEY = KeySnapshot(
    key_id=KEY_ID,
    account_id=ACCOUNT_ID,
    is_suspended=False,
    expires_at=None,
    allowed_models=frozenset(),
    allowed_networks=(),
    limit_micro=None,
    daily_budget_micro=None,
    hourly_budget_micro=None,
    rpm_limit=None,
    model_limits={},
)
CAPACITY = Capacity(concurrency=2, rpm=100, tpm=10**9, ipm=None, queue_s=0, queue_length=0, queue_tokens=0)
MODEL = ModelSnapshot(
    model_id="gpt-5-5",
    name="GPT-5.5",
    surface="text",
    context_tokens=1_000_000,
    max_output_tokens=128_000,
    cli_only=False,
    dialects=("openai-chat",),
    input_modalities=("text",),
    output_modalities=("text",),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    max_tokens_field="",
    bounds=Bounds(),
    price=Price(uuid.UUID(int=3), input=1_000_000, output=2_000_000),
    capacity=CAPACITY,
    insurance=InsurancePolicy(uuid.UUID(int=5), threshold_ms=90_000, percent=25, ms_per_output_token=25),
)


def head(path: str = "/v1/chat/completions", *, method: str = "POST", **headers: str | bytes) -> Call:
    """A call's head; header names are written with underscores."""
    pairs = [
        (name.replace("_", "-").encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]
    return read_head(
        {"headers": pairs, "path": path, "method": method, "client": ("192.0.2.7", 1)}, dialect=BY_ENDPOINT["chat"]
    )


class Caller:
    """The other end of `receive` and `send`."""

    def __init__(self, *, takes_parts: int = 10**9) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()
        self._takes_parts = takes_parts

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            if self._takes_parts == 0:
                await asyncio.Event().wait()
            self._takes_parts -= 1
        self.sent.append(message)

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def has_whole_reply(self) -> bool:
        return bool(self.sent) and not self.sent[-1].get("more_body", False)


class Upstream:
    """A 2xx reply: bytes come at once, numbers are seconds of silence, exceptions are raised."""

    def __init__(self, steps: Sequence[bytes | float | Exception], *, status: int = 200) -> None:
        self.status = status
        self.headers: Mapping[str, str] = {}
        self.is_closed = False
        self._steps = steps

    async def chunks(self) -> AsyncIterator[bytes]:
        for step in self._steps:
            if isinstance(step, bytes):
                yield step
            elif isinstance(step, Exception):
                raise step
            else:
                await asyncio.sleep(step)

    async def read(self, limit: int) -> bytes:
        return b"".join([part async for part in self.chunks()])

    def close(self) -> None:
        self.is_closed = True


class Ledger:
    """Writes down what it is asked for; `answer` says what becomes of a settlement."""

    def __init__(self) -> None:
        self.settled: list[Settle] = []
        self.released: list[Release] = []
        self.failure: Exception | None = None
        self.is_away = False
        """Settlements go to a journal."""
        self.pause_s = 0.0
        self.payout_cap_micro = 10**15

    async def settle(self, asked: Settle) -> Settled | Pending:
        await asyncio.sleep(self.pause_s)
        if self.failure is not None:
            raise self.failure
        self.settled.append(asked)
        if self.is_away:
            return Pending(asked.charge_micro)
        paid = 0 if asked.defers_payout else payout_micro(asked.charge_micro, asked.payout_percent)
        paid = min(paid, self.payout_cap_micro)
        return Settled(asked.charge_micro, 10**9, 10**9 - asked.charge_micro, compensated_micro=paid)

    def record(self, asked: Release) -> None:
        self.released.append(asked)


class Wires:
    """The transport: hands out what a test lined up, in turn, and keeps what was sent. Exceptions are raised, numbers
    are seconds of silence before what follows."""

    def __init__(self, *replies: Upstream | Exception | float) -> None:
        self.sent: list[UpstreamCall] = []
        self._replies = list(replies)

    async def send(self, call: UpstreamCall) -> Upstream:
        self.sent.append(call)
        reply = self._replies.pop(0)
        if isinstance(reply, float):
            await asyncio.sleep(reply)
            reply = self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        assert isinstance(reply, Upstream)
        return reply


class Bench:
    """One stream of a chat call, from the upstream's head to the caller's last byte."""

    def __init__(
        self,
        *routes: RouteSnapshot,
        takes_parts: int = 10**9,
        replies: Sequence[Upstream | Exception | float] = (),
        governor: MemoryGovernor | None = None,
        **fields: Any,
    ) -> None:
        self.claims_told = 0
        """How often somebody was told that insurance owes something."""
        self.caller = Caller(takes_parts=takes_parts)
        self.ledger = Ledger()
        self.governor = governor or MemoryGovernor()
        self.wires = Wires(*replies)
        self.alerts: list[tuple[str, str, str, int]] = []
        self.stores = cast(
            Stores,
            SimpleNamespace(
                ledger=self.ledger,
                governor=self.governor,
                transport=self.wires,
                draining=0,
                counter=Counter(),
                retries=Retries(),
                telemetry=Telemetry(),
                alerts=Alerts(lambda *facts: self.alerts.append(facts)),
                claims_due=self.claims_due,
            ),
        )
        self.record: Record
        """Of the call that was made last, where a test keeps it."""
        self.routes = list(routes) or [route_of("openai-chat")]
        self.route = self.routes[0]
        body = {"model": "gpt-5-5", "stream": True, "messages": [{"role": "user", "content": "Hi"}], **fields}
        self.request = BY_ENDPOINT["chat"].parse(json.dumps(body).encode())

    def claims_due(self) -> None:
        self.claims_told += 1

    def forwarded(self, *steps: bytes | float | Exception) -> Forwarded:
        return Forwarded(
            self.route, PassThrough(CHAT, self.request), Upstream(steps), clock.monotonic(), clock.monotonic() + 60
        )

    async def running(self) -> Running:
        call = head()
        ask = Ask(
            account_id=ACCOUNT_ID,
            key_id=KEY_ID,
            model_id=MODEL.model_id,
            capacity=CAPACITY,
            account_rpm=100,
            key_rpm=None,
            key_model_rpm=None,
            tokens=10,
        )
        admission: Admission = await self.governor.admit(ask)
        record = Record(
            request_id=call.request_id,
            account_id=ACCOUNT_ID,
            key_id=KEY_ID,
            model_id=MODEL.model_id,
            endpoint="chat",
            is_stream=self.request.is_stream,
            received_at=call.received_at,
        )
        return Running(call, _permit(self.request, self.routes), admission, Granted(10**6), record, None)


def route_of(*dialects: str, key: str = "route", priority: int = 0, exposes_model: bool = False) -> RouteSnapshot:
    return RouteSnapshot(
        route_id=uuid.UUID(int=4),
        key=key,
        provider="scripted",
        dialects=dialects,
        base_urls=dict.fromkeys(dialects, "http://127.0.0.1/v1"),
        upstream_model="theirs",
        credential="",
        weight=1,
        priority=priority,
        exposes_model=exposes_model,
        keeps_state=False,
        connect_timeout_s=1,
        first_byte_timeout_s=1,
        idle_timeout_s=60,
        total_timeout_s=60,
    )


def _permit(request: Request, routes: list[RouteSnapshot]) -> Permit:
    way, able = first_way(routes, model=MODEL, dialect=CHAT, request=request, account_tag=ACCOUNT_ID.hex)
    return Permit(
        key=KEY,
        account=cast(AccountSnapshot, SimpleNamespace(account_id=ACCOUNT_ID)),
        model=MODEL,
        request=request,
        dialect=CHAT,
        routes=able,
        way=way,
        price=MODEL.price,
        worth=Worth(10**6, 10**6, 0, 2_000_000, 100),
        writes_1h=False,
        session_id="",
        is_strict=False,
    )


def chunk(text: str | None = None, *, finish: bool = False) -> bytes:
    """One chat chunk: some text, or the end of the choice."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": "stop" if finish else None}
    return b"data: " + json.dumps({"id": "x", "choices": [choice]}).encode() + b"\n\n"


def usage_chunk(prompt: int, completion: int) -> bytes:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return b"data: " + json.dumps({"id": "x", "choices": [], "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def billing(body: bytes) -> Any:
    """The `billing` object of a chat stream; None where there is none."""
    for line in body.decode().splitlines():
        if '"hypereal"' in line:
            return json.loads(line.removeprefix("data: "), parse_float=Decimal)["hypereal"]["billing"]
    return None
