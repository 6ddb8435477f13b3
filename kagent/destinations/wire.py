"""The fast wire: one signed request, one answer, without boto3's client.

    body (encoding) ─► signature (signing) ─► connection, kept alive ─► answer (answers)

Makes one attempt and never retries. Connections are kept by the destination and the one that was
used last is taken first, so that no more of them stay open than calls are under way. Whatever goes
wrong comes out as botocore's error would: the same table (verdicts) says what it means.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import weakref
from typing import Any

from kagent import model
from kagent.destinations import (
    answers,
    aws,
    connection,
    encoding,
    endpoint,
    http1,
    reach,
    signing,
    skew,
    turn,
    verdicts,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Api:
    """What differs between the services: their names for the same things."""

    service: str  # kinesis
    target: str  # Kinesis_20131202.PutRecords
    form: answers.Form


KINESIS = Api("kinesis", "Kinesis_20131202.PutRecords", answers.PUT_RECORDS)
FIREHOSE = Api("firehose", "Firehose_20150804.PutRecordBatch", answers.PUT_RECORD_BATCH)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Way:
    """How the service is reached, and what signs for it; found anew after a refusal."""

    reach: reach.Reach
    signer: signing.Signer


class Wire:
    """Puts batches to one destination; any number of threads may call `put` at the same time."""

    def __init__(
        self,
        api: Api,
        encode: encoding.Encode,
        call: verdicts.Call,
        options: aws.AwsOptions,
        clock: skew.Skew | None = None,
    ) -> None:
        """Open nothing before the first `put`; `clock` is what is known of the service's time."""
        self._clock = clock or skew.Skew()
        self._api = api
        self._encode = encode
        self._call = call
        self._way = aws.Shared(functools.partial(_find, api, options, self._clock))
        self._turn = turn.Turn()
        self._idle: collections.deque[connection.Connection] = collections.deque()
        weakref.finalize(self, _close, self._idle)
        self._agent = f"kagent/{aws.version()}"

    def put(self, batch: model.Batch) -> answers.Judged:
        """Make one call and return what the service says of each record.

        Raises:
            CallError: the call failed. When credentials may be the reason, they are found anew
                for the next one.
        """
        date = ""
        try:
            way, key = self._prepare()
            link = self._connect(way.reach.endpoint)
            with self._turn:
                answer = self._ask(link, way, key, batch)
                date = answer.headers.get("date", "")
                return answers.judged_by(answer, len(batch.records), self._api.form, self._call)
        except verdicts.CallError as failed:
            if failed.may_be_credentials:
                self._way.forget()
            if failed.is_clock_wrong and date:
                self._clock.learn(date)
            raise

    def _connect(self, place: endpoint.Endpoint) -> connection.Connection:
        try:
            return self._connection(place)
        except endpoint.WireError as error:
            raise verdicts.of_exception(error, self._call, is_sent=False) from None

    def _ask(
        self, link: connection.Connection, way: _Way, key: signing.Key, batch: model.Batch
    ) -> http1.Answer:
        """Send one request and return whatever was answered."""
        try:
            try:
                answer = link.exchange(self._request(way, key, self._encode(batch)))
            except BaseException:
                link.close()
                raise
        except endpoint.WireError as error:
            raise verdicts.of_exception(error, self._call, is_sent=True) from None
        except http1.UnreadableAnswerError as error:
            raise verdicts.of_nonsense(str(error)) from None
        if link.keeps_alive:
            self._idle.append(link)
        else:
            link.close()
        return answer

    def _request(self, way: _Way, key: signing.Key, body: list[bytes]) -> list[bytes]:
        """Return the parts of a request: its head, then those of the body."""
        headers = way.signer.headers(key, body, self._clock.now())
        headers += [
            ("accept-encoding", "identity"),
            ("user-agent", self._agent),
            ("content-length", str(sum(map(len, body)))),
        ]
        lines = [f"{name}: {value}\r\n" for name, value in headers]
        head = "".join([way.reach.endpoint.request_head, *lines, "\r\n"])
        return [head.encode("latin-1"), *body]

    def _connection(self, place: endpoint.Endpoint) -> connection.Connection:
        """Return the connection that was used last, or a new one."""
        while self._idle:
            try:
                link = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if link.endpoint is place and link.is_reusable():
                return link
            link.close()
        return connection.Connection(place, self._turn)

    def _prepare(self) -> tuple[_Way, signing.Key]:
        """Return the way to the service and credentials that are valid now."""
        try:
            way = self._way.get()
            frozen = way.reach.credentials.get_frozen_credentials()
            return way, _key_of(frozen)
        except Exception as error:  # noqa: BLE001 -- told apart where botocore is imported
            failed = self._unprepared(error)
        raise failed

    def _unprepared(self, error: Exception) -> verdicts.CallError:
        """Return what it means that credentials or endpoint were not found."""
        from botocore import exceptions  # heavy: see aws.py

        if isinstance(error, exceptions.ClientError):
            return verdicts.of_answer(error.response, error.operation_name, self._call)
        known = (exceptions.BotoCoreError, endpoint.WireError, OSError)
        if not isinstance(error, (*known, ValueError, TypeError, LookupError)):
            raise error
        return verdicts.of_exception(error, self._call, is_sent=False)


def _close(idle: collections.deque[connection.Connection]) -> None:
    while idle:
        idle.pop().close()


def _find(api: Api, options: aws.AwsOptions, clock: skew.Skew) -> _Way:
    found = reach.find(api.service, options, clock)
    host = found.endpoint.host_header
    return _Way(found, signing.Signer(found.region, api.service, host, api.target))


def _key_of(frozen: Any) -> signing.Key:
    """Return credentials as the signer takes them.

    Raises:
        PartialCredentialsError: they hold what no header can hold.
    """
    sent = frozen.access_key + (frozen.token or "")
    if not (sent.isascii() and sent.isprintable()):
        from botocore import exceptions  # heavy: see aws.py

        what = "an access key and session token without control characters"
        raise exceptions.PartialCredentialsError(provider="the host", cred_var=what)
    return signing.Key(frozen.access_key, frozen.secret_key, frozen.token)
