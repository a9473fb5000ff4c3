"""Claude Code against the API root, with nothing but its seven variables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from tests.clients import claude_cli
from tests.clients.claude_cli import Terminal, environ
from tests.clients.rig import Workplace, bills, scripted
from tests.flows.conftest import AddUpstream
from tests.flows.endpoints import MESSAGES, typed
from tests.flows.rig import Operator, Person, eventually
from tests.flows.upstream import Answer, Cut, Received, plain, served, streamed

STANDARD, CLI_ONLY = "claude-opus-4-8", "claude-opus-4-7-max"


def note_task(workplace: Workplace) -> str:
    path = str(workplace.note)
    return scripted(
        ("Write", {"file_path": path, "content": "one\ntwo\n"}),
        ("Read", {"file_path": path}),
        ("Edit", {"file_path": path, "old_string": "two", "new_string": "three"}),
    )


@contextmanager
def terminal(workplace: Workplace, settings: dict[str, str], *options: str) -> Iterator[Terminal]:
    opened = Terminal(workplace, settings, *options)
    try:
        yield opened
    finally:
        opened.close()


@pytest.mark.parametrize("model", [STANDARD, CLI_ONLY])
def test_it_writes_reads_and_edits_a_file_and_each_call_is_billed(
    alice: Person, workplace: Workplace, model: str
) -> None:
    ran = claude_cli.run(workplace, note_task(workplace), environ(alice, opus=model))
    assert ran.status == 0, ran.out
    assert workplace.note.read_text() == "one\nthree\n"
    records = [record for record in bills(alice) if record["model"] == model]
    assert len(records) == 4
    assert {(record["endpoint"], record["status"]) for record in records} == {("messages", "succeeded")}
    sessions = {record["session_id"] for record in records}
    assert (len(sessions), "" in sessions) == (1, False)
    assert all(Decimal(str(record["credits_charged"])) > 0 for record in records)
    assert all(record["usage"]["cache_read"] > 0 for record in records[1:]), "its own breakpoints work"


def test_in_a_terminal_with_discovery_a_title_and_a_look_at_the_context(
    alice: Person, operator: Operator, workplace: Workplace
) -> None:
    settings = {**environ(alice), "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1"}
    del settings["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"]  # it would leave titles out
    with terminal(workplace, settings) as opened:
        opened.until(lambda: "❯" in opened.text)
        opened.type("Please tell me what a gateway is in one plain line")
        opened.until(lambda: "simulator" in opened.text)
        opened.type("/context")
        opened.until(lambda: "tokens" in opened.text and "Free" in opened.text)
    eventually(lambda: len(operator.run("usage", alice.account_id)["records"]) >= 2)
    records = bills(alice)
    assert {record["model"] for record in records} == {STANDARD, "claude-haiku-latest"}
    assert {record["status"] for record in records} <= {"succeeded", "abandoned"}
    assert len({record["session_id"] for record in records}) == 1


def test_a_subagent_works_under_the_same_session(alice: Person, workplace: Workplace) -> None:
    prompt = scripted(
        ("Agent", {"description": "Say hello", "prompt": "Say hello.", "subagent_type": "general-purpose"})
    )
    ran = claude_cli.run(workplace, prompt, environ(alice))
    assert ran.status == 0, ran.out
    records = bills(alice)
    assert {record["model"] for record in records} == {STANDARD, "claude-haiku-latest"}
    assert len({record["session_id"] for record in records}) == 1


def test_what_it_says_of_itself_reaches_the_upstream(
    alice: Person, workplace: Workplace, add_upstream: AddUpstream
) -> None:
    script = add_upstream(MESSAGES, served(MESSAGES), model=STANDARD)
    ran = claude_cli.run(workplace, "Say hello.", environ(alice))
    assert ran.status == 0, ran.out
    (call,) = script.calls
    assert "claude-code-20250219" in call.headers["anthropic-beta"].split(",")
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert call.json["model"] == "theirs"
    assert json.loads(call.json["metadata"]["user_id"])["session_id"]
    assert not {"x-app", "x-claude-code-session-id", "authorization"} & set(call.headers)


def test_thinking_comes_back_with_its_signature_byte_for_byte(
    alice: Person, workplace: Workplace, add_upstream: AddUpstream
) -> None:
    thought = {"type": "thinking", "thinking": "They want a note.", "signature": "EqQB/+Cz3w==" * 20}
    arguments = {"file_path": str(workplace.note), "content": "noted"}

    def answer(received: Received) -> Answer:
        has_results = any(
            isinstance(message["content"], list)
            and any(block.get("type") == "tool_result" for block in message["content"])
            for message in received.json["messages"]
        )
        return served(MESSAGES)(received) if has_results else streamed(thinking_and_call(thought, arguments))

    script = add_upstream(MESSAGES, answer, model=STANDARD)
    ran = claude_cli.run(workplace, "Keep a note.", environ(alice))
    assert (ran.status, workplace.note.read_text()) == (0, "noted"), ran.out
    blocks = [
        block
        for message in script.calls[-1].json["messages"]
        if message["role"] == "assistant"
        for block in message["content"]
    ]
    (back,) = [block for block in blocks if block["type"] == "thinking"]
    assert back == thought


def thinking_and_call(thought: dict[str, Any], arguments: dict[str, Any]) -> list[bytes]:
    """A thought with its signature, then a call of Write."""
    usage = {"input_tokens": 50, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "theirs", "content": [], "usage": usage}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Write", "input": {}}
    events: list[tuple[str, dict[str, Any]]] = [
        ("message_start", {"message": {**message, "stop_reason": None, "stop_sequence": None}}),
        ("content_block_start", {"index": 0, "content_block": {**thought, "thinking": "", "signature": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "thinking_delta", "thinking": thought["thinking"]}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "signature_delta", "signature": thought["signature"]}}),
        ("content_block_stop", {"index": 0}),
        ("content_block_start", {"index": 1, "content_block": call}),
        (
            "content_block_delta",
            {"index": 1, "delta": {"type": "input_json_delta", "partial_json": json.dumps(arguments)}},
        ),
        ("content_block_stop", {"index": 1}),
        (
            "message_delta",
            {"delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 40}},
        ),
        ("message_stop", {}),
    ]
    return [typed({"type": name, **event}) for name, event in events]


def test_a_cut_stream_is_asked_for_again_and_paid_for_once(
    alice: Person, workplace: Workplace, add_upstream: AddUpstream
) -> None:
    events = MESSAGES.events()

    def answer(received: Received) -> Answer:
        if received.json.get("stream"):
            return streamed([*events[:3], Cut])
        return plain(MESSAGES.reply())

    script = add_upstream(MESSAGES, answer, model=STANDARD)
    ran = claude_cli.run(workplace, "Say hello.", environ(alice))
    assert ran.status == 0, ran.out
    assert [bool(call.json.get("stream")) for call in script.calls][-1] is False
    paid = [record for record in bills(alice) if record["status"] == "succeeded"]
    assert [record["stream"] for record in paid] == [False]
    eventually(lambda: alice.operator.run("balance", alice.account_id)["held"] == 0)


def test_a_silent_upstream_is_waited_for(alice: Person, workplace: Workplace, add_upstream: AddUpstream) -> None:
    first, *rest = MESSAGES.events()
    add_upstream(MESSAGES, streamed([17.0, first, 17.0, *rest]), model=STANDARD)
    ran = claude_cli.run(workplace, "Say hello.", environ(alice))
    assert ran.status == 0, ran.out
    assert len(bills(alice)) == 1, "it asked once, and was kept waiting by pings"


REFUSALS = {
    "402": (["--limit", "0.001"], 402, "limit leaves too little"),
    "403": (["--models", "kimi-latest"], 403, "may not call"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_shown_once(alice: Person, workplace: Workplace, name: str) -> None:
    options, status, words = REFUSALS[name]
    alice.set_key(*options)
    ran = claude_cli.run(workplace, "Say hello.", environ(alice))
    assert ran.status != 0
    assert (str(status) in ran.out, words in ran.out) == (True, True), ran.out
    assert len([record for record in bills(alice) if record["model"] == STANDARD]) == 1


def test_a_rate_makes_it_wait_and_go_on(alice: Person, workplace: Workplace, add_upstream: AddUpstream) -> None:
    answers = [plain(b'{"type":"error","error":{"type":"overloaded_error","message":"Busy"}}', status=529)] * 2

    def answer(received: Received) -> Answer:
        return answers.pop() if answers else served(MESSAGES)(received)

    add_upstream(MESSAGES, answer, model=STANDARD)
    ran = claude_cli.run(workplace, "Say hello.", environ(alice))
    assert ran.status == 0, ran.out
    assert [record["status"] for record in bills(alice)][-1] == "succeeded"
