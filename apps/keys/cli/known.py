"""What is known of the official CLI, and of programs that are not it. Data alone: a new name is one line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

CLI_ENTRYPOINTS: Final = frozenset({"cli", "sdk-cli"})
"""At a terminal, and headless (`claude -p`). Any other is foreign unless the operator lists it for the model."""

IDENTITIES: Final = (
    "You are Claude Code, Anthropic's official CLI for Claude",
    "You are a Claude agent, built on Anthropic's Claude Agent SDK",
)
"""How the first text of its own begins: at a terminal, and headless."""
BILLING: Final = "x-anthropic-billing-header:"
"""How the text before it begins, which names version and entrypoint once more; users may switch it off."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A side call of the CLI without its identity line, told by how its system prompt begins. It offers no tools."""

    name: str
    begins: tuple[str, ...]


HELPERS: Final = (
    Helper("title", ("Summarize this coding conversation", "Generate a concise, sentence-case title")),
    Helper("topic", ("Analyze if this message indicates a new conversation topic",)),
    Helper("command prefix", ("Your task is to process Bash commands", "Extract any file paths that this command")),
)
PROBE: Final = "quota probe"
"""The side call without any system prompt: one token at most, no stream, no tools."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is not the CLI: parts of its User-Agent and of its identity line, in lower case."""

    name: str
    agents: tuple[str, ...]
    identities: tuple[str, ...] = ()


PROGRAMS: Final = (
    Program("Hermes", ("hermes",), ("you are hermes", "inside hermes", "created by nous research")),
    Program(
        "OpenClaw",
        ("openclaw", "clawdbot", "moltbot"),
        ("you are openclaw", "inside openclaw", "you are clawdbot", "inside clawdbot", "inside moltbot"),
    ),
    Program("opencode", ("opencode",), ("you are opencode",)),
    Program("Cline", ("cline",), ("you are cline",)),
    Program("Roo Code", ("roo-code", "roocode", "roo code"), ("you are roo,", "you are roo code")),
    Program("Kilo Code", ("kilo-code", "kilocode", "kilo code"), ("you are kilo code",)),
    Program("Codex", ("codex",), ("you are codex",)),
    Program("Gemini CLI", ("geminicli", "gemini-cli"), ("you are gemini cli",)),
    Program("Qwen Code", ("qwencode", "qwen-code"), ("you are qwen code",)),
    Program("Cursor", ("cursor",), ("you operate in cursor", "inside cursor")),
    Program("Windsurf", ("windsurf",), ("you are cascade",)),
    Program("Aider", ("aider",)),
    Program("Goose", ("goose",), ("ai agent called goose",)),
    Program("Crush", ("crush/",), ("you are crush",)),
    Program("GitHub Copilot", ("copilot",), ("you are github copilot",)),
    Program("Zed", ("zed/",)),
    Program("LiteLLM", ("litellm",)),
    Program("LangChain", ("langchain",)),
    Program("the Vercel AI SDK", ("ai-sdk/",)),
    Program("Anthropic's SDK", ("anthropic/",)),
    Program("OpenAI's SDK", ("openai/",)),
    Program("curl", ("curl/",)),
    Program("Wget", ("wget/",)),
    Program("Postman", ("postman",)),
    Program("Python", ("python", "httpx", "aiohttp")),
    Program("Node.js", ("axios", "node-fetch", "undici", "got (")),
    Program("Go", ("go-http-client",)),
    Program("Bun", ("bun/",)),
    Program("a browser", ("mozilla/",)),
)


def program_of_agent(user_agent: str) -> str | None:
    """Whose User-Agent this is, where it is a known one's."""
    agent = user_agent.lower()
    return next((program.name for program in PROGRAMS if any(part in agent for part in program.agents)), None)


def program_of_texts(texts: Iterable[str]) -> str | None:
    """Which other program one of the texts says that it is."""
    for text in texts:
        said = text.lower()
        for program in PROGRAMS:
            if any(phrase in said for phrase in program.identities):
                return program.name
    return None


def helper_of(texts: Iterable[str]) -> str | None:
    """Which side call of the CLI begins its system prompt so."""
    for text in texts:
        for helper in HELPERS:
            if text.startswith(helper.begins):
                return helper.name
    return None
