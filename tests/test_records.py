"""Records of real files through a whole flow: what `source` says of them, step by step."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import real_files

from kagent import (
    frame,
    framing,
    proof,
    resting,
    system,
)

KIB, MIB = 1024, 1024**2
TRACE = b"""\
2026-01-01 12:00:00,001 ERROR [main] com.example.Shop - cannot sell
java.lang.IllegalStateException: cannot sell
\tat com.example.Shop.sell(Shop.java:42)
\tat com.example.Shop$Door.open(Shop.java:7)
\tSuppressed: java.io.IOException: closed
\t\tat com.example.Till.close(Till.java:9)
Caused by: java.sql.SQLException: no such table
\tat com.example.Base.query(Base.java:99)
\t... 12 more
"""


class Host(real_files.Host):
    """A flow over real files that runs, and whose wall clock is in the test's hands, too."""

    def __init__(self, directory: Path, **source: object) -> None:
        super().__init__(directory, **source)
        self.clock.time = lambda: self.wall_s  # type: ignore[method-assign]
        self.wall_s = 1.8e9
        self.start()

    def restart(self) -> None:
        """End without a word, and begin with what is saved."""
        self.crash()
        self.start()

    def append(self, data: bytes, name: str = "a.log") -> None:
        with open(self.directory / name, "ab") as stream:
            stream.write(data)


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., Host]:
    return lambda **source: Host(tmp_path, **source)


def test_record_is_whole_however_slowly_it_is_written(host: Callable[..., Host]) -> None:
    """A trace that comes byte by byte, with polls in between, is one record: not so elsewhere."""
    one = host(multiline="java")

    for at in range(0, len(TRACE), 37):
        one.append(TRACE[at : at + 37])
        assert [] == one.run(0.5)
    one.append(b"2026-01-01 12:00:01,000 INFO next\n")

    assert [TRACE] == one.run()
    assert [b"2026-01-01 12:00:01,000 INFO next\n"] == one.run(6.0)


def test_record_that_was_written_anew_while_it_grew_is_read_anew(
    host: Callable[..., Host],
) -> None:
    """What was looked at of it is not there any more: simulation, framed seed 131311."""
    one = host(multiline={"end": ".*;"})
    one.append(b"1;\n2:\n3:abc\n")
    early = one.run(0.5)
    os.truncate(one.directory / "a.log", 3 + 3 + 2)
    one.append(b"x;\n4;\n5;\n")

    assert [b"1;\n"] == early
    assert [b"2:\n3:x;\n", b"4;\n", b"5;\n"] == one.run()


def test_silence_ends_a_record_for_good(host: Callable[..., Host]) -> None:
    """After the timeout what is there is sent; what comes later is a record of its own."""
    one = host(multiline={"preset": "java", "timeout": "3s"})
    one.append(b"a\n\tat b\n\tat c")

    early = one.run(2.5)
    late = one.run(2.0)
    one.append(b"c\n\tat d\nb\n")
    after = one.run(1.0)

    assert ([], [b"a\n\tat b\n"], [b"\tat cc\n\tat d\n"]) == (early, late, after)


def test_restart_in_a_record_finds_the_same_record(host: Callable[..., Host]) -> None:
    """Nothing is held in memory: the position is the record's start until it went out."""
    one = host(multiline="java")
    one.append(b"a\n" + TRACE[:200])
    assert [b"a\n"] == one.run()

    one.restart()
    one.append(TRACE[200:] + b"b\n")

    assert [TRACE] == one.run()
    assert 2 + len(TRACE) == next(iter(one.flow.roster.tails.values())).position


def test_last_record_of_a_removed_file_is_sent(host: Callable[..., Host]) -> None:
    """When the file is given up, its last record and its last line are complete."""
    one = host(multiline={"preset": "java", "timeout": "1h"})
    one.append(TRACE + b"\tat end")
    assert [] == one.run()

    os.unlink(one.directory / "a.log")

    assert [TRACE + b"\tat end"] == one.run(15.0)
    assert {} == one.flow.roster.tails


