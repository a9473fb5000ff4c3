"""One gateway for all clients, with the simulator behind it; each client gets a home and a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.rig import CLIENTS, Workplace
from tests.flows.conftest import add_upstream, alice, operator, scripted, server, set_policy

__all__ = ["add_upstream", "alice", "operator", "scripted", "server", "set_policy"]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    assert CLIENTS.exists(), "the clients are not installed: make test-clients does it"
    made = Workplace(home=tmp_path / "home", folder=tmp_path / "work")
    made.home.mkdir()
    made.folder.mkdir()
    return made
