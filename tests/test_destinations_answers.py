"""Destinations against a server that answers canned bytes."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagent import errors, model
from kagent.destinations import answers, aws, firehose, kinesis

SHARD = "shardId-000000000007"
THROTTLED = {
    "ErrorCode": "ProvisionedThroughputExceededException",
    "ErrorMessage": f"Rate exceeded for shard {SHARD} in stream web under account 123456789012.",
}
TAKEN = {"SequenceNumber": "4957", "ShardId": SHARD}


class CannedServer:
    """Answers every request alike, and remembers how it was asked."""

    def __init__(self) -> None:
        self.status, self.body, self.declared_bytes = 200, b"{}", 0
        self.requests: list[dict[str, str]] = []
        canned = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # one packet an answer

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                canned.requests.append({k.lower(): v for k, v in self.headers.items()})
                body, declared = canned.body, canned.declared_bytes or len(canned.body)
                self.send_response(canned.status)
                self.send_header("Content-Length", str(declared))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = declared != len(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, body: object, status: int = 200, declared_bytes: int = 0) -> None:
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.declared_bytes = status, declared_bytes
        self.requests.clear()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module", autouse=True)
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE"):
            environment.delenv(name, raising=False)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            environment.setenv(name, "/dev/null")
        environment.setenv("no_proxy", "127.0.0.1")
        environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[CannedServer]:
    with CannedServer() as canned:
        yield canned


def reach(url: str, **given: Any) -> aws.AwsOptions:
    return aws.AwsOptions(region="eu-west-1", endpoint_url=url, **given)


@pytest.fixture(scope="module", params=["fast", "boto3"])
def wire(request: pytest.FixtureRequest) -> str:
    """What makes the calls: both read the same answers in the same way."""
    return str(request.param)


@pytest.fixture(scope="module")
def stream(server: CannedServer, wire: Any) -> kinesis.KinesisDestination:
    named = kinesis.KinesisOptions(stream="web", wire=wire)
    return kinesis.KinesisDestination(named, reach(server.url), 2)


@pytest.fixture(scope="module")
def delivery_stream(server: CannedServer, wire: Any) -> firehose.FirehoseDestination:
    named = firehose.FirehoseOptions(delivery_stream="web", wire=wire)
    return firehose.FirehoseDestination(named, reach(server.url), 2)


def batch(count: int, *, keys: bool = True) -> model.Batch:
    records = [b"line %d\n" % number for number in range(count)]
    return model.Batch(records, [f"k{n}" for n in range(count)] if keys else [], [], 0)


def test_accepted_is_what_the_service_says_of_each_record(
    server: CannedServer, stream: kinesis.KinesisDestination
) -> None:
    """A complete answer without refusals accepts the whole batch."""
    server.answer({"FailedRecordCount": 0, "Records": [TAKEN] * 3})
    sent = batch(3)

    receipt = stream.put(sent)

    assert model.Receipt(sent) == receipt
    assert "kagent/" in server.requests[0]["user-agent"]


def test_refused_records_are_named_by_index_code_and_shard(
    server: CannedServer, stream: kinesis.KinesisDestination
) -> None:
    """Partial failure: exactly the records with an error code are refused."""
    internal = {"ErrorCode": "InternalFailure", "ErrorMessage": "Internal Service Failure"}
    server.answer({"FailedRecordCount": 2, "Records": [TAKEN, THROTTLED, TAKEN, internal]})

    receipt = stream.put(batch(4))

    assert receipt.setback is None
    assert (
        model.Refusal(1, "ProvisionedThroughputExceededException", SHARD),
        model.Refusal(3, "InternalFailure", ""),
    ) == receipt.refused
    assert {SHARD: 3} == receipt.shards


def test_shards_that_are_no_text_are_not_known(
    server: CannedServer, stream: kinesis.KinesisDestination
) -> None:
    """Nothing but statistics depends on them."""
    server.answer({"FailedRecordCount": 1, "Records": [THROTTLED, {**TAKEN, "ShardId": [1]}]})

    receipt = stream.put(batch(2))

    assert 1 == len(receipt.refused)
    assert {} == receipt.shards


def test_firehose_refusals_are_named_too(
    server: CannedServer, delivery_stream: firehose.FirehoseDestination
) -> None:
    """PutRecordBatch says the same in other words."""
    slow = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
    server.answer({"FailedPutCount": 1, "RequestResponses": [{"RecordId": "r"}, slow]})

    receipt = delivery_stream.put(batch(2, keys=False))

    assert (model.Refusal(1, "ServiceUnavailableException"),) == receipt.refused


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>Welcome to the hotel</html>", id="captive portal"),
        pytest.param(b'{"FailedRecordCount":0,"Records":[{"Sequ', id="cut"),
        pytest.param(b"\xff\xfe\x00", id="not UTF-8"),
        pytest.param([], id="a list"),
        pytest.param("text", id="a string"),
        pytest.param({"FailedRecordCount": 0}, id="no results"),
        pytest.param({"FailedRecordCount": 0, "Records": {"a": 1}}, id="results no list"),
        pytest.param({"FailedRecordCount": 0, "Records": [1, 2]}, id="results no objects"),
        pytest.param({"FailedRecordCount": 0, "Records": [TAKEN]}, id="one result too few"),
        pytest.param({"FailedRecordCount": 0, "Records": [TAKEN] * 3}, id="one too many"),
        pytest.param({"FailedRecordCount": 0, "Records": [TAKEN, {}]}, id="neither nor"),
        pytest.param({"FailedRecordCount": 0, "Records": [TAKEN, THROTTLED]}, id="count low"),
        pytest.param({"FailedRecordCount": 1, "Records": [TAKEN, TAKEN]}, id="count high"),
        pytest.param({"Records": [TAKEN, TAKEN]}, id="no count"),
        pytest.param({"FailedRecordCount": "0", "Records": [TAKEN, TAKEN]}, id="count a text"),
    ],
)
def test_nonsense_is_never_success(
    server: CannedServer, stream: kinesis.KinesisDestination, answer: object
) -> None:
    """An answer that does not add up is unavailable and ambiguous: everything is sent again."""
    server.answer(answer)

    receipt = stream.put(batch(2))

    assert errors.UnavailableError is type(receipt.setback)
    assert receipt.setback.code == "UnreadableAnswer"
    assert (receipt.is_ambiguous, receipt.refused) == (True, ())


def test_an_answer_that_ends_early_is_never_success(
    server: CannedServer, stream: kinesis.KinesisDestination, wire: str
) -> None:
    """Botocore does not compare Content-Length; the books of the answer do."""
    server.answer(b'{"FailedRecordCount":0,', declared_bytes=5000)

    receipt = stream.put(batch(2))

    code = {"boto3": "UnreadableAnswer", "fast": "ConnectionClosedError"}[wire]
    assert (receipt.is_ambiguous, receipt.setback.code) == (True, code)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_one_put_is_one_call(
    server: CannedServer, stream: kinesis.KinesisDestination, status: int
) -> None:
    """Neither botocore nor kagent repeats a call: the flow decides what is sent next."""
    server.answer({"__type": "Busy", "message": "no"}, status)

    receipt = stream.put(batch(2))

    assert len(server.requests) == 1
    assert receipt.setback is not None
    assert (status >= 500) == receipt.is_ambiguous


def test_a_refused_connection_is_not_ambiguous(wire: Any) -> None:
    """Where nobody listens, nothing was taken."""
    options = kinesis.KinesisOptions(stream="web", wire=wire)
    nowhere = kinesis.KinesisDestination(options, reach("http://127.0.0.1:1"), 1)

    receipt = nowhere.put(batch(1))

    assert (errors.UnavailableError, False) == (type(receipt.setback), receipt.is_ambiguous)
    assert receipt.setback.code == "EndpointConnectionError"


@pytest.mark.parametrize(
    ("ca_bundle", "hint"),
    [
        pytest.param(None, "aws.endpoint_url", id="TLS to a plain port"),
        pytest.param("/nonexistent/ca.pem", "aws.ca_bundle", id="CA bundle missing"),
    ],
)
def test_failed_tls_is_not_ambiguous(
    server: CannedServer, ca_bundle: str | None, hint: str, wire: Any
) -> None:
    """A handshake that fails comes before the first byte of the request."""
    there = reach(server.url.replace("http:", "https:"), ca_bundle=ca_bundle)
    named = kinesis.KinesisOptions(stream="web", wire=wire)

    receipt = kinesis.KinesisDestination(named, there, 1).put(batch(1))

    assert (errors.UnavailableError, False) == (type(receipt.setback), receipt.is_ambiguous)
    assert hint in receipt.setback.hint


def test_a_batch_without_a_key_for_each_record_is_our_bug(
    server: CannedServer, stream: kinesis.KinesisDestination
) -> None:
    """Records and partition keys go in pairs, or not at all."""
    server.answer({})

    with pytest.raises((ValueError, AssertionError)):
        stream.put(batch(2, keys=False))

    assert server.requests == []


results = st.lists(
    st.sampled_from(
        [
            TAKEN,
            THROTTLED,
            {**THROTTLED, "ErrorMessage": "Rate exceeded for shard shardId-000000000007."},
            {**THROTTLED, "ErrorMessage": 'a } and a { and "ErrorCode":"x"'},
            {**THROTTLED, "ErrorCode": ""},
            {**THROTTLED, "ErrorCode": None},
            {**TAKEN, **THROTTLED},
            {**THROTTLED, "SequenceNumber": None},
            {"SequenceNumber": "1", "ErrorCode": None},
            {"ErrorCode": "InternalFailure"},
            {},
            {"SequenceNumber": ""},
            {"SequenceNumber": None},
        ]
    ),
    max_size=4,
)


@given(
    count=st.sampled_from([0, 1, 2, 3, "0", None, 0.5, 1.0, True]),
    results=results,
    more=st.sampled_from(
        [
            {},
            {"EncryptionType": "KMS"},
            {"message": '"ErrorCode"'},
            {"ErrorCode": "InternalFailure"},
            {"ErrorCode": "InternalFailure", "Records": [{}]},
        ]
    ),
    is_more_first=st.booleans(),
    sent=st.integers(1, 4),
    cut=st.integers(0, 3),
    separators=st.sampled_from([(",", ":"), (", ", ": ")]),
)
def test_the_bytes_never_say_more_than_the_parsed_answer(
    count: object,
    results: list[Any],
    more: dict[str, Any],
    is_more_first: bool,
    sent: int,
    cut: int,
    separators: tuple[str, str],
) -> None:
    """What is judged at a glance is judged the same when it is parsed."""
    said = {"FailedRecordCount": count, "Records": results}
    said = {**more, **said} if is_more_first else {**said, **more}
    text = json.dumps(said, separators=separators).encode()
    body = text[: len(text) - cut]

    plain = answers.at_a_glance(body, sent, answers.PUT_RECORDS)

    if plain is not None:
        assert cut == 0
        assert answers.judged(said, sent, answers.PUT_RECORDS) == plain


@pytest.mark.parametrize("more", ["", '"EncryptionType":"KMS",'])
def test_what_aws_answers_is_accepted_at_a_glance(more: str) -> None:
    """The form that the services have: otherwise every answer would be parsed."""
    taken = json.dumps(TAKEN, separators=(",", ":"))
    said = f'{{{more}"FailedRecordCount":0,"Records":[{taken},{taken}]}}'.encode()
    last = f'{{"Records":[{taken},{taken}],"FailedRecordCount":0}}'.encode()
    firehose_said = (
        b'{"Encrypted":false,"FailedPutCount":0,"RequestResponses":[{"RecordId":"a"},'
        b'{"RecordId":"b"}]}'
    )

    for answer in (said, last):
        assert answers.at_a_glance(answer, 2, answers.PUT_RECORDS) == answers.Judged()
    assert answers.at_a_glance(firehose_said, 2, answers.PUT_RECORD_BATCH) == answers.Judged()


def test_what_aws_refuses_is_found_at_a_glance() -> None:
    """With 1 % refused nearly every answer says so of some record."""
    taken = '{"SequenceNumber":"1","ShardId":"shardId-000000000001"}'
    full = (
        '{"ErrorCode":"ProvisionedThroughputExceededException",'
        '"ErrorMessage":"Rate exceeded for shard shardId-000000000002 in stream web."}'
    )
    unwell = '{"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."}'
    said = f'{{"FailedRecordCount":3,"Records":[{full},{taken},{full},{unwell},{taken}]}}'.encode()

    found = answers.at_a_glance(said, 5, answers.PUT_RECORDS)

    code, shard = "ProvisionedThroughputExceededException", "shardId-000000000002"
    refused = (
        model.Refusal(0, code, shard),
        model.Refusal(2, code, shard),
        model.Refusal(3, "InternalFailure"),
    )
    assert (refused, {"shardId-000000000001": 2, shard: 2}) == found
