"""`make run` as it is: everything that it starts, and that nothing of it is left when it stops."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from apps.gateway.stores import POLL_S
from apps.insurance.payer import LOOK_AGAIN_S
from tests.flows.conftest import own_stores
from tests.flows.endpoints import CHAT
from tests.flows.rig import Operator, Server, eventually, http


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    """Not started yet."""
    with own_stores("made") as stores:
        server = Server(tmp_path / "data", stores, module="hypereal.run")
        server.environ["HYPEREAL_WORKERS"] = "2" if stores else "1"
        yield server
        if server.is_running:
            server.stop()


def roles_of(processes: list[psutil.Process]) -> set[str]:
    """`web`, `worker`, `beat`, of those that are running."""
    lines = [" ".join(process.cmdline()) for process in processes]
    return {role for role in ("web", "worker", "beat") if any(re.search(rf"\b{role}\b", line) for line in lines)}


def demo_call(server: Server, key: str) -> httpx2.Response:
    return http.post(f"{server.url}{CHAT.path}", json=CHAT.body("Hello!"), headers={"authorization": f"Bearer {key}"})


def test_make_run_serves_stops_and_leaves_nothing_behind(made: Server) -> None:
    made.start()
    found = eventually(lambda: re.search(r"API key\s+(ck_\w+)", made.log))
    reply = demo_call(made, found[1])
    assert (reply.status_code, "Hello!" in reply.text) == (200, True)
    assert eventually(lambda: http.get(f"{made.url}/readyz").text == "ready\n")
    family = psutil.Process(made.pid).children(recursive=True)
    if not made.is_embedded:
        eventually(lambda: roles_of(psutil.Process(made.pid).children(recursive=True)) == {"web", "worker", "beat"})
        family = psutil.Process(made.pid).children(recursive=True)
        assert len(family) >= 4
    pid = made.pid
    assert made.stop() == 0
    assert not psutil.pid_exists(pid)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made.port), timeout=1).close()
    assert "Traceback" not in made.log


def test_the_second_start_keeps_what_the_first_one_made(made: Server) -> None:
    made.start()
    found = eventually(lambda: re.search(r"API key\s+(ck_\w+)", made.log))
    before = demo_call(made, found[1]).json()["hypereal"]["billing"]["balance_after"]
    assert made.stop() == 0
    made.start()
    again = demo_call(made, found[1])
    assert again.json()["hypereal"]["billing"]["balance_before"] == before
    assert len(set(re.findall(r"ck_\w{42}", made.log))) == 1


def test_a_killed_web_process_is_replaced(made: Server) -> None:
    if made.is_embedded:
        pytest.skip("one process: its killing is test_crash.py's")
    made.start()
    found = eventually(lambda: re.search(r"API key\s+(ck_\w+)", made.log))

    def web() -> list[psutil.Process]:
        children = psutil.Process(made.pid).children()
        return [one for one in children if one.status() != psutil.STATUS_ZOMBIE and "web" in one.cmdline()]

    before = {one.pid for one in web()}
    assert len(before) == 2
    web()[0].kill()
    eventually(lambda: len({one.pid for one in web()} - before) == 1 and len(web()) == 2)
    assert demo_call(made, found[1]).status_code == 200


def newest(operator: Operator) -> Any:
    return operator.run("usage", "demo", "--last", 1)["records"][0]


def test_a_worker_pays_for_slow_streams(made: Server) -> None:
    """Every call is slow enough here. Were the worker not told, nobody would look for seconds after the first one."""
    if made.is_embedded:
        pytest.skip("there is no worker")
    made.start()
    found = eventually(lambda: re.search(r"API key\s+(ck_\w+)", made.log))
    eventually(lambda: roles_of(psutil.Process(made.pid).children(recursive=True)) == {"web", "worker", "beat"})
    with closing(Operator(made)) as operator:
        operator.run("set_policy", CHAT.model, "--insurance-threshold-ms", 0, "--insurance-ms-per-output-token", 0)
        time.sleep(2 * POLL_S)  # by then both processes know

        def stream_until_paid() -> float:
            http.post(
                f"{made.url}{CHAT.path}",
                json=CHAT.body("Hello!", stream=True),
                headers={"authorization": f"Bearer {found[1]}"},
            )
            ended_at = time.monotonic()
            eventually(lambda: newest(operator)["insurance"]["status"] == "paid")
            return time.monotonic() - ended_at

        took = [stream_until_paid() for _ in range(3)]
        assert max(took[1:]) < LOOK_AGAIN_S - 1, took
        assert operator.run("verify_ledger")["problems"] == []
