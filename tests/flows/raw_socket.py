"""A caller with nothing between it and the socket: it sends what it likes and leaves when it likes."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

import httpx2

from tests.flows.rig import Reply


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self, path: str, *, method: str = "POST", **headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def post(self, path: str, body: Mapping[str, Any], *, key: str) -> None:
        content = json.dumps(body).encode()
        self.head(path, authorization=f"Bearer {key}", content_length=str(len(content)))
        self.send(content)

    def receive_until(self, text: bytes) -> bytes:
        received = b""
        while text not in received:
            part = self.socket.recv(65_536)
            assert part, f"closed after {received!r}"
            received += part
        return received

    def reply(self) -> Reply:
        """One reply with a Content-Length."""
        received = self.receive_until(b"\r\n\r\n")
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = httpx2.Headers([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
        while len(body) < int(headers.get("content-length", "0")):
            part = self.socket.recv(65_536)
            assert part, f"closed within {body!r}"
            body += part
        return Reply(int(first.split(" ")[1]), headers, body)

    def is_closed(self) -> bool:
        """Whether the server ends the connection, with nothing more to say."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
