"""Names in requests that nobody knew yet: they pass, and the operator is told of each once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Final

from apps.dialects.common.known import unknown_betas, unknown_fields
from apps.dialects.protocol import Dialect, Request
from apps.gateway.call import Call

logger = logging.getLogger(__name__)

MAX_NAMES: Final = 500
"""Of each process: past that somebody is making names up, and nobody would read on."""
MAX_NAME_CHARS: Final = 100

Tell = Callable[[str, str, str, str], object]
"""Told the kind (`field`, `tool`, `beta`), the dialect, the name, and the model it was first asked of."""


class Notices:
    """What this process has told already. A call that says nothing new costs a look into two sets."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._told: set[tuple[str, str, str]] = set()
        self._headers: set[bytes] = set()

    def look(self, call: Call, request: Request, *, dialect: Dialect) -> None:
        name = request.written_in or dialect.name
        unknown = unknown_fields(request.fields, name)
        if unknown:
            self._notice("field", name, unknown, request)
        if request.unknown_tools:
            self._notice("tool", name, request.unknown_tools, request)
        betas = call.headers.get(b"anthropic-beta") if dialect.is_anthropic else None
        if betas is not None and betas not in self._headers and len(self._headers) < MAX_NAMES:
            self._headers.add(betas)
            self._notice("beta", name, unknown_betas(betas.decode("latin-1")), request)

    def _notice(self, kind: str, dialect: str, names: Iterable[str], request: Request) -> None:
        for name in names:
            shown = "".join(filter(str.isprintable, name[:MAX_NAME_CHARS])).encode("utf-8", "replace").decode()
            told = (kind, dialect, shown)
            if told in self._told or len(self._told) >= MAX_NAMES:
                continue
            self._told.add(told)
            logger.warning("nobody knew the %s %r of %s yet: does it want a price?", kind, shown, dialect)
            self._tell(kind, dialect, shown, request.model_id)
