from __future__ import annotations

import ssl
import string

import botocore.exceptions
import botocore.loaders
import botocore.model
import pytest

from kagent import errors
from kagent.destinations import verdicts

CALL = verdicts.Call(
    operation="PutRecords",
    method="put_records",
    action="kinesis:PutRecords",
    target="stream web",
    option="destination.kinesis.stream",
)


def answer(code: str, status: int = 400, message: str = "") -> dict[str, object]:
    return {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }


@pytest.mark.parametrize(
    ("service", "operation"), [("kinesis", "PutRecords"), ("firehose", "PutRecordBatch")]
)
def test_every_documented_error_has_its_place(service: str, operation: str) -> None:
    """Every error that botocore's model of the call names is in the table, with a hint."""
    description = botocore.loaders.create_loader().load_service_model(service, "service-2")
    described = botocore.model.ServiceModel(description, service)
    shapes = described.operation_model(operation).error_shapes
    codes = {shape.name for shape in shapes} - {"DryRunOperationException"}  # never asked for

    verdicts_found = {code: verdicts.of_answer(answer(code), "PutRecords", CALL) for code in codes}

    assert len(codes) >= 5
    assert {
        code: failed.setback
        for code, failed in verdicts_found.items()
        if failed.setback.hint in ("", verdicts._UNKNOWN)
    } == {}


def test_a_wrong_region_is_no_wrong_key() -> None:
    """The endpoint of one region and the name of another: the keys need no correction."""
    message = "Credential should be scoped to a valid region, not 'us-east-2'."

    found = verdicts.of_answer(
        answer("InvalidSignatureException", 400, message), "PutRecords", CALL
    )

    assert isinstance(found.setback, errors.DeniedError)
    assert "correct aws.region" in found.setback.hint


@pytest.mark.parametrize(
    ("code", "status", "kind", "hint"),
    [
        ("ProvisionedThroughputExceededException", 400, errors.ThrottledError, "capacity of the"),
        ("ThrottlingException", 400, errors.ThrottledError, "slows down"),
        ("KMSThrottlingException", 400, errors.ThrottledError, "KMS request quota"),
        ("ServiceUnavailableException", 503, errors.ThrottledError, "quota"),
        ("429", 429, errors.ThrottledError, "slows down"),
        ("InternalFailure", 500, errors.UnavailableError, "nothing to do"),
        ("InternalFailureException", 500, errors.UnavailableError, "nothing to do"),
        ("ServiceUnavailable", 503, errors.UnavailableError, "nothing to do"),
        ("502", 502, errors.UnavailableError, "proxies"),
        ("ExpiredTokenException", 400, errors.UnavailableError, "refreshes them"),
        ("RequestExpired", 400, errors.UnavailableError, "clock is wrong"),
        ("AccessDeniedException", 400, errors.DeniedError, "allow kinesis:PutRecords on the str"),
        ("UnrecognizedClientException", 400, errors.DeniedError, "access key"),
        ("SignatureDoesNotMatch", 403, errors.DeniedError, "access key"),
        ("KMSDisabledException", 400, errors.DeniedError, "enable its KMS key"),
        ("InvalidKMSResourceException", 400, errors.DeniedError, "KMS key"),
        ("InvalidSourceException", 400, errors.DeniedError, "CloudWatch Logs decompression"),
        ("ResourceNotFoundException", 400, errors.NotFoundError, "create the stream web or corr"),
        ("UnknownOperationException", 404, errors.NotFoundError, "aws.endpoint_url"),
        ("InvalidArgumentException", 400, errors.RejectedError, "destination.kinesis.stream"),
        ("ValidationException", 400, errors.RejectedError, "looks for the record"),
        ("SerializationException", 400, errors.RejectedError, "looks for the record"),
        ("413", 413, errors.RejectedError, "proxy in between"),
    ],
)
def test_a_code_says_whose_turn_it_is(
    code: str, status: int, kind: type[errors.DestinationError], hint: str
) -> None:
    """A code of AWS, or a bare HTTP status, becomes one kind of error and a hint to act on."""
    failed = verdicts.of_answer(answer(code, status, "sorry"), "PutRecords", CALL)

    assert kind is type(failed.setback)
    assert (code, "sorry") == (failed.setback.code, failed.setback.message)
    assert hint in failed.setback.hint


