"""What the text of a scalar means."""

from __future__ import annotations

import pytest

from kagent.config import scalars

ENVIRON = {"NAME": "web", "EMPTY": "", "DOLLAR": "${NAME}"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-16", -16),
        ("1.5", 1.5),
    ],
)
def test_yaml_1_2_words_and_decimal_numbers_have_types(
    text: str, value: str | float | bool | None
) -> None:
    """Two Booleans, null, whole numbers and fractions, and nothing else."""
    resolved = scalars.resolve(text)

    assert (type(value), value) == (type(resolved), resolved)


@pytest.mark.parametrize(
    "text",
    ["on", "off", "yes", "No", "True", "NULL", "010", "0x1F", "1_000", "12:30:00", "1e3", ".inf"],
)
def test_the_traps_of_yaml_1_1_are_text(text: str) -> None:
    """What YAML 1.1 reads as true, 8, 31, 1000, 45000 or a date is the text that it looks like."""
    assert text == scalars.resolve(text)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        pytest.param("no variables $5 $ {x}", "no variables $5 $ {x}", id="a dollar alone"),
        pytest.param("${NAME}-${NAME}", "web-web", id="set"),
        pytest.param("${EMPTY}", "", id="set, but empty"),
        pytest.param("${UNSET:-a b}/c", "a b/c", id="default for an unset one"),
        pytest.param("${EMPTY:-d}", "d", id="default for an empty one"),
        pytest.param("${NAME:-d}", "web", id="default not needed"),
        pytest.param("${UNSET:-}", "", id="empty default"),
        pytest.param("$${NAME}", "${NAME}", id="literal"),
        pytest.param("${DOLLAR}", "${NAME}", id="what is put in is not looked at again"),
    ],
)
def test_variables_are_put_in(text: str, result: str) -> None:
    """`${NAME}`, `${NAME:-default}` and `$${` for a literal `${`."""
    assert result == scalars.substitute(text, ENVIRON)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "${UNSET}", "the environment variable UNSET is not set, and there is", id="unset"
        ),
        pytest.param("a ${NAME", "'${NAME' is no variable", id="not closed"),
        pytest.param("${}", "'${}' is no variable", id="no name"),
        pytest.param("${1}", "'${1}' is no variable", id="no such name"),
        pytest.param("${NAME-x}", "'${NAME-x}' is no variable", id="another operator"),
        pytest.param("${A:-${NAME}}", "'${A:-${NAME}' is no variable", id="nested"),
    ],
)
def test_a_reference_that_means_nothing_is_refused(text: str, message: str) -> None:
    """The message names the variable, or quotes the reference as it was written."""
    with pytest.raises(ValueError, match="variable") as caught:
        scalars.substitute(text, ENVIRON)

    assert str(caught.value).startswith(message)
