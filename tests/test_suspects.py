"""Marks of calls that did not return: what the next life makes of them."""

from __future__ import annotations

import contextlib
import pathlib

import fakes
import pytest

from kagent import model, preprocessors, suspects
from kagent.preprocessors import calls

NAME = "own"
_KEPT: list[contextlib.AbstractContextManager[None]] = []


def context(first: int = 0, last: int = 10, tail_id: str = "ab" * 16) -> model.ChunkContext:
    """Return the context of records of ten bytes each."""
    at = range(first, last)
    return model.ChunkContext("/a", tail_id, [n * 10 for n in at], [n * 10 + 10 for n in at])


def begin(directory: pathlib.Path) -> suspects.Suspects:
    one = suspects.Suspects(str(directory), "web/é", fakes.FakeClock())
    one.open()
    return one


def die_in(one: suspects.Suspects, where: model.ChunkContext) -> None:
    """Leave the marks as SIGKILL within a call leaves them."""
    _KEPT.append(one.around(NAME, where))  # collected, it would take the mark away
    _KEPT[-1].__enter__()
    assert one.call is not None
    one.close()


def test_a_call_that_returns_leaves_no_mark(tmp_path: pathlib.Path) -> None:
    """Also one that raises; while it lasts others can see it."""
    one = begin(tmp_path)

    def fail() -> None:
        with one.around(NAME, context()):
            assert one.call == suspects.Call(NAME, "/a", 0, 100, 1000.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    one.close()

    assert one.call is None
    assert not begin(tmp_path).is_wary


def test_a_block_that_killed_goes_record_by_record(tmp_path: pathlib.Path) -> None:
    """Wherever blocks are cut now; another tail, place or preprocessor does not."""
    die_in(begin(tmp_path), context(0, 10))

    one = begin(tmp_path)

    assert one.is_wary
    assert [False] * 3 == one.judge(NAME, context(8, 11))
    assert one.judge(NAME, context(10, 12)) is None
    assert one.judge(NAME, context(tail_id="cd" * 16)) is None
    assert one.judge("other", context()) is None


def test_a_record_that_killed_again_is_poison_for_good(tmp_path: pathlib.Path) -> None:
    """Its neighbours are not, and later lives know it, too."""
    die_in(begin(tmp_path), context(0, 10))
    die_in(begin(tmp_path), context(3, 4))

    for _ in range(3):
        one = begin(tmp_path)
        assert [False, True, False] == one.judge(NAME, context(2, 5))
        assert one.judge(NAME, context(0, 3)) is None
        one.close()


def test_a_lone_record_that_killed_once_is_tried_again(tmp_path: pathlib.Path) -> None:
    """The process may have been killed for another reason."""
    die_in(begin(tmp_path), context(3, 4))

    one = begin(tmp_path)
    assert [False, False] == one.judge(NAME, context(3, 5))
    die_in(one, context(3, 4))

    assert [True, False] == begin(tmp_path).judge(NAME, context(3, 5))


def test_the_trial_of_another_record_is_its_own(tmp_path: pathlib.Path) -> None:
    """A death in a record that was not suspect is its first one."""
    die_in(begin(tmp_path), context(3, 4))
    die_in(begin(tmp_path), context(7, 8))

    assert [False] == begin(tmp_path).judge(NAME, context(7, 8))


def test_only_so_much_poison_is_remembered(tmp_path: pathlib.Path) -> None:
    """The newest."""
    for at in range(suspects.POISON_MAX + 3):
        die_in(begin(tmp_path), context(at, at + 1))
        die_in(begin(tmp_path), context(at, at + 1))

    one = begin(tmp_path)

    assert one.judge(NAME, context(2, 3)) is None
    assert [True] == one.judge(NAME, context(suspects.POISON_MAX + 2, suspects.POISON_MAX + 3))


def test_poison_is_not_called_and_goes_to_the_dead_letters(tmp_path: pathlib.Path) -> None:
    """Everything else of its block is; the built-in ones are not watched."""
    die_in(begin(tmp_path), context(0, 3))
    die_in(begin(tmp_path), context(1, 2))
    seen: list[bytes] = []

    def own(records: list[bytes], _: model.ChunkContext) -> list[bytes]:
        seen.extend(records)
        return records

    guard = begin(tmp_path)
    one = preprocessors.Stage(NAME, own, is_built_in=False)
    found = calls.call(one, [b"a", b"b", b"c"], context(0, 3), guard)

    assert [b"a", b"c"] == seen
    assert [b"a", model.Unparsed("did not return, twice", is_poison=True), b"c"] == found
    built_in = preprocessors.Stage(NAME, own, is_built_in=True)
    assert [b"b"] == calls.call(built_in, [b"b"], context(1, 2), guard)


@pytest.mark.parametrize("size", [0, 7, 100_000])
def test_a_file_of_another_form_is_written_anew(tmp_path: pathlib.Path, size: int) -> None:
    """It says nothing."""
    begin(tmp_path).close()
    (path,) = (tmp_path / "preprocessing").iterdir()
    path.write_bytes(b"\1" * size)

    one = begin(tmp_path)

    assert not one.is_wary
    with one.around(NAME, context()):
        pass


def test_without_a_file_calls_are_made_all_the_same(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and only the second chance is lost."""
    (tmp_path / "preprocessing").write_text("in the way")

    one = begin(tmp_path)
    with one.around(NAME, context()):
        assert one.call is not None

    assert "calls not marked flow=web/é" in caplog.text
    one.close()
