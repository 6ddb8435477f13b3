"""How AWS is reached: one service's client, built when it is first needed.

Botocore is used directly; it is the part of boto3 that resolves credentials, regions and endpoints
and makes the calls. Measured with boto3 1.44 (resident memory, Python 3.11): the first Kinesis
client costs 34 MiB through botocore and 37 MiB through boto3. Every further session would cost
9 MiB, nearly all of it AWS's endpoint and API descriptions read again; with one loader for all of
them it is 0.4 MiB, and that one leaves out what nobody asks for. It is imported inside functions,
because a command that only reads a configuration must not pay 0.2 s and those 34 MiB.

Nothing here retries: a flow decides when to try again. A client that could not be built, or whose
credentials were refused, is not kept: a flow recovers as soon as the host's credentials do.
"""

from __future__ import annotations

import functools
import gzip
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Annotated, Any, Generic, TypeVar

import pydantic

from kagent import options, system
from kagent.destinations import skew

_ENDINGS: Mapping[str, Callable[..., Any]] = {".json": open, ".json.gz": gzip.open}  # as botocore
_TEXTS = {"documentation", "documentationUrl", "examples"}
_SERVICES = {"firehose", "kinesis", "monitoring", "oidc", "portal.sso", "sts"}

_Value = TypeVar("_Value")


class AssumeRole(options.Options):
    """A role that is assumed with the credentials that are found, and again before it ends."""

    arn: str = pydantic.Field(pattern=r"^arn:[^:]+:iam::[0-9]{12}:role/.+$")
    """The role's ARN."""

    external_id: str | None = pydantic.Field(default=None, min_length=2, max_length=1224)
    """What the role's owner wants to hear, if anything."""

    session_name: str = pydantic.Field(
        default="kagent", min_length=2, max_length=64, pattern=r"^[\w+=,.@-]+$"
    )
    """What CloudTrail calls us."""


class AwsOptions(options.Options):
    """How AWS is reached; what is left out, boto3's default chain decides."""

    region: str | None = pydantic.Field(default=None, min_length=1)
    """The AWS region, such as eu-west-1; left out, AWS_DEFAULT_REGION, AWS_REGION or the profile
    decides."""

    endpoint_url: str | None = pydantic.Field(default=None, pattern=r"^https?://[^/\s]+/?$")
    """Send everything to this address instead of AWS's own: a local service, or a proxy that
    serves Kinesis, Firehose and CloudWatch alike. VPC endpoints with private DNS need none."""

    profile: str | None = pydantic.Field(default=None, min_length=1)
    """A profile of ~/.aws/config or ~/.aws/credentials; left out, AWS_PROFILE decides."""

    assume_role: AssumeRole | None = None
    """A role to assume; STS is reached at AWS's own address, or at AWS_ENDPOINT_URL_STS."""

    use_fips: bool = False
    """Use FIPS endpoints; false leaves it to AWS_USE_FIPS_ENDPOINT."""

    use_dualstack: bool = False
    """Use endpoints with IPv6; false leaves it to AWS_USE_DUALSTACK_ENDPOINT."""

    proxy: str | None = pydantic.Field(default=None, pattern=r"^http://[^/\s]+/?$")
    """Go through this proxy, http://USER:PASSWORD@HOST:PORT, whatever the environment says; left
    out, HTTPS_PROXY and NO_PROXY decide."""

    ca_bundle: str | None = pydantic.Field(default=None, pattern="^/")
    """A file of CA certificates (PEM) to trust instead of the usual ones, for a TLS-inspecting
    proxy."""

    connect_timeout: Annotated[float, options.Duration(0.1, 300.0)] = 5.0
    """Give up connecting after this long."""

    read_timeout: Annotated[float, options.Duration(0.1, 300.0)] = 30.0
    """Give up when nothing goes out, or the answer is not complete, after this long; the records
    are sent again and may arrive twice."""


class Shared(Generic[_Value]):
    """One thing of AWS's, such as a client, that all sender threads of a destination share.

    The first thread that asks makes it while the others wait for the same outcome; without
    credentials on EC2 that can take seconds, and sixteen threads must not take them in turn. A
    failure is raised to all who waited for it, then forgotten: the next call tries again.
    """

    def __init__(self, make: Callable[[], _Value]) -> None:
        self._make = make
        self._promise: dict[str, futures.Future[_Value]] = {}  # at most one
        self._made: tuple[_Value] | None = None  # what the promise holds: a Future costs 10 us

    def get(self) -> _Value:
        """Return it, or raise why it could not be made."""
        if (made := self._made) is not None:
            return made[0]
        mine: futures.Future[_Value] = futures.Future()
        promise = self._promise.setdefault("", mine)  # atomic: one thread's own wins
        if promise is mine:
            try:
                mine.set_result(self._make())
                system.give_back_memory()
            except Exception as error:  # noqa: BLE001 -- raised below, here and where others wait
                self.forget()
                mine.set_exception(error)
        try:
            value = promise.result()
            self._made = (value,)
            return value
        finally:
            del mine, promise  # an exception refers to this frame: without a cycle it dies at once

    def forget(self) -> None:
        """Let the next call make a new one, with the credentials that are found by then."""
        self._made = None
        self._promise.clear()


