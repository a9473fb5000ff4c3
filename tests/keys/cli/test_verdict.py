"""The verdict over a request's signs: what the CLI sends passes in every variety, each forgery fails by name."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.dialects.registry import BY_ENDPOINT
from apps.keys.cli.known import BILLING
from apps.keys.cli.signs import parse_user_id, read_signs
from apps.keys.cli.verdict import Kind, Sign, Verdict, judge, judge_head
from tests.clients.claude_code import Install, Sent, genuine, installs

CAPTURED: Final = Path(__file__).parents[2] / "clients" / "captured"
ALICE: Final = Install(device="a" * 64, session="5b0c1f5e-9f0e-4a55-8a54-0d1c6c0f6a11")
OTHER_SESSION: Final = "11111111-2222-4333-8444-555555555555"


def verdict_on(sent: Sent, *, entrypoints: frozenset[str] = frozenset(), is_messages: bool = True) -> Verdict:
    body = json.dumps(sent.body).encode()
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    signs = read_signs(
        sent.raw_headers,
        is_messages=is_messages,
        query=sent.query.encode(),
        fields=fields,
        is_stream=sent.body.get("stream", False),
        max_tokens=sent.body.get("max_tokens"),
    )
    return judge(signs, entrypoints=entrypoints)


def failed(verdict: Verdict) -> tuple[Kind, set[Sign]]:
    return verdict.kind, {finding.sign for finding in verdict.findings}


def test_what_the_cli_sends_passes_in_every_variety() -> None:
    seen: set[str] = set()

    @given(genuine())
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def passes(sent: Sent) -> None:
        seen.add(repr(sent))
        verdict = verdict_on(sent)
        assert verdict.is_official, verdict.words

    passes()
    assert len(seen) >= 200


@given(installs())
@settings(max_examples=50, deadline=None)
def test_a_count_of_tokens_is_told_by_its_head(install: Install) -> None:
    sent = install.count()
    signs = read_signs(sent.raw_headers, is_messages=True, fields={})
    found = {finding.sign for finding in judge_head(signs).findings}
    assert found == set()


def captured() -> list[Sent]:
    """What real CLIs of several versions sent: heads, and bodies less what people and agents wrote; ids are made up."""
    return [
        Sent(row["path"], row["query"], row["headers"], row["body"])
        for path in sorted(CAPTURED.glob("*.jsonl"))
        for row in map(json.loads, path.read_text().splitlines())
    ]


def test_everything_that_real_clis_were_seen_to_send_passes() -> None:
    """At a terminal and headless, subagents, titles, topics, warm-ups, /compact, and /context's bursts of counts."""
    sent = captured()
    messages = [one for one in sent if one.path == "/v1/messages"]
    blocked = [(one.headers["user-agent"], words) for one in messages if (words := verdict_on(one).words)]
    assert blocked == []
    counts = [one for one in sent if one.path != "/v1/messages"]
    assert all(judge_head(read_signs(one.raw_headers, is_messages=True, fields={})).is_official for one in counts)
    assert (len(messages) >= 200, len(counts) >= 60, len({one.headers["user-agent"] for one in sent}) >= 10) == (
        True,
        True,
        True,
    )


def test_none_of_it_passes_once_it_is_tampered_with() -> None:
    """Replayed under another session, by another program, without a sign, or in another version's name."""
    for one in captured():
        if one.path != "/v1/messages":
            continue
        assert verdict_on(one.but(x_claude_code_session_id=OTHER_SESSION)).kind is Kind.FOREIGN
        assert verdict_on(one.but(user_agent="openclaw/2026.11.1")).kind is Kind.FOREIGN
        assert verdict_on(one, is_messages=False).kind is Kind.FOREIGN
        assert verdict_on(one.but(without=("x-app",))).kind is Kind.DOUBTFUL
        assert verdict_on(one.saying(metadata=None)).kind is Kind.DOUBTFUL
        if str(one.body["system"][0]["text"]).startswith(BILLING):
            assert verdict_on(one.but(user_agent="claude-cli/9.9.9 (external, cli)")).kind is Kind.FOREIGN


CURL: Final = Sent("/v1/messages", "", {"user-agent": "curl/8.9", "anthropic-version": "2023-06-01"}, {"max_tokens": 9})
PYTHON_SDK: Final = ALICE.turn().but(x_stainless_lang="python", x_stainless_runtime="CPython")


def spoken_by(agent: str, text: str) -> Sent:
    """The CLI's head under another name, and another's prompt."""
    return ALICE.turn().but(user_agent=agent).saying(system=[{"type": "text", "text": text}])


