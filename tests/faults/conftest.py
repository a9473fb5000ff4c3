from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.upstream import ScriptedUpstream


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()