def region_of(session: Any, aws: AwsOptions) -> str | None:
    """Return the region: the operator's, or what botocore or the environment says."""
    # Botocore knows the older variable only; the other SDKs, and Lambda and ECS, AWS_REGION.
    found: str | None = (
        aws.region or session.get_config_variable("region") or os.environ.get("AWS_REGION")
    )
    return found or None


def region_for_arns(aws: AwsOptions) -> str:
    """Return the region in the ARNs of what is reached; '*' if nothing says it.

    Raises:
        botocore.exceptions.BotoCoreError: a profile that does not exist, ...
    """
    from kagent.destinations import session as sessions

    plain = aws.model_copy(update={"assume_role": None})
    return region_of(sessions.open_session(plain, skew.Skew()), aws) or "*"


def client_config(session: Any, aws: AwsOptions, connections_max: int) -> Any:
    """Return what all clients have in common.

    Args:
        session: Where the region is found, unless the operator says it.
        aws: The operator's options.
        connections_max: Calls that are made at the same time, by as many threads.
    """
    from botocore import config  # heavy: see above

    return config.Config(
        region_name=region_of(session, aws),
        proxies={"http": aws.proxy, "https": aws.proxy} if aws.proxy else None,
        connect_timeout=aws.connect_timeout,
        read_timeout=aws.read_timeout,
        max_pool_connections=connections_max,
        retries={"total_max_attempts": 1, "mode": "standard"},
        parameter_validation=False,  # 2.7 of 13 us a record; batches are cut to the limits
        tcp_keepalive=True,
        user_agent_extra=f"kagent/{version()}",
    )


def connect(
    service: str, aws: AwsOptions, connections_max: int, clock: skew.Skew | None = None
) -> Any:
    """Return a new botocore client that makes one attempt a call.

    Args:
        service: Botocore's name, such as 'kinesis'.
        aws: The operator's options.
        connections_max: Calls that are made at the same time, by as many threads.
        clock: What is known of the service's time; None: nothing yet.

    Raises:
        botocore.exceptions.BotoCoreError: no region, no credentials, a profile that does not
            exist, ...
        ValueError: the endpoint URL is none.
    """
    from botocore import exceptions  # heavy: see above

    from kagent.destinations import session as sessions

    session = sessions.open_session(aws, clock or skew.Skew())
    if session.get_credentials() is None:  # botocore would find that out at each call, for ever
        raise exceptions.NoCredentialsError
    return session.create_client(
        service,
        endpoint_url=aws.endpoint_url,
        verify=aws.ca_bundle,
        config=client_config(session, aws, connections_max),
    )


@functools.cache
def descriptions() -> Any:
    """Return the loader of AWS's endpoint and API descriptions; it keeps what it has read."""
    from botocore import loaders  # heavy: see above

    loader = loaders.create_loader(os.environ.get("AWS_DATA_PATH"))
    loader.file_loader = _Descriptions()
    return loader


class _Descriptions:
    """Reads botocore's files without what nobody here asks for: 5 of the 9 MiB of a first client.

    Left out while they are parsed: texts for people, and the endpoints of 400 other services.
    """

    def exists(self, file_path: str) -> bool:
        """Return whether there is a description; the path lacks the file's ending."""
        return any(os.path.isfile(file_path + ending) for ending in _ENDINGS)

    def load_file(self, file_path: str) -> Any:
        """Return a description; None if there is none."""
        for ending, opened in _ENDINGS.items():
            if os.path.isfile(file_path + ending):
                with opened(file_path + ending, "rb") as file:
                    return json.loads(file.read(), object_pairs_hook=_needed)
        return None


def _needed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {key: value for key, value in pairs if key not in _TEXTS or isinstance(value, dict)}
    services = found.get("services")
    if isinstance(services, dict) and len(services) > len(_SERVICES):
        found["services"] = {key: services[key] for key in services if key in _SERVICES}
    return found


@functools.cache
def version() -> str:
    """Return kagent's version, for the user agent."""
    try:
        return importlib.metadata.version("kagent")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"
