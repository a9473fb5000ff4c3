"""A request that belongs to no wire protocol. Each dialect's `conversation.py` reads its own into it, and writes it.

Text, tool arguments and base64 payloads are carried as they came: what a provider signed, cached or will compare byte
by byte must not change on its way through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from msgspec import Raw

from apps.dialects.hub.reasoning import Seal

Role = Literal["system", "developer", "user", "assistant"]

DEFAULT_TTL: Final = "5m"


@dataclass(frozen=True, slots=True)
class CacheMark:
    """A prompt-cache breakpoint behind the part, tool or turn that carries it."""

    ttl: str = ""
    """`5m` or `1h`; empty: the provider's default."""


@dataclass(slots=True)
class Text:
    text: str
    cache: CacheMark | None = None
    citations: list[Any] | None = None
    """Annotations in the dialect that they came in: only that dialect writes them out again."""


@dataclass(slots=True)
class Image:
    """An image in, or one that a model drew: by `url`, or as `data` (base64, as it stood in the body) with its type."""

    media_type: str = ""
    data: str | Raw = ""
    """Raw: the JSON string as an upstream sent it, quotes and all. It goes into JSON again as it is: megabytes that
    nobody decodes."""
    url: str = ""
    detail: str = ""
    """`low`, `high`, `auto`; empty: not said."""
    cache: CacheMark | None = None
    seal: Seal | None = None
    """A signature that its provider wants back with the image."""


@dataclass(slots=True)
class Document:
    """A file in: base64 `data` with its type, plain `text`, or a `url`."""

    media_type: str = ""
    data: str = ""
    text: str | None = None
    url: str = ""
    name: str = ""
    context: str = ""
    wants_citations: bool = False
    cache: CacheMark | None = None


@dataclass(slots=True)
class Thinking:
    """Reasoning of an earlier answer, or of this one. What its seal covers travels with it verbatim, or not at all."""

    text: str = ""
    seal: Seal | None = None
    is_summary: bool = False
    """The text is a summary (Responses' `summary`), not the reasoning itself."""
    id: str = ""
    """The provider's id of the item, where it has one."""


@dataclass(slots=True)
class Refusal:
    """What a model said instead of an answer."""

    text: str


@dataclass(slots=True)
class ToolCall:
    id: str
    name: str
    arguments: str
    """JSON text as the model wrote it; empty means no arguments. Free text where `is_custom`."""
    is_custom: bool = False
    cache: CacheMark | None = None


@dataclass(slots=True)
class ToolResult:
    call_id: str
    parts: list[Text | Image | Document]
    is_error: bool = False
    is_custom: bool = False
    cache: CacheMark | None = None
    name: str = ""
    """The tool's name, where the caller gave it; some providers want it, and a writer may look it up by `call_id`."""


Part = Text | Image | Document | Thinking | Refusal | ToolCall | ToolResult


@dataclass(slots=True)
class Turn:
    """One message. Results of tools are parts of a user's turn; consecutive turns of one role are allowed."""

    role: Role
    parts: list[Part]
    field: str = ""
    """Where it stood in the caller's body (`messages[3]`): errors name it."""
    name: str = ""
    """The participant's name, where the caller gave one."""


@dataclass(slots=True)
class Tool:
    """A tool that the caller runs itself."""

    name: str
    description: str | None = None
    schema: Raw | None = None
    """JSON Schema of the arguments, as it came."""
    is_strict: bool | None = None
    cache: CacheMark | None = None
    is_custom: bool = False
    """Takes free text instead of JSON (`custom` tools of OpenAI)."""
    format: Raw | None = None
    """The grammar of a custom tool's text."""
    namespace: str = ""
    """The group that the caller offered it in (Responses' `namespace`); `name` is unique without it."""
    short_name: str = ""
    """Its name within that group."""
    native: str = ""
    """Its type, where the caller's dialect defines the tool itself (`local_shell`, `apply_patch`)."""


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`auto`, `none`, `required` (any tool), `tool` (the one in `names`), `allowed` (any of `names`)."""

    mode: Literal["auto", "none", "required", "tool", "allowed"]
    names: tuple[str, ...] = ()
    must_call: bool = False
    """With `allowed`: one of them has to be called."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """Structured output: `json` is any JSON object, `schema` one that fits `schema`."""

    kind: Literal["json", "schema"]
    schema: Raw | None = None
    name: str = ""
    description: str = ""
    is_strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How much a model may think. Everything None or empty: the caller said nothing."""

    is_on: bool | None = None
    """False: thinking was switched off; True: switched on, within `budget_tokens` or (None) as the model sees fit."""
    budget_tokens: int | None = None
    effort: str = ""
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`."""
    summary: str = ""
    """What the caller wants to see of it: `auto`, `concise`, `detailed`; `omitted` for nothing."""


@dataclass(slots=True)
class Tuning:
    """What changes how an answer sounds, not what it means: mapped or clamped where the target differs, and said so."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    verbosity: str = ""
    user: str = ""
    """An end user's id, for the provider's abuse checks (`user`, `safety_identifier`, `metadata.user_id`)."""
    metadata: Raw | None = None
    """Chat's and Responses' free-form metadata."""
    logit_bias: Raw | None = None


@dataclass(slots=True)
class Conversation:
    """All that a caller asked for. `names` tells what a feature was called in its body, so that errors can name it."""

    turns: list[Turn]
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    output_format: OutputFormat | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    reasoning: Reasoning = Reasoning()
    tuning: Tuning = field(default_factory=Tuning)
    logprobs: int | None = None
    """Log probabilities are wanted, with this many alternatives each."""
    is_stream: bool = False
    makes_images: bool = False
    image_aspect: str = ""
    image_size: str = ""
    cache: CacheMark | None = None
    """A top-level mark: behind the last part that can be cached."""
    cache_key: str = ""
    keeps_cache_marks: bool = True
    """False: the model's price has no cache writes, so its provider caches by itself and knows no marks."""
    wants_encrypted_reasoning: bool = False
    """Responses' `include: ["reasoning.encrypted_content"]`."""
    names: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    """Fields that the reader knows nothing of: they cannot be translated, and are named in X-Hypereal-Adapted."""
    echo: Mapping[str, Raw] = field(default_factory=dict)
    """What replies of the caller's dialect repeat of its request, as it came."""
    sent: dict[str, Tool] = field(default_factory=dict)
    """The upstream's name of a tool -> the caller's tool, where the two differ (`hub/sent.py`)."""
    answer_tool: str = ""
    """The tool that stands for the answer itself, where the upstream has no other word for "a JSON object"."""
    adapted: list[str] = field(default_factory=list)
    """What had to be changed, a short line each: `temperature: 1.4 -> 1`, `tools[2] web_search: left out`."""

    def name_of(self, feature: str) -> str:
        """What the caller called it: `stop` may be `stop_sequences`."""
        return self.names.get(feature, feature)
