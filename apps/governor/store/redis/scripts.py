"""Lua scripts as files: `lua/NAME.lua`, with the files that its first lines name before it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

LUA: Final = Path(__file__).resolve().parent / "lua"
_USES: Final = re.compile(r"^-- uses: (\w+)\.lua$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest that EVALSHA knows it by."""

    name: str
    text: bytes
    sha: bytes


@cache
def load_script(name: str) -> Script:
    """Read a script. A line `-- uses: window.lua` puts that file before it: Redis knows no other way to share code."""
    own = (LUA / f"{name}.lua").read_text(encoding="utf-8")
    used = [(LUA / f"{each}.lua").read_text(encoding="utf-8") for each in _USES.findall(own)]
    text = "\n".join([*used, own]).encode()
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())
