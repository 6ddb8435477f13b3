"""AWS's protocols: which operation a request wants, its parameters, and how an error is written.

JSON 1.1 for Kinesis and Firehose, JSON 1.0 and the query protocol for CloudWatch.
https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html, 2026-11
"""

from __future__ import annotations

import html
import typing
import urllib.parse
import zlib
from typing import Any

import orjson

from kagent.local import cloudwatch, errors, http1, intake, limits

_FORM = "application/x-www-form-urlencoded"
_XML_NAMESPACE = "http://monitoring.amazonaws.com/doc/2010-08-01/"
_PARAMS_BYTES_MAX = 64 * 1024 * 1024  # after decompression


class Api(typing.NamedTuple):
    """A service as it is spoken to."""

    signing_name: str
    content_type: str
    is_query: bool = False


_APIS = {
    "Kinesis_20131202": Api("kinesis", "application/x-amz-json-1.1"),
    "Firehose_20150804": Api("firehose", "application/x-amz-json-1.1"),
    "GraniteServiceVersion20100801": Api("monitoring", "application/x-amz-json-1.0"),
}
_QUERY = Api("monitoring", "text/xml", is_query=True)
_STS = Api("sts", "text/xml", is_query=True)
_IAM = Api("iam", "text/xml", is_query=True)
_BY_ACTION = {"AssumeRole": _STS, "GetCallerIdentity": _STS, "SimulatePrincipalPolicy": _IAM}
_NAMESPACES = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
}
_QUERY_CODES = {  # where the query protocol's code is not the JSON one
    "InvalidParameterValueException": "InvalidParameterValue",
    "MissingRequiredParameterException": "MissingParameter",
}
UNKNOWN = Api("", "application/x-amz-json-1.1")


def operation_of(request: http1.Request) -> tuple[Api, str]:
    """Return the service and the operation that a request names.

    Raises:
        ServiceError: None that is known, or in a protocol that is not spoken here.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    target = request.headers.get("x-amz-target")
    if target is None and content_type == _FORM:
        form = urllib.parse.parse_qs(_plain_body(request).decode("utf-8", "replace"))
        action = form.get("Action", [""])[0]
        return _BY_ACTION.get(action, _QUERY), action
    prefix, _, operation = (target or "").partition(".")
    api = _APIS.get(prefix)
    if request.method != "POST" or api is None:
        raise errors.ServiceError(
            "AccessDeniedException",
            "Unable to determine service/operation name to be authorized",
            403,
        )
    if content_type != api.content_type:
        raise errors.ServiceError(
            "UnknownOperationException",
            f"the local service takes {api.content_type} only, found '{content_type}'",
            404,
        )
    return api, operation


def params_of(request: http1.Request, api: Api) -> intake.Json:
    """Return the parameters in a request's body."""
    if api.signing_name == "monitoring" and len(request.body) > limits.PUT_METRIC_DATA_BYTES_MAX:
        raise errors.ServiceError("RequestEntityTooLargeException", "Request is too large", 413)
    body = _plain_body(request)
    if api.signing_name in _NAMESPACES:
        return dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace")))
    if api.is_query:
        return cloudwatch.params_of_form(body)
    try:
        params = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise errors.serialization_error(str(error)) from error
    if not isinstance(params, dict):
        raise errors.serialization_error("expected an object")
    return params


def _plain_body(request: http1.Request) -> bytes:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding == "identity":
        return request.body
    if encoding != "gzip":
        raise errors.serialization_error(f"Content-Encoding {encoding} is not known")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        body = inflate.decompress(request.body, _PARAMS_BYTES_MAX)
    except zlib.error as error:
        raise errors.serialization_error(f"not gzip: {error}") from error
    if not inflate.eof:
        raise errors.serialization_error("gzip data is cut off or too large")
    return body


def result_bytes(
    api: Api, operation: str, result: bytes | dict[str, Any], request_id: str
) -> bytes:
    """Return the body of a good answer."""
    if not api.is_query:
        return result if isinstance(result, bytes) else orjson.dumps(result)
    if api.signing_name in _NAMESPACES:
        assert isinstance(result, dict)
        return (
            f'<{operation}Response xmlns="{_NAMESPACES[api.signing_name]}">'
            f"<{operation}Result>{_xml(result)}</{operation}Result><ResponseMetadata>"
            f"<RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
        ).encode()
    return (
        f'<{operation}Response xmlns="{_XML_NAMESPACE}"><ResponseMetadata>'
        f"<RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    ).encode()


def _xml(value: dict[str, Any]) -> str:
    return "".join(
        f"<{key}>{_xml(item) if isinstance(item, dict) else html.escape(str(item))}</{key}>"
        for key, item in value.items()
    )


def error_bytes(api: Api, error: errors.ServiceError, request_id: str) -> bytes:
    """Return the body of an answer that refuses the call."""
    if not api.is_query:
        return orjson.dumps({"__type": error.code, "message": error.message})
    code, fault = query_error(error).split(";")
    return (
        f'<ErrorResponse xmlns="{_XML_NAMESPACE}"><Error><Type>{fault}</Type>'
        f"<Code>{html.escape(code)}</Code>"
        f"<Message>{html.escape(error.message)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    ).encode()


def query_error(error: errors.ServiceError) -> str:
    """Return the code that the query protocol has for an error, and whose fault it is."""
    fault = "Sender" if error.status < 500 else "Receiver"
    return f"{_QUERY_CODES.get(error.code, error.code)};{fault}"
