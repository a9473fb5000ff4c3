"""The installation's secrets belong to its database: a process with others would make keys that never work, read
credentials it cannot decrypt and sign everybody out. So it refuses to start, and says which secret is another one."""

from __future__ import annotations

from apps.accounts.models import SecretFingerprint
from hypereal.environment import Environment


class OtherSecret(Exception):
    """The database was first used with another secret. The message is one line for the operator and names it."""


def check_secrets(environment: Environment) -> None:
    """Compare this process's secrets with those the database was first used with; remember those it never saw.

    Raises: OtherSecret.
    """
    for name, fingerprint in environment.fingerprints().items():
        known, _ = SecretFingerprint.objects.get_or_create(name=name, defaults={"fingerprint": fingerprint})
        if known.fingerprint != fingerprint:
            raise OtherSecret(
                f"{name} is not the one that this database was first used with: give the process the original one"
            )
