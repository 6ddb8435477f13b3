"""What an error of AWS or botocore means: whose turn it is, what would help, what may be doubled.

Two tables, one for the codes that AWS answers with and one for the errors that botocore raises
when no answer came. The law of both:

- A code that is not known is *unavailable*: the call is made again, for ever. Only what AWS
  documents as a fault of the request itself is *rejected*, because that may end in a dead letter.
- *Denied* and *not found* need a human, are tried again as well, and recover by themselves.
- A call is *ambiguous* when its body may have gone out and no good answer came. In doubt it is:
  the flag decides nothing, it says how many duplicates there may be.

The errors that come out of here are values for a receipt and are never raised: a traceback would
keep a request of megabytes alive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from kagent import errors, model

_SCOPE = "Credential should be scoped"  # to a region and a service; the keys may be right
_AS_SOURCE = "AsSource delivery stream type"  # Firehose, to puts where a stream is the source
_MESSAGE_CHARACTERS_MAX = 300  # a proxy may answer with a page of HTML

_Throttled = errors.ThrottledError
_Unavailable = errors.UnavailableError
_Denied = errors.DeniedError
_NotFound = errors.NotFoundError
_Rejected = errors.RejectedError
_Verdict = tuple[type[errors.DestinationError], str]

_SLOW_DOWN = (
    "kagent slows down by itself; if it lasts, raise the quota or capacity of the {target}"
)
_WAIT = "nothing to do: AWS has a problem, kagent goes on trying"
_CLOCK = "this host's clock is wrong, kagent corrects it: start chronyd or systemd-timesyncd"
_KEYS = "correct the access key, secret key and session token that boto3 finds on this host"
_REGION = "correct aws.region: what answers at aws.endpoint_url is of another region or service"
_PROXY = "check aws.proxy, or the proxy in HTTPS_PROXY and NO_PROXY"
_CREDENTIALS = "give this host credentials: an instance role, AWS_ACCESS_KEY_ID or ~/.aws"
_REFRESH = "credentials expired: check what refreshes them on this host; new ones are picked up"
_ALLOW = "allow {action} on the {target} to the identity that the message names"
_KMS = "the {target} is encrypted: enable its KMS key, and let this identity use it"
_ENDPOINT = "what answers is not this AWS service: correct aws.endpoint_url"
_REQUEST = "kagent looks for the record that is the reason; if it finds none, check {option}"
_STRANGER = "no AWS error code: check proxies and aws.endpoint_url, something else may answer"
_BETWEEN = "if it lasts, check what stands between this host and AWS; records may arrive twice"
_NOT_DIRECT = "the source of the {target} is another stream: write to that, or use Direct PUT"
_UNKNOWN = "look the error up; kagent goes on trying, nothing is lost"
_NETWORK = "check DNS, routes, security groups and VPC endpoint between this host and AWS"
_TLS = "check the host's CA certificates, aws.ca_bundle and aws.endpoint_url"
_SLOW = "if it lasts, raise aws.read_timeout or look at the network; records may arrive twice"

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecords.html#API_PutRecords_Errors
# https://docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html
# https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html, all 2026-11, and the
# throttling codes of botocore.retries.standard. A code is looked up as it is, then without its
# 'Exception', which AWS adds or leaves out by service and by protocol.
_BY_CODE: Mapping[str, _Verdict] = {
    "ProvisionedThroughputExceeded": (_Throttled, _SLOW_DOWN),
    "LimitExceeded": (_Throttled, _SLOW_DOWN),
    "KMSThrottling": (_Throttled, "raise the KMS request quota, or use fewer and larger requests"),
    "Throttling": (_Throttled, _SLOW_DOWN),
    "Throttled": (_Throttled, _SLOW_DOWN),
    "RequestThrottled": (_Throttled, _SLOW_DOWN),
    "RequestLimitExceeded": (_Throttled, _SLOW_DOWN),
    "BandwidthLimitExceeded": (_Throttled, _SLOW_DOWN),
    "TooManyRequests": (_Throttled, _SLOW_DOWN),
    "SlowDown": (_Throttled, _SLOW_DOWN),
    "TransactionInProgress": (_Throttled, _SLOW_DOWN),
    "PriorRequestNotComplete": (_Throttled, _SLOW_DOWN),
    "EC2Throttled": (_Throttled, _SLOW_DOWN),
    "InternalFailure": (_Unavailable, _WAIT),
    "InternalServerError": (_Unavailable, _WAIT),
    "InternalError": (_Unavailable, _WAIT),
    "InternalServiceError": (_Unavailable, _WAIT),
    "MalformedHttpRequest": (_Unavailable, _BETWEEN),
    "ServiceUnavailable": (_Unavailable, _WAIT),
    "ServiceUnavailableException": (_Throttled, _SLOW_DOWN),  # Firehose, over its throughput
    "ResourceInUse": (_Unavailable, "wait until the {target} is active"),
    "RequestTimeout": (_Unavailable, _NETWORK),
    "RequestAborted": (_Unavailable, _NETWORK),
    "ExpiredToken": (_Unavailable, _REFRESH),
    "TokenRefreshRequired": (_Unavailable, _REFRESH),
    "RequestExpired": (_Unavailable, _CLOCK),
    "RequestTimeTooSkewed": (_Unavailable, _CLOCK),
    "RequestInTheFuture": (_Unavailable, _CLOCK),
    "AccessDenied": (_Denied, _ALLOW),
    "NotAuthorized": (_Denied, _ALLOW),
    "UnauthorizedOperation": (_Denied, _ALLOW),
    "UnrecognizedClient": (_Denied, _KEYS),
    "InvalidClientTokenId": (_Denied, _KEYS),
    "InvalidToken": (_Denied, _KEYS),
    "InvalidSignature": (_Denied, _KEYS),  # or _is_clock_wrong
    "SignatureDoesNotMatch": (_Denied, _KEYS),  # or _is_clock_wrong
    "IncompleteSignature": (_Denied, _KEYS),
    "MissingAuthenticationToken": (_Denied, _KEYS),
    "OptInRequired": (_Denied, "subscribe the account to the service, or enable the region"),
    "SubscriptionRequired": (_Denied, "subscribe the account to the service"),
    "KMSAccessDenied": (_Denied, _KMS),
    "KMSDisabled": (_Denied, _KMS),
    "KMSInvalidState": (_Denied, _KMS),
    "KMSNotFound": (_Denied, _KMS),
    "KMSOptInRequired": (_Denied, _KMS),
    "InvalidKMSResource": (_Denied, _KMS),
    "InvalidSource": (_Denied, "switch off CloudWatch Logs decompression on the {target}"),
    "ResourceNotFound": (_NotFound, "create the {target} or correct {option} and aws.region"),
    "UnknownOperation": (_NotFound, _ENDPOINT),
    "InvalidAction": (_NotFound, _ENDPOINT),
    "MissingAction": (_NotFound, _ENDPOINT),
    "InvalidArgument": (_Rejected, _REQUEST),
    "Validation": (_Rejected, _REQUEST),
    "ValidationError": (_Rejected, _REQUEST),
    "Serialization": (_Rejected, _REQUEST),
    "RequestEntityTooLarge": (_Rejected, _REQUEST),
}

# Without a code: HTTP between AWS and here. A proxy that bounds requests is met by smaller ones.
_BY_STATUS: Mapping[int, _Verdict] = {
    413: (_Rejected, "raise the size of requests that the proxy in between allows"),
    429: (_Throttled, _SLOW_DOWN),
}

# https://github.com/boto/botocore/blob/develop/botocore/exceptions.py, 1.44. By class name, the
# nearest base class counts; True: the body may have gone out.
_BY_EXCEPTION: Mapping[str, tuple[type[errors.DestinationError], bool, str]] = {
    "ConnectTimeoutError": (_Unavailable, False, _NETWORK),
    "EndpointConnectionError": (_Unavailable, False, _NETWORK),
    "ProxyConnectionError": (_Unavailable, False, _PROXY),
    "SSLError": (_Unavailable, True, _TLS),  # but at the handshake: _is_handshake
    "ReadTimeoutError": (_Unavailable, True, _SLOW),
    "ConnectionClosedError": (_Unavailable, True, _BETWEEN),
    "HTTPClientError": (_Unavailable, True, _BETWEEN),
    "NoRegionError": (_Denied, False, "set aws.region, or AWS_DEFAULT_REGION"),
    "InvalidRegionError": (_Denied, False, "correct aws.region"),
    "NoCredentialsError": (_Denied, False, _CREDENTIALS),
    "PartialCredentialsError": (_Denied, False, _KEYS),
    "ProfileNotFound": (
        _Denied,
        False,
        "correct aws.profile or AWS_PROFILE, or add the profile to ~/.aws/config",
    ),
    "ConfigNotFound": (_Denied, False, "correct AWS_CONFIG_FILE"),
    "ConfigParseError": (_Denied, False, "correct the AWS configuration file"),
    "InvalidConfigError": (_Denied, False, "correct the AWS configuration file"),
    "SSOError": (_Denied, False, "run 'aws sso login' as kagent's user, or use a role"),
    "LoginError": (_Denied, False, "run 'aws login' as kagent's user, or use a role"),
    "TokenRetrievalError": (_Denied, False, "run 'aws sso login' as kagent's user, or use a role"),
    "CredentialRetrievalError": (_Unavailable, False, _CREDENTIALS),
    "MetadataRetrievalError": (_Unavailable, False, _CREDENTIALS),
    "EndpointProviderError": (_Denied, False, "correct aws.region and aws.endpoint_url"),
    "ValueError": (_Denied, False, "correct aws.endpoint_url and aws.region"),
    "ParamValidationError": (_Rejected, False, _REQUEST),
}
_TLS_HANDSHAKE_REASONS = {"CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER"}


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """The one call that a destination makes, and the words of its hints."""

    operation: str  # PutRecords
    method: str  # put_records
    action: str  # kinesis:PutRecords
    target: str  # stream web-logs
    option: str  # destination.kinesis.stream


class CallError(Exception):
    """A call took nothing, or nobody knows; carries what the receipt will say."""

    def __init__(self, setback: errors.DestinationError, *, is_ambiguous: bool) -> None:
        self.setback = setback
        self.is_ambiguous = is_ambiguous
        super().__init__(str(setback))

    def receipt(self, batch: model.Batch) -> model.Receipt:
        """Return the receipt of the batch that was in the call."""
        return model.Receipt(batch, setback=self.setback, is_ambiguous=self.is_ambiguous)

    @property
    def is_clock_wrong(self) -> bool:
        """Whether the request was signed with a time that the service does not believe."""
        return self.setback.hint == _CLOCK

    @property
    def may_be_credentials(self) -> bool:
        """Whether other credentials might have succeeded."""
        return isinstance(self.setback, _Denied) or self.setback.hint == _REFRESH


def of_answer(answer: Mapping[str, Any], operation: str, call: Call) -> CallError:
    """Return what an error answer means.

    Args:
        answer: The parsed answer of a botocore ClientError.
        operation: What was called: the call itself, or what botocore called for its credentials.
        call: The call that a batch was waiting for.
    """
    error = answer.get("Error", {})
    code, message = str(error.get("Code", "")), str(error.get("Message", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind, hint = _look_up(code, message, status)
    if operation != call.operation:  # AssumeRole and the like: the records were not sent
        if hint == _CLOCK:
            return CallError(kind(code, _shortened(message), hint), is_ambiguous=False)
        is_lasting = issubclass(kind, (_Denied, _NotFound, _Rejected))
        hint = (
            f"correct aws.assume_role or the AWS profile, and the role's trust policy: {operation}"
            " failed"
        )
        kind = _Denied if is_lasting else _Unavailable
        return CallError(kind(code, _shortened(message), hint), is_ambiguous=False)
    setback = kind(code, _shortened(message), _filled(hint, call))
    return CallError(setback, is_ambiguous=status >= 500)


def of_exception(error: Exception, call: Call, *, is_sent: bool) -> CallError:
    """Return what it means that botocore raised an error of its own instead of an answer.

    Args:
        error: A BotoCoreError, or whatever else building a client raised.
        call: The call that a batch was waiting for.
        is_sent: Whether there was a client, so that the request may have gone out.
    """
    names = [cls.__name__ for cls in type(error).__mro__]
    row = next((_BY_EXCEPTION[name] for name in names if name in _BY_EXCEPTION), None)
    kind, is_ambiguous, hint = row or (_Unavailable, True, _UNKNOWN)
    setback = kind(names[0], _shortened(str(error)), _filled(hint, call))
    return CallError(setback, is_ambiguous=is_sent and is_ambiguous and not _is_handshake(error))


def of_nonsense(what: str) -> CallError:
    """Return what it means that an answer does not add up: anything may have been taken."""
    setback = _Unavailable("UnreadableAnswer", _shortened(what), _BETWEEN)
    return CallError(setback, is_ambiguous=True)


def _look_up(code: str, message: str, status: int) -> _Verdict:
    verdict = _BY_CODE.get(code) or _BY_CODE.get(code.removesuffix("Exception"))
    if verdict is None:
        return _BY_STATUS.get(status, (_Unavailable, _STRANGER if code.isdigit() else _UNKNOWN))
    if verdict[1] == _KEYS and is_clock_wrong(code, message):
        return _Unavailable, _CLOCK
    if verdict[1] == _KEYS and _SCOPE in message:
        return _Denied, _REGION
    if verdict[0] is _Rejected and _AS_SOURCE in message:
        return _Denied, _NOT_DIRECT
    return verdict


def is_clock_wrong(code: str, message: str) -> bool:
    """Whether an error says that a signature is one of another time: both texts are AWS's."""
    verdict = _BY_CODE.get(code) or _BY_CODE.get(code.removesuffix("Exception"))
    if verdict is None:
        return False
    is_time = "Signature expired" in message or "Signature not yet current" in message
    return verdict[1] == _CLOCK or (verdict[1] == _KEYS and is_time)


def _is_handshake(error: Exception) -> bool:
    """Whether TLS failed before a byte of the request was written.

    Botocore's SSLError also stands for a connection that broke later; OpenSSL's reason tells them
    apart. A CA bundle that cannot be read is an OSError without one.
    """
    cause: Any = getattr(error, "kwargs", {}).get("error")
    while isinstance(cause, Exception) and cause.args and isinstance(cause.args[0], Exception):
        cause = cause.args[0]
    return getattr(cause, "reason", None) in _TLS_HANDSHAKE_REASONS or isinstance(
        cause, FileNotFoundError
    )


def _filled(hint: str, call: Call) -> str:
    return hint.format(target=call.target, action=call.action, option=call.option)


def _shortened(message: str) -> str:
    if len(message) <= _MESSAGE_CHARACTERS_MAX:
        return message
    return message[:_MESSAGE_CHARACTERS_MAX] + "..."
