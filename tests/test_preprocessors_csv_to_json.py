"""Rows become JSON objects: by RFC 4180 or without quotes, one by one or many at once."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import hypothesis
import pydantic
import pytest
from hypothesis import strategies as st

from kagent import model
from kagent.preprocessors import csv_to_json, rows

ABC = ("a", "b", "c")


def read(*records: bytes, header: tuple[bytes, ...] = (), **options: Any) -> list[model.Outcome]:
    stage = csv_to_json.CsvToJson(**{"columns": ABC, **options})
    context = model.ChunkContext("/a", "id", [0], [1], header=header)
    return list(stage(list(records), context))


def read_one(record: bytes, **options: Any) -> dict[str, Any]:
    """Return the object of a row; it is the same among others."""
    (alone,) = read(record, **options)
    assert [alone] * 3 == read(record, record, record, **options)
    assert isinstance(alone, bytes), alone
    assert alone.endswith(b"}\n")
    found: dict[str, Any] = json.loads(alone)
    return found


def part_failed(record: bytes, **options: Any) -> str:
    (outcome,) = read(record, **options)
    assert isinstance(outcome, model.Unparsed), outcome
    return outcome.part


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(b"1,2,3\n", ("1", "2", "3"), id="plain"),
        pytest.param(b"1,2,3\r\n", ("1", "2", "3"), id="CRLF"),
        pytest.param(b"1,2,3", ("1", "2", "3"), id="without a newline"),
        pytest.param(b",,\n", ("", "", ""), id="empty"),
        pytest.param(b'"x,y",2,"3"\n', ("x,y", "2", "3"), id="a delimiter in quotes"),
        pytest.param(b'"a ""b"" c","""","a"""\n', ('a "b" c', '"', 'a"'), id="doubled quotes"),
        pytest.param(b'"","",""\n', ("", "", ""), id="empty in quotes"),
        pytest.param(b'"a\nb\r\nc",2,3\n', ("a\nb\r\nc", "2", "3"), id="newlines in quotes"),
        pytest.param(b'a"b, "c",3\n', ('a"b', ' "c"', "3"), id="quotes within a field"),
        pytest.param(b"\\,\t,\x00\x1b\n", ("\\", "\t", "\0\x1b"), id="control characters"),
        pytest.param("é,日本,\u2028😀\n".encode(), ("é", "日本", "\u2028😀"), id="UTF-8"),
        pytest.param(
            b"\xe9,\xff\xfe,\xe2\x82\n", ("\ufffd", "\ufffd\ufffd", "\ufffd"), id="latin-1"
        ),
    ],
)
def test_rows_are_taken_apart_by_rfc_4180(record: bytes, expected: tuple[str, ...]) -> None:
    """What stands in quotes means itself, and what does not, as well."""
    assert dict(zip(ABC, expected, strict=True)) == read_one(record)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b'"a,b,c', "the quotes of field 1 are not right"),
        (b'1,"b"x,c', "the quotes of field 2 are not right"),
        (b'1,2,"', "the quotes of field 3 are not right"),
        (b"1,2,3,4", "4 columns instead of 3"),
    ],
)
def test_what_is_no_such_row_is_unparsed(record: bytes, expected: str) -> None:
    """The field is named by its number; what stands there is not said."""
    assert expected == part_failed(record)


def test_without_quoting_quotes_are_characters() -> None:
    """As for the Java agent."""
    expected = {"a": '"x', "b": 'y"', "c": "2"}

    assert expected == read_one(b'"x,y",2,3\n', quoting="none", extra="drop")


@pytest.mark.parametrize(
    ("empty", "record", "expected"),
    [
        ("keep", b"1,,\n", ("1", "", "")),
        ("nullify", b"1,,\n", ("1", None, None)),
        ("nullify", b'1,"",\n', ("1", "", None)),
        ("nullify", b",,3\n", (None, None, "3")),
        ("nullify_trailing", b"1,,\n", ("1", None, None)),
        ("nullify_trailing", b",2,\n", ("", "2", None)),
        ("nullify_trailing", b",,\n", (None, None, None)),
        ("nullify_trailing", b"\n", ("", None, None)),
        ("keep", b"\n", ("", None, None)),
        ("nullify", b"\n", (None, None, None)),
        ("keep", b"1,2\n", ("1", "2", None)),
    ],
)
def test_columns_with_nothing_in_them(
    empty: str, record: bytes, expected: tuple[str | None, ...]
) -> None:
    """Empty text, or null; a column that is not there is null."""
    assert dict(zip(ABC, expected, strict=True)) == read_one(record, empty=empty)


def test_missing_and_extra_columns_may_matter_or_not() -> None:
    """Each in its own way."""
    assert part_failed(b"1,2\n", missing="unparsed") == "2 columns instead of 3"
    assert read_one(b"1,2,3,4,5\n", extra="drop") == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize(
    "delimiter", ["\t", "|", "::", "\\", ";", "^", "]", "u", "0", "→", "\x01", " - "]
)
def test_any_text_may_be_the_delimiter(delimiter: str) -> None:
    """One character or more, also one that JSON escapes or a pattern knows."""
    record = delimiter.join(["x", '"y""' + delimiter + '"', "\\é"]).encode() + b"\n"
    plain = delimiter.join(["x", "y", "é"]).encode() + b"\r\n"

    expected = {"a": "x", "b": 'y"' + delimiter, "c": "\\é"}
    if delimiter != "\\":
        assert expected == read_one(record, delimiter=delimiter)
    assert read_one(plain, delimiter=delimiter) == {"a": "x", "b": "y", "c": "é"}


def test_types_are_of_json() -> None:
    """An empty value is null, whatever an empty column is."""
    types = {"a": "int", "b": "float", "c": "bool"}

    assert read(b'007,1.50,"yes"\n', types=types) == [b'{"a":7,"b":1.50,"c":true}\n']
    assert read(b"7,1,true\n", b"8,2,false\n", types=types) == [
        b'{"a":7,"b":1,"c":true}\n',
        b'{"a":8,"b":2,"c":false}\n',
    ]
    assert read_one(b",,\n", types=types) == {"a": None, "b": None, "c": None}
    assert part_failed(b"1,x,\n", types=types) == "'b' is no float"


def test_the_header_names_the_columns() -> None:
    """The last line of it; in quotes, with a byte order mark, with gaps, with twins."""
    header = (b"# exported\n", '\ufeff"id",,"a ""b""",id\r\n'.encode())

    outcomes = read(b"1,2,3,4\n", b"5,6\n", columns="header", header=header)

    assert outcomes == [
        b'{"id":"4","column_2":"2","a \\"b\\"":"3"}\n',
        b'{"id":null,"column_2":"6","a \\"b\\"":null}\n',
    ]
    assert [b'{"x":"1"}\n'] == read(b"1\n", columns="header", header=(b"x",))


