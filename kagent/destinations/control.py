"""Control calls: what is asked of AWS beside delivering, with the same errors and hints.

One client for each service and set of options is shared by all questions; it is built at the first
one. Nothing retries here: who asks decides when to ask again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from kagent.destinations import answers, aws, verdicts

_WORD_START = re.compile(r"(?<!^)(?=[A-Z])")


class Control:
    """Asks one service about one thing; used by one thread."""

    def __init__(self, service: str, client: aws.Shared[Any], target: str, option: str) -> None:
        """Open nothing yet.

        Args:
            service: Botocore's name of it.
            client: What calls it.
            target: What the questions are about, for hints: 'stream web-logs'.
            option: The key that names it.
        """
        self._service = service
        self._client = client
        self._target = target
        self._option = option

    def __call__(self, operation: str, **parameters: object) -> Mapping[str, Any]:
        """Make one call and return the answer.

        Raises:
            DestinationError: it failed; says why, and what would help.
        """
        call = verdicts.Call(
            operation=operation,
            method=_WORD_START.sub("_", operation).lower(),
            action=f"{self._service}:{operation}",
            target=self._target,
            option=self._option,
        )
        try:
            return answers.ask(self._client, call, parameters)
        except verdicts.CallError as failed:
            setback = failed.setback
        raise setback


class Clients:
    """The clients of control calls, one for each service and set of options."""

    def __init__(self) -> None:
        """Build none yet."""
        self._known: dict[tuple[str, aws.AwsOptions], aws.Shared[Any]] = {}

    def get(self, service: str, options: aws.AwsOptions) -> aws.Shared[Any]:
        """Return the client of a service, which connects at its first call."""
        key = (service, options)
        if key not in self._known:
            self._known[key] = aws.Shared(functools.partial(aws.connect, service, options, 1))
        return self._known[key]
