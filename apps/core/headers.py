"""Header names that we read or write, in the bytes ASGI wants (lower case on the wire)."""

from __future__ import annotations

from typing import Final

# What a caller may send (SPEC 2.15: every other inbound X-Hypereal-* header is ignored).
CACHE: Final = b"x-hypereal-cache"
STRICT_MAX_TOKENS: Final = b"x-hypereal-strict-max-tokens"
IDEMPOTENCY_KEY: Final = b"idempotency-key"
SESSION_ID: Final = b"x-session-id"
SESSION_HEADERS: Final = (
    b"x-session-id",
    b"x-claude-code-session-id",
    b"x-session-affinity",
    b"session-id",
)

# What every reply carries.
REQUEST_ID: Final = b"request-id"
X_REQUEST_ID: Final = b"x-request-id"
RETRY_AFTER: Final = b"retry-after"
SHOULD_RETRY: Final = b"x-should-retry"

# The governor's.
GOVERNOR: Final = b"x-hypereal-managed-governor"
MODEL_CONCURRENCY_LIMIT: Final = b"x-hypereal-managed-model-concurrency-limit"
MODEL_CONCURRENCY_REMAINING: Final = b"x-hypereal-managed-model-concurrency-remaining"
MODEL_RPM_LIMIT: Final = b"x-hypereal-managed-model-rpm-limit"
MODEL_RPM_REMAINING: Final = b"x-hypereal-managed-model-rpm-remaining"
CAPACITY_REQUESTS_REMAINING: Final = b"x-hypereal-capacity-requests-remaining"
IMAGE_IPM_LIMIT: Final = b"x-hypereal-managed-image-ipm-limit"
IMAGE_IPM_REMAINING: Final = b"x-hypereal-managed-image-ipm-remaining"
CIRCUIT: Final = b"x-hypereal-managed-circuit"

# The insurance's.
INSURANCE_STATUS: Final = b"x-hypereal-insurance-status"
INSURANCE_TRIGGER: Final = b"x-hypereal-insurance-trigger"
INSURANCE_LATENCY_MS: Final = b"x-hypereal-insurance-latency-ms"
INSURANCE_THRESHOLD_MS: Final = b"x-hypereal-insurance-threshold-ms"
INSURANCE_CREDITS: Final = b"x-hypereal-insurance-credits"

# Money's.
REPLAYED: Final = b"idempotent-replayed"
MAX_TOKENS: Final = b"x-hypereal-max-tokens"
LIMIT_RESET: Final = b"x-hypereal-limit-reset"
ADAPTED: Final = b"x-hypereal-adapted"
