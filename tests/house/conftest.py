from __future__ import annotations

from pathlib import Path

import pytest

from hypereal import environment
from hypereal.environment import Environment


@pytest.fixture(scope="session")
def local_environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The embedded default, with secrets of its own."""
    root: Path = tmp_path_factory.mktemp("house")
    return environment.read({}, root=root)