def test_trace_in_a_containers_lines_is_one_record(host: Callable[..., Host]) -> None:
    """Also where a line of it came in parts; the other stream and what is no line go on raw."""
    one = host(decode="cri", multiline="java")
    prefix = b"2026-01-01T12:00:00.000000001Z stdout "
    lines = TRACE.splitlines(keepends=True)
    wrapped = [prefix + b"F " + line for line in lines]
    wrapped[3:4] = [prefix + b"P " + lines[3][:9] + b"\n", prefix + b"F " + lines[3][9:]]

    one.append(b"".join(wrapped))
    one.append(b"2026-01-01T12:00:00.000000001Z stderr F oops\n" + b"\tat nothing\n")
    one.append(prefix + b"F " + b"next\n")

    assert [TRACE, b"oops\n", b"\tat nothing\n"] == one.run()
    assert 1 == one.flow.counters.undecoded_lines


def test_docker_lines_say_their_log(host: Callable[..., Host]) -> None:
    """JSON of json-file, in parts as well; a line that is none is passed on and counted."""
    one = host(decode="docker")
    one.append(
        b'{"log":"caf\\u00e9\\n","stream":"stdout","time":"t"}\n'
        b'{"log":"long ","stream":"stdout","time":"t"}\n'
        b'{"log":"line\\n","stream":"stdout","time":"t"}\n'
        b"half a l\n"
    )

    assert ["café\n".encode(), b"long line\n", b"half a l\n"] == one.run()
    assert 1 == one.flow.counters.undecoded_lines


@pytest.mark.parametrize(
    ("encoding", "mark", "codec"),
    [
        pytest.param("utf-16", b"\xff\xfe", "utf-16-le", id="little endian by its mark"),
        pytest.param("utf-16", b"\xfe\xff", "utf-16-be", id="big endian by its mark"),
        pytest.param("utf-16", b"", "utf-16-le", id="no mark"),
        pytest.param("utf-16be", b"", "utf-16-be", id="big endian"),
        pytest.param("latin-1", b"", "latin-1", id="latin-1"),
    ],
)
def test_records_are_utf_8_and_offsets_are_the_files(
    host: Callable[..., Host], encoding: str, mark: bytes, codec: str
) -> None:
    """Half units and restarts between them change nothing."""
    one = host(encoding=encoding)
    data = mark + "één\nĊ twee\n".replace("Ċ", "Ċ" if codec != "latin-1" else "C").encode(codec)

    one.append(data[:1])
    first = one.run()
    one.append(data[1:9])
    first += one.run()
    one.restart()
    one.append(data[9:])
    first += one.run()

    expected = data[len(mark) :].decode(codec).encode().splitlines(keepends=True)
    assert expected == first
    assert len(data) == next(iter(one.flow.roster.tails.values())).ledger.low


def test_start_at_the_end_is_a_lines_end_in_utf_16(host: Callable[..., Host]) -> None:
    """U+0A0A holds two bytes like newlines, and is none."""
    one = host(encoding="utf-16", start_at="end")
    one.append(b"\xfe\xff" + "old\n\u0a0a\u000a0\u0a0a half".encode("utf-16-be"))
    assert [] == one.run()

    one.append(" whole\n".encode("utf-16-be"))

    assert ["0\u0a0a half whole\n".encode()] == one.run()


@pytest.mark.parametrize(
    ("delimiter", "data", "expected"),
    [
        pytest.param("\0", b"one\0t\nwo\0three", [b"one", b"t\nwo"], id="NUL"),
        pytest.param("\r\n", b"one\r\nt\rw\no\r\n\r\n", [b"one", b"t\rw\no"], id="CRLF"),
        pytest.param("\xff", b"one\xfftwo\xff", [b"one", b"two"], id="a byte that is no UTF-8"),
    ],
)
def test_delimiter_is_any_bytes_and_may_be_left_out(
    host: Callable[..., Host], delimiter: str, data: bytes, expected: list[bytes]
) -> None:
    """Without it an empty line is nothing, and is counted as dropped."""
    one = host(delimiter=delimiter, terminator="strip")
    one.append(data)

    assert expected == one.run()
    dropped = data.count(b"\r\n\r\n") * 2
    assert dropped == one.flow.counters.dropped_bytes


