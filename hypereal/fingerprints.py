"""The installation's secrets belong to its database: a process with others would make keys that never work, read
credentials it cannot decrypt and sign everybody out. So it refuses to start, and says which secret is another one."""

from __future__ import annotations

from apps.accounts.models import SecretFingerprint
from hypereal.environment import Environment


class OtherSecret(Exception):
    """The database was last used with another secret. The message is one line for the operator and names it."""


def check_secrets(environment: Environment) -> None:
    """Compare this process's secrets with those the database was last used with; remember the newest.

    Raises: OtherSecret.
    """
    for name, ours in environment.fingerprints().items():
        newest = ours[0]
        known, _ = SecretFingerprint.objects.get_or_create(name=name, defaults={"fingerprint": newest})
        if known.fingerprint not in ours:
            raise OtherSecret(
                f"{name} is not the one that this database was last used with: give the process the original one"
            )
        if known.fingerprint != newest:
            # Rotated: from now on the newest is the one to know, and the others may be dropped.
            SecretFingerprint.objects.filter(name=name).update(fingerprint=newest)
