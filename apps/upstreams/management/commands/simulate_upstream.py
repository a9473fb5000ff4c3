"""`simulate_upstream`: the built-in simulator as a server of its own."""

from __future__ import annotations

import json
import socket
from typing import Any, Final

import uvicorn
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.upstreams.simulator import Simulator
from apps.upstreams.simulator.core import DEFAULT_CHUNK_MS, DEFAULT_TTFB_MS
from apps.upstreams.simulator.directives import MAX_DELAY_MS
from apps.upstreams.simulator.server import application

HOST: Final = "127.0.0.1"
"""It answers to anyone without a credential: nobody but this machine may ask."""

DEFAULT_PORT: Final = 9_900
MAX_PORT: Final = 65_535
BACKLOG: Final = 2_048
KEEPALIVE_S: Final = 75


class Command(BaseCommand):
    help = "Serve the built-in simulator on 127.0.0.1: every upstream dialect, no credential needed."
    requires_system_checks: Any = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="P", help="0 takes a free one.")
        parser.add_argument("--ttfb-ms", type=int, default=DEFAULT_TTFB_MS, metavar="N", help="Before each reply.")
        parser.add_argument("--chunk-ms", type=int, default=DEFAULT_CHUNK_MS, metavar="N", help="Between chunks.")
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Print the base URLs as one JSON object."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        for name, most in (("port", MAX_PORT), ("ttfb_ms", MAX_DELAY_MS), ("chunk_ms", MAX_DELAY_MS)):
            if not 0 <= options[name] <= most:
                raise CommandError(f"--{name.replace('_', '-')} must be from 0 to {most}")
        simulator = Simulator(ttfb_ms=options["ttfb_ms"], chunk_ms=options["chunk_ms"])
        with _listen(options["port"]) as listener:
            urls = base_urls(listener.getsockname()[1])
            self.stdout.write(json.dumps(urls) if options["as_json"] else _line(urls))
            self.stdout.flush()
            config = uvicorn.Config(
                application(simulator),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="critical",  # a reply that is cut off on demand is no error worth a line
                timeout_keep_alive=KEEPALIVE_S,
                server_header=False,
            )
            uvicorn.Server(config).run(sockets=[listener])


def base_urls(port: int) -> dict[str, str]:
    """What each dialect's SDK takes as its base URL."""
    root = f"http://{HOST}:{port}"
    return {"openai": f"{root}/v1", "anthropic": root, "gemini": f"{root}/v1beta"}


def _line(urls: dict[str, str]) -> str:
    where = ", ".join(f"{dialect} {url}" for dialect, url in urls.items())
    return f"Hypereal simulator at: {where}"


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as failure:
        listener.close()
        raise CommandError(f"cannot listen on {HOST}:{port}: {failure.strerror}") from None
    listener.listen(BACKLOG)
    return listener