def test_header_lines_are_skipped_in_each_file(host: Callable[..., Host]) -> None:
    """Slowly written, after a restart, after a truncation: dropped, and known."""
    one = host(header_lines=2)
    one.append(b"#Version: 1\n#Fie")
    early = one.run()
    one.append(b"lds: a b\n1 2\n")
    first = one.run()
    one.restart()
    one.append(b"3 4\n")
    second = one.run()
    header = next(iter(one.flow.roster.tails.values())).header
    (one.directory / "a.log").write_bytes(b"#x\n#y\n5\n")
    third = one.run()

    assert ([], [b"1 2\n"], [b"3 4\n"], [b"5\n"]) == (early, first, second, third)
    assert [b"#Version: 1\n", b"#Fields: a b\n"] == header
    assert 6 == one.flow.counters.dropped_bytes


def test_unterminated_last_line_goes_after_a_while(host: Callable[..., Host]) -> None:
    """What is written to it later is a record of its own: nothing twice, nothing lost."""
    one = host(final_line="5s")
    one.append(b"one\ntw")
    first = one.run(4.0)
    second = one.run(3.0)
    one.append(b"o\nthree\n")
    third = one.run()

    assert ([b"one\n"], [b"tw"], [b"o\n", b"three\n"]) == (first, second, third)


def test_old_files_are_left_alone_until_they_change(host: Callable[..., Host]) -> None:
    """A file that a checkpoint knows is never too old."""
    one = host(ignore_older="1d")
    for name in ("old.log", "new.log"):
        one.append(b"1\n", name)
        os.utime(one.directory / name, (one.wall_s, one.wall_s))
    os.utime(one.directory / "old.log", (one.wall_s - 90_000, one.wall_s - 90_000))
    first = one.run()
    one.wall_s += 200_000
    one.restart()
    again = one.run()
    handles = len(one.flow.roster.tails)
    one.append(b"2\n", "old.log")

    assert ([b"1\n"], []) == (first, again)
    assert 1 == handles
    assert [b"1\n", b"2\n"] == one.run()


