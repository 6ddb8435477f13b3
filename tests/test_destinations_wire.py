"""The fast wire against the local service's misbehaviour, a real proxy, botocore's endpoints."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from daemon import CREDENTIALS, wait_until

from kagent import destinations, errors, local, model
from kagent.destinations import aws, firehose, kinesis, reach

KINESIS = kinesis.KinesisOptions(stream="web")
FIREHOSE = firehose.FirehoseOptions(delivery_stream="web")
BOTH = pytest.mark.parametrize("named", [KINESIS, FIREHOSE], ids=["kinesis", "firehose"])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Credentials of the local account, and nothing else that botocore could find."""
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for scheme in ("http", "https", "all", "no"):
        for name in (f"{scheme}_proxy", f"{scheme}_PROXY".upper()):
            monkeypatch.delenv(name, raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def account(**options: Any) -> local.Service:
    return local.Service(
        local.ServiceOptions(
            streams={"web": local.StreamOptions(is_throttled=False)},
            delivery_streams={"web": local.DeliveryStreamOptions(is_throttled=False)},
            **options,
        )
    )


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "TLS"])
def serving(request: pytest.FixtureRequest) -> Iterator[tuple[local.Service, local.Server]]:
    service = account(tls=request.param)
    with service.listen() as server:
        yield service, server


def reached(server: local.Server, **more: Any) -> aws.AwsOptions:
    given = {"region": "eu-west-1", "endpoint_url": server.endpoint_url, **more}
    return aws.AwsOptions(**given, ca_bundle=server.ca_file)


def batch(named: destinations.DestinationOptions, *records: bytes) -> model.Batch:
    keys = [str(number) for number in range(len(records))] if named is KINESIS else []
    return model.Batch(list(records), keys, [], 0)


def arrived(service: local.Service, named: destinations.DestinationOptions) -> list[bytes]:
    return service.records("web") if named is KINESIS else service.deliveries("web")


# --- misbehaviour -----------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("faults", "code"),
    [
        pytest.param(local.Faults(lose_share=1), "ConnectionClosedError", id="lost"),
        pytest.param(local.Faults(truncate_share=1), "ConnectionClosedError", id="cut"),
        pytest.param(local.Faults(slow_share=1, slow_s=5), "ReadTimeoutError", id="dripping"),
        pytest.param(local.Faults(latency_s=5), "ReadTimeoutError", id="late"),
        pytest.param(local.Faults(reset_share=1), "ConnectionClosedError", id="reset"),
        pytest.param(local.Faults(garble_share=1), "UnreadableAnswer", id="no JSON"),
        pytest.param(local.Faults(miscount_share=1), "UnreadableAnswer", id="a count that is off"),
        pytest.param(local.Faults(bloat_share=1), "UnreadableAnswer", id="oversized"),
    ],
)
def test_no_good_answer_is_unavailable_and_ambiguous(
    serving: tuple[local.Service, local.Server],
    named: destinations.DestinationOptions,
    faults: local.Faults,
    code: str,
) -> None:
    """Never success, never a refusal; and the next call, on whichever connection, is well."""
    service, server = serving
    there = destinations.make(named, reached(server, read_timeout="500ms"), 1)
    assert there.put(batch(named, b"first")).setback is None

    service.set_faults(faults)
    spoiled = there.put(batch(named, b"second"))
    service.set_faults(local.Faults())
    good = there.put(batch(named, b"third"))

    assert type(spoiled.setback) is errors.UnavailableError
    assert (spoiled.setback.code, spoiled.is_ambiguous, spoiled.refused) == (code, True, ())
    assert (good.setback, good.refused) == (None, ())


@BOTH
def test_a_redirect_is_not_followed(
    serving: tuple[local.Service, local.Server], named: destinations.DestinationOptions
) -> None:
    """Nothing was taken, nothing goes elsewhere."""
    service, server = serving
    service.set_faults(local.Faults(redirect_share=1))
    before = len(arrived(service, named))

    receipt = destinations.make(named, reached(server), 1).put(batch(named, b"x"))

    service.set_faults(local.Faults())
    assert type(receipt.setback) is errors.UnavailableError
    assert (receipt.is_ambiguous, len(arrived(service, named))) == (False, before)


