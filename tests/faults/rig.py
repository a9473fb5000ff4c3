"""One gateway under fault: stores, oracle, processes and an operator, all of its own; proven after each fault."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.faults.callers import Seen
from tests.faults.clusters import Cluster, own_cluster
from tests.faults.evidence import Evidence, connect, gather
from tests.faults.installation import Installation
from tests.faults.journal import OracleProcess, own_oracle
from tests.faults.proof import EXACT_PRICES, prove
from tests.faults.proxy import Proxy, own_proxy
from tests.faults.redis_server import RedisServer, own_redis
from tests.faults.store_clock import StoreClock
from tests.flows.endpoints import ENDPOINTS, IMAGES
from tests.flows.rig import CommandFailed, Operator, Person

RESOLVED_S: Final = 60.0
"""Within this after the last restart nothing may be held any more."""
ROOMY: Final = ("--concurrency", 2_000, "--rpm", 10_000_000, "--tpm", 2_000_000_000)
"""Nobody waits for a place: what is shown here is money."""
DATABASE: Final = "faults"
EXACT_MODEL: Final = next(iter(EXACT_PRICES))
EXACT_CATALOG: Final = {
    "currency": "USD",
    "models": [
        {
            "id": EXACT_MODEL,
            "name": "Costs what was held",
            "surface": "text",
            "context_tokens": 1_000_000,
            "max_output_tokens": 1_000,
            "dialects": ["openai-chat", "openai-responses", "anthropic-messages"],
            "usd_per_million_tokens": {"input": "0", "output": str(EXACT_PRICES[EXACT_MODEL] / 100)},
        }
    ],
}
"""A model whose input is free: what a call can cost at most is its `max_tokens` and nothing else."""


@dataclass(frozen=True, slots=True)
class Rig:
    gateway: Installation
    operator: Operator
    oracle: OracleProcess
    stores: dict[str, str]
    """As the gateway was told them; none where it is embedded."""
    data_dir: Path
    cluster: Cluster | None = None
    redis: RedisServer | None = None
    proxy: Proxy | None = None
    """In front of the cluster, where one was asked for."""
    clock: StoreClock | None = None
    """The cluster's, where it can be moved."""

    def person(self, name: str, *key_options: object, credits: int | str = 100_000) -> Person:
        """An account that may call as often as it likes, and a key of it."""
        person = self.operator.person(name, *key_options, credits=credits)
        self.operator.run("set_account", person.account_id, "--rpm", 10_000_000)
        return person

    def evidence(self) -> Evidence:
        with connect(self.direct_stores(), self.data_dir) as connection:
            return gather(connection)

    def held_micro(self) -> int:
        """What all accounts hold together, now."""
        with connect(self.direct_stores(), self.data_dir) as connection:
            ((held,),) = connection.execute("SELECT coalesce(sum(held_micro), 0) FROM ledger_balance").fetchall()
            return int(held)

    def wait_until_resolved(self, timeout_s: float = RESOLVED_S) -> float:
        """How many seconds it took until nothing was held; `timeout_s` where it still is: the proof tells."""
        began = time.monotonic()
        while self.held_micro() and time.monotonic() - began < timeout_s:
            time.sleep(0.1)
        return time.monotonic() - began

    def prove(self, seen: Iterable[Seen], *, lost: bool = False, went_back: bool = False) -> list[str]:
        """The violations of the invariants, all of them."""
        try:
            problems: list[str] = self.operator.run("verify_ledger")["problems"]
        except CommandFailed as failed:
            problems = [str(failed)]
        return prove(
            evidence=self.evidence(),
            problems=problems,
            oracle=self.oracle.calls(),
            seen=seen,
            lost=lost,
            went_back=went_back,
        )

    def settled(self) -> int:
        """How many requests have been charged."""
        with connect(self.direct_stores(), self.data_dir) as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM ledger_entry WHERE kind = 'charge'").fetchall()
            return int(count)

    def direct_stores(self) -> dict[str, str]:
        """Past the proxy."""
        return {"DATABASE_URL": self.cluster.url(DATABASE)} if self.cluster is not None else {}


@contextmanager
def own_rig(
    *,
    is_embedded: bool = False,
    workers: int = 2,
    with_proxy: bool = False,
    with_clock: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Rig]:
    """A running gateway whose every model is served by the oracle. Everything of it is gone afterwards.

    `with_proxy`: between it and PostgreSQL. `with_clock`: PostgreSQL's can be moved. `environ`: more for its processes.
    """
    with ExitStack() as held:
        directory = Path(tempfile.mkdtemp(prefix="hypereal-faults-"))
        held.callback(shutil.rmtree, directory, ignore_errors=True)
        cluster = redis = proxy = clock = None
        stores: dict[str, str] = {}
        if not is_embedded:
            cluster, redis = held.enter_context(own_cluster()), held.enter_context(own_redis())
            cluster.create_database(DATABASE)
            proxy = held.enter_context(own_proxy(cluster.port)) if with_proxy else None
            clock = StoreClock(cluster, DATABASE) if with_clock else None
            stores = {
                "DATABASE_URL": cluster.url(DATABASE, port=proxy.port if proxy is not None else None),
                "REDIS_URL": redis.url,
            }
        oracle = held.enter_context(own_oracle(directory))
        data_dir = directory / "data"
        gateway = Installation(data_dir, stores, workers=workers)
        held.callback(gateway.close)
        gateway.environ.update(environ or {})
        gateway.start()
        operator = Operator(gateway)
        held.callback(operator.close)
        rig = Rig(gateway, operator, oracle, stores, data_dir, cluster, redis, proxy, clock)
        _plug_in(rig, directory)
        yield rig


def _plug_in(rig: Rig, directory: Path) -> None:
    """The oracle as the upstream of a model of every protocol, with room for everybody."""
    catalog = directory / "catalog.json"
    catalog.write_text(json.dumps(EXACT_CATALOG))
    rig.operator.run("load_catalog", catalog)
    routes: list[tuple[str, Any]] = [(endpoint.model, endpoint) for endpoint in ENDPOINTS]
    routes += [(EXACT_MODEL, endpoint) for endpoint in ENDPOINTS if endpoint.maximum is not None]
    for model, endpoint in routes:
        rig.operator.run(
            "add_route", model, "--provider", "oracle", "--dialect", endpoint.dialect,
            "--base-url", rig.oracle.url + endpoint.base_path, "--upstream-model", "theirs",
        )  # fmt: skip
    for model in {model for model, _ in routes}:
        is_image = model == IMAGES.model
        rig.operator.run("set_policy", model, *ROOMY, *(("--ipm", 10_000_000) if is_image else ()))
    rig.operator.tell_server()