def test_files_may_have_any_number_of_headers() -> None:
    """What is remembered of them is bounded."""
    stage = csv_to_json.CsvToJson(columns="header")

    for number in range(600):
        name = f"c{number}"
        context = model.ChunkContext("/a", "id", [0], [1], header=(name.encode(),))
        assert [f'{{"{name}":"1"}}\n'.encode()] == stage([b"1\n"], context)
    assert len(stage._writers) <= 256


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ((), "the header line is not known"),
        ((b'"x\n',), "in the header line, the quotes of field 1 are not right"),
    ],
)
def test_without_a_header_no_row_has_names(header: tuple[bytes, ...], expected: str) -> None:
    """And it is said why."""
    assert expected == part_failed(b"1\n", columns="header", header=header)


@pytest.mark.parametrize(
    "options",
    [
        {"columns": ()},
        {"columns": ("",)},
        {"columns": "first"},
        {"columns": ABC, "delimiter": ""},
        {"columns": ABC, "delimiter": '"'},
        {"columns": ABC, "delimiter": "a\n"},
        {"columns": ABC, "types": {"d": "int"}},
        {},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    """When the configuration is read, and not when a row comes."""
    with pytest.raises(pydantic.ValidationError):
        csv_to_json.CsvToJson(**options)


# --- many at once -----------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *(b",", b",", b",", b"::", b":", b'"', b'""', b"\\", b'\\"', b"\n", b"\r", b"\0", b"\x01"),
        *(b"\t", b"x", b"1", b"007", b"-", b" ", b"\xff", b"\xe2\x82", b"\xc3\xa9", b"%b", b""),
        *(b'"a"', b'"a,b"', b'"a""b"', b'"""a"', b'"a"""', "\u2028".encode()),
    ]
)
RECORDS = st.lists(
    st.tuples(
        st.lists(PIECES, max_size=8), st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b""])
    ).map(lambda parts: b"".join(parts[0]) + parts[1]),
    min_size=1,
    max_size=5,
)