@BOTH
def test_an_early_refusal_is_heard(
    serving: tuple[local.Service, local.Server], named: destinations.DestinationOptions
) -> None:
    """A 403 that comes while megabytes go out is what it says, not a broken network."""
    service, server = serving
    early = local.Faults(fail_early_share=1, fail_status=403, fail_code="AccessDeniedException")
    service.set_faults(early)
    there = destinations.make(named, reached(server), 1)

    for _ in range(5):
        receipt = there.put(batch(named, *[bytes(900_000)] * 4))
        assert type(receipt.setback) is errors.DeniedError
        assert (receipt.setback.code, receipt.is_ambiguous) == ("AccessDeniedException", False)

    service.set_faults(local.Faults())


@BOTH
def test_connections_are_kept_and_stale_ones_left_alone(
    named: destinations.DestinationOptions,
) -> None:
    """Ten calls need one connection; of those that the service closes, none is used again."""
    service = account(tls=True)
    with service.listen() as server:
        there = destinations.make(named, reached(server), 4)
        for _ in range(10):
            assert there.put(batch(named, b"x")).setback is None
        assert server.connections_accepted == 1

        service.set_faults(local.Faults(stale_share=1, faults_max=1))
        assert there.put(batch(named, b"x")).setback is None
        (link,) = there._wire._idle  # type: ignore[attr-defined]
        wait_until(lambda: not link.is_reusable(), "the end of the connection", 10)
        assert there.put(batch(named, b"x")).setback is None

        assert server.connections_accepted == 2
    assert len(arrived(service, named)) == 12


def test_a_key_that_no_header_can_hold_is_denied(
    serving: tuple[local.Service, local.Server], environment: pytest.MonkeyPatch
) -> None:
    """A line break in a token cannot write headers of its own."""
    environment.setenv("AWS_SESSION_TOKEN", "x\r\nx-amz-target: evil")

    receipt = destinations.make(KINESIS, reached(serving[1]), 1).put(batch(KINESIS, b"x"))

    assert type(receipt.setback) is errors.DeniedError
    assert (receipt.setback.code, receipt.is_ambiguous) == ("PartialCredentialsError", False)


def test_a_session_token_is_sent() -> None:
    """Temporary credentials have three parts, and all are checked."""
    service = account(session_token="token/+=")
    with pytest.MonkeyPatch.context() as patch, service.listen() as server:
        patch.setenv("AWS_SESSION_TOKEN", "token/+=")

        receipt = destinations.make(KINESIS, reached(server), 1).put(batch(KINESIS, b"x"))

    assert receipt.setback is None


def test_ipv6_is_spoken() -> None:
    """An address in brackets is connected to, verified and signed for."""
    service = account(tls=True)
    try:
        server = service.listen("::1")
    except OSError:
        pytest.skip("this machine does not have IPv6")
    with server:
        assert "[::1]" in server.endpoint_url

        receipt = destinations.make(KINESIS, reached(server), 1).put(batch(KINESIS, b"x"))

    assert receipt.setback is None


# --- proxies ----------------------------------------------------------------------------------