@pytest.mark.parametrize("status", [301, 400, 403, 404, 407, 418, 500, 599])
def test_an_unknown_code_is_tried_again(status: int) -> None:
    """What is not known is never rejected: a rejection may end in a dead letter."""
    for code in ("BrandNewException", str(status)):
        failed = verdicts.of_answer(answer(code, status), "PutRecords", CALL)

        assert errors.UnavailableError is type(failed.setback)


@pytest.mark.parametrize(
    ("code", "status", "is_ambiguous"),
    [
        ("InternalFailure", 500, True),
        ("ServiceUnavailableException", 503, True),
        ("504", 504, True),
        ("ProvisionedThroughputExceededException", 400, False),
        ("AccessDeniedException", 400, False),
        ("ExpiredTokenException", 403, False),
        ("301", 301, False),
    ],
)
def test_only_a_fault_of_the_service_is_ambiguous(
    *, code: str, status: int, is_ambiguous: bool
) -> None:
    """A 5xx may have written records; whatever AWS calls the client's fault wrote none."""
    failed = verdicts.of_answer(answer(code, status), "PutRecords", CALL)

    assert is_ambiguous == failed.is_ambiguous


@pytest.mark.parametrize(
    "message",
    [
        "Signature expired: 20261101T000000Z is now earlier than 20261101T001000Z (...)",
        "Signature not yet current: 20261101T001000Z is still later than 20261101T000500Z",
    ],
)
def test_a_signature_of_another_time_names_the_clock(message: str) -> None:
    """A clock that is off looks like a wrong key to AWS; the message tells them apart."""
    failed = verdicts.of_answer(
        answer("InvalidSignatureException", 400, message), "PutRecords", CALL
    )

    assert errors.UnavailableError is type(failed.setback)
    assert "clock" in failed.setback.hint


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        pytest.param("AccessDenied", 403, errors.DeniedError, id="role refused"),
        pytest.param("ValidationError", 400, errors.DeniedError, id="role name wrong"),
        pytest.param("ResourceNotFoundException", 404, errors.DeniedError, id="account gone"),
        pytest.param("Throttling", 400, errors.UnavailableError, id="STS throttles"),
        pytest.param("InternalFailure", 500, errors.UnavailableError, id="STS is down"),
    ],
)
def test_a_failed_call_for_credentials_says_nothing_of_the_records(
    code: str, status: int, kind: type[errors.DestinationError]
) -> None:
    """An error of AssumeRole never halves a batch, blames the stream, or counts as ambiguous."""
    failed = verdicts.of_answer(answer(code, status), "AssumeRole", CALL)

    assert (kind, False) == (type(failed.setback), failed.is_ambiguous)
    assert "AssumeRole" in failed.setback.hint


