"""AWS STS and IAM, as far as a client needs them: AssumeRole, GetCallerIdentity, what one may do.

The credentials of a role are made here, with a session token and an end, and are good for every
service of the account.
"""

from __future__ import annotations

import collections
import datetime as dt
import secrets
import time
from collections.abc import Callable
from typing import Any

from kagent.local import errors, faults, intake, options, sigv4

# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html, 2026-11
DURATION_DEFAULT_S = 3600


class Sts:
    """Answers AssumeRole and GetCallerIdentity; any thread may call it."""

    def __init__(
        self,
        service_options: options.ServiceOptions,
        verifier: sigv4.SignatureVerifier,
        in_force: Callable[[], faults.Faults],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._faults = in_force
        self._options = service_options
        self._verifier = verifier
        self._wall = wall
        self.duration_s: float | None = None  # of roles, instead of what is asked for
        self.assumed: collections.Counter[str] = collections.Counter()  # by ARN and external id

    def assume_role(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return credentials of a role; its policy trusts everybody who names it."""
        arn, name = params.get("RoleArn"), params.get("RoleSessionName")
        if not arn or not name:
            raise errors.validation_error("roleArn", "Member must not be null")
        if f"::{self._options.account}:role/" not in arn:
            raise errors.ServiceError(
                "AccessDenied",
                f"not authorized to perform: sts:AssumeRole on resource: {arn}",
                403,
            )
        wanted_s = float(params.get("DurationSeconds", DURATION_DEFAULT_S))
        ends_at_s = self._wall() + (self.duration_s or wanted_s)
        given = sigv4.Credentials(
            f"ASIA{secrets.token_hex(8).upper()}",
            secrets.token_hex(20),
            secrets.token_hex(64),
            ends_at_s,
        )
        self._verifier.add(given)
        self.assumed[f"{arn} {params.get('ExternalId', '')}".strip()] += 1
        ends = dt.datetime.fromtimestamp(ends_at_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        role = arn.rpartition("/")[2]
        return {
            "Credentials": {
                "AccessKeyId": given.access_key,
                "SecretAccessKey": given.secret_key,
                "SessionToken": str(given.session_token),
                "Expiration": ends,
            },
            "AssumedRoleUser": {
                "AssumedRoleId": f"AROAEXAMPLE:{name}",
                "Arn": f"arn:aws:sts::{self._options.account}:assumed-role/{role}/{name}",
            },
        }

    def simulate_principal_policy(self, params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Say whether one action is allowed: all are that no fault denies."""
        action = params.get("ActionNames.member.1", "")
        is_denied = action.partition(":")[2] in self._faults().denied
        return {
            "IsTruncated": "false",
            "EvaluationResults": {
                "member": {
                    "EvalActionName": action,
                    "EvalResourceName": params.get("ResourceArns.member.1", "*"),
                    "EvalDecision": "implicitDeny" if is_denied else "allowed",
                }
            },
        }

    def get_caller_identity(self, _params: intake.Json, _call: intake.Call) -> dict[str, Any]:
        """Return who calls, as far as one account of one user can tell."""
        account = self._options.account
        return {
            "UserId": "AIDAEXAMPLE",
            "Account": account,
            "Arn": f"arn:aws:iam::{account}:user/kagent",
        }
