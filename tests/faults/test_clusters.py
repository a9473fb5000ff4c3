"""The rig itself: a cluster that crashes comes back with what was committed, and without what was not."""

from __future__ import annotations

import psycopg
import pytest

from tests.faults.clusters import own_cluster, server_programs

pytestmark = pytest.mark.skipif(server_programs() is None, reason="PostgreSQL's server programs are not installed")


def test_a_cluster_that_crashed_keeps_what_was_committed() -> None:
    with own_cluster() as cluster:
        url = cluster.create_database("own")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (number int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            connection.execute("BEGIN")
            connection.execute("INSERT INTO kept VALUES (2)")
            cluster.stop("immediate")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("COMMIT")
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=2)
        cluster.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT number FROM kept").fetchall() == [(1,)]
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