@pytest.mark.parametrize(
    ("error", "kind", "is_ambiguous"),
    [
        (
            botocore.exceptions.ConnectTimeoutError(endpoint_url="https://x"),
            errors.UnavailableError,
            False,
        ),
        (
            botocore.exceptions.EndpointConnectionError(endpoint_url="https://x"),
            errors.UnavailableError,
            False,
        ),
        (
            botocore.exceptions.ProxyConnectionError(proxy_url="http://p"),
            errors.UnavailableError,
            False,
        ),
        (
            botocore.exceptions.ReadTimeoutError(endpoint_url="https://x"),
            errors.UnavailableError,
            True,
        ),
        (
            botocore.exceptions.ConnectionClosedError(endpoint_url="https://x"),
            errors.UnavailableError,
            True,
        ),
        (
            botocore.exceptions.ResponseStreamingError(error="cut"),
            errors.UnavailableError,
            True,
        ),
        (botocore.exceptions.NoCredentialsError(), errors.DeniedError, False),
        (botocore.exceptions.NoRegionError(), errors.DeniedError, False),
        (
            botocore.exceptions.UnauthorizedSSOTokenError(),
            errors.DeniedError,
            False,
        ),
        (
            botocore.exceptions.CredentialRetrievalError(provider="p", error_msg="e"),
            errors.UnavailableError,
            False,
        ),
        (botocore.exceptions.UnknownSignatureVersionError(signature_version="v9"), None, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_botocore_says_whether_the_body_went_out(
    *, error: Exception, kind: type[errors.DestinationError] | None, is_ambiguous: bool
) -> None:
    """Before the body: certainly nothing was taken. After it, or unknown: perhaps."""
    sent = verdicts.of_exception(error, CALL, is_sent=True)
    unsent = verdicts.of_exception(error, CALL, is_sent=False)

    assert (kind or errors.UnavailableError) is type(sent.setback)
    assert type(error).__name__ == sent.setback.code
    assert (is_ambiguous, False) == (sent.is_ambiguous, unsent.is_ambiguous)


@pytest.mark.parametrize(
    ("cause", "is_ambiguous"),
    [
        pytest.param(ssl.SSLCertVerificationError(1, "x"), False, id="certificate"),
        pytest.param(ssl.SSLError(1, "x"), False, id="plain HTTP"),
        pytest.param(FileNotFoundError(2, "x"), False, id="CA bundle missing"),
        pytest.param(ssl.SSLError(8, "EOF in violation of protocol"), True, id="broke later"),
    ],
)
def test_tls_that_failed_in_the_handshake_is_not_ambiguous(
    *, cause: OSError, is_ambiguous: bool
) -> None:
    """Botocore calls a refused certificate and a connection that broke by the same name."""
    if isinstance(cause, ssl.SSLError) and not is_ambiguous:
        is_certificate = isinstance(cause, ssl.SSLCertVerificationError)
        cause.reason = "CERTIFICATE_VERIFY_FAILED" if is_certificate else "WRONG_VERSION_NUMBER"
    error = botocore.exceptions.SSLError(endpoint_url="https://x", error=Exception(cause))

    failed = verdicts.of_exception(error, CALL, is_sent=True)

    assert (errors.UnavailableError, is_ambiguous) == (type(failed.setback), failed.is_ambiguous)


def test_the_tables_are_well_formed() -> None:
    """Every exception in the table exists, and every hint is filled from the call."""
    hints = [hint for _, hint in (*verdicts._BY_CODE.values(), *verdicts._BY_STATUS.values())]
    hints += [hint for _, _, hint in verdicts._BY_EXCEPTION.values()]

    fields = {name for hint in hints for _, name, _, _ in string.Formatter().parse(hint) if name}
    unknown = [
        name
        for name in verdicts._BY_EXCEPTION
        if not hasattr(botocore.exceptions, name) and name != "ValueError"
    ]

    assert {"target", "action", "option"} == fields
    assert unknown == []


def test_a_page_of_html_does_not_fill_the_log() -> None:
    """The message of an answer is cut to a length that fits a log line."""
    failed = verdicts.of_answer(answer("502", 502, "<html>" + "x" * 9000), "PutRecords", CALL)

    assert len(failed.setback.message) < 310


# --- completeness -----------------------------------------------------------------------------

# https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html, 2026-11, and what the
# older form of that page has.
COMMON = [
    *("AccessDeniedException", "ExpiredTokenException", "IncompleteSignature", "InternalFailure"),
    *("MalformedHttpRequestException", "NotAuthorized", "OptInRequired", "RequestExpired"),
    *("RequestAbortedException", "RequestEntityTooLargeException", "RequestTimeoutException"),
    *("ServiceUnavailable", "ThrottlingException", "UnknownOperationException"),
    *("UnrecognizedClientException", "ValidationError", "InvalidAction", "MissingAction"),
    *("InvalidClientTokenId", "MissingAuthenticationToken"),
]


def documented() -> set[str]:
    """Return every code that AWS documents for our two calls, or botocore calls throttling."""
    from botocore.retries import standard

    loader = botocore.loaders.create_loader()
    codes = {*COMMON, *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES}
    for service, operation in (("kinesis", "PutRecords"), ("firehose", "PutRecordBatch")):
        described = botocore.model.ServiceModel(loader.load_service_model(service, "service-2"))
        shapes = described.operation_model(operation).error_shapes
        codes |= {shape.error_code for shape in shapes}
    return codes - {"DryRunOperationException"}  # the answer to a parameter that is never sent


@pytest.mark.parametrize("code", sorted(documented()))
def test_every_documented_code_has_a_verdict_and_a_hint_of_its_own(code: str) -> None:
    """None is left to be looked up by whoever reads the log."""
    setback = verdicts.of_answer(answer(code, 400), CALL.operation, CALL).setback

    assert setback.hint
    assert "look the error up" not in setback.hint


def test_delivery_stream_with_another_source_is_denied_with_a_hint() -> None:
    """The records are not at fault: nothing is halved, and nothing put aside."""
    message = "This operation is not permitted on KinesisStreamAsSource delivery stream type."
    refused = answer("InvalidArgumentException", 400, message)

    setback = verdicts.of_answer(refused, CALL.operation, CALL).setback

    assert isinstance(setback, errors.DeniedError)
    assert "Direct PUT" in setback.hint
