"""`simulate_upstream`: one line that says where it listens, then a provider."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).resolve().parents[2]


@asynccontextmanager
async def running(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The command as a process of its own, and the line that it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "manage.py", "simulate_upstream", *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_serves_until_it_is_told_to_stop() -> None:
    async with running("--port", "0", "--ttfb-ms", "0", "--chunk-ms", "0", "--json") as (process, line):
        urls = json.loads(line)
        assert urls["anthropic"].startswith("http://127.0.0.1:")
        assert (urls["openai"], urls["gemini"]) == (f"{urls['anthropic']}/v1", f"{urls['anthropic']}/v1beta")
        async with openai.AsyncOpenAI(base_url=urls["openai"], api_key="none") as client:
            response = await client.responses.create(model="gpt-5-5", input="Hello")
        assert response.output_text.startswith("This is the Hypereal simulator")
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 10)


async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "manage.py", "simulate_upstream", "--port", str(port)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert (process.returncode, out) == (1, b"")
    assert err.decode().strip() == f"CommandError: cannot listen on 127.0.0.1:{port}: Address already in use"


@pytest.mark.parametrize("option", ["--port=70000", "--ttfb-ms=-1", "--chunk-ms=999999999"])
def test_bad_numbers_are_refused(option: str) -> None:
    from django.core.management import CommandError, call_command

    with pytest.raises(CommandError, match="must be from 0 to"):
        call_command("simulate_upstream", option)
