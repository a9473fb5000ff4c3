"""What coding agents send in one turn, written by hand after what they were seen to send: small, whole in its kinds."""

from __future__ import annotations

import json
from typing import Any, Final

SESSION: Final = "5b0c1f5e-9f0e-4a55-8a54-0d1c6c0f6a11"
CLAUDE_CODE_HEADERS: Final = {
    "user_agent": "claude-cli/2.1.197 (external, cli)",
    "x_app": "cli",
    "anthropic_version": "2023-06-01",
    "anthropic_beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "x_claude_code_session_id": SESSION,
    "x_stainless_lang": "js",
}
CODEX_HEADERS: Final = {"user_agent": "codex_exec/0.169.0 (Linux)", "originator": "codex_exec", "session_id": SESSION}


def _schema(**properties: str) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties)[:1],
        "additionalProperties": False,
    }


def claude_code(model: str, ask: str, *, is_stream: bool = True) -> dict[str, Any]:
    """A turn with a tool call behind it, thinking that came back, a note in the middle, and marks of the cache."""
    mark = {"type": "ephemeral"}
    thought = {"type": "thinking", "thinking": "They want the files.", "signature": "EqQBCkYIBxgC"}
    call = {"type": "tool_use", "id": "toolu_01A", "name": "Bash", "input": {"command": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_01A", "content": "a.py\nb.py", "is_error": False}
    user_id = {"device_id": "d" * 64, "account_uuid": "", "session_id": SESSION}
    return {
        "model": model,
        "max_tokens": 32_000,
        "stream": is_stream,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197.abc; cc_entrypoint=cli;"},
            {"type": "text", "text": "You are Claude Code, Anthropic's official CLI for Claude.",
             "cache_control": mark},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "<system-reminder>Be kind.</system-reminder>"},
                                         {"type": "text", "text": "Which files are there?"}]},
            {"role": "assistant", "content": [thought, {"type": "text", "text": "I look."}, call]},
            {"role": "user", "content": [result]},
            {"role": "system", "content": "The person may be in a hurry."},
            {"role": "assistant", "content": "There are two."},
            {"role": "user", "content": [{"type": "text", "text": ask, "cache_control": mark}]},
        ],
        "tools": [
            {"name": "Bash", "description": "Run.", "input_schema": _schema(command="string", timeout="number")},
            {"name": "Read", "description": "Read a file.", "input_schema": _schema(file_path="string")},
            {"name": "mcp__docs__search", "description": "Search.", "input_schema": _schema(query="string")},
        ],
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "metadata": {"user_id": json.dumps(user_id)},
    }  # fmt: skip


def codex(model: str, ask: str) -> dict[str, Any]:
    """A turn with reasoning, a shell call and a patch behind it; grouped tools, free text and web search on offer."""
    return {
        "model": model,
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": SESSION,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "reasoning": {"effort": "medium", "summary": "auto"},
        "client_metadata": {"originator": "codex_exec"},
        "input": [
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are Codex."}]},
            {"type": "message", "role": "user",
             "content": [{"type": "input_text", "text": "<environment_context>linux</environment_context>"}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Which files are there?"}]},
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAAAABp"},
            {"type": "function_call", "name": "exec_command", "arguments": '{"cmd":"ls"}', "call_id": "call_1"},
            {"type": "function_call_output", "call_id": "call_1", "output": "a.py\nb.py"},
            {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch", "call_id": "call_2"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Done."},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "There are two."}]},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": ask}]},
        ],
        "tools": [
            {"type": "function", "name": "exec_command", "description": "Run.", "strict": False,
             "parameters": _schema(cmd="string", workdir="string")},
            {"type": "custom", "name": "apply_patch", "description": "Patch files.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}},
            {"type": "namespace", "name": "multi_agent_v1", "description": "Agents.", "tools": [
                {"type": "function", "name": "spawn", "description": "Spawn.", "parameters": _schema(task="string")}]},
            {"type": "web_search", "external_web_access": False},
        ],
    }  # fmt: skip
