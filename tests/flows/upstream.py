"""A scripted provider on a real loopback socket, with a journal of all it was sent and of what it sent to the end.

Raw asyncio: it must be able to send what no HTTP library would.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from tests.flows.endpoints import Endpoint, Tokens


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cut(Exception):
    """Ends the connection where it stands."""


Step = bytes | float | type[Cut] | Callable[[], None]
"""Bytes to send, seconds to wait, the end of the connection, or something to do in between."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: a status and headers, then steps."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    is_chunked: bool = False
    pause_s: float = 0.0
    """Before the head."""
    raw: bytes | None = None
    """In place of all that: these very bytes, and the end of the connection."""


def plain(body: bytes, *, status: int = 200, content_type: str = "application/json", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": content_type, "content-length": str(len(body)), **named}, [body])


def streamed(steps: Sequence[Step], **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(200, {"content-type": "text/event-stream", **named}, steps, is_chunked=True)


def served(endpoint: Endpoint, tokens: Tokens | None = None, *, gap_s: float = 0.0) -> Callable[[Received], Answer]:
    """A provider that works: a stream where one is asked for, else a whole reply."""

    def answer(received: Received) -> Answer:
        if not received.json.get("stream"):
            return plain(endpoint.reply(tokens))
        steps: list[Step] = []
        for event in endpoint.events(tokens):
            steps += [gap_s, event] if gap_s else [event]
        return streamed(steps)

    return answer


class Script:
    """One provider's behaviour and journal; each has a path of its own on the shared socket."""

    def __init__(self, base_url: str, answer: Callable[[Received], Answer]) -> None:
        self.base_url = base_url
        self.answer = answer
        self.calls: list[Received] = []
        self.completed = 0
        """Replies sent to their end."""
        self.hung_up = 0
        """Replies that whoever asked did not take to their end."""
        self.open = 0
        self.route_id = ""

    def answers(self, answer: Answer) -> None:
        """From now on, to whatever it is asked."""
        self.answer = lambda _: answer


class ScriptedUpstream:
    """The socket, in a thread with a loop of its own."""

    def __init__(self) -> None:
        self._scripts: dict[str, Script] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted upstream", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0)).result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        async def stop() -> None:
            self._server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._run(stop()).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def script(self, answer: Callable[[Received], Answer] | Answer) -> Script:
        """A provider that answers like this."""
        name = f"s{len(self._scripts) + 1}"
        behave = answer if callable(answer) else lambda _: answer
        script = self._scripts[name] = Script(f"http://127.0.0.1:{self.port}/{name}", behave)
        return script

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._serve_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever called went away, or the test is over
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False where the connection ends after it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        target = head[0].split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        name, _, path = target.removeprefix("/").partition("/")
        script = self._scripts[name]
        received = Received(f"/{path}", headers, body, time.monotonic())
        script.calls.append(received)
        script.open += 1
        try:
            is_kept = await _send(reader, writer, script.answer(received))
        except (OSError, asyncio.CancelledError):
            script.hung_up += 1
            raise
        finally:
            script.open -= 1
        script.completed += is_kept
        return is_kept


async def _send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> bool:
    if answer.raw is not None:
        writer.write(answer.raw)
        await writer.drain()
        return False
    await _wait(reader, answer.pause_s)
    headers = dict(answer.headers)
    if answer.is_chunked:
        headers["transfer-encoding"] = "chunked"
    lines = [f"HTTP/1.1 {answer.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    for step in answer.steps:
        if isinstance(step, bytes):
            writer.write(b"%x\r\n%b\r\n" % (len(step), step) if answer.is_chunked else step)
            await writer.drain()
        elif isinstance(step, float):
            await _wait(reader, step)
        elif step is Cut:
            writer.transport.abort()
            return False
        else:
            step()
    if answer.is_chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return True


POLL_S: Final = 0.02


async def _wait(reader: asyncio.StreamReader, seconds: float) -> None:
    """Let time pass, unless whoever asked hangs up."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if reader.at_eof():
            raise ConnectionResetError
        await asyncio.sleep(min(left, POLL_S))
