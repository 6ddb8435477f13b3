"""A botocore session that finds what the operator said: profile, role, endpoints, the right time.

What it does beyond botocore's own: `assume_role` without a profile in a file, and signatures with
the service's time on a host whose clock is wrong (`skew`). Both go through botocore's own
extension points, and hold for every client of the session, STS's included.
"""

from __future__ import annotations

import time
from typing import Any

from kagent.destinations import aws, skew, verdicts

_SIGNER = "kagent-v4"  # our name for SigV4 with the service's time


def open_session(options: aws.AwsOptions, clock: skew.Skew) -> Any:
    """Return a session; nothing is looked for before it is asked.

    Raises:
        botocore.exceptions.BotoCoreError: a profile that does not exist; without the credentials
            that assume the role.
    """
    from botocore import session  # heavy: see aws.py

    found = session.Session(profile=options.profile)
    found.register_component("data_loader", aws.descriptions())
    if options.use_fips:
        found.set_config_variable("use_fips_endpoint", True)
    if options.use_dualstack:
        found.set_config_variable("use_dualstack_endpoint", True)
    _sign_with(found, clock)
    if options.assume_role is not None:
        # The session has no public way to take credentials that renew themselves.
        found._credentials = _assumed(found, options, options.assume_role)  # noqa: SLF001
    return found


def _assumed(session: Any, options: aws.AwsOptions, role: aws.AssumeRole) -> Any:
    """Return credentials of a role, which are asked for when needed, and again before they end."""
    from botocore import credentials, exceptions

    source = session.get_credentials()
    if source is None:
        raise exceptions.NoCredentialsError

    def make_client(service: str, **keys: Any) -> Any:
        return session.create_client(
            service,
            region_name=aws.region_of(session, options),
            verify=options.ca_bundle,
            config=aws.client_config(session, options, 1),
            **keys,
        )

    extra = {"RoleSessionName": role.session_name}
    if role.external_id is not None:
        extra["ExternalId"] = role.external_id
    fetcher = credentials.AssumeRoleCredentialFetcher(make_client, source, role.arn, extra)
    return credentials.DeferredRefreshableCredentials(
        refresh_using=fetcher.fetch_credentials, method="assume-role"
    )


def _sign_with(session: Any, clock: skew.Skew) -> None:
    """Let all clients of a session sign with the service's time, once it is known to differ."""
    from botocore import auth

    if _SIGNER not in auth.AUTH_TYPE_MAPS:
        auth.AUTH_TYPE_MAPS[_SIGNER] = _make_signer(auth.SigV4Auth)

    def choose(signature_version: str, **_: Any) -> str | None:
        return _SIGNER if signature_version == "v4" and clock.offset_s else None

    def note_time(request: Any, **_: Any) -> None:
        request.context["kagent_time"] = clock.now()

    def learn(http_response: Any, parsed: Any, **_: Any) -> None:
        error = parsed.get("Error", {}) if http_response.status_code >= 400 else {}
        if verdicts.is_clock_wrong(str(error.get("Code", "")), str(error.get("Message", ""))):
            clock.learn(http_response.headers.get("date", ""))

    events = session.get_component("event_emitter")
    events.register_first("choose-signer", choose)
    events.register("before-sign", note_time)
    events.register("after-call", learn)


def _make_signer(base: Any) -> Any:
    class Signer(base):  # type: ignore[misc]  # botocore is untyped
        """SigV4 with the time that the request carries."""

        def _modify_request_before_signing(self, request: Any) -> None:
            at = time.gmtime(request.context["kagent_time"])
            request.context["timestamp"] = time.strftime("%Y%m%dT%H%M%SZ", at)
            super()._modify_request_before_signing(request)

    return Signer
