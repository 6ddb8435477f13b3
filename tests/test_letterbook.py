"""`letterbook`: letters are found, noted and taken out, whatever else is in the folder."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import fakes
import pytest

from kagent import deadletter, letterbook, model


def bury(folder: Path, *numbers: int, flow: str = "web", now: float = 1000.0) -> None:
    letters = [
        model.DeadLetter(flow, "a" * 32, "/caf\udce9.log", n, n + 1, "why", b"line %d\n\xff" % n)
        for n in numbers
    ]
    assert "" == deadletter.DeadLetters(str(folder), 2**20, fakes.FakeClock(now)).append(letters)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dead-letter"


@pytest.fixture
def book(folder: Path) -> letterbook.LetterBook:
    return letterbook.LetterBook(str(folder))


def starts(book: letterbook.LetterBook, flow: str = "web") -> list[int]:
    return [letter.start for letter in book.letters(flow)]


def test_letters_come_back_as_they_were_buried(folder: Path, book: letterbook.LetterBook) -> None:
    """Every byte of the record and of the path, and the id that readers know."""
    bury(folder, 7)

    (letter,) = book.letters("web")

    assert (b"line 7\n\xff", "/caf\udce9.log", "waiting") == (
        letter.data,
        letter.path,
        letter.state,
    )
    assert f"{'a' * 32}:7-8" == letter.id


def test_flows_are_found_by_their_files(folder: Path, book: letterbook.LetterBook) -> None:
    """Names with dots too; notes, locks and strangers are no flows; no folder has none."""
    assert [] == book.flows()
    for flow in ("web", "a.b-c_d"):
        bury(folder, 1, flow=flow)
    with book.lock():
        book.note(book.letters("web"), "in doubt")
    (folder / "README").touch()

    assert ["a.b-c_d", "web"] == book.flows()


def test_what_is_no_letter_is_passed_over_and_kept(
    folder: Path, book: letterbook.LetterBook
) -> None:
    """A line that a crash cut short is nobody's to throw away."""
    bury(folder, 1)
    with (folder / "web.jsonl").open("ab") as file:
        file.write(b'{"time": 1, "flow"\n[]\n{"time": "x"}\n')
    bury(folder, 2)

    first, second = book.letters("web")
    book.take_out("web", [first])

    assert [second] == list(book.letters("web"))
    assert (3, str(folder / "web.jsonl")) == book.damage("web")
    assert 0 == book.damage("other")[0]
    assert 4 == len((folder / "web.jsonl").read_bytes().splitlines())


def test_notes_survive_and_the_last_one_counts(folder: Path, book: letterbook.LetterBook) -> None:
    """Another process sees what this one noted; what is settled is not listed."""
    bury(folder, 1, 2, 3)
    one, two, _ = book.letters("web")

    book.note([one, two], "in doubt")
    book.note([two], "waiting")
    other = letterbook.LetterBook(str(folder))
    assert ["in doubt", "waiting", "waiting"] == [x.state for x in other.letters("web")]
    book.note([one], "settled")

    assert [2, 3] == starts(other)


def test_what_is_taken_out_is_gone_with_its_notes(
    folder: Path, book: letterbook.LetterBook
) -> None:
    """Settled ones from before a crash as well; doubts of others stay; empty files go."""
    bury(folder, 1, 2, 3)
    one, two, three = book.letters("web")
    book.note([one], "settled")
    book.note([two, three], "in doubt")

    book.take_out("web", [two])

    assert [(3, "in doubt")] == [(x.start, x.state) for x in book.letters("web")]
    assert 1 == len((folder / "web.jsonl.notes").read_bytes().splitlines())
    book.take_out("web", [three])
    assert [] == [path for path in os.listdir(folder) if path.startswith("web")]


def test_the_same_bytes_buried_later_are_another_letter(
    folder: Path, book: letterbook.LetterBook
) -> None:
    """What became of the first says nothing of the second."""
    bury(folder, 1)
    book.note(book.letters("web"), "settled")
    bury(folder, 1, now=2000.0)

    assert [1] == starts(book)


def test_files_stay_their_owners(folder: Path, book: letterbook.LetterBook) -> None:
    """0600, also when they are written anew."""
    bury(folder, 1, 2)
    one, two = book.letters("web")
    with book.lock():
        book.note([two], "in doubt")
        book.take_out("web", [one])

    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {0o600} == modes


def test_two_commands_do_not_work_at_once(book: letterbook.LetterBook, folder: Path) -> None:
    """The second one is told, and may come again."""
    other = letterbook.LetterBook(str(folder))

    with book.lock(), pytest.raises(letterbook.BookInUseError), other.lock():
        pass

    with other.lock():
        pass


def test_no_letter_is_lost_that_is_buried_while_others_are_taken_out(
    folder: Path, book: letterbook.LetterBook
) -> None:
    """Daemon and command share the folder's lock: neither overwrites the other."""
    bury(folder, 0)

    def write() -> None:
        for number in range(1, 100):
            bury(folder, number)

    thread = threading.Thread(target=write)
    thread.start()
    taken = 0
    while thread.is_alive() or starts(book):
        letters = list(book.letters("web"))
        taken += len(letters)
        book.take_out("web", letters)
    thread.join()

    assert 100 == taken


def test_parts_of_one_line_are_letters_of_their_own(
    folder: Path, book: letterbook.LetterBook
) -> None:
    """They share its range; what becomes of one says nothing of the others."""
    letters = [
        model.DeadLetter("web", "a" * 32, "/a.log", 0, 9, "too long", b"x" * part, part)
        for part in (1, 2, 3)
    ]
    deadletter.DeadLetters(str(folder), 2**20, fakes.FakeClock()).append(letters)

    first, second, third = book.letters("web")
    book.note([first], "in doubt")
    book.take_out("web", [second])

    assert [f"{'a' * 32}:0-9/1", f"{'a' * 32}:0-9/3"] == [one.id for one in book.letters("web")]
    assert third.part == 3
