"""What the governor's keys and channels are called. Keys of one model, account or route carry one tag in braces: they
stay together where Redis is sharded."""

from __future__ import annotations

import uuid

PREFIX = "hypereal"


class Names:
    """Names within one database of a server. Channels are the server's, so they carry the database's number."""

    def __init__(self, database: int) -> None:
        self._channels = f"{PREFIX}:{database}"
        self.circuits = f"{self._channels}:circuits"

    def turns(self, process_id: uuid.UUID) -> str:
        """The channel on which a process hears that a slot was handed to a call of its own."""
        return f"{self._channels}:turns:{process_id.hex}"

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
