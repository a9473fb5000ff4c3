import pytest

# Their asserts then show values as those of test modules do.
pytest.register_assert_rewrite(
    *(f"tests.governor.{name}" for name in ("contract", "contract_queue", "contract_rates", "properties", "rig"))
)
