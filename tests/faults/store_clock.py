"""The database's clock, moved at will: functions of ours in front of PostgreSQL's own, in one database of a test's."""

from __future__ import annotations

from typing import Final

import psycopg

from tests.faults.clusters import Cluster

NAMES: Final = ("now", "statement_timestamp", "transaction_timestamp")
"""What the product asks for the time, from its statements and from Django."""


class StoreClock:
    """To be made before the gateway prepares its statements: a session that has begun keeps the clock it found."""

    def __init__(self, cluster: Cluster, database: str) -> None:
        self._url = cluster.url(database)
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS public.moved (by_s double precision NOT NULL)")
            connection.execute("TRUNCATE public.moved")
            connection.execute("INSERT INTO public.moved VALUES (0)")
            for name in NAMES:
                connection.execute(
                    f"CREATE OR REPLACE FUNCTION public.{name}() RETURNS timestamptz LANGUAGE sql STABLE AS $$"
                    f" SELECT pg_catalog.{name}() + make_interval(secs => by_s) FROM public.moved $$"
                )
            # pg_catalog comes first unless it is named elsewhere.
            connection.execute(f'ALTER DATABASE "{database}" SET search_path = public, pg_catalog')

    def move(self, by_s: float) -> None:
        """So many seconds from the true time."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("UPDATE public.moved SET by_s = %s", [by_s])
