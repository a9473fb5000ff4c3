"""`make bench`: CPU per billed call, beside a bare pass-through in the same run. See README.md."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import uvloop

from tests.bench import translate
from tests.bench.load import Load, run

ROOT = Path(__file__).resolve().parent.parent.parent
CONNECTIONS = 64
PLAIN_CALLS = 6_000
STREAM_CALLS = 600
WARM_UP_CALLS = 500
REFUSED_CALLS = 3_000
BODY = {"model": "gpt-5-5", "messages": [{"role": "user", "content": "word " * 180}], "max_tokens": 60}

LONG_BODY = {**BODY, "messages": [{"role": "user", "content": "word " * 180}] * 100}
REFUSALS = (("a rate", ("--rpm", "1"), 429), ("a budget", ("--hourly", "0.0001"), 402))
"""What stops a client that loops: the limit of its key, and the status that it gets."""


def main() -> int:
    with ExitStack() as held:
        environ = held.enter_context(stores())
        ports = {name: free_port() for name in ("upstream", "gateway", "passthrough")}
        environ["BENCH_UPSTREAM"] = f"http://127.0.0.1:{ports['upstream']}/v1"
        key = prepare(environ)
        held.enter_context(process(["tests.bench.upstream", str(ports["upstream"])], environ, core=1))
        os.sched_setaffinity(0, cores(1))
        subjects = {
            name: held.enter_context(
                process(["tests.bench.subject", name], {**environ, "PORT": str(ports[name])}, core=0)
            )
            for name in ("passthrough", "gateway")
        }
        for port in ports.values():
            wait_for(port)
        store = "PostgreSQL" if environ.get("DATABASE_URL") else "embedded (SQLite)"
        print(f"ledger: {store}; {CONNECTIONS} connections")
        print(f"{'':28}{'calls':>7}{'calls/s':>9}{'CPU us/call':>13}{'p50 ms':>8}{'p99 ms':>8}")
        for title, stream, calls in (("plain, 1 KB", False, PLAIN_CALLS), ("60-chunk stream", True, STREAM_CALLS)):
            figures = {}
            for name in ("passthrough", "gateway"):
                body = {**BODY, **({"stream": True} if stream else {})}
                figures[name] = measure(subjects[name], ports[name], key, body=body, calls=calls)
                show(f"{name}: {title}", *figures[name])
            ratio = figures["gateway"][1] / figures["passthrough"][1]
            print(f"{'':28}gateway / pass-through: {ratio:.2f} x the CPU")
        for title, limit, status in REFUSALS:
            looping = manage(environ, "issue_key", "bench", *limit)["key"]
            for size, body in (("1 KB", BODY), ("90 KB", LONG_BODY)):
                load, cpu_us = measure(
                    subjects["gateway"], ports["gateway"], looping, body=body, calls=REFUSED_CALLS, status=status
                )
                show(f"refused, {title}, {size}", load, cpu_us)
        proof = manage(environ, "verify_ledger")
        print(f"ledger: {proof['entries']} entries, {'proven' if proof['ok'] else proof['problems']}")
    translate.main()
    return 0 if proof["ok"] else 1


def measure(
    subject: psutil.Process, port: int, key: str, *, body: dict[str, Any], calls: int, status: int = 200
) -> tuple[Load, float]:
    """The run, and the subject's CPU per call in microseconds. Calls that are to be refused may be served first."""
    raw = json.dumps(body, separators=(",", ":")).encode()
    request = (
        f"POST /v1/managed/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
    ).encode() + raw
    uvloop.run(run(port=port, request=request, calls=min(WARM_UP_CALLS, calls), connections=CONNECTIONS))
    before = subject.cpu_times()
    load = uvloop.run(run(port=port, request=request, calls=calls, connections=CONNECTIONS, status=status))
    after = subject.cpu_times()
    if load.bad:
        raise SystemExit(f"{len(load.bad)} calls failed, the first with: {load.bad[0][:600]!r}")
    return load, (after.user + after.system - before.user - before.system) / calls * 1e6


def show(title: str, load: Load, cpu_us: float) -> None:
    print(
        f"{title:28.28}{load.calls:>7}{load.calls / load.seconds:>9.0f}{cpu_us:>13.0f}"
        f"{load.percentile(50):>8.1f}{load.percentile(99):>8.1f}"
    )


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """An environment whose stores are the run's own."""
    directory = tempfile.mkdtemp(prefix="hypereal-bench-")
    environ = {**os.environ, "HYPEREAL_DATA_DIR": directory, "HYPEREAL_ENV": "local"}
    url = environ.get("DATABASE_URL", "")
    try:
        if not url:
            yield environ
            return
        name = f"hypereal_bench_{secrets.token_hex(4)}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            try:
                yield {**environ, "DATABASE_URL": url.rsplit("/", 1)[0] + "/" + name}
            finally:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        shutil.rmtree(directory)


def prepare(environ: dict[str, str]) -> str:
    """An account that can pay, a route to our upstream, and no limit in the way; return its key."""
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environ, check=True)
    manage(environ, "load_catalog")
    manage(environ, "create_account", "bench", "--credits", "10000000")
    manage(environ, "set_account", "bench", "--rpm", "100000000")
    many = "1000000000"
    manage(environ, "set_policy", "gpt-5-5", "--concurrency", "1000", "--rpm", many, "--tpm", "1000000000000")
    manage(
        environ, "add_route", "gpt-5-5", "--provider", "bench", "--dialect", "openai-chat", "--base-url",
        environ["BENCH_UPSTREAM"], "--upstream-model", "bench-upstream",
    )  # fmt: skip
    key: str = manage(environ, "issue_key", "bench")["key"]
    return key


def manage(environ: dict[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments, "--json"], cwd=ROOT, env=environ, check=True, capture_output=True
    )
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@contextmanager
def process(module: list[str], environ: dict[str, str], *, core: int) -> Iterator[psutil.Process]:
    child = subprocess.Popen(
        [sys.executable, "-m", *module], cwd=ROOT, env=environ, preexec_fn=lambda: os.sched_setaffinity(0, cores(core))
    )
    try:
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(timeout=60)


def cores(core: int) -> set[int]:
    """That core, where this machine has it."""
    usable = sorted(os.sched_getaffinity(os.getpid()) | {0})
    return {usable[core % len(usable)]}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


if __name__ == "__main__":
    sys.exit(main())
