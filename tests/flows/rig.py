"""A gateway in a process of its own, on a real socket, and the people who call it.

Nothing here reaches into the server: people are made and money is read with the operator's commands, in a second
process, as an operator would.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import anthropic
import httpx2
import openai

from apps.keys.rules import make_key
from tests.clients.claude_code import Sent

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 60.0
STOP_S: Final = 45.0
CALL_TIMEOUT_S: Final = 30.0

T = TypeVar("T")

http: Final = httpx2.Client(
    timeout=CALL_TIMEOUT_S, trust_env=False, verify=False, limits=httpx2.Limits(keepalive_expiry=2.0)
)
"""For calls that need no client of their own: a new one costs 0.2 s, for certificates that nobody asks for here.
It takes no connection that has been idle for long: a server may be closing it in this very moment."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(look: Callable[[], T | None], *, timeout_s: float = 10.0) -> T:
    """What `look` finds, as soon as it is true; an assertion where it stays false."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {look}"
        time.sleep(0.02)


class Server:
    """One installation: a data directory, stores, a port. `start` and `stop` it as often as needed."""

    def __init__(self, data_dir: Path, stores: Mapping[str, str], *, module: str = "tests.flows.serve") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HYPEREAL_")},
            "DATABASE_URL": "",
            "REDIS_URL": "",
            **stores,
            "HYPEREAL_DATA_DIR": str(data_dir),
            "PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
            "SCRIPTED_UPSTREAM_KEY": "sk-scripted",
            "HYPEREAL_CREDENTIAL_DIR": str(data_dir / "credentials"),
        }
        self.credential_dir = data_dir / "credentials"
        self.is_embedded = not stores
        self._log_path = data_dir / "server.log"
        self._module = module
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def start(self) -> None:
        """Return once it answers."""
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually(self._answers, timeout_s=START_S)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended:\n{self.log}"
        try:
            return http.head(f"{self.url}/", timeout=START_S).status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(timeout=STOP_S)
        self._process = None
        return status

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None


class CommandFailed(Exception):
    """A command said no."""


class Operator:
    """Runs commands beside the server. Amounts come back as exact decimals."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._people = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.ops"],
            cwd=ROOT,
            env=server.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._process.communicate(timeout=STOP_S)

    def run(self, *command: object, stdin: str = "") -> Any:
        """Run `manage.py …  --json`. Raises: CommandFailed."""
        asked = {"command": [str(word) for word in command], "stdin": stdin}
        return json.loads(self._ask(asked), parse_float=Decimal)

    def submit(self, page: str, row_id: str, **fields: str) -> None:
        """Change fields of a row's form in the admin (`upstreams_route`), the others staying as they are."""
        self._ask({"page": page, "row": row_id, "fields": fields})

    def run_task(self, name: str) -> None:
        self._ask({"task": name})

    def _ask(self, asked: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["error"] is not None:
            raise CommandFailed(f"{asked}: {answer['error']} {answer['output']}")
        output: str = answer["output"]
        return output

    def tell_server(self) -> None:
        """Return once the server has seen every change so far: a key that it does not know makes it look at once."""
        reply = http.get(f"{self.server.url}/v1/models", headers={"x-api-key": make_key()})
        assert reply.status_code == 401

    def person(self, name: str, *key_options: object, credits: int | str = 1_000) -> Person:
        """An account with credits and one key."""
        self._people += 1
        account = self.run("create_account", f"{name} {self._people}", *(["--credits", credits] if credits else []))
        key = self.run("issue_key", account["account_id"], *key_options)
        return Person(self.server, self, account["account_id"], Decimal(account["balance"]), key["key"], key["key_id"])


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: httpx2.Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body, parse_float=Decimal)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def code(self) -> str:
        return str(self.error["code"])

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.code

    @property
    def outcome(self) -> str:
        """`served`, or the code of the refusal."""
        return "served" if self.status == 200 else self.code

    @property
    def events(self) -> list[Any]:
        """The JSON of every event (`[DONE]` as a string)."""
        return events_of(self.body)

    @property
    def billing(self) -> Any:
        return self.json["hypereal"]["billing"]


