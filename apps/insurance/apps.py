from django.apps import AppConfig


class InsuranceConfig(AppConfig):
    name = "apps.insurance"
    label = "insurance"

    def ready(self) -> None:
        from apps.insurance.verify import check_payouts
        from apps.ledger.verify import MORE_CHECKS

        MORE_CHECKS.append(check_payouts)
