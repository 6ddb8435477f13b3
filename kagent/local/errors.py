"""The one way an API call is refused as a whole.

A `ServiceError` is an answer, not a fault of ours: service.py turns it into the status and the
body that AWS would send. Anything else that is raised while a call is served is a bug.
"""

from __future__ import annotations

from kagent.local import options


class ServiceError(Exception):
    """A whole call refused: the AWS error code, its message and the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        self.code = code
        self.message = message
        self.status = status
        super().__init__(f"{code}: {message}")


def denied(
    account: options.ServiceOptions, service: str, operation: str, stream: str
) -> ServiceError:
    """Return what AWS says to who may not, as far as the words go."""
    resource = f"arn:aws:{service}:{account.region}:{account.account}:stream/{stream}"
    return ServiceError(
        "AccessDeniedException",
        f"User: arn:aws:iam::{account.account}:user/kagent is not authorized to perform: "
        f"{service}:{operation} on resource: {resource} because no identity-based policy allows "
        f"the {service}:{operation} action",
    )


def validation_error(place: str, constraint: str) -> ServiceError:
    """Return the error of a value that the API's model does not allow, worded as AWS does."""
    return ServiceError(
        "ValidationException",
        f"1 validation error detected: Value at '{place}' failed to satisfy constraint: "
        f"{constraint}",
    )


def serialization_error(message: str) -> ServiceError:
    """Return the error of a body that is not what the protocol expects."""
    return ServiceError("SerializationException", message)