@st.composite
def well_formed(draw: st.DrawFn) -> list[bytes]:
    """Draw rows of three columns, as a program would write them."""
    values = st.text(st.sampled_from(list(', "\\x1\té\n')), max_size=4) | st.sampled_from(
        ["7", "x"]
    )
    style = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    rows_ = draw(st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=4))
    records = []
    for row in rows_:
        text = io.StringIO()
        csv.writer(text, quoting=style, lineterminator="\n").writerow(row)
        records.append(text.getvalue().encode())
    return records


OPTIONS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ",", ",", "::", "\t", "\\", "x"]),
        "quoting": st.sampled_from(["rfc4180", "rfc4180", "none"]),
        "empty": st.sampled_from(["keep", "nullify", "nullify_trailing"]),
        "missing": st.sampled_from(["nullify", "unparsed"]),
        "extra": st.sampled_from(["unparsed", "drop"]),
        "types": st.sampled_from([{}, {}, {"a": "int"}, {"b": "bool", "c": "float"}]),
    }
)


@hypothesis.settings(deadline=None, max_examples=600)
@hypothesis.given(RECORDS | well_formed(), OPTIONS)
@hypothesis.example([b"\n", b"", b"\t\n"], {"empty": "keep"})  # a tab in the place of a newline
@hypothesis.example([b"\r"], {"empty": "keep"})  # stripped
def test_many_rows_and_single_ones_give_the_same_bytes(
    records: list[bytes], options: dict[str, Any]
) -> None:
    """Whatever stands in them; and what comes out is one JSON object a line."""
    stage = csv_to_json.CsvToJson(columns=ABC, **options)
    writer = stage._writer(ABC)

    outcomes = stage(records, model.ChunkContext("/a", "id", [0], [1]))

    assert [stage._read_one(writer, ABC, record) for record in records] == outcomes
    for outcome in outcomes:
        if isinstance(outcome, bytes):
            assert list(ABC) == list(json.loads(outcome))
            assert (b"\n", 1) == (outcome[-1:], outcome.count(b"\n"))


@hypothesis.given(well_formed())
def test_rows_are_what_pythons_csv_reads(records: list[bytes]) -> None:
    """The dialect that every program writes."""
    expected = [
        dict(zip(ABC, next(csv.reader(io.StringIO(record.decode(), newline=""))), strict=True))
        for record in records
    ]

    assert expected == [json.loads(one) for one in read(*records)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([b"1,2,3\n", b"4,,6\n"], id="plain"),
        pytest.param([b"1,2,3\r\n", b"4,5,6\n"], id="CRLF"),
        pytest.param([b"1,2,3", b"4,5,6"], id="stripped"),
        pytest.param([b"1,2\n", b"4,5\n"], id="fewer columns"),
        pytest.param([b'"1","x, y",3\n', b'4,"x ""y"" z",\n'], id="quotes"),
        pytest.param([b'"\\",\xff,3\n'.replace(b'\\"', b'\\ "'), b"\t,5,6\n"], id="escapes"),
    ],
)
def test_ordinary_rows_take_the_fast_way(records: list[bytes]) -> None:
    """In every usual form."""
    stage = csv_to_json.CsvToJson(columns=ABC)

    assert stage._read_block(stage._writer(ABC), ABC, records) is not None


@pytest.mark.parametrize("hostile", [b'"', b'""', b",", b'",', b',"', b"\\", b"a", b":", b"\t"])
def test_a_long_row_is_split_in_one_pass(hostile: bytes) -> None:
    """1 MiB of anything is a row or none, at once: each position is matched once."""
    for delimiter in (",", "::"):
        splitter = rows.Splitter(delimiter, has_quotes=True)
        line = hostile * ((1 << 20) // len(hostile))

        fields = splitter.split(line)

        assert isinstance(fields, str) or len(fields) <= len(line) + 1
        splitter.split_block([line + b"\n"], 10)
