"""Where a service is and as whom it is called: botocore's answers, without a client of it.

Region, credentials, FIPS and dual-stack endpoints, the variables and files that name other
endpoints, proxies and CA certificates are found by botocore's own code, so that `wire: fast` and
`wire: boto3` reach the same place. A client would cost 9 MiB more, for API descriptions that a
single call does not need.

One thing differs: botocore prefers endpoints whose name begins with the account's number, where
credentials tell it. The regional name is kept: firewalls, VPC endpoints and NO_PROXY know it.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import ssl
import urllib.parse
from typing import Any

from kagent.destinations import aws, endpoint, skew
from kagent.destinations import session as sessions


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """All that a request needs beside its body.

    `credentials` are botocore's; their `get_frozen_credentials` renews what is due.
    """

    credentials: Any
    region: str
    endpoint: endpoint.Endpoint


def find(service: str, options: aws.AwsOptions, clock: skew.Skew | None = None) -> Reach:
    """Return how a service is reached from this host.

    Args:
        service: Botocore's name of it, such as 'kinesis'.
        options: What the operator says of it.
        clock: What is known of its time; None: nothing yet.

    Raises:
        botocore.exceptions.BotoCoreError: no region, no credentials, a profile that does not
            exist, ...
        ValueError: the endpoint's or the proxy's URL is none.
        SSLError: the CA certificates cannot be read.
    """
    from botocore import exceptions, utils  # heavy: see aws.py

    session = sessions.open_session(options, clock or skew.Skew())
    credentials = session.get_credentials()
    if credentials is None:
        raise exceptions.NoCredentialsError
    region = aws.region_of(session, options)
    if region is None:
        raise exceptions.NoRegionError
    url = _url_of(service, region, session, options)
    if not (utils.is_valid_endpoint_url(url) or utils.is_valid_ipv6_endpoint_url(url)):
        raise ValueError(f"Invalid endpoint: {url}")
    parts = urllib.parse.urlsplit(url)
    is_tls = parts.scheme == "https"
    place = endpoint.Endpoint(
        url=url,
        host=parts.hostname or "",
        port=parts.port or (443 if is_tls else 80),
        context=_context_of(session, options) if is_tls else None,
        proxy=_proxy_of(url, options),
        connect_s=options.connect_timeout,
        read_s=options.read_timeout,
    )
    return Reach(credentials, region, place)


def _url_of(service: str, region: str, session: Any, options: aws.AwsOptions) -> str:
    """Return the endpoint: the operator's, the environment's, or AWS's own by its rules."""
    from botocore import configprovider, endpoint_provider, exceptions, utils

    given = options.endpoint_url
    if given is None and not session.get_config_variable("ignore_configured_endpoint_urls"):
        found = configprovider.ConfiguredEndpointProvider(
            session.full_config, session.get_scoped_config(), service
        )
        given = found.provide()
    if given is not None:
        return str(given)
    if not utils.is_valid_endpoint_url(f"https://{region}"):
        raise exceptions.InvalidRegionError(region_name=region)
    loader = session.get_component("data_loader")
    rules = endpoint_provider.EndpointProvider(
        loader.load_service_model(service, "endpoint-rule-set-1"), loader.load_data("partitions")
    )
    resolved = rules.resolve_endpoint(
        Region=region,
        UseFIPS=bool(session.get_config_variable("use_fips_endpoint")),
        UseDualStack=bool(session.get_config_variable("use_dualstack_endpoint")),
    )
    return str(resolved.url)


def _context_of(session: Any, options: aws.AwsOptions) -> ssl.SSLContext:
    """Return what verifies the endpoint, against the certificates that botocore would take."""
    from botocore import httpsession

    given = options.ca_bundle or session.get_config_variable("ca_bundle")
    path = str(given or httpsession.get_cert_path(True))
    try:
        return _context_from(path, os.stat(path).st_mtime_ns)
    except OSError as error:
        raise endpoint.SSLError(f"no CA certificates in {path}: {error}") from error


@functools.lru_cache(maxsize=4)
def _context_from(path: str, _mtime_ns: int) -> ssl.SSLContext:
    """Return a context that all connections share; a file that changed is read again."""
    return endpoint.context_of(path)


def _proxy_of(url: str, options: aws.AwsOptions) -> endpoint.Proxy | None:
    """Return the operator's proxy, or the environment's, unless NO_PROXY excludes the endpoint."""
    from botocore import utils

    given = options.proxy or utils.get_environ_proxies(url).get(urllib.parse.urlsplit(url).scheme)
    if not given:
        return None
    parts = urllib.parse.urlsplit(given if "://" in given else f"http://{given}")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"the proxy has to be http://HOST:PORT; wire: boto3 knows others: {url}")
    authorization = ""
    if parts.username is not None:
        user, password = parts.username, parts.password or ""
        authorization = endpoint.basic(urllib.parse.unquote(user), urllib.parse.unquote(password))
    return endpoint.Proxy(parts.hostname, parts.port or 80, authorization)
