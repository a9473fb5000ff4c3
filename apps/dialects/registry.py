"""All dialects: those that caller and upstream may both speak, and those that are translated on either side."""

from __future__ import annotations

from typing import Final

from apps.dialects.anthropic_messages.dialect import AnthropicMessages
from apps.dialects.anthropic_messages.sides import MessagesCaller, MessagesUpstream
from apps.dialects.gemini.sides import GeminiUpstream
from apps.dialects.hub.protocol import CallerSide, UpstreamSide
from apps.dialects.openai_chat.dialect import OpenAIChat
from apps.dialects.openai_chat.sides import ChatCaller, ChatUpstream
from apps.dialects.openai_images.dialect import OpenAIImages
from apps.dialects.openai_responses.dialect import OpenAIResponses
from apps.dialects.openai_responses.sides import ResponsesCaller, ResponsesUpstream
from apps.dialects.protocol import Dialect

_ALL: Final[tuple[Dialect, ...]] = (OpenAIChat(), OpenAIResponses(), OpenAIImages(), AnthropicMessages())

DIALECTS: Final[dict[str, Dialect]] = {dialect.name: dialect for dialect in _ALL}
"""By the name that routes and the catalog use: `openai-chat`, `anthropic-messages`."""

BY_ENDPOINT: Final[dict[str, Dialect]] = {dialect.endpoint: dialect for dialect in _ALL}
"""By the name that usage records use: `chat`, `responses`, `images`, `messages`."""

_CALLERS: Final[tuple[CallerSide, ...]] = (ChatCaller(), ResponsesCaller(), MessagesCaller())
_UPSTREAMS: Final[tuple[UpstreamSide, ...]] = (
    ChatUpstream(),
    ResponsesUpstream(),
    MessagesUpstream(),
    GeminiUpstream(),
)

CALLERS: Final[dict[str, CallerSide]] = {side.name: side for side in _CALLERS}
"""By name: dialects whose callers reach upstreams of another dialect."""

UPSTREAMS: Final[dict[str, UpstreamSide]] = {side.name: side for side in _UPSTREAMS}
"""By name: dialects that upstreams are spoken to in on behalf of callers of another."""
