"""What the governor's keys and channels are called. Keys of one model, account or route carry one tag in braces: they
stay together where Redis is sharded."""

from __future__ import annotations

import uuid

PREFIX = "hypereal"


class Names:
    """Names within one database of a server. Channels are the server's, so they carry the database's number."""

    def __init__(self, database: int) -> None:
        channels = f"{PREFIX}:{database}"
        self.circuits = f"{channels}:circuits"
        self.turns = f"{channels}:turns:"
        """Followed by a process's id: where it hears that a slot was handed to a call of its own."""

    @staticmethod
    def model(model_id: str) -> str:
        """The base of a model's keys."""
        return f"{PREFIX}:{{model:{model_id}}}"

    @staticmethod
    def account(account_id: uuid.UUID) -> str:
        """The base of an account's keys, and of its API keys'."""
        return f"{PREFIX}:{{account:{account_id.hex}}}"

    @staticmethod
    def circuit(route: str) -> str:
        return f"{PREFIX}:{{route:{route}}}"
