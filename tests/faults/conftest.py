from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("tests.flows.bills", "tests.flows.rig")

from tests.flows.upstream import ScriptedUpstream  # noqa: E402


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedUpstream]:
    scripted = ScriptedUpstream()
    yield scripted
    scripted.close()
