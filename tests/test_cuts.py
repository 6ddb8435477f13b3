"""However a file is written and whenever kagent stops, the records are the same: on real files.

`tests/test_framing.py` proves it of the bytes alone, with many more cuts; here the file grows by
pieces that end anywhere, with polls and restarts in between, through the whole flow.
"""

from __future__ import annotations

import itertools
import pathlib
import random

import pytest
from real_files import Host

JAVA = (
    b"2026-11-26 INFO start\njava.lang.IllegalStateException: no\n\tat a.B.c(B.java:1)\n"
    b"\t... 3 more\nCaused by: x.Y: z\n\tat q.R.s(R.java:2)\n2026-11-26 INFO next\r\nplain\n"
) * 6
PYTHON = (
    b'INFO a\nTraceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
    b"ValueError: bad\n\nDuring handling of the above exception, another exception occurred:\n\n"
    b'Traceback (most recent call last):\n  File "b.py", line 2, in h\nKeyError: 1\nINFO b\n'
) * 5
GO = (
    b"2026 ok\npanic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/a/b.go:1 +0x1\n"
    b"exit status 2\n2026 next\n"
) * 8
RUBY = b"I, ok\na.rb:3:in 'f': boom (RuntimeError)\n\tfrom a.rb:1:in '<main>'\nI, next\n" * 9
CSV = b'a,"one\ntwo ""quoted"" lines",b\nc,d,e\n"\n\n",x,"y"\n' * 9
CRI = (
    b"2026-01-01T00:00:00.1Z stdout F x.Error: y\n2026-01-01T00:00:00.1Z stdout F \tat a.b\n"
    b"2026-01-01T00:00:00.1Z stderr P half \n2026-01-01T00:00:00.1Z stderr F a line\nraw\n"
) * 8
DOCKER = (
    b'{"log":"x.Error: y\\n","stream":"stdout","time":"t"}\n'
    b'{"log":"\\tat z\\n","stream":"stdout","time":"t"}\n'
    b'{"log":"half ","stream":"stderr","time":"t"}\n{"log":"e\\u00e9\\n","stream":"stderr"}\nraw\n'
) * 8
LINES = b"one\ntwo\r\n\n\0\0\xff\xfe\n" * 20 + b"x" * 3000 + b"\nafter\n"
WIDE = "eins\nzwei \u0a0a \U0001f600\r\n\ndrei\n".encode("utf-16-le") * 12
OPTIONS = {
    "lines": ({}, LINES),
    "long lines": ({"max_line": "1KiB"}, LINES),
    "stripped": ({"terminator": "strip"}, LINES),
    "NUL": ({"delimiter": "\0", "terminator": "strip"}, LINES),
    "two bytes": ({"delimiter": "\r\n"}, LINES),
    "header": ({"header_lines": 3}, LINES),
    "utf-16": ({"encoding": "utf-16"}, b"\xff\xfe" + WIDE),
    "utf-16be": ({"encoding": "utf-16be"}, WIDE[1:] + b"\n"),
    "latin-1": ({"encoding": "latin-1"}, LINES),
    "java": ({"multiline": "java"}, JAVA),
    "python": ({"multiline": "python"}, PYTHON),
    "go": ({"multiline": "go"}, GO),
    "ruby": ({"multiline": "ruby"}, RUBY),
    "csv": ({"multiline": "csv"}, CSV),
    "start": ({"multiline": {"start": r"\d{4}-\d\d"}}, JAVA),
    "continuation": ({"multiline": {"continuation": r"\s"}}, JAVA),
    "start and end": ({"multiline": {"start": "I", "end": r"a\.rb"}}, RUBY),
    "few lines": ({"multiline": {"preset": "java", "max_lines": 3}}, JAVA),
    "cri": ({"decode": "cri"}, CRI),
    "cri and java": ({"decode": "cri", "multiline": "java"}, CRI),
    "docker": ({"decode": "docker"}, DOCKER),
    "docker and java": ({"decode": "docker", "multiline": "java"}, DOCKER),
    "final line": ({"final_line": "1m"}, LINES + b"no end"),
}


def ship(
    directory: pathlib.Path, options: dict[str, object], data: bytes, chooser: random.Random | None
) -> list[bytes]:
    """Write a file in pieces, or as a whole without a chooser, and return what is delivered."""
    directory.mkdir()
    host = Host(directory, **options)
    path = directory / "a.log"
    path.touch()
    host.start()
    delivered = host.run(2.0)
    bounds = sorted(chooser.sample(range(len(data)), 12)) if chooser else []
    for start, end in itertools.pairwise([0, *bounds, len(data)]):
        with path.open("ab") as file:
            file.write(data[start:end])
        delivered += host.run(chooser.choice([0.1, 0.5, 1.5])) if chooser else []
        if chooser and chooser.random() < 0.3:
            host.stop()
            delivered += host.taken()
            host.start()
    delivered += host.run(150.0)
    host.stop()
    return delivered


@pytest.mark.parametrize("name", OPTIONS)
def test_any_cut_of_any_input_gives_the_same_records(name: str, tmp_path: pathlib.Path) -> None:
    """In order, each once, whatever was there at each poll, over restarts, too."""
    options, data = OPTIONS[name]

    whole = ship(tmp_path / "whole", options, data, None)
    cut = [
        ship(tmp_path / f"cut{seed}", options, data, random.Random(f"{name} {seed}"))
        for seed in range(2)
    ]

    assert len(whole) >= 10
    assert [whole] * 2 == cut
