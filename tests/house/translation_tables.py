"""`python -m tests.house.translation_tables > docs/translation.md`: what translation keeps, out of the code that
decides it. A test holds the page and the code together."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from apps.dialects.anthropic_messages import body as messages
from apps.dialects.gemini import conversation as gemini
from apps.dialects.hub.abilities import MEANING, TUNING, Abilities
from apps.dialects.openai_chat import body as chat
from apps.dialects.openai_responses import body as responses
from apps.dialects.protocol import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from apps.dialects.registry import CALLERS, DIALECTS, UPSTREAMS

ABILITIES: Final[dict[str, Abilities]] = {
    OPENAI_CHAT: chat.ABILITIES,
    OPENAI_RESPONSES: responses.ABILITIES,
    ANTHROPIC_MESSAGES: messages.ABILITIES,
    GEMINI: gemini.ABILITIES,
}
ASKED: Final[dict[str, dict[str, Any]]] = {
    OPENAI_CHAT: {"messages": [{"role": "user", "content": "Hi"}], "user": "u1"},
    OPENAI_RESPONSES: {"input": "Hi"},
    ANTHROPIC_MESSAGES: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 500},
}
NOT_ASKED: Final = {
    OPENAI_RESPONSES: {"stop", "n", "makes_images", "top_k", "seed", "presence_penalty", "frequency_penalty",
                       "logit_bias"},
    ANTHROPIC_MESSAGES: {"n", "logprobs", "makes_images", "tools.custom", "output_format.json", "tool_choice.allowed",
                         "seed", "presence_penalty", "frequency_penalty", "verbosity", "metadata", "logit_bias"},
}  # fmt: skip
"""What requests of a dialect have no word for, though its upstreams get it said in another way."""

HEAD: Final = """# Any model through any text dialect

A caller of chat, responses or messages reaches every model, whatever its provider speaks. Where a route speaks the
caller's own dialect, bytes pass through untouched but for the model's name and what the tables of refused fields name.
Otherwise request and reply are translated, streamed or not. Images are drawn through `/images/generations` or through
chat (`modalities`); the Images API itself is not translated.

| Caller \\ upstream | chat | responses | messages | gemini |
|---|---|---|---|---|
| chat | as it is | translated | translated | translated |
| responses | translated | as it is | translated | translated |
| messages | translated | translated | as it is | translated |

A field is one of three:

- *meaning* (content, roles, tools, tool choice, schemas, stop, `n`): kept, or a 400 that names it before a credit is
  held;
- *tuning* (temperature, penalties, effort, verbosity, user, metadata): mapped or clamped, or left out;
- *hosted extras* that the caller only offers (web search among tools of its own, an empty list of tools): left out.

Whatever was mapped, clamped or left out is named in `X-Hypereal-Adapted` and on the usage record (`usage`, `explain`).
Fields that nobody knows cannot be translated: they are left out and named. Signed and encrypted reasoning travels
verbatim, or is dropped whole and named.

Content that a pair cannot carry is refused where it stands (`messages[3].content[1]`). Below is what a request as a
whole can ask for and its upstream has no word for; what a single model refuses (a temperature, a level of effort) is
left out and named, too.

"""


def page() -> str:
    lines = ["| Caller | Upstream | 400 (meaning) | Left out and named (tuning) |", "|---|---|---|---|"]
    for caller in CALLERS:
        for upstream in UPSTREAMS:
            if caller == upstream:
                continue
            refused = _missing(caller, upstream, MEANING, ABILITIES[upstream].meaning)
            left_out = _missing(caller, upstream, TUNING, ABILITIES[upstream].tuning)
            lines.append(f"| {_short(caller)} | {_short(upstream)} | {refused} | {left_out} |")
    return HEAD + "\n".join(lines) + "\n"


def _missing(caller: str, upstream: str, features: Iterable[str], known: frozenset[str]) -> str:
    names = _names(caller)
    asked = [feature for feature in features if feature not in NOT_ASKED.get(caller, ())]
    missing = [f"`{names(feature)}`" for feature in asked if feature not in known]
    return ", ".join(dict.fromkeys(missing)) or "nothing"


def _names(caller: str) -> Any:
    """What the caller calls a feature of the hub's, as its errors and notes name it."""
    body = json.dumps({"model": "m", **ASKED[caller]}).encode()
    asked = CALLERS[caller].read_conversation(DIALECTS[caller].parse(body))
    return lambda feature: asked.name_of(feature.partition(".")[0])


def _short(dialect: str) -> str:
    return dialect.removeprefix("openai-").removeprefix("anthropic-")


if __name__ == "__main__":
    print(page(), end="")
