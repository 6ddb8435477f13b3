"""Chains: what becomes of records that a stage turns, drops, or cannot take apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from kagent import model, preprocessors
from kagent.preprocessors import chain

Function = Callable[[list[bytes], model.ChunkContext], Any]


def make(function: Function, name: str = "own", for_unparsed: str = "never") -> Any:
    function.for_unparsed = for_unparsed  # type: ignore[attr-defined]
    return preprocessors.Stage(name, function, is_built_in=False)


def run(
    stages: Sequence[Function | preprocessors.Stage],
    records: list[bytes],
    on_no_match: chain.OnNoMatch = "wrap",
    *,
    is_stripped: bool = False,
) -> chain.Result:
    made = [
        one if isinstance(one, preprocessors.Stage) else make(one, f"stage{index}")
        for index, one in enumerate(stages)
    ]
    at = range(len(records))
    context = model.ChunkContext(
        "/a", "id", [one * 10 for one in at], [one * 10 + 10 for one in at]
    )
    return chain.Chain(made, on_no_match, is_stripped=is_stripped).run(records, context)


def upper(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    return [record.upper() for record in records]


def picky(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
    """Drop what begins with d, and take apart all but what begins with u."""
    return [
        None
        if record.startswith(b"d")
        else model.Unparsed("first letter")
        if record.startswith(b"u")
        else record
        for record in records
    ]


def offsets(records: list[bytes], context: model.ChunkContext) -> list[bytes]:
    return [
        b"%b@%d" % (record, start) for record, start in zip(records, context.starts, strict=True)
    ]


def test_without_stages_records_stay_as_they_are() -> None:
    """Also a newline that `terminator: strip` would have taken off before."""
    assert [b"a\n"] == run([], [b"a\n"], is_stripped=True).records


def test_stages_work_one_after_another() -> None:
    """The second one sees what the first one made."""
    assert [b"A@0", b"B@10"] == run([upper, offsets], [b"a", b"b"]).records


def test_a_dropped_record_leaves_its_place_and_the_context_follows() -> None:
    """Stages behind know where each of the others stands."""
    result = run([picky, offsets], [b"a", b"d", b"b"])

    assert [b"a@0", None, b"b@20"] == result.records
    assert {"stage0": [1]} == result.dropped
    assert [] == result.failures


@pytest.mark.parametrize(
    ("on_no_match", "expected", "dead"),
    [
        ("wrap", [b"a@0", b'{"message":"u"}\n', b"b@20"], {}),
        ("raw", [b"a@0", b"u", b"b@20"], {}),
        ("drop", [b"a@0", None, b"b@20"], {}),
        ("dead_letter", [b"a@0", b"u", b"b@20"], {1: "stage0: first letter"}),
    ],
)
def test_an_unparsed_record_takes_on_no_match_and_is_counted(
    on_no_match: chain.OnNoMatch, expected: list[bytes | None], dead: dict[int, str]
) -> None:
    """The stages behind are not for it; the part that failed is known."""
    result = run([picky, offsets], [b"a", b"u", b"b"], on_no_match)

    assert expected == result.records
    assert dead == result.dead
    assert [chain.Failure(1, "stage0", "first letter")] == result.failures


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (b"a\n", b'{"message":"a"}\n'),
        (b"a\r\n", b'{"message":"a"}\n'),
        (b"a", b'{"message":"a"}\n'),
        (b"", b'{"message":""}\n'),
        (b"\n\n", b'{"message":"\\n"}\n'),
        (b'a"\\\x00\t', b'{"message":"a\\"\\\\\\u0000\\t"}\n'),
        (b"\xff\xc3", '{"message":"\ufffd\ufffd"}\n'.encode()),
        ("é\u2028".encode(), '{"message":"é\u2028"}\n'.encode()),
    ],
)
def test_wrap_makes_one_line_of_json_of_any_bytes(record: bytes, expected: bytes) -> None:
    """Without the line's own end; what is no UTF-8 becomes U+FFFD."""
    assert expected == chain.wrap(record)


