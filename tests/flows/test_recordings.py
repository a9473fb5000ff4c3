"""Every recorded exchange, replayed through the gateway: its caller gets what the provider said, and pays what it
counted; or is refused by a row of our tables, each of which is listed here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import pytest

from tests.corpus.meaning import is_told
from tests.corpus.recordings import RECORDINGS, Recording, cut, events_of, named, needs_corpus, with_crlf
from tests.corpus.streams import fails, is_error, visible, without_ours
from tests.flows.bills import bill_of_buckets
from tests.flows.endpoints import ENDPOINTS, TEXT_ENDPOINTS, Endpoint
from tests.flows.rig import Operator, Person, Reply, eventually
from tests.flows.upstream import Answer, Script, ScriptedUpstream, plain, streamed

pytestmark = needs_corpus

BY_DIALECT: Final = {endpoint.dialect: endpoint for endpoint in ENDPOINTS}
MODEL_OF: Final = {
    "openai-chat": "qwen3-7-max",
    "openai-responses": "gpt-5-5",
    "openai-images": "gpt-image-2",
    "anthropic-messages": "claude-opus-4-8",
}
"""Models with a price for every meter that their dialect has."""
DRAWS: Final = "nano-banana-2"
GEMINI: Final = "gemini"
BEHIND: Final = {**MODEL_OF, GEMINI: "kimi-latest"}
"""For callers of other dialects."""

REFUSED: Final = {
    # price
    "audio", "background", "service_tier", "context_management.edits[].type", "tools[].type", "tools[].max_uses",
    # model
    "provider",
    # what reaches beyond the request, or has no price
    "mcp_servers", "images", "input[].output[].file_url",
}  # fmt: skip
"""Fields that recorded callers sent and that we refuse, each by a row of a dialect's tables (SPEC 2.9)."""
NOT_FOUND: Final = {"previous_response_id", "messages[].content[].file.file_id"}
"""Ids of what was made in somebody else's account with the provider."""
MALFORMED: Final = {"messages"}
"""What the provider itself refused: a message that is no object."""

OURS: Final = {400: 400, 413: 413, 422: 422, 401: 502, 402: 502, 403: 502, 404: 502, 429: 503}
"""A provider's status, and ours for it (SPEC 2.6)."""

REPLAYED: Final = [
    one for one in RECORDINGS if one.request is not None and one.dialect in BY_DIALECT and one.status in {200, *OURS}
]
STREAMS: Final = [one for one in REPLAYED if one.is_stream]


@pytest.fixture(scope="module")
def provider(operator: Operator, scripted: ScriptedUpstream) -> Iterator[Script]:
    """One provider of all dialects, which answers whatever the test says."""
    script = scripted.script(plain(b"{}"))
    routes = []
    base_paths = {dialect: endpoint.base_path for dialect, endpoint in BY_DIALECT.items()} | {GEMINI: "/v1beta"}
    for dialect, model in [*BEHIND.items(), ("openai-chat", DRAWS)]:
        added = operator.run(
            "add_route", model, "--provider", "recorded", "--dialect", dialect,
            "--base-url", script.base_url + base_paths[dialect], "--upstream-model", "theirs",
        )  # fmt: skip
        routes.append(added["route_id"])
    operator.tell_server()
    yield script
    for route_id in routes:
        operator.run("remove_route", route_id)
    operator.tell_server()


@pytest.fixture(scope="module")
def dora(operator: Operator) -> Person:
    """Has credits for all of it."""
    return operator.person("dora", credits=1_000_000)


def model_of(recording: Recording) -> str:
    assert recording.request is not None
    draws = "image" in (recording.request.get("modalities") or ()) or "image_output" in recording.features
    return DRAWS if draws and recording.dialect == "openai-chat" else MODEL_OF[recording.dialect]


def replay(person: Person, script: Script, recording: Recording, answer: Answer) -> Reply:
    assert recording.request is not None
    script.answers(answer)
    body = {**recording.request, "model": model_of(recording)}
    if recording.status == 200:
        body["stream"] = recording.is_stream
    return person.call(BY_DIALECT[recording.dialect].path, body)


def recorded_answer(recording: Recording) -> Answer:
    if recording.is_stream:
        return streamed([recording.raw])
    return plain(recording.raw, status=recording.status)


