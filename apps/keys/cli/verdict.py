"""Whether a request is the official CLI's: a verdict from several signs, and a word for people on each that failed.

One sign alone never makes a request official, and no version is ever asked for. Evidence that somebody else is speaking
makes it foreign; a sign that is only missing makes it doubtful. All of it is text that anybody can write: this holds
honest third parties and lazy wrappers to a policy, and is no security.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from apps.keys.cli.known import (
    BILLING,
    CLI_ENTRYPOINTS,
    IDENTITIES,
    PROBE,
    helper_of,
    program_of_agent,
    program_of_texts,
)
from apps.keys.cli.signs import UUID, Signs

AGENT: Final = re.compile(r"claude-cli/(\d+(?:\.\d+)+[\w.+-]*) \(external, ([a-z0-9_-]+)(?:, [^()]*)?\)")
CLI_FAMILIES: Final = ("claude-cli/", "claude-code/")
API_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
BILLED: Final = re.compile(r"cc_(version|entrypoint)=([^;\s]+)")
CLI_APPS: Final = ("cli", "cli-")
"""`cli`, and `cli-` with whatever a version may add to it."""
SHOWN_CHARS: Final = 40


class Sign(StrEnum):
    """What a finding is about; the names are stored, and operators filter by them."""

    PATH = "path"
    USER_AGENT = "user_agent"
    ENTRYPOINT = "entrypoint"
    APP = "app"
    API_VERSION = "api_version"
    SDK = "sdk"
    SESSION = "session"
    USER_ID = "user_id"
    SAME_SESSION = "same_session"
    BILLING = "billing"
    IDENTITY = "identity"
    DEVICES = "devices"
    DEVICE_ACCOUNT = "device_account"
    SESSION_ACCOUNT = "session_account"
    REPLAY = "replay"


class Kind(StrEnum):
    OFFICIAL = "official"
    DOUBTFUL = "doubtful"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sign that failed."""

    sign: Sign
    words: str
    """Half a sentence for people: "the header X-App is missing"."""
    is_evidence: bool = False
    """Somebody else is speaking; else something is only missing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    findings: tuple[Finding, ...] = ()

    @property
    def kind(self) -> Kind:
        if not self.findings:
            return Kind.OFFICIAL
        is_foreign = any(finding.is_evidence for finding in self.findings)
        return Kind.FOREIGN if is_foreign else Kind.DOUBTFUL

    @property
    def is_official(self) -> bool:
        return not self.findings

    @property
    def words(self) -> str:
        """What failed, evidence first."""
        ordered = sorted(self.findings, key=lambda finding: not finding.is_evidence)
        return "; ".join(finding.words for finding in ordered)


OFFICIAL: Final = Verdict()


def judge(signs: Signs, *, entrypoints: Collection[str] = ()) -> Verdict:
    """The verdict on a request for a CLI-only model. `entrypoints`: those that the operator allows beside the CLI's."""
    findings = (*_head(signs, entrypoints), *_ids(signs), *_texts(signs))
    return Verdict(findings) if findings else OFFICIAL


def judge_head(signs: Signs, *, entrypoints: Collection[str] = ()) -> Verdict:
    """The same by its head alone, for calls whose genuine bodies show nothing (`count_tokens`)."""
    findings = tuple(_head(signs, entrypoints))
    return Verdict(findings) if findings else OFFICIAL


def _head(signs: Signs, entrypoints: Collection[str]) -> Iterator[Finding]:
    if not signs.is_messages:
        yield Finding(Sign.PATH, "it came to an OpenAI-shaped path, which the CLI never calls", is_evidence=True)
    agent = AGENT.fullmatch(signs.user_agent)
    if agent is None:
        yield _no_agent(signs.user_agent)
    elif agent[2] not in CLI_ENTRYPOINTS and agent[2] not in entrypoints:
        words = f"its User-Agent names the entrypoint {_shown(agent[2])}, which is not the CLI"
        yield Finding(Sign.ENTRYPOINT, words, is_evidence=True)
    if not signs.app:
        yield Finding(Sign.APP, "the header X-App is missing")
    elif signs.app != CLI_APPS[0] and not signs.app.startswith(CLI_APPS[1]):
        yield Finding(Sign.APP, f"the header X-App says {_shown(signs.app)}, not cli")
    if not API_VERSION.fullmatch(signs.api_version):
        yield Finding(Sign.API_VERSION, "the header anthropic-version is missing or no date")
    if not signs.sdk_language:
        yield Finding(Sign.SDK, "the header X-Stainless-Lang is missing")
    elif signs.sdk_language != "js":
        words = f"the header X-Stainless-Lang says {_shown(signs.sdk_language)}: the CLI is written in js"
        yield Finding(Sign.SDK, words, is_evidence=True)