FOREIGN: Final[dict[str, tuple[Sent, set[Sign]]]] = {
    "curl": (
        CURL,
        {Sign.USER_AGENT, Sign.APP, Sign.SDK, Sign.SESSION, Sign.USER_ID, Sign.IDENTITY},
    ),
    "an SDK with the CLI's headers and a foreign body": (
        PYTHON_SDK.saying(system="You are a helpful assistant.", metadata={"user_id": "alice"}),
        {Sign.SDK, Sign.USER_ID, Sign.IDENTITY},
    ),
    "Anthropic's SDK as it is": (
        ALICE.turn().but(user_agent="Anthropic/Python 1.17.0", x_stainless_lang="python"),
        {Sign.USER_AGENT, Sign.SDK},
    ),
    "another entrypoint": (Install(entrypoint="sdk-ts").turn(), {Sign.ENTRYPOINT}),
    "an editor's entrypoint": (
        Install(entrypoint="claude-vscode", agent_extra=", agent-sdk/0.3.197").turn(),
        {Sign.ENTRYPOINT},
    ),
    "an entrypoint that only the User-Agent names": (
        ALICE.turn().but(user_agent="claude-cli/2.1.197 (external, sdk-cli)"),
        {Sign.BILLING},
    ),
    "a version that only the User-Agent names": (
        ALICE.turn().but(user_agent="claude-cli/2.1.19 (external, cli)"),
        {Sign.BILLING},
    ),
    "a copied billing text of another version": (
        Install(version="2.1.251").turn().saying(system=ALICE.turn().body["system"]),
        {Sign.BILLING},
    ),
    "replay under another session's header": (
        ALICE.turn().but(x_claude_code_session_id=OTHER_SESSION),
        {Sign.SAME_SESSION},
    ),
    "replay with an old id under another session's header": (
        Install(writes_old_ids=True).turn().but(x_claude_code_session_id=OTHER_SESSION),
        {Sign.SAME_SESSION},
    ),
    "Hermes": (
        spoken_by("HermesAgent/0.9", "You are Hermes Agent, an assistant created by Nous Research."),
        {Sign.USER_AGENT, Sign.IDENTITY},
    ),
    "Hermes under the CLI's name": (
        ALICE.turn().saying(system=[{"type": "text", "text": "You are Hermes, an AI agent."}]),
        {Sign.IDENTITY},
    ),
    "OpenClaw": (
        spoken_by("openclaw/2026.11.1", "You are a personal assistant running inside OpenClaw."),
        {Sign.USER_AGENT, Sign.IDENTITY},
    ),
    "OpenClaw in front of the CLI's name": (
        ALICE.turn().but(user_agent="OpenClaw/1.0 claude-cli/2.1.197 (external, cli)"),
        {Sign.USER_AGENT},
    ),
    "OpenClaw behind the CLI's name": (
        ALICE.turn().but(user_agent="claude-cli/2.1.197 (external, cli) OpenClaw/1.0"),
        {Sign.USER_AGENT},
    ),
    "opencode": (ALICE.turn().but(user_agent="opencode/1.18.33 ai-sdk/provider-utils/4.0"), {Sign.USER_AGENT}),
    "Cline": (ALICE.turn().but(user_agent="Cline/3.0.37"), {Sign.USER_AGENT}),
    "a program that nobody knows": (ALICE.turn().but(user_agent="my-wrapper/0.1"), {Sign.USER_AGENT}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_positive_evidence_is_foreign(name: str) -> None:
    sent, signs = FOREIGN[name]
    assert failed(verdict_on(sent)) == (Kind.FOREIGN, signs)


def test_an_openai_shaped_path_is_foreign_whatever_else_is_right() -> None:
    assert failed(verdict_on(ALICE.turn(), is_messages=False)) == (Kind.FOREIGN, {Sign.PATH})


ONE_TEXT: Final = [{"type": "text", "text": "You are a helpful assistant."}]
DOUBTFUL: Final[dict[str, tuple[Sent, set[Sign]]]] = {
    "a copied User-Agent alone": (
        CURL.but(user_agent="claude-cli/2.1.197 (external, cli)"),
        {Sign.APP, Sign.SDK, Sign.SESSION, Sign.USER_ID, Sign.IDENTITY},
    ),
    "no User-Agent": (ALICE.turn().but(without=("user-agent",)), {Sign.USER_AGENT}),
    "a User-Agent without an entrypoint": (ALICE.turn().but(user_agent="claude-cli/2.1.197"), {Sign.USER_AGENT}),
    "no X-App": (ALICE.turn().but(without=("x-app",)), {Sign.APP}),
    "no anthropic-version": (ALICE.turn().but(without=("anthropic-version",)), {Sign.API_VERSION}),
    "no X-Stainless-Lang": (ALICE.turn().but(without=("x-stainless-lang",)), {Sign.SDK}),
    "no session": (ALICE.turn().but(without=("x-claude-code-session-id",)), {Sign.SESSION}),
    "a session that is none": (ALICE.turn().but(x_claude_code_session_id="mine"), {Sign.SESSION}),
    "no metadata": (ALICE.turn().saying(metadata=None), {Sign.USER_ID}),
    "another's user id": (ALICE.turn().saying(metadata={"user_id": "alice@example.com"}), {Sign.USER_ID}),
    "a short device id": (Install(device="abc").turn(), {Sign.USER_ID}),
    "no system prompt": (ALICE.turn().saying(system=None), {Sign.IDENTITY}),
    "an identity that is no list": (ALICE.turn().saying(system=ALICE.identity), {Sign.IDENTITY}),
    "a prompt of its own": (ALICE.turn().saying(system=ONE_TEXT), {Sign.IDENTITY}),
    "a helper that offers tools": (
        ALICE.topic().saying(tools=ALICE.turn().body["tools"]),
        {Sign.IDENTITY},
    ),
    "a probe for more than one token": (ALICE.probe().saying(max_tokens=2), {Sign.IDENTITY}),
    "a billing text without an entrypoint": (
        ALICE.turn().saying(system=[{"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.abc;"},
                                    *ALICE.turn().body["system"][1:]]),
        {Sign.BILLING},
    ),
    "a wrapper's prompt behind the CLI's": (
        ALICE.turn().saying(system=ALICE.system("You are a personal assistant running inside OpenClaw.")),
        {Sign.IDENTITY},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_missing_sign_is_doubtful(name: str) -> None:
    sent, signs = DOUBTFUL[name]
    assert failed(verdict_on(sent)) == (Kind.DOUBTFUL, signs)


def test_the_operator_may_allow_an_entrypoint() -> None:
    sent = Install(entrypoint="claude-vscode").turn()
    assert verdict_on(sent, entrypoints=frozenset({"claude-vscode"})).is_official
    assert not verdict_on(sent, entrypoints=frozenset({"sdk-ts"})).is_official


def test_a_missing_billing_text_says_nothing() -> None:
    assert verdict_on(Install(is_attributed=False).turn()).is_official


def test_evidence_is_told_first() -> None:
    words = verdict_on(CURL).words
    assert words.startswith("its User-Agent is that of curl, not the CLI's; ")
    assert "the header X-App is missing" in words


@given(st.text(max_size=300), st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_whatever_is_sent_there_is_a_verdict(agent: str, text: str) -> None:
    """And its words are short and printable, however the caller's are."""
    sent = Sent("/v1/messages", "", {}, {"system": [{"text": text}], "metadata": {"user_id": text}})
    signs = read_signs(
        {b"user-agent": agent.encode()},
        is_messages=True,
        fields=msgspec.json.decode(json.dumps(sent.body).encode(), type=dict[str, msgspec.Raw]),
    )
    verdict = judge(signs)
    assert verdict.kind is not Kind.OFFICIAL
    assert verdict.words.isprintable()


@pytest.mark.parametrize(
    "fields",
    [
        {"system": 5, "metadata": 5, "tools": 5},
        {"system": [5], "metadata": {"user_id": 5}},
        {"system": [{"text": 5}], "metadata": {"user_id": "{"}},
        {"system": [[[]]], "metadata": {"user_id": '{"device_id": 5}'}},
        {"metadata": {"user_id": "x" * 5_000}},
    ],
)
def test_what_is_no_sign_is_none(fields: dict[str, Any]) -> None:
    raw = msgspec.json.decode(json.dumps(fields).encode(), type=dict[str, msgspec.Raw])
    signs = read_signs(ALICE.turn().raw_headers, is_messages=True, fields=raw)
    assert Sign.USER_ID in {finding.sign for finding in judge(signs).findings}


def test_both_forms_of_user_id_are_read_alike() -> None:
    new, old = (
        parse_user_id(ALICE.user_id()),
        parse_user_id(Install(**{**vars(ALICE), "writes_old_ids": True}).user_id()),
    )
    assert (new.device, new.session) == (old.device, old.session) == (ALICE.device, ALICE.session)
    more = json.dumps({"device_id": "A" * 64, "session_id": ALICE.session.upper(), "parent_session_id": OTHER_SESSION})
    assert (parse_user_id(more).device, parse_user_id(more).session) == (ALICE.device, ALICE.session)


def test_a_verdict_on_a_large_turn_is_cheap() -> None:
    """It reads the head of the body alone: a 100 KB conversation costs no more than a short one."""
    turn = ALICE.turn("x" * 100_000).saying(system=ALICE.system("Help with code. " * 2_000))
    request = BY_ENDPOINT["messages"].parse(json.dumps(turn.body).encode())
    headers = turn.raw_headers

    def once() -> Verdict:
        return judge(read_signs(headers, is_messages=True, fields=request.fields))

    assert once().is_official
    began = time.process_time()
    for _ in range(1_000):
        once()
    assert time.process_time() - began < 1.0  # 1 ms each; measured: 0.03
