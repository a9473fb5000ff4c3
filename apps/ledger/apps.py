from __future__ import annotations

from django.apps import AppConfig
from django.db.models.signals import post_migrate, post_save


class LedgerConfig(AppConfig):
    name = "apps.ledger"
    label = "ledger"

    def ready(self) -> None:
        from apps.accounts.models import Account

        post_save.connect(_open_account, sender=Account, dispatch_uid="ledger.open_account")
        post_migrate.connect(_make_partitions, sender=self, dispatch_uid="ledger.make_partitions")
        post_migrate.connect(_grant_anew, sender=self, dispatch_uid="ledger.grant_anew")


def _open_account(*, instance: object, created: bool, **_: object) -> None:
    """An account has a balance from its first moment, however it was made."""
    from apps.accounts.models import Account
    from apps.ledger.services import open_account

    assert isinstance(instance, Account)
    if created:
        open_account(account_id=instance.id)


def _make_partitions(**_: object) -> None:
    from apps.ledger.partitions import make_partitions

    make_partitions()


def _grant_anew(**_: object) -> None:
    from apps.ledger.roles import grant_anew

    grant_anew()
