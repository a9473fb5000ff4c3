"""K9 in short: more clients on one account make it no slower, and nobody waits for anybody in a circle."""

from __future__ import annotations

import pytest

from tests.faults import hot_account
from tests.faults.clusters import server_programs

pytestmark = pytest.mark.skipif(server_programs() is None, reason="PostgreSQL's server programs are not installed")


def test_a_hot_account_settles_as_fast_with_many_clients_as_with_few() -> None:
    few, many = hot_account.run([8, 64], seconds=1.5)
    assert many.per_s >= 0.8 * few.per_s
    assert many.p99_ms < 500
    assert few.deadlocks == many.deadlocks == 0
