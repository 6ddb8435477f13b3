"""Records of several lines become one."""

from __future__ import annotations

from typing import Any

import hypothesis
import pydantic
import pytest
from hypothesis import strategies as st

from kagent import model
from kagent.preprocessors import single_line

CONTEXT = model.ChunkContext("/a", "id", [0], [1])


def join(record: bytes, **options: Any) -> bytes:
    (joined,) = single_line.SingleLine(**options)([record], CONTEXT)
    return joined


@pytest.mark.parametrize(
    ("record", "options", "expected"),
    [
        pytest.param(b"a\n", {}, b"a\n", id="a line"),
        pytest.param(b"a", {}, b"a\n", id="without a newline"),
        pytest.param(b" a \r\n", {}, b"a\n", id="blanks and CRLF"),
        pytest.param(b"{\n  1,\n\n\t2\r\n}\n", {}, b"{ 1, 2 }\n", id="pretty-printed"),
        pytest.param(b"", {}, b"\n", id="nothing"),
        pytest.param(b"\n \n", {}, b"\n", id="nothing but blanks"),
        pytest.param(b"a\n  b\n", {"separator": ""}, b"ab\n", id="without a separator"),
        pytest.param(b"a\n b\n", {"separator": "\\n"}, b"a\\nb\n", id="an escape"),
        pytest.param(b"a\n\n b\n\n", {"empty_lines": "keep"}, b"a  b\n", id="empty lines stay"),
        pytest.param(
            b"\n\na\n", {"empty_lines": "keep", "separator": "|"}, b"||a\n", id="in front"
        ),
        pytest.param(b" a \n\n b \r\n", {"trim": "none"}, b" a   b \r\n", id="not trimmed"),
        pytest.param(b"\x01a\x02\n\x1fb\n", {}, b"\x01a\x02 \x1fb\n", id="control characters"),
        pytest.param(
            b"\x01a\x02\n\x00b\xc2\xa0\n", {"trim": "control"}, b"a b\xc2\xa0\n", id="trimmed"
        ),
    ],
)
def test_lines_are_trimmed_and_joined(
    record: bytes, options: dict[str, Any], expected: bytes
) -> None:
    """One newline at the end, and none within."""
    assert expected == join(record, **options)


@hypothesis.given(
    st.binary() | st.text("ab \n\t\r\x01").map(str.encode),
    st.sampled_from(["blanks", "control", "none"]),
    st.sampled_from(["drop", "keep"]),
)
def test_any_record_becomes_what_a_loop_would_make_of_it(
    record: bytes, trim: str, empty_lines: str
) -> None:
    """Line by line; bytes that are no UTF-8 stay as they are."""
    ends = {"blanks": b" \t\n\r\v\f", "control": bytes(range(33)), "none": b""}[trim]
    lines = [line.strip(ends) if ends else line for line in record.rstrip(b"\n").split(b"\n")]
    if empty_lines == "drop":
        lines = [line for line in lines if line]

    joined = join(record, trim=trim, empty_lines=empty_lines)

    assert b" ".join(lines) + b"\n" == joined


def test_a_separator_with_a_newline_is_refused() -> None:
    """It would make many lines again."""
    with pytest.raises(pydantic.ValidationError):
        single_line.SingleLine(separator="\n")