def test_file_that_could_not_be_opened_for_long_is_not_too_old_by_then(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its age is that of its first sight: simulation, framed seed 91676."""
    one = host(ignore_older="30s")
    is_locked = True
    opened = one.files.open

    def opening(path: str, base: str) -> int:
        if is_locked:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, base)

    monkeypatch.setattr(one.files, "open", opening)
    one.append(b"1\n")
    os.utime(one.directory / "a.log", (one.wall_s - 20, one.wall_s - 20))
    early = one.run()
    one.wall_s += 20
    early += one.run()
    is_locked = False

    assert ([], [b"1\n"]) == (early, one.run())


def test_idle_files_are_closed_and_opened_when_they_change(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed file is resumed where it was, proved by its bytes; a rewritten one from 0."""
    monkeypatch.setattr(resting, "OPEN_FILES_MAX", 10)
    one = host(close_inactive="1m")
    one.wall_s = time.time()  # the files are as young as they are
    for number in range(30):
        one.append(b"%d\n" % number, f"{number}.log")
    first = one.run(30.0)
    before = len(one.flow.roster.tails)
    one.run(60.0)
    after = len(one.flow.roster.tails)
    one.append(b"more\n", "3.log")
    (one.directory / "4.log").write_bytes(b"other\n")
    os.rename(one.directory / "5.log", one.directory / "moved.log")
    second = one.run(5.0)
    one.restart()
    third = one.run()
    open_again = len(one.flow.roster.tails)

    assert (30, 30, 10) == (len(first), before, after)
    assert [b"more\n", b"other\n"] == sorted(second)
    assert [] == third
    assert open_again < 15


def test_growing_record_is_read_once(host: Callable[..., Host]) -> None:
    """A record of 900 KiB that grows slowly costs its bytes a few times, not by every poll."""
    one = host(multiline={"preset": "java", "max_lines": 50000})
    read_bytes = 0
    read = one.files.read

    def counting(handle: int, offset: int, size: int) -> bytes:
        nonlocal read_bytes
        data = read(handle, offset, size)
        read_bytes += len(data)
        return data

    one.files.read = counting  # type: ignore[method-assign]
    one.append(b"start\n")
    for _ in range(90):
        one.append(b"\tat com.example.Deep.down(Deep.java:1)\n" * 256)
        assert [] == one.run(0.3)
    size = os.path.getsize(one.directory / "a.log")
    one.append(b"next\n")

    (record,) = one.run()
    assert size == len(record)
    assert read_bytes < 12 * size


def test_record_of_50_mib_stays_within_the_bound(host: Callable[..., Host]) -> None:
    """It is cut at max_bytes, at the ends of lines, and never more than max_buffer is held."""
    one = host(multiline={"preset": "java", "max_lines": 50000})
    line = b"\tat com.example.Deep.down(Deep.java:1)\n"
    one.append(b"start\n" + line * (50 * MIB // len(line)) + b"next\n")
    held, records = 0, []
    for _ in range(2000):
        one.flow.step()
        held = max(held, one.flow._batcher.held_bytes)
        one.clock.now += 0.1
        records += [len(record) for record in one.destination.accepted]
        one.destination.accepted.clear()
        if sum(records) > 50 * MIB - len(line):
            break

    size = os.path.getsize(one.directory / "a.log")
    assert sum(records) in {size, size - 5}
    assert max(records) <= MIB
    assert held <= 32 * MIB
    assert 50 <= len(records) <= 53


@pytest.mark.parametrize(
    ("pattern", "expired"),
    [
        pytest.param("(a+)+$", 0, id="known to run away in re"),
        pytest.param("(a|aa)+$", 2, id="known to run away in regex too"),
    ],
)
def test_runaway_pattern_stops_no_other_flow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, pattern: str, expired: int
) -> None:
    """The line for which it takes too long is taken as not matching, counted and said once."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "good").mkdir()
    bad = Host(tmp_path / "bad", multiline={"start": pattern, "timeout": "1s"})
    good = Host(tmp_path / "good")
    hostile = b"a" * 60 + b"!\n"
    bad.append(b"aaa\n" + hostile + b"x\n" + hostile + b"aa\n")
    good.append(b"fine\n")

    with caplog.at_level(logging.WARNING):
        shipped = good.run(0.3) + bad.run(3.0) + good.run(0.3)

    assert [b"fine\n", b"aaa\n" + hostile + b"x\n" + hostile, b"aa\n"] == shipped
    assert expired == bad.flow.counters.expired_patterns
    said = [record.message for record in caplog.records if "odd" in record.message]
    assert (1 if expired else 0) == len(said)
    assert all("expired_patterns=2" in text and "aaaa" not in text for text in said)


def test_seek_knows_what_ends_a_line(host: Callable[..., Host], tmp_path: Path) -> None:
    """`end` is after the last delimiter of the flow, whatever that is."""
    delimiter, unit = framing.delimiter_of(frame.Frame(encoding="utf-16"), b"\xfe\xff")
    path = tmp_path / "a.log"
    path.write_bytes(b"\xfe\xff" + "a\n\u0a00b".encode("utf-16-be"))
    files = system.OsFiles()
    handle = files.open(str(path), str(path))

    ends = [
        proof.last_line_end(files, handle, 10, delimiter, unit),
        proof.last_line_end(files, handle, 10, b"\0", 1),
    ]
    files.close(handle)

    assert [6, 9] == ends


@pytest.mark.parametrize(
    ("size", "lengths"),
    [(KIB, [KIB + 1]), (KIB + 1, [KIB + 1, 1]), (2 * KIB + 2, [KIB + 1, KIB + 1, 1])],
    ids=["whole", "one byte more", "two parts"],
)
def test_newline_does_not_count_towards_max_line(
    host: Callable[..., Host], size: int, lengths: list[int]
) -> None:
    """A line of so many bytes stays whole; parts are as long as it is with its newline."""
    one = host(max_line="1KiB")

    one.append(b"x" * size + b"\n")

    assert lengths == list(map(len, one.run()))
