"""What the Claude Code CLI sends, as captured from 2.1.197 and as older and newer versions are known to differ.

Every kind of its calls, small, whole in its signs. An `Install` is one person's CLI at work on one machine.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hypothesis import strategies as st

MODEL: Final = "claude-opus-4-7-max"
AT_A_TERMINAL: Final = "You are Claude Code, Anthropic's official CLI for Claude."
HEADLESS: Final = "You are a Claude agent, built on Anthropic's Claude Agent SDK."
MESSAGES: Final = "/v1/messages"
COUNT: Final = "/v1/messages/count_tokens"
TURN_BETAS: Final = (
    "claude-code-20250219,context-1m-2025-08-07,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05,mid-conversation-system-2026-04-07,effort-2025-11-24"
)


@dataclass(frozen=True)
class Sent:
    """One request, before it has a key."""

    path: str
    query: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def url(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def raw_headers(self) -> dict[bytes, bytes]:
        """As the server hands them on."""
        return {name.lower().encode(): value.encode() for name, value in self.headers.items()}

    def but(self, *, without: tuple[str, ...] = (), **headers: str) -> Sent:
        """The same with other headers (names with underscores), or without some."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in self.headers.items() if name not in (*without, *named)}
        return replace(self, headers={**kept, **named})

    def saying(self, **fields: Any) -> Sent:
        """The same with other fields in its body; None leaves one out."""
        body = {**self.body, **fields}
        return replace(self, body={name: value for name, value in body.items() if value is not None})


@dataclass(frozen=True)
class Install:
    """The CLI on one machine, in one session."""

    version: str = "2.1.197"
    entrypoint: str = "cli"
    device: str = field(default_factory=lambda: secrets.token_hex(32))
    session: str = field(default_factory=lambda: str(uuid.uuid4()))
    writes_old_ids: bool = False
    """As before 2.1.78."""
    sends_session: bool = True
    """As since 2.1.86."""
    is_attributed: bool = True
    """False: CLAUDE_CODE_ATTRIBUTION_HEADER=0."""
    betas: bool = True
    """False: CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS=1."""
    api_version: str = "2023-06-01"
    agent_extra: str = ""
    """What a newer version appends to its User-Agent: `, workload/cron`."""

    @property
    def identity(self) -> str:
        return AT_A_TERMINAL if self.entrypoint == "cli" else HEADLESS

    def user_id(self) -> str:
        if self.writes_old_ids:
            return f"user_{self.device}_account__session_{self.session}"
        return json.dumps({"device_id": self.device, "account_uuid": "", "session_id": self.session})

    def headers(self, betas: str = TURN_BETAS) -> dict[str, str]:
        sent = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": f"claude-cli/{self.version} (external, {self.entrypoint}{self.agent_extra})",
            "x-app": "cli",
            "anthropic-version": self.api_version,
            "anthropic-dangerous-direct-browser-access": "true",
            "x-stainless-arch": "x64",
            "x-stainless-lang": "js",
            "x-stainless-os": "Linux",
            "x-stainless-package-version": "0.94.0",
            "x-stainless-retry-count": "0",
            "x-stainless-runtime": "node",
            "x-stainless-runtime-version": "v26.3.0",
            "x-stainless-timeout": "600",
            "anthropic-beta": betas if self.betas else "claude-code-20250219,interleaved-thinking-2025-05-14",
        }
        return {**sent, "x-claude-code-session-id": self.session} if self.sends_session else sent

    def system(self, *texts: str) -> list[dict[str, Any]]:
        billing = f"x-anthropic-billing-header: cc_version={self.version}.a1f; cc_entrypoint={self.entrypoint};"
        said = [self.identity, *texts]
        blocks: list[dict[str, Any]] = [
            {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in said
        ]
        return [{"type": "text", "text": billing}, *blocks] if self.is_attributed else blocks

    def dress(self, body: dict[str, Any]) -> dict[str, Any]:
        """Any Messages body, as the CLI would sign it."""
        return {**body, "system": self.system("Help with code."), "metadata": {"user_id": self.user_id()}}

    def turn(self, ask: str = "Which files are there?", *, model: str = MODEL, is_stream: bool = True) -> Sent:
        tools = [
            {"name": name, "description": f"{name} something.", "input_schema": {"type": "object", "properties": {}}}
            for name in ("Bash", "Read", "Edit", "Write")
        ]
        body = {
            "model": model,
            "max_tokens": 32_000,
            "messages": [{"role": "user", "content": [{"type": "text", "text": ask}]}],
            "tools": tools,
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "high"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "stream": is_stream,
        }
        return self._sent(self.dress(body))

    def subagent(self, *, model: str = MODEL) -> Sent:
        return self.turn("Look for the tests.", model=model).but(x_claude_code_agent_id=secrets.token_hex(8))

    def retry(self, *, model: str = MODEL) -> Sent:
        """What it sends after a stream that was cut."""
        plain = self.turn(model=model, is_stream=False).but(x_stainless_timeout="300", x_stainless_retry_count="1")
        return plain.saying(stream=None)

    def title(self, *, model: str = MODEL) -> Sent:
        schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
        body = {
            "model": model,
            "max_tokens": 32_000,
            "messages": [{"role": "user", "content": "Mend the login page"}],
            "tools": [],
            "temperature": 1,
            "thinking": {"type": "disabled"},
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
            "stream": True,
        }
        betas = "interleaved-thinking-2025-05-14,structured-outputs-2025-12-15"
        return self._sent(self.dress(body), betas=betas)

    def topic(self, *, model: str = MODEL) -> Sent:
        """The older helper, without an identity line."""
        told = "Analyze if this message indicates a new conversation topic. If it does, extract a 2-3 word title."
        body = {
            "model": model,
            "max_tokens": 512,
            "messages": [{"role": "user", "content": "Mend the login page"}],
            "system": [{"type": "text", "text": told}],
            "temperature": 0,
            "metadata": {"user_id": self.user_id()},
            "stream": True,
        }
        return self._sent(body, betas="interleaved-thinking-2025-05-14")

    def probe(self, *, model: str = MODEL) -> Sent:
        """The quota probe."""
        body = {
            "model": model,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "quota"}],
            "metadata": {"user_id": self.user_id()},
        }
        return self._sent(body, betas="interleaved-thinking-2025-05-14")

    def count(self, *, model: str = MODEL) -> Sent:
        body = {"model": model, "messages": [{"role": "user", "content": "foo"}], "tools": []}
        betas = "claude-code-20250219,interleaved-thinking-2025-05-14,token-counting-2024-11-01"
        sent = self._sent(body, betas=betas)
        return replace(sent, path=COUNT).but(without=("x-stainless-timeout",))

    def _sent(self, body: dict[str, Any], *, betas: str = TURN_BETAS) -> Sent:
        return Sent(MESSAGES, "beta=true", self.headers(betas), body)


