"""Partition keys: what an operator writes, and the keys that records get. Pure.

    random          another key for each attempt: even, and past a shard that is full
    record_hash     by the record's bytes: the same record gets the same key
    "{path}"        by values of the file or the record, see `values`; texts around them are kept
    {field: a.b}    by a field of the record, which is JSON

A key is 1 to 256 characters of text to the service; one of more than KEY_BYTES_MAX bytes is
replaced by its SHA-256, so that the room for it in a record is known. An empty key means that each
attempt chooses one.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

import orjson
import pydantic
from pydantic_core import core_schema

from kagent import model, options, values

# https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html, 2026-11:
# a key is 1 to 256 Unicode characters; of those that take more bytes we allow fewer.
KEY_BYTES_MAX = 256
RANDOM = "random"
RECORD_HASH = "record_hash"
RANDOM_BYTES = 8
_HASH_BYTES = 32

_VALUE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,38}")
_EXPECTED_FALLBACK = "'random', 'record_hash', or a text without a value such as '{path}'"
_EXPECTED_HASH = "'random', or a number from 0 to 2^128 - 1 in quotes"
_EXPECTED = "'random', 'record_hash', a text with a value such as '{path}', or a mapping"


class FieldKey(options.Options):
    """A field of each record, which must be JSON, as its partition key."""

    model_config = pydantic.ConfigDict(json_schema_extra={options.EXPECTED_KEY: _EXPECTED})

    field: str = pydantic.Field(min_length=1, max_length=256)
    """Its name; `user.id` is the field id within user. Text, numbers and Booleans are keys."""

    fallback: str = pydantic.Field(default=RANDOM, min_length=1, max_length=256)
    """The key of records without it: random, record_hash, or any text, which is a key itself."""

    @pydantic.field_validator("fallback")
    @classmethod
    def _check_fallback(cls, value: str) -> str:
        if _VALUE.search(value):  # taken as it stands it would send all of them to one shard
            raise options.NotAllowedError(_EXPECTED_FALLBACK, RANDOM)
        return value


class _Written:
    """Takes a partition key as it is written: a text, or the mapping of a field."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: pydantic.GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Judge a text here, and a mapping by the model."""
        return core_schema.no_info_wrap_validator_function(
            self._validate, handler.generate_schema(FieldKey)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe both; the mapping first, which says what is in it."""
        return {"anyOf": [handler(schema), {"type": "string", "minLength": 1}]}

    def _validate(
        self, value: object, validate: core_schema.ValidatorFunctionWrapHandler
    ) -> object:
        if not isinstance(value, str):
            return validate(value)
        if value in {RANDOM, RECORD_HASH} or _VALUE.search(value):
            return value
        raise options.NotAllowedError(_EXPECTED, RANDOM)


def _check_hash_key(value: str) -> str:
    if value == RANDOM or (_DECIMAL.fullmatch(value) and int(value) < 2**128):
        return value
    raise options.NotAllowedError(_EXPECTED_HASH, RANDOM)


HashKey = Annotated[
    str,
    pydantic.AfterValidator(_check_hash_key),
    pydantic.Field(json_schema_extra={options.EXPECTED_KEY: _EXPECTED_HASH}),
]
Setting = str | FieldKey
WRITTEN = _Written()


def names_of(setting: Setting) -> list[str]:
    """Return the names of the values that a partition key is made of."""
    return _VALUE.findall(setting) if isinstance(setting, str) else []


class Keys:
    """Gives the records of one flow their partition keys."""

    def __init__(self, setting: Setting = RANDOM, *, is_packed_as_one: bool = False) -> None:
        """Take a partition key as it was written.

        Args:
            setting: The key.
            is_packed_as_one: Lines are packed into records without keys of their own; with
                `record_hash` the key is that of the packed record.
        """
        self._setting = setting
        self.is_random = setting == RANDOM
        self.is_of_record = is_packed_as_one and setting == RECORD_HASH
        self._texts = re.split(_VALUE, setting) if isinstance(setting, str) else []
        self._field = setting.field.split(".") if isinstance(setting, FieldKey) else []
        self.bytes_max = KEY_BYTES_MAX
        if self.is_random or setting == RECORD_HASH:
            self.bytes_max = RANDOM_BYTES if self.is_random else _HASH_BYTES
        # What a record's file and place say is needed for the keys.
        self.needs_context = bool(names_of(setting))

    def assign(self, chunk: model.Chunk, context: model.ChunkContext | None) -> None:
        """Set the keys of a chunk: one for all its records, one for each, or none yet.

        Args:
            chunk: Records as they will be sent.
            context: What is known of them; None where no value is needed.
        """
        if self.is_random or self.is_of_record:
            return
        if self._setting == RECORD_HASH:
            chunk.keys = list(map(hash_key_of, chunk.records))  # 0.6 us a record
        elif isinstance(self._setting, FieldKey):
            chunk.keys = [self._key_of(record) for record in chunk.records]  # 1 to 2 us a record
        else:
            assert context is not None
            self._fill_in(chunk, context)

    def _fill_in(self, chunk: model.Chunk, context: model.ChunkContext) -> None:
        """Put values into the text; most are the same for the whole chunk."""
        columns = [
            values.column(text, context) if index % 2 else text
            for index, text in enumerate(self._texts)
        ]
        if all(isinstance(column, str) for column in columns):
            chunk.key = bounded("".join(map(str, columns)))
            return
        each = [
            [column] * len(chunk) if isinstance(column, str) else map(str, column)
            for column in columns
        ]
        chunk.keys = [bounded("".join(texts)) for texts in zip(*each, strict=True)]

    def _key_of(self, record: bytes) -> str:
        """Return the text of the record's field, or what stands in for it."""
        assert isinstance(self._setting, FieldKey)
        try:
            found = orjson.loads(record)
            for name in self._field:
                found = found[name]
        except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
            found = None
        if isinstance(found, bool | int | float):
            found = orjson.dumps(found).decode()
        if isinstance(found, str) and found:
            return bounded(found)
        if self._setting.fallback == RECORD_HASH:
            return hash_key_of(record)
        return "" if self._setting.fallback == RANDOM else bounded(self._setting.fallback)


def hash_key_of(record: bytes) -> str:
    """Return the key of a record by its bytes."""
    return hashlib.md5(record, usedforsecurity=False).hexdigest()


def bounded(key: str) -> str:
    """Return a key that the service takes: itself, or its digest if it is too long.

    What is no text at all, half a pair of surrogates, becomes a question mark.
    """
    data = key.encode("utf-8", "replace")
    if len(data) > KEY_BYTES_MAX:
        return hashlib.sha256(data).hexdigest()
    return data.decode()