def test_metadata_comes_to_what_was_wrapped_and_redaction_to_everything() -> None:
    """A stage says which records of those that another one could not take apart it gets."""

    def metadata(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return [b"meta " + record for record in records]

    def redact(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return [record.replace(b"secret", b"***") for record in records]

    stages = [picky, make(metadata, "meta", "wrapped"), make(redact, "redact", "always")]
    records = [b"secret", b"u secret"]

    assert [b"meta ***", b'meta {"message":"u ***"}\n'] == run(stages, records).records
    assert [b"meta ***", b"u ***"] == run(stages, records, "raw").records
    dead = run(stages, records, "dead_letter")
    assert b"u ***" == dead.records[1]
    assert {1: "stage0: first letter"} == dead.dead


def test_what_could_not_be_redacted_does_not_go_out() -> None:
    """It goes to the dead letters, whether another stage took it apart or not, without content."""

    def redact(records: list[bytes], _: model.ChunkContext) -> list[model.Outcome]:
        return [model.Unparsed("took too long") for _ in records]

    stages = [picky, make(redact, "redact", "always")]

    result = run(stages, [b"a", b"u"], "wrap")

    assert {0: "redact: took too long", 1: "redact: took too long"} == result.dead
    assert [chain.WITHHELD] * 2 == result.records
    made = chain.Chain(stages, "raw")
    assert [chain.WITHHELD] == made.redact([b"a"], model.ChunkContext("/a", "id", [0], [1]))


def test_a_filter_may_drop_what_was_set_aside() -> None:
    """If it says that it is for unparsed records, too."""

    def no_secrets(records: list[bytes], _: model.ChunkContext) -> list[bytes | None]:
        return [None if b"secret" in record else record for record in records]

    result = run([picky, make(no_secrets, "own", "always")], [b"u", b"u secret"], "dead_letter")

    assert [b"u", None] == result.records
    assert {0: "stage0: first letter"} == result.dead
    assert {"own": [1]} == result.dropped


def test_records_leave_without_a_newline_where_terminators_are_stripped() -> None:
    """What a stage ends with a newline, too."""
    assert [b'{"message":"u"}'] == run([picky], [b"u"], is_stripped=True).records


def test_a_record_keeps_the_empty_line_that_it_ends_with() -> None:
    """Its own terminator was taken off before the stages: simulation, framed seed 26."""

    def same(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return records

    assert [b"a\n", b"\n"] == run([same], [b"a\n", b"\n"], is_stripped=True).records


def test_a_record_of_which_nothing_is_left_is_dropped() -> None:
    """Services take no empty record."""

    def empty(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        return [record.removeprefix(b"e") for record in records]

    result = run([empty], [b"e", b"f"])

    assert [None, b"f"] == result.records
    assert {chain.EMPTY: [0]} == result.dropped


# --- preprocessors that do not keep the contract ----------------------------------------------


def raises(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    if b"bad" in records:
        raise ValueError(records)
    return records


def leaves(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    if b"bad" in records:
        raise SystemExit(3)
    return records


def interrupts(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    if b"bad" in records:
        raise GeneratorExit
    return records


def text(records: list[bytes], _: model.ChunkContext) -> list[Any]:
    return [record.decode() if record == b"bad" else record for record in records]


def buffers(records: list[bytes], _: model.ChunkContext) -> list[Any]:
    return [bytearray(record) if record == b"bad" else record for record in records]


def fewer(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    return [record for record in records if record != b"bad"]


def more(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
    return [*records, *(record for record in records if record == b"bad")]


def nothing(records: list[bytes], _: model.ChunkContext) -> list[bytes] | None:
    return None if b"bad" in records else records


def one_text(records: list[bytes], _: model.ChunkContext) -> Any:
    return "no" if b"bad" in records else records


def endless(records: list[bytes], _: model.ChunkContext) -> Iterator[bytes]:
    yield from records
    while b"bad" in records:
        yield b"again"


def lists(records: list[bytes], _: model.ChunkContext) -> Any:
    return [[record] if record == b"bad" else record for record in records]


def number(records: list[bytes], _: model.ChunkContext) -> Any:
    return 3 if b"bad" in records else records


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        (raises, "raised ValueError at test_preprocessors_chain.py"),
        (leaves, "raised SystemExit at test_preprocessors_chain.py"),
        (interrupts, "raised GeneratorExit at test_preprocessors_chain.py"),
        (text, "returned str for a record, not bytes or None"),
        (buffers, "returned bytearray for a record, not bytes or None"),
        (lists, "returned list for a record, not bytes or None"),
        (fewer, "returned 0 outcomes for 1 records"),
        (more, "returned more outcomes for 1 records"),
        (nothing, "returned NoneType, not a list"),
        (one_text, "returned str, not a list"),
        (endless, "returned more outcomes for 1 records"),
        (number, "raised TypeError"),
    ],
)
def test_what_breaks_the_contract_costs_the_culprit_only(stage: Function, part: str) -> None:
    """The block goes record by record; nothing of the record is said."""
    result = run([stage, offsets], [b"a", b"bad", b"b"])

    assert [b"a@0", b'{"message":"bad"}\n', b"b@20"] == result.records
    ((index, name, said),) = [(one.index, one.stage, one.part) for one in result.failures]
    assert (1, "stage0") == (index, name)
    assert said.startswith(part)
    assert "bad" not in said


def test_a_generator_is_as_good_as_a_list() -> None:
    """As long as it ends."""

    def generator(records: list[bytes], _: model.ChunkContext) -> Iterator[bytes]:
        yield from (record.upper() for record in records)

    assert [b"A", b"B"] == run([generator], [b"a", b"b"]).records


def test_a_stage_cannot_spoil_what_it_was_given() -> None:
    """It gets copies: what it cannot take apart is shipped as it was."""

    def vandal(records: list[bytes], context: model.ChunkContext) -> list[bytes]:
        records.clear()
        context.columns["id"] = "forged"
        raise ValueError

    assert [b"a", b"b"] == run([vandal], [b"a", b"b"], "raw").records


def test_ctrl_c_in_a_command_ends_it() -> None:
    """In the main thread an interrupt is the operator's, not the preprocessor's."""

    def interrupted(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([interrupted], [b"a"])