class Tinyproxy:
    """Debian's tinyproxy, which tells in its log what it connected to."""

    def __init__(self, root: pathlib.Path, user: str = "") -> None:
        self._log = root / "tinyproxy.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        lines = [
            f"Port {self.port}",
            "Listen 127.0.0.1",
            f'LogFile "{self._log}"',
            "LogLevel Connect",
            "Timeout 30",
            "MaxClients 20",
        ]
        lines += [f"BasicAuth {user} secret1"] if user else []
        config = root / "tinyproxy.conf"
        config.write_text("\n".join(lines) + "\n")
        binary = shutil.which("tinyproxy", path="/usr/bin:/usr/sbin:/bin")
        if binary is None:
            pytest.skip("needs tinyproxy: apt-get install tinyproxy-bin")
        self._process = subprocess.Popen([binary, "-d", "-c", str(config)])
        wait_until(self._is_listening, "tinyproxy to listen", 10)

    def _is_listening(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture
def proxy(tmp_path: pathlib.Path) -> Iterator[Tinyproxy]:
    with contextlib.closing(Tinyproxy(tmp_path)) as found:
        yield found


@BOTH
def test_a_proxy_is_gone_through(
    serving: tuple[local.Service, local.Server],
    named: destinations.DestinationOptions,
    proxy: Tinyproxy,
    environment: pytest.MonkeyPatch,
) -> None:
    """By CONNECT for TLS, by the whole address for plain HTTP."""
    scheme = serving[1].endpoint_url.partition(":")[0]
    environment.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")

    receipts = [
        destinations.make(named, reached(serving[1]), 1).put(batch(named, b"x" * 100_000))
        for _ in range(2)
    ]

    assert [receipt.setback for receipt in receipts] == [None, None]
    method = {"https": "CONNECT", "http": "POST"}[scheme]
    assert proxy.log.count(f"): {method} ") == 2


@pytest.mark.parametrize("wire", ["fast", "boto3"])
def test_the_operators_proxy_wins_over_the_environments(
    serving: tuple[local.Service, local.Server],
    proxy: Tinyproxy,
    environment: pytest.MonkeyPatch,
    wire: str,
) -> None:
    """`aws.proxy` is gone through on both wires, whatever HTTPS_PROXY and NO_PROXY say."""
    scheme = serving[1].endpoint_url.partition(":")[0]
    environment.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
    environment.setenv("no_proxy", "*")
    options = reached(serving[1]).model_copy(update={"proxy": f"http://127.0.0.1:{proxy.port}"})
    named = KINESIS.model_copy(update={"wire": wire})

    receipt = destinations.make(named, options, 1).put(batch(KINESIS, b"x"))

    assert receipt.setback is None
    method = {"https": "CONNECT", "http": "POST"}[scheme]
    assert proxy.log.count(f"): {method} ") == 1


@pytest.mark.parametrize(
    ("user", "is_let_through"),
    [
        pytest.param("agent:s%65cret1@", True, id="right"),
        pytest.param("agent:wrong@", False, id="wrong"),
        pytest.param("", False, id="none"),
    ],
)
def test_a_proxy_may_ask_who_we_are(
    serving: tuple[local.Service, local.Server],
    tmp_path: pathlib.Path,
    environment: pytest.MonkeyPatch,
    user: str,
    is_let_through: bool,
) -> None:
    """User and password in the URL are sent, unquoted; without them nothing was taken."""
    with contextlib.closing(Tinyproxy(tmp_path, "agent")) as proxy:
        scheme = serving[1].endpoint_url.partition(":")[0]
        environment.setenv(f"{scheme}_proxy", f"http://{user}127.0.0.1:{proxy.port}")

        receipt = destinations.make(KINESIS, reached(serving[1]), 1).put(batch(KINESIS, b"x"))

    assert is_let_through == (receipt.setback is None)
    # In plain HTTP tinyproxy resets before its answer was read: then nobody knows.
    if scheme == "https" and not is_let_through:
        assert type(receipt.setback) is errors.UnavailableError
        assert not receipt.is_ambiguous
        assert "the proxy" in str(receipt.setback)


def test_no_proxy_is_obeyed(
    serving: tuple[local.Service, local.Server],
    proxy: Tinyproxy,
    environment: pytest.MonkeyPatch,
) -> None:
    """What NO_PROXY names is reached directly."""
    for scheme in ("http", "https"):
        environment.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{proxy.port}")
    environment.setenv("no_proxy", "example.com,127.0.0.1")

    receipt = destinations.make(KINESIS, reached(serving[1]), 1).put(batch(KINESIS, b"x"))

    assert receipt.setback is None
    assert "Request" not in proxy.log


def test_a_proxy_that_is_not_there_is_named(
    serving: tuple[local.Service, local.Server], environment: pytest.MonkeyPatch
) -> None:
    """The hint speaks of the proxy, not of AWS."""
    for scheme in ("http", "https"):
        environment.setenv(f"{scheme}_proxy", "127.0.0.1:1")

    receipt = destinations.make(KINESIS, reached(serving[1]), 1).put(batch(KINESIS, b"x"))

    assert receipt.setback is not None
    assert (receipt.setback.code, receipt.is_ambiguous) == ("ProxyConnectionError", False)
    assert "aws.proxy, or the proxy in HTTPS_PROXY" in receipt.setback.hint


def test_a_proxy_of_another_kind_is_refused_with_a_way_out(
    environment: pytest.MonkeyPatch,
) -> None:
    """Rare ones are boto3's matter."""
    environment.setenv("https_proxy", "https://127.0.0.1:1")
    options = aws.AwsOptions(region="eu-west-1")

    receipt = destinations.make(KINESIS, options, 1).put(batch(KINESIS, b"x"))

    assert type(receipt.setback) is errors.DeniedError
    assert "wire: boto3" in receipt.setback.message


# --- where a service is -----------------------------------------------------------------------


@pytest.mark.parametrize("service", ["kinesis", "firehose"])
@pytest.mark.parametrize(
    "region", ["eu-west-1", "us-gov-west-1", "cn-north-1", "us-iso-east-1", "mars-west-1"]
)
@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="default"),
        pytest.param({"AWS_USE_FIPS_ENDPOINT": "true"}, id="FIPS"),
        pytest.param({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, id="dual stack"),
        pytest.param(
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"}, id="both"
        ),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, id="of all services"),
        pytest.param(
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
                "AWS_ENDPOINT_URL_KINESIS": "http://[::1]:1",
                "AWS_ENDPOINT_URL_FIREHOSE": "https://firehose.example",
            },
            id="of this service",
        ),
        pytest.param(
            {"AWS_ENDPOINT_URL": "http://x", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            id="of all services, ignored",
        ),
    ],
)
def test_endpoints_are_botocores(
    environment: pytest.MonkeyPatch, service: str, region: str, variables: dict[str, str]
) -> None:
    """Both wires go to the same place, wherever it is named."""
    for name, value in variables.items():
        environment.setenv(name, value)
    hold_endpoints(service, aws.AwsOptions(region=region))