CALLS: Final[tuple[Callable[[Install], Sent], ...]] = (
    Install.turn,
    Install.subagent,
    Install.retry,
    Install.title,
    Install.topic,
    Install.probe,
)
"""What it sends to `/v1/messages`."""


@st.composite
def installs(draw: st.DrawFn) -> Install:
    """Any version from 1.0 to 3.9, with the habits that its time had, on any machine."""
    numbers = (draw(st.integers(1, 3)), draw(st.integers(0, 9)), draw(st.integers(0, 300)))
    since_78 = draw(st.booleans()) if numbers[:2] == (2, 1) else numbers > (2, 1)
    device = draw(st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
    return Install(
        version=".".join(map(str, numbers)) + draw(st.sampled_from(["", "-beta.2"])),
        entrypoint=draw(st.sampled_from(["cli", "sdk-cli"])),
        device=device,
        session=str(draw(st.uuids(version=4))),
        writes_old_ids=not since_78,
        sends_session=since_78 or draw(st.booleans()),
        is_attributed=draw(st.booleans()),
        betas=draw(st.booleans()),
        api_version=draw(st.sampled_from(["2023-06-01", "2026-10-21"])),
        agent_extra=draw(st.sampled_from(["", "", ", agent-sdk/0.3.197", ", workload/cron"])),
    )


@st.composite
def genuine(draw: st.DrawFn) -> Sent:
    """Any call of any install, with what users may change of it."""
    sent = draw(st.sampled_from(CALLS))(draw(installs()))
    prompt = draw(st.sampled_from(["", "You are a pirate.", "Answer in French.", "Help with code in ~/src/openclaw."]))
    if prompt and len(sent.body.get("system", ())) > 1:
        sent = sent.saying(system=[*sent.body["system"][:-1], {"type": "text", "text": prompt}])
    if draw(st.booleans()):
        sent = replace(sent, query="")
    if draw(st.booleans()):
        sent = sent.but(without=("anthropic-beta",))
    if draw(st.booleans()):
        sent = sent.but(x_session_id="mine", x_forwarded_for="192.0.2.1")
    return sent
