"""How long to wait after a failure: full jitter, exponential (tenacity's strategy), bounded."""

from __future__ import annotations

import tenacity

SETBACK_WAIT_MAX_S = 30.0
REFUSAL_WAIT_MAX_S = 5.0

_SETBACK_WAIT = tenacity.wait_random_exponential(multiplier=0.2, max=SETBACK_WAIT_MAX_S)
_REFUSAL_WAIT = tenacity.wait_random_exponential(multiplier=0.1, max=REFUSAL_WAIT_MAX_S)


def setback_wait_s(failures: int) -> float:
    """Return how long to wait after so many setbacks in a row, at least one."""
    return _wait(_SETBACK_WAIT, failures)


def refusal_wait_s(attempts: int) -> float:
    """Return how long a record waits that was refused by itself so many times, at least once."""
    return _wait(_REFUSAL_WAIT, attempts)


def _wait(strategy: tenacity.wait.wait_base, attempt: int) -> float:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = min(attempt, 64)  # 2 ** 64 is past every maximum, and no overflow
    return strategy(state)