def events_of(stream: bytes) -> list[Any]:
    found: list[Any] = []
    for line in stream.decode().splitlines():
        if line.startswith("data: "):
            text = line.removeprefix("data: ")
            found.append(text if text == "[DONE]" else json.loads(text, parse_float=Decimal))
    return found


@dataclass(frozen=True, slots=True)
class Person:
    """An account and a key of it."""

    server: Server
    operator: Operator
    account_id: str
    opening_balance: Decimal
    key: str
    key_id: str

    def call(self, path: str, body: Mapping[str, Any] | bytes, **headers: str) -> Reply:
        """POST; header names are written with underscores."""
        reply = http.post(
            f"{self.server.url}{path}",
            content=body if isinstance(body, bytes) else json.dumps(body),
            headers=self.headers(**headers),
        )
        return Reply(reply.status_code, reply.headers, reply.content)

    def send(self, sent: Sent) -> Reply:
        """POST what a client was seen to send, with our key."""
        reply = http.post(
            f"{self.server.url}{sent.url}",
            content=json.dumps(sent.body),
            headers={**sent.headers, "authorization": f"Bearer {self.key}"},
        )
        return Reply(reply.status_code, reply.headers, reply.content)

    def get(self, path: str, **headers: str) -> Reply:
        reply = http.get(f"{self.server.url}{path}", headers=self.headers(**headers))
        return Reply(reply.status_code, reply.headers, reply.content)

    @contextmanager
    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[httpx2.Response]:
        """A reply that is read as it comes; leaving hangs up."""
        with (
            httpx2.Client(timeout=CALL_TIMEOUT_S, trust_env=False, verify=False) as client,
            client.stream("POST", f"{self.server.url}{path}", json=body, headers=self.headers()) as reply,
        ):
            yield reply

    def headers(self, **more: str) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {"authorization": f"Bearer {self.key}", "content-type": "application/json", **named}

    def openai(self, *, api_key: str | None = None) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.server.url}/v1/managed",
            api_key=api_key or self.key,
            max_retries=0,
            timeout=CALL_TIMEOUT_S,
            http_client=openai.DefaultHttpxClient(trust_env=False, verify=False),
        )

    def anthropic(self, **headers: str) -> anthropic.Anthropic:
        return anthropic.Anthropic(
            base_url=self.server.url,
            api_key=self.key,
            max_retries=0,
            timeout=CALL_TIMEOUT_S,
            default_headers=headers,
            http_client=anthropic.DefaultHttpxClient(trust_env=False, verify=False),
        )

    def another_key(self, *key_options: object) -> Person:
        """The same account with a fresh key."""
        key = self.operator.run("issue_key", self.account_id, *key_options)
        return Person(self.server, self.operator, self.account_id, self.opening_balance, key["key"], key["key_id"])

    def set_key(self, *options: object) -> None:
        self.operator.run("set_key", self.key_id, *options)
        self.operator.tell_server()

    @property
    def balance(self) -> Decimal:
        return Decimal(self.operator.run("balance", self.account_id)["balance"])

    @property
    def held(self) -> Decimal:
        return Decimal(self.operator.run("balance", self.account_id)["held"])

    def records(self, last: int = 1_000) -> list[Any]:
        """Usage records, newest first."""
        found: list[Any] = self.operator.run("usage", self.account_id, "--last", last)["records"]
        return found

    def record_of(self, request_id: str) -> Any:
        """One usage record, once it is written."""
        return eventually(lambda: next((row for row in self.records() if row["request_id"] == request_id), None))

    def newest_record(self) -> Any:
        return eventually(lambda: next(iter(self.records(1)), None))

    def assert_paid_nothing(self) -> None:
        """Nothing was charged and nothing stays held."""
        eventually(lambda: self.held == 0)
        assert self.balance == self.opening_balance