def is_refused(recording: Recording, reply: Reply) -> bool:
    """Whether one of our tables refuses it; a refusal that is not listed fails the test."""
    if reply.status not in {400, 404}:
        return False
    error = reply.error
    field = re.sub(r"\[\d+\]", "[]", str(error.get("param") or first_field(error["message"])))
    if error["code"] == "not_found":
        assert field in NOT_FOUND, error
        return True
    if error["code"] == "unsupported_field":
        assert field in REFUSED, error
        return True
    return recording.status != 200 and field in MALFORMED


def first_field(message: str) -> str:
    """Messages' errors have no `param`: their text begins with the field's name."""
    return message.split("`")[1] if "`" in message else ""


def assert_paid(recording: Recording, billing: Any, *, model: str | None = None) -> None:
    assert billing["model"] == (model or model_of(recording))
    if recording.usage is None:
        assert billing["estimated"] is True
    else:
        assert "estimated" not in billing
        assert billing["credits_charged"] == bill_of_buckets(billing["model"], recording.usage)


@pytest.mark.parametrize("recording", [one for one in REPLAYED if not one.is_stream], ids=named)
def test_a_recorded_reply_reaches_its_caller_and_is_billed(
    dora: Person, provider: Script, recording: Recording
) -> None:
    reply = replay(dora, provider, recording, recorded_answer(recording))
    if is_refused(recording, reply):
        return
    said = recording.body
    if recording.status != 200 or said.get("error"):
        expected = OURS.get(recording.status, 502)
        assert reply.status == BY_DIALECT[recording.dialect].status(expected)
        assert "hypereal" not in reply.json
        return
    shown = reply.json
    billing = shown.pop("hypereal")["billing"]
    if "model" in said or "model" in shown:
        assert shown["model"] == model_of(recording)
        shown["model"] = said.get("model")
    assert shown == json.loads(recording.raw, parse_float=Decimal)
    assert_paid(recording, billing)


FORMS: Final = ("as_recorded", "crlf", "cut")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("recording", STREAMS, ids=named)
def test_a_recorded_stream_reaches_its_caller_and_is_billed(
    dora: Person, provider: Script, recording: Recording, form: str
) -> None:
    raw = recording.raw
    if form == "crlf":
        raw = with_crlf(raw)
    reply = replay(dora, provider, recording, streamed(cut(raw, seed=recording.id) if form == "cut" else [raw]))
    if is_refused(recording, reply):
        return
    if reply.status != 200:
        # What failed before its caller heard anything is a plain error.
        assert fails(recording)
        assert reply.code in {"upstream_error", "upstream_overloaded"}
        return
    expected = visible(recording)
    shown, billing = without_ours(recording, events_of(reply.body), model=model_of(recording))
    if fails(recording):
        assert billing is None
        told = [event for event in shown if is_error(event)]
        assert told
        assert shown == expected[: len(shown) - len(told)] + told
        return
    assert shown == expected
    assert_paid(recording, billing)


HOSTED: Final = re.compile(r"server_tool:|item:(?:web|file)_search_call|item:\w+_interpreter_call|item:x_search_call")
"""Tools of the provider's, each use of which costs something beside its tokens."""


def costs_tokens_only(recording: Recording) -> bool:
    return "prompt_blocked" not in recording.features and not any(map(HOSTED.match, recording.features))


TRANSLATED: Final = [
    (caller, recording)
    for recording in RECORDINGS
    if is_told(recording) and costs_tokens_only(recording)
    for caller in TEXT_ENDPOINTS
    if caller.dialect != recording.dialect
]


@pytest.mark.parametrize(
    ("caller", "recording"), TRANSLATED, ids=[f"{caller.name} of {one.name}" for caller, one in TRANSLATED]
)
def test_a_recorded_reply_costs_the_same_whoever_asks(
    dora: Person, provider: Script, caller: Endpoint, recording: Recording
) -> None:
    model = BEHIND[recording.dialect]
    provider.answers(recorded_answer(recording))
    reply = dora.call(caller.path, caller.body(model=model, stream=recording.is_stream))
    assert reply.status == 200, reply.body
    events = reply.events if recording.is_stream else [reply.json]
    (block,) = [
        holder["hypereal"]
        for event in events
        if event != "[DONE]"
        for holder in (event, event.get("response") or {})
        if "hypereal" in holder
    ]
    assert_paid(recording, block["billing"], model=model)


def test_what_was_charged_is_what_left_the_account(dora: Person) -> None:
    charged = sum((Decimal(record["credits_charged"]) for record in dora.records(10_000)), Decimal())
    eventually(lambda: dora.held == 0)
    assert dora.balance == dora.opening_balance - charged