@pytest.mark.parametrize("service", ["kinesis", "firehose"])
@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"use_fips": True}, id="FIPS"),
        pytest.param({"use_dualstack": True}, id="dual stack"),
        pytest.param({"use_fips": True, "use_dualstack": True}, id="both"),
    ],
)
def test_endpoints_of_options_are_botocores(
    environment: pytest.MonkeyPatch, service: str, given: dict[str, bool]
) -> None:
    """Both wires go where the operator's own options say."""
    url = hold_endpoints(service, aws.AwsOptions(region="us-east-1", **given))

    assert ("use_fips" in given) == ("fips" in url)
    assert ("use_dualstack" in given) == (".api.aws" in url)


def hold_endpoints(service: str, options: aws.AwsOptions) -> str:
    """Hold the place that the wire finds against the one that botocore's client calls."""
    asked: list[str] = []
    with contextlib.closing(aws.connect(service, options, 1)) as client:

        def note(request: Any, **_: Any) -> Any:
            asked.append(request.url)
            raise KeyboardInterrupt  # it shall not be sent

        client.meta.events.register("before-send", note)
        put = getattr(client, {"kinesis": "put_records", "firehose": "put_record_batch"}[service])
        stream = {"kinesis": "StreamName", "firehose": "DeliveryStreamName"}[service]
        with pytest.raises(KeyboardInterrupt):
            put(**{stream: "x"}, Records=[])

    found = reach.find(service, options).endpoint.url
    assert [found.rstrip("/") + "/"] == asked
    return found


@pytest.mark.parametrize(
    ("url", "header", "authority"),
    [
        ("https://Kinesis.EU-west-1.amazonaws.com", "kinesis.eu-west-1.amazonaws.com", ":443"),
        ("https://h:8443/", "h:8443", ""),
        ("http://h:443", "h:443", ""),
        ("http://h", "h", ":80"),
        ("https://[::1]:4567", "[::1]:4567", ""),
        ("https://[2001:db8::1]", "[2001:db8::1]", ":443"),
    ],
)
def test_the_host_header_is_the_one_that_is_signed(url: str, header: str, authority: str) -> None:
    """Lower case, in brackets if need be, without the default port."""
    found = reach.find("kinesis", aws.AwsOptions(region="eu-west-1", endpoint_url=url)).endpoint

    assert (header, header + authority) == (found.host_header, found.authority)


def test_contexts_are_shared_until_the_file_changes(tmp_path: pathlib.Path) -> None:
    """A context costs milliseconds and memory; a CA bundle may be renewed."""
    service = account(tls=True)
    with service.listen() as server:
        bundle = tmp_path / "ca.pem"
        shutil.copy(str(server.ca_file), bundle)
        options = reached(server).model_copy(update={"ca_bundle": str(bundle)})

        first, same = (reach.find("kinesis", options).endpoint.context for _ in range(2))
        with bundle.open("ab") as file:
            file.write(b"\n")
        other = reach.find("kinesis", options).endpoint.context

    assert first is same
    assert other is not first