def _no_agent(user_agent: str) -> Finding:
    if not user_agent:
        return Finding(Sign.USER_AGENT, "the header User-Agent is missing")
    program = program_of_agent(user_agent)
    if program is not None:
        return Finding(Sign.USER_AGENT, f"its User-Agent is that of {program}, not the CLI's", is_evidence=True)
    if user_agent.startswith(CLI_FAMILIES):
        return Finding(Sign.USER_AGENT, "its User-Agent is not in the form that the CLI sends")
    return Finding(Sign.USER_AGENT, f"its User-Agent is {_shown(user_agent)}, not the CLI's", is_evidence=True)


def _ids(signs: Signs) -> Iterator[Finding]:
    """The two places where the CLI names its session, and the one where it names its device."""
    user_id = signs.user_id
    if user_id is None:
        yield Finding(Sign.USER_ID, "metadata.user_id is missing in the body")
    elif not user_id.device or not user_id.session:
        yield Finding(Sign.USER_ID, "metadata.user_id is not in a form that the CLI writes")
    if not signs.session:
        # Versions that wrote the older form sent no such header.
        if user_id is None or not user_id.is_old:
            yield Finding(Sign.SESSION, "the header X-Claude-Code-Session-Id is missing (it is sent since 2.1.86)")
    elif not UUID.fullmatch(signs.session):
        yield Finding(Sign.SESSION, "the header X-Claude-Code-Session-Id is no UUID")
    elif user_id is not None and user_id.session and user_id.session != signs.session:
        words = "the session in metadata.user_id is not the one in X-Claude-Code-Session-Id"
        yield Finding(Sign.SAME_SESSION, words, is_evidence=True)


def _texts(signs: Signs) -> Iterator[Finding]:
    """What the system prompt says of who is speaking."""
    texts = []
    for text in signs.system:
        if text.startswith(BILLING):
            yield from _billing(text, signs.user_agent)
        else:
            texts.append(text)
    other = program_of_texts(texts)
    if texts and texts[0].startswith(IDENTITIES):
        if other is not None:
            # People may give the CLI a system prompt of their own: no proof, but not its own words either.
            yield Finding(Sign.IDENTITY, f"its system prompt says that it is {other}")
    elif other is not None:
        yield Finding(Sign.IDENTITY, f"its system prompt says that it is {other}", is_evidence=True)
    elif _is_helper(signs, texts) is None:
        yield Finding(Sign.IDENTITY, "its system prompt does not begin as the CLI's does")


def _billing(text: str, user_agent: str) -> Iterator[Finding]:
    """The text that names version and entrypoint again. Where it is there, it says the same as the User-Agent."""
    named = dict(BILLED.findall(text))
    if "version" not in named or "entrypoint" not in named:
        yield Finding(Sign.BILLING, "the billing text in its system prompt is not in the form that the CLI writes")
        return
    agent = AGENT.fullmatch(user_agent)
    if agent is None:
        return
    version, entrypoint = named["version"], named["entrypoint"]
    if version != agent[1] and not version.startswith(agent[1] + "."):
        words = f"its User-Agent names version {_shown(agent[1])}, its system prompt {_shown(version)}"
        yield Finding(Sign.BILLING, words, is_evidence=True)
    if entrypoint != agent[2]:
        words = f"its User-Agent names the entrypoint {_shown(agent[2])}, its system prompt {_shown(entrypoint)}"
        yield Finding(Sign.BILLING, words, is_evidence=True)


def _is_helper(signs: Signs, texts: list[str]) -> str | None:
    """Which side call this is that has no identity line; None where it is none of them."""
    if signs.offers_tools:
        return None
    if not texts:
        return PROBE if signs.max_tokens == 1 and not signs.is_stream else None
    return helper_of(texts[:1])


def _shown(text: str) -> str:
    """A caller's own words, short and printable."""
    cut = text[:SHOWN_CHARS]
    return repr("".join(character for character in cut if character.isprintable()))
