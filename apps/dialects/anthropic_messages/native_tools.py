"""Tools that Anthropic defines and the caller runs: what they look like to a model of another family.

Source: platform.claude.com/docs, "Bash tool", "Text editor tool", "Memory tool", read 2026-11. The computer tool is
not among them: other models were not trained to point at a screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Raw


@dataclass(frozen=True, slots=True)
class NativeTool:
    description: str
    schema: Raw


_BASH: Final = NativeTool(
    "Run a command in a bash session that stays open between calls. `restart` starts a new session.",
    Raw(
        b'{"type":"object","properties":{'
        b'"command":{"type":"string","description":"The bash command to run. Required unless `restart` is true."},'
        b'"restart":{"type":"boolean","description":"True starts a new session."}}}'
    ),
)
_EDITOR: Final = NativeTool(
    "View, create and edit text files. `view` shows a file or a directory; `create` writes a new file; `str_replace` "
    "replaces a text that occurs exactly once; `insert` puts text behind a line.",
    Raw(
        b'{"type":"object","properties":{'
        b'"command":{"type":"string","enum":["view","create","str_replace","insert"]},'
        b'"path":{"type":"string","description":"Absolute path to the file or directory."},'
        b'"view_range":{"type":"array","items":{"type":"integer"},"description":"First and last line to view."},'
        b'"file_text":{"type":"string","description":"For `create`: the whole content."},'
        b'"old_str":{"type":"string","description":"For `str_replace`: the text to replace."},'
        b'"new_str":{"type":"string","description":"For `str_replace`: what replaces it."},'
        b'"insert_line":{"type":"integer","description":"For `insert`: the text goes behind this line."},'
        b'"insert_text":{"type":"string","description":"For `insert`: the text."}},'
        b'"required":["command","path"]}'
    ),
)
_MEMORY: Final = NativeTool(
    "Keep notes between conversations as files below /memories. `view` shows a file or a directory; `create` writes a "
    "file; `str_replace` and `insert` edit one; `delete` and `rename` do what they say.",
    Raw(
        b'{"type":"object","properties":{'
        b'"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"]},'
        b'"path":{"type":"string","description":"Path below /memories."},'
        b'"view_range":{"type":"array","items":{"type":"integer"}},'
        b'"file_text":{"type":"string"},"old_str":{"type":"string"},"new_str":{"type":"string"},'
        b'"insert_line":{"type":"integer"},"insert_text":{"type":"string"},'
        b'"old_path":{"type":"string"},"new_path":{"type":"string"}},'
        b'"required":["command"]}'
    ),
)

NATIVE_TOOLS: Final = {"bash_": _BASH, "text_editor_": _EDITOR, "memory_": _MEMORY}
"""By how their `type` begins; a date follows."""


def native_tool(kind: str) -> NativeTool | None:
    return next((tool for prefix, tool in NATIVE_TOOLS.items() if kind.startswith(prefix)), None)
