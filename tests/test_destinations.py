"""Destinations against the strict local service, and where moto is right, against moto too."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest
from daemon import wait_until
from moto.server import ThreadedMotoServer

from kagent import destinations, errors, local, model
from kagent.destinations import aws, firehose, kinesis

KINESIS = kinesis.KinesisOptions(stream="web-logs")
FIREHOSE = firehose.FirehoseOptions(delivery_stream="web-logs")
BY_BOTO3 = kinesis.KinesisOptions(stream="web-logs", wire="boto3")
FIREHOSE_BY_BOTO3 = firehose.FirehoseOptions(delivery_stream="web-logs", wire="boto3")
ALL = {
    "kinesis": KINESIS,
    "firehose": FIREHOSE,
    "kinesis by boto3": BY_BOTO3,
    "firehose by boto3": FIREHOSE_BY_BOTO3,
}
BOTH = pytest.mark.parametrize("named", ALL.values(), ids=ALL)
BOTH_WIRES = pytest.mark.parametrize("named", [KINESIS, BY_BOTO3], ids=["fast", "boto3"])


@pytest.fixture(scope="module", autouse=True)
def _credentials() -> Iterator[None]:
    given = local.ServiceOptions()
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"):
            environment.delenv(name, raising=False)
        environment.setenv("AWS_ACCESS_KEY_ID", given.access_key)
        environment.setenv("AWS_SECRET_ACCESS_KEY", given.secret_key)
        environment.setenv("no_proxy", "127.0.0.1")
        environment.setenv("AWS_CONFIG_FILE", "/dev/null")
        environment.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="module")
def service() -> local.Service:
    return local.Service(
        local.ServiceOptions(
            streams={"web-logs": local.StreamOptions(shards=2)},
            delivery_streams={"web-logs": local.DeliveryStreamOptions()},
        )
    )


@pytest.fixture(scope="module")
def endpoint_url(service: local.Service) -> Iterator[str]:
    with service.listen() as server:
        yield server.endpoint_url


@pytest.fixture(scope="module")
def made(endpoint_url: str) -> dict[object, model.Destination]:
    """One destination of each kind: a client costs more than a test."""
    reached = aws.AwsOptions(region="eu-west-1", endpoint_url=endpoint_url)
    return {named: destinations.make(named, reached, 4) for named in ALL.values()}


@pytest.fixture(autouse=True)
def _no_faults(service: local.Service) -> None:
    service.set_faults(local.Faults())


def batch(named: destinations.DestinationOptions, records: list[bytes]) -> model.Batch:
    keys = (
        [str(number) for number in range(len(records))] if named.limits.has_partition_keys else []
    )
    return model.Batch(records, keys, [], 0)


def arrived(service: local.Service, named: destinations.DestinationOptions) -> list[bytes]:
    kept = service.records if named.limits.has_partition_keys else service.deliveries
    return kept("web-logs")


@BOTH
def test_every_byte_arrives_as_it_was(
    service: local.Service,
    made: dict[object, model.Destination],
    named: destinations.DestinationOptions,
) -> None:
    """Records are bytes: every value of a byte survives, and the order of one call is kept."""
    records = [bytes([value]) * 3 for value in range(256)]
    before = len(arrived(service, named))

    receipt = made[named].put(batch(named, records))

    assert (receipt.setback, receipt.refused) == (None, ())
    assert sorted(arrived(service, named)[before:]) == sorted(records)


@BOTH
def test_exactly_the_refused_records_are_named(
    service: local.Service,
    made: dict[object, model.Destination],
    named: destinations.DestinationOptions,
) -> None:
    """With a third refused, accepted and refused together are what was sent, and no more."""
    service.set_faults(local.Faults(refuse_share=0.3))
    records = [f"{named.description} {named.wire} {number}".encode() for number in range(300)]

    receipt = made[named].put(batch(named, records))

    refused = {records[refusal.index] for refusal in receipt.refused}
    assert receipt.setback is None
    assert 30 < len(refused) < 200
    assert refused == set(records) - set(arrived(service, named))


@BOTH_WIRES
def test_an_explicit_hash_key_decides_the_shard(
    service: local.Service,
    made: dict[object, model.Destination],
    named: destinations.DestinationOptions,
) -> None:
    """Whatever the partition key is; a record without one goes by its key."""
    high = str(2**128 - 1)
    sent = model.Batch([b"by key", b"low", b"high"], ["k"] * 3, [], 0, hash_keys=["", "0", high])

    assert made[named].put(sent).setback is None

    shards = {entry.data: entry.shard_id for entry in service.journal("web-logs")}
    is_upper = hashlib.md5(b"k").digest()[0] >= 128
    assert shards[b"low"] != shards[b"high"]
    assert shards[b"by key"] == shards[b"high" if is_upper else b"low"]


@BOTH_WIRES
def test_a_throttled_shard_is_named(
    service: local.Service,
    made: dict[object, model.Destination],
    named: destinations.DestinationOptions,
) -> None:
    """Only records of the throttled shard are refused, and the refusal says which shard."""
    hot = "shardId-000000000001"
    service.set_faults(local.Faults(throttle_shards=(hot,)))

    receipt = made[named].put(batch(named, [b"x"] * 50))

    assert {refusal.shard for refusal in receipt.refused} == {hot}
    assert 0 < len(receipt.refused) < 50


@BOTH
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(local.Faults(lose_share=1), id="answer lost"),
        pytest.param(local.Faults(truncate_share=1), id="answer cut"),
        pytest.param(local.Faults(fail_late_share=1), id="500 after storing"),
        pytest.param(
            local.Faults(
                fail_late_share=1, fail_status=503, fail_code="ServiceUnavailableException"
            ),
            id="503 after storing",
        ),
        pytest.param(local.Faults(slow_share=1, slow_s=3), id="answer late"),
    ],
)
def test_what_was_stored_without_a_good_answer_is_ambiguous(
    service: local.Service,
    endpoint_url: str,
    named: destinations.DestinationOptions,
    faults: local.Faults,
) -> None:
    """Records that arrived although the call failed are known as possible duplicates."""
    service.set_faults(faults)
    reached = aws.AwsOptions(region="eu-west-1", endpoint_url=endpoint_url, read_timeout="100ms")
    before = len(arrived(service, named))

    receipt = destinations.make(named, reached, 1).put(batch(named, [b"twice?"]))

    wait_until(lambda: len(arrived(service, named)) > before, "the record that was stored")
    assert receipt.setback is not None
    assert receipt.is_ambiguous


@BOTH
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ProvisionedThroughputExceededException", errors.ThrottledError),
        ("ExpiredTokenException", errors.UnavailableError),
        ("AccessDeniedException", errors.DeniedError),
        ("ResourceNotFoundException", errors.NotFoundError),
        ("InvalidArgumentException", errors.RejectedError),
        ("NeverHeardOfException", errors.UnavailableError),
    ],
)
@pytest.mark.parametrize("moment", ["fail_share", "fail_early_share"])
def test_a_refused_call_took_nothing(
    service: local.Service,
    made: dict[object, model.Destination],
    named: destinations.DestinationOptions,
    code: str,
    kind: type[errors.DestinationError],
    moment: str,
) -> None:
    """A 4xx, read before or after the body, is a setback without doubt about duplicates."""
    service.set_faults(local.Faults(**{moment: 1.0}, fail_status=400, fail_code=code))
    before = len(arrived(service, named))

    receipt = made[named].put(batch(named, [b"no"]))

    assert (type(receipt.setback), receipt.is_ambiguous) == (kind, False)
    assert len(arrived(service, named)) == before


@BOTH
def test_the_limits_are_the_services_own(
    made: dict[object, model.Destination], named: destinations.DestinationOptions
) -> None:
    """The largest batch within `limits` is accepted; one byte or record more is rejected."""
    limits = named.limits
    keys = 1 if limits.has_partition_keys else 0  # of one byte each
    largest = bytes(limits.record_bytes_max - keys)
    full, rest = divmod(limits.request_bytes_max, limits.record_bytes_max)
    records = [largest] * full + ([bytes(rest - keys)] if rest else [])

    def put(records: list[bytes]) -> model.Receipt:
        return made[named].put(model.Batch(records, ["k"] * len(records) * keys, [], 0))

    assert put(records).setback is None
    assert put([b"x"] * limits.records_max).setback is None
    for beyond in ([*records, b"x"], [largest + b"x"], [b"x"] * (limits.records_max + 1)):
        assert type(put(beyond).setback) is errors.RejectedError


@BOTH
def test_a_reset_is_ambiguous_in_doubt(
    service: local.Service,
    made: dict[object, model.Destination],
    named: destinations.DestinationOptions,
) -> None:
    """Whether a connection broke before or after the body was read, nobody can tell here."""
    service.set_faults(local.Faults(reset_share=1))

    receipt = made[named].put(batch(named, [b"who knows"]))

    assert receipt.setback is not None
    assert (receipt.setback.code, receipt.is_ambiguous) == ("ConnectionClosedError", True)


@BOTH_WIRES
def test_tls_is_verified_against_the_ca_bundle(named: destinations.DestinationOptions) -> None:
    """A private CA is trusted when it is named, and only then."""
    streams = {"web-logs": local.StreamOptions()}
    service = local.Service(local.ServiceOptions(streams=streams, tls=True))

    with service.listen() as server:
        reached = aws.AwsOptions(region="eu-west-1", endpoint_url=server.endpoint_url)
        stranger = destinations.make(named, reached, 1)
        trusted = reached.model_copy(update={"ca_bundle": server.ca_file})
        friend = destinations.make(named, trusted, 1)
        refused = stranger.put(batch(named, [b"secret"]))
        accepted = friend.put(batch(named, [b"secret"]))

    assert (type(refused.setback), refused.is_ambiguous) == (errors.UnavailableError, False)
    assert "aws.ca_bundle" in refused.setback.hint
    assert accepted.setback is None
    assert service.records("web-logs") == [b"secret"]


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    yield url
    server.stop()


@BOTH_WIRES
def test_moto_takes_what_the_local_service_takes(
    moto_url: str, named: destinations.DestinationOptions
) -> None:
    """A Kinesis that no one here wrote accepts a batch, and misses a stream in the same way."""
    client = boto3.client("kinesis", region_name="eu-west-1", endpoint_url=moto_url)
    stream = f"web-{named.wire}"
    client.create_stream(StreamName=stream, ShardCount=1)
    there = named.model_copy(update={"stream": stream})
    reached = aws.AwsOptions(region="eu-west-1", endpoint_url=moto_url)
    gone = named.model_copy(update={"stream": "gone"})

    accepted = destinations.make(there, reached, 1).put(batch(KINESIS, [b"\xff\n", b"b"]))
    missed = destinations.make(gone, reached, 1).put(batch(KINESIS, [b"a"]))

    shard = client.list_shards(StreamName=stream)["Shards"][0]["ShardId"]
    iterator = client.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )
    records = client.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    client.close()
    assert (accepted.setback, accepted.refused) == (None, ())
    assert [record["Data"] for record in records] == [b"\xff\n", b"b"]
    assert type(missed.setback) is errors.NotFoundError


def test_an_operator_reads_names(made: dict[object, model.Destination]) -> None:
    """Descriptions are for people, metric labels are the Java agent's; limits are at hand."""
    assert KINESIS.description == "kinesis web-logs"
    assert FIREHOSE.description == "firehose web-logs"
    assert KINESIS.metric_label == "KinesisStream:web-logs"
    assert FIREHOSE.metric_label == "DeliveryStream:web-logs"
    assert {named: made[named].limits for named in made} == {
        KINESIS: kinesis.LIMITS,
        FIREHOSE: firehose.LIMITS,
        BY_BOTO3: kinesis.LIMITS,
        FIREHOSE_BY_BOTO3: firehose.LIMITS,
    }


def test_the_options_come_without_botocore() -> None:
    """Reading a configuration must not pay for importing botocore."""
    script = (
        "import sys, kagent.destinations, kagent.exporters.cloudwatch, kagent.delivery;"
        "print([name for name in ('boto3', 'botocore', 'urllib3') if name in sys.modules])"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert (ran.stdout, ran.stderr) == ("[]\n", "")
