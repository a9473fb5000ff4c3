"""A stream that belongs to no wire protocol: small events between a dialect's reader and another's writer.

One choice's blocks are numbered as they begin (0, 1, 2 …) and may interleave: providers of chat do so with parallel
tool calls. A writer whose dialect allows one open block at a time holds the others back.

Shape:  Begin · (BlockBegin · deltas · BlockEnd)* · Ended · UsageRead, and Failed in place of the rest
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from apps.core.tokens import TokenUsage
from apps.dialects.hub.answer import Ending
from apps.dialects.hub.conversation import Image
from apps.dialects.hub.reasoning import Seal

BlockKind = Literal["text", "thinking", "tool_call", "refusal"]


class Begin(msgspec.Struct, frozen=True, gc=False):
    """The upstream began to answer. `usage` is provisional: what is known of the prompt."""

    id: str
    created_s: int = 0
    usage: TokenUsage | None = None


class BlockBegin(msgspec.Struct, frozen=True, gc=False):
    block: int
    kind: BlockKind
    choice: int = 0
    id: str = ""
    """A tool call's id, or the provider's id of a reasoning item."""
    name: str = ""
    is_custom: bool = False
    is_summary: bool = False


class Delta(msgspec.Struct, frozen=True, gc=False):
    """More of a block's text: of a text, a thought, a refusal, or a tool call's arguments."""

    block: int
    text: str
    choice: int = 0
    logprobs: Any = None


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """The signature or encrypted form of a thinking block. Comes once, before the block ends."""

    block: int
    seal: Seal
    choice: int = 0


class Cited(msgspec.Struct, frozen=True, gc=False):
    """An annotation of a text block, in the upstream's own shape."""

    block: int
    citation: Any
    choice: int = 0


class Drawn(msgspec.Struct, frozen=True, gc=False):
    """A whole image."""

    image: Image
    choice: int = 0


class BlockEnd(msgspec.Struct, frozen=True, gc=False):
    block: int
    choice: int = 0


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A choice is over: only a settled call may show this."""

    ending: Ending
    choice: int = 0


class UsageRead(msgspec.Struct, frozen=True, gc=False):
    """What the upstream counted by now; the last one counts."""

    usage: TokenUsage
    counts_output: bool = True
    """False: it tells of the prompt alone."""


class Failed(msgspec.Struct, frozen=True, gc=False):
    """The upstream reported an error within the stream."""

    message: str
    is_overload: bool = False


class Done(msgspec.Struct, frozen=True, gc=False):
    """Nothing that matters follows: reading may stop."""


HubEvent = Begin | BlockBegin | Delta | Sealed | Cited | Drawn | BlockEnd | Ended | UsageRead | Failed | Done
