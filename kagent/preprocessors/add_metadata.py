"""Add fields to records: where they come from, on which machine, whatever the operator says.

Law. A JSON object gets the fields behind the members that it has; one of the same name is replaced
where it stands, the last of several, or kept. All else of the object stays as it is written, on
one line. What is no object becomes one: its text, without the line end, is a member before the
fields.

Whether a record is an object is always seen by parsing it. The fields are then put before the last
brace as text, if no name stands there already; nothing is written anew.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import orjson
import pydantic

from kagent import model, options, values
from kagent.preprocessors import jsontext, metadata, searching, stage

_Name = Annotated[str, pydantic.Field(min_length=1, max_length=255)]
_InstanceName = Literal[
    "instance_id",
    "instance_type",
    "region",
    "availability_zone",
    "account_id",
    "ami_id",
    "private_ip",
]
_EXPECTED = "a mapping of names to texts, numbers, true, false, null, lists or mappings"
_STARTS = frozenset((b"{", b" ", b"\t", b"\r", b"\n"))  # of what may be an object
_TAGS = "tags"
_ALL = "*"


class _Fields(options.Written):
    """Validates names and values that JSON has."""

    expected = _EXPECTED

    def schema(self) -> dict[str, Any]:
        """Describe a mapping of anything."""
        return {"type": "object", "additionalProperties": {}}

    def validate(self, value: object) -> dict[str, object]:
        """Return the fields."""
        if not isinstance(value, dict) or "" in value or not _is_json(value):
            raise options.NotAllowedError(_EXPECTED, "{file: '{path}', env: prod}")
        return value


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(one) for key, one in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | int)


class AddMetadata(stage.Stage):
    """Adds fields to JSON objects, and makes an object of what is none."""

    fields: Annotated[dict[str, object], _Fields()] = pydantic.Field(default_factory=dict)
    """Names and values. In texts, `{path}`, `{host}`, `{offset}`, `{id}`, `{read_time}`, the
    groups of `capture`, and what `ec2` may name are filled in."""

    ec2: tuple[_InstanceName, ...] = ()
    """What to add of the EC2 instance, under these names: `instance_id`, `instance_type`,
    `region`, `availability_zone`, `account_id`, `ami_id`, `private_ip`. The flow waits for it at
    its start, at most 10 s; what is not known is left out."""

    tags: tuple[_Name, ...] = ()
    """Tags of the EC2 instance to add, as an object `tags`; `"*"` for all. The instance must allow
    them in its metadata."""

    existing: Literal["replace", "keep"] = "replace"
    """What becomes of a field that a record already has."""

    message: _Name = "message"
    """The field that gets the text of what is no JSON object."""

    objects: Literal["extend", "wrap"] = "extend"
    """Whether JSON objects get the fields, or are text like everything else."""

    position: Literal["last", "first"] = "last"
    """Where the fields go: behind all others, or before them."""

    for_unparsed: ClassVar[stage.ForUnparsed] = "wrapped"

    @pydantic.model_validator(mode="after")
    def _add_something(self) -> AddMetadata:
        if not (self.fields or self.ec2 or self.tags):
            raise options.NotAllowedError("'fields', 'ec2' or 'tags'")
        twice = {*self.fields} & {*self.ec2, *([_TAGS] if self.tags else [])}
        if twice:
            raise options.NotAllowedError(f"'{min(twice)}' once: it is added by another key, too")
        return self

    @functools.cached_property
    def _members(self) -> dict[str, metadata.Member]:
        written: dict[str, object] = {**self.fields}
        written.update({name: f"{{{name}}}" for name in self.ec2})
        return {name: metadata.Member(value) for name, value in written.items()}

    @property
    def value_names(self) -> Iterable[str]:
        """The named values that the fields refer to."""
        return [name for member in self._members.values() for name in member.names]

    @property
    def needs_instance(self) -> bool:
        """EC2 instance data or tags are wanted."""
        return bool(self.tags) or not {*values.INSTANCE_NAMES}.isdisjoint(self.value_names)

    @property
    def needs_tags(self) -> bool:
        """Tags are wanted."""
        return bool(self.tags)

    def __call__(self, records: list[bytes], context: model.ChunkContext) -> list[model.Outcome]:
        """Return each record with the fields; 0.4 us for text, 1 us for objects of 200 bytes."""
        filled = self._fill(context)
        if self.objects == "wrap":
            return self._wrap(records, filled.without(self.message), range(len(records)))
        if not any(record[:1] in _STARTS for record in records):
            return self._wrap(records, filled.without(self.message), range(len(records)))
        outcomes: list[model.Outcome] = []
        names, texts = filled.values.keys(), filled.texts(len(records))
        is_simple = self.position == "last" and bool(filled)
        is_simple = is_simple and searching.are_lines(records, b"".join(records))
        others: list[int] = []
        for index, record in enumerate(records):  # 1 us, most of it for parsing
            text, found = record, None
            if record[:1] in _STARTS:
                try:
                    found = orjson.loads(record)
                except orjson.JSONDecodeError:
                    text = jsontext.readable(record)
                    found = None if text is record else jsontext.loads_object(text)
            if type(found) is not dict:
                others.append(index)
                outcomes.append(None)
            elif is_simple and found and text.endswith(b"}\n") and names.isdisjoint(found):
                outcomes.append(b"%b,%b}\n" % (text[:-2], texts[index]))
            else:
                outcomes.append(self._extend(text, found, filled.of(index)))
        if others:
            wrapped = self._wrap(
                [records[index] for index in others], filled.without(self.message), others
            )
            for index, outcome in zip(others, wrapped, strict=True):
                outcomes[index] = outcome
        return outcomes

    def _fill(self, context: model.ChunkContext) -> metadata.Filled:
        """Return the fields with the values of a chunk; those with an unknown one are left out."""
        found = {name: member.fill(context) for name, member in self._members.items()}
        known = {name: value for name, value in found.items() if value is not None}
        if self.tags:
            tags = context.host.tags
            some = (
                tags
                if _ALL in self.tags
                else {name: tags[name] for name in self.tags if name in tags}
            )
            if some:
                known[_TAGS] = jsontext.value_of(dict(some))
        return metadata.Filled(known)

    def _extend(
        self, record: bytes, found: dict[str, Any], fields: Sequence[tuple[str, bytes]]
    ) -> bytes:
        """Return an object with the fields, on one line."""
        body = record.strip(b" \t\r\n")
        if b"\n" in body:
            body = jsontext.compact(body)
        if self.existing == "keep":
            fields = [field for field in fields if field[0] not in found]
        if self.position == "last":
            return jsontext.put(body, fields) + b"\n"
        body = jsontext.put(body, [field for field in fields if field[0] in found])
        added = [jsontext.key(name) + value for name, value in fields if name not in found]
        between = b"," if added and found else b""
        return b"{%b%b%b\n" % (b",".join(added), between, body[1:])

    def _wrap(
        self, records: Sequence[bytes], filled: metadata.Filled, indices: Sequence[int]
    ) -> list[model.Outcome]:
        """Return objects of records that are text; `indices` are theirs in the chunk."""
        made = jsontext.by_blocks(searching.Lines(records).all, _contents, _content)
        contents = [one for one in made if isinstance(one, bytes)]  # all of them
        key = jsontext.key(self.message)
        if not filled:
            return [b'{%b"%b"}\n' % (key, content) for content in contents]
        texts = filled.texts(max(indices, default=-1) + 1)
        mine = [texts[index] for index in indices]
        if self.position == "first":
            return [
                b'{%b,%b"%b"}\n' % (text, key, content)
                for text, content in zip(mine, contents, strict=True)
            ]
        return [
            b'{%b"%b",%b}\n' % (key, content, text)
            for text, content in zip(mine, contents, strict=True)
        ]


def _contents(lines: Sequence[bytes]) -> list[bytes] | None:
    """Return what stands between the quotes of JSON strings, in one call; None if it may not."""
    text = b"\0".join(lines)
    if b"\\" in text or text.count(b"\0") != len(lines) - 1:
        return None
    escaped = orjson.dumps(text.decode("utf-8", "replace"))[1:-1]
    # A NUL is written as these six bytes, and so are rarer control characters, in another way.
    return escaped.split(rb"\u0000") if escaped.count(rb"\u") == len(lines) - 1 else None


def _content(line: bytes) -> bytes:
    return jsontext.string(line)[1:-1]
