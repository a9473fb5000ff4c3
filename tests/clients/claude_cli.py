"""The official Claude Code CLI, set up as our documentation says."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable
from typing import Final

from tests.clients.rig import MODULES, Ran, Workplace, end_group
from tests.flows.rig import Person

BINARY: Final = MODULES / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
TOOLS: Final = "Write,Read,Edit,Bash,Agent,Task"
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?<>=]*[a-zA-Z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][A-Z0-9]")


def environ(
    person: Person,
    *,
    opus: str = "claude-opus-4-8",
    sonnet: str = "claude-sonnet-4-7",
    haiku: str = "claude-haiku-latest",
    base_url: str | None = None,
) -> dict[str, str]:
    """The seven variables, and that it shall not call home."""
    return {
        "ANTHROPIC_BASE_URL": base_url or person.server.url,
        "ANTHROPIC_AUTH_TOKEN": person.key,
        "ANTHROPIC_API_KEY": "",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": opus,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": sonnet,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": haiku,
        "CLAUDE_CODE_SUBAGENT_MODEL": haiku,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
    }


def run(workplace: Workplace, prompt: str, settings: dict[str, str], *options: str) -> Ran:
    """`claude -p PROMPT`."""
    return workplace.run([BINARY, "-p", prompt, "--allowedTools", TOOLS, *options], **settings)


class Terminal:
    """`claude` in a terminal, typed into and read from."""

    def __init__(self, workplace: Workplace, settings: dict[str, str], *options: str) -> None:
        # As somebody who has answered its first questions.
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        about = {"hasCompletedOnboarding": True, "theme": "dark", "projects": {str(workplace.folder): trusted}}
        (workplace.home / ".claude.json").write_text(json.dumps(about))
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:  # the client's own process
            os.chdir(workplace.folder)
            basics = {"PATH": os.environ["PATH"], "HOME": str(workplace.home), "TERM": "xterm-256color"}
            os.execve(BINARY, [str(BINARY), *options], {**basics, **settings})
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        self.seen = ""

    def read(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._terminal], [], [], min(left, 0.1))[0]:
                continue
            try:
                self.seen += os.read(self._terminal, 65_536).decode(errors="replace")
            except OSError:
                return

    def until(self, happened: Callable[[], object], *, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < deadline, f"it did not happen:\n{self.text[-3000:]}"
            self.read(0.2)

    @property
    def text(self) -> str:
        """What stood on the screen, one thing after the other; spaces may be lost."""
        return _ESCAPES.sub("", self.seen)

    def type(self, line: str) -> None:
        os.write(self._terminal, line.encode())
        self.read(0.5)
        os.write(self._terminal, b"\r")

    def close(self) -> None:
        end_group(self._pid)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)
