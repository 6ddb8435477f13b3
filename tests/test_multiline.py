"""`multiline`: what the presets and patterns make of lines as they are found in real logs."""

from __future__ import annotations

import pytest

from kagent import frame, framing, model, multiline, split

JAVA_LOG4J = """\
2026-01-01 12:00:00,001 ERROR [http-1] c.e.Shop - cannot sell {id=7}
java.lang.IllegalStateException: cannot sell
\tat com.example.Shop.sell(Shop.java:42) ~[shop.jar:1.0]
\tat java.base/java.lang.Thread.run(Thread.java:1583)
\tSuppressed: java.io.IOException: closed
\t\tat com.example.Till.close(Till.java:9)
Caused by: org.example.Base$QueryException: no such table
\tat com.example.Base.query(Base.java:99)
\t... 12 more
"""
JAVA_LOGBACK_ROOT_FIRST = """\
12:00:00.001 [main] WARN  c.e.Shop - retrying
java.net.ConnectException
\tat java.base/sun.nio.ch.Net.pollConnect(Native Method)
Wrapped by: java.lang.RuntimeException: no connection
\tat com.example.Shop.main(Shop.java:3)
... 3 common frames omitted
"""
JAVA_UNCAUGHT = """\
Exception in thread "main" java.lang.StackOverflowError
\tat com.example.Loop.a(Loop.java:1)
\tat com.example.Loop.a(Loop.java:1)
"""
PYTHON_CHAINED = """\
ERROR:shop:cannot sell
Traceback (most recent call last):
  File "/srv/shop.py", line 7, in sell
    stock[item]
    ~~~~~^^^^^^
KeyError: 'apple'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/shop.py", line 12, in <module>
    sell("apple")
shop.errors.SoldOut: apple

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/main.py", line 1, in <module>
    import shop
RuntimeError: cannot start
"""
PYTHON_GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "a.py", line 1, in <module>
  | ExceptionGroup: two things (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | ValueError: one
    +------------------------------------
"""
PYTHON_INTERRUPTED = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
KeyboardInterrupt
"""
GO_PANIC = """\
panic: runtime error: index out of range [5] with length 3 [recovered]
\tpanic: again
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x47]

goroutine 1 [running]:
main.(*Shop).sell(0xc000012345, {0x4b2a10?, 0x5})
\t/srv/shop.go:8 +0x1d
main.main()
\t/srv/shop.go:3 +0x20

goroutine 18 gp=0xc000 m=nil [chan receive, 2 minutes]:
net/http.(*conn).serve(0xc0000a0000, {0x6f3e28, 0xc00007e0f0})
\t/usr/lib/go/src/net/http/server.go:1995 +0x612
created by net/http.(*Server).Serve in goroutine 1
\t/usr/lib/go/src/net/http/server.go:3086 +0x5cb
exit status 2
"""
GO_SERVING = """\
2026/01/01 12:00:00 http: panic serving 127.0.0.1:4711: boom
goroutine 6 [running]:
net/http.(*conn).serve.func1()
\t/usr/lib/go/src/net/http/server.go:1850 +0xbf
panic({0x6a1d20, 0x7a1b30})
\t/usr/lib/go/src/runtime/panic.go:890 +0x262
"""
GO_DEADLOCK = """\
fatal error: all goroutines are asleep - deadlock!

goroutine 1 [chan receive]:
main.main()
\t/srv/a.go:5 +0x31
"""
RUBY_UNCAUGHT = """\
shop.rb:12:in `rescue in sell': cannot sell (Shop::Error)
\tfrom shop.rb:9:in `sell'
\tfrom shop.rb:20:in `<main>'
shop.rb:10:in `sell': key not found: "apple" (KeyError)
\tfrom shop.rb:20:in `<main>'
"""
RUBY_LOGGER = """\
E, [2026-01-01T12:00:00.001 #7] ERROR -- : key not found: "apple" (KeyError)
shop.rb:10:in 'Hash#fetch'
/usr/lib/ruby/gems/rack-3.0/lib/rack.rb:5:in 'block in Shop#sell'
"""
CSV = """\
id,text
1,"two
lines, and a ""quoted"" word

and an empty one"
2,5" disk
3,"x" y
"a";"b
c"
"""


def records(data: bytes, many: frame.Multiline) -> list[bytes]:
    rules = split.Rules(1 << 20, "split", frame.Frame(multiline=many))
    framer = framing.Framer("t", rules)
    framer.begin(data[:2])
    return framer.split_block(model.Block(0, data), 1 << 20, is_closed=True).chunk.records


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(
    ("preset", "trace"),
    [
        pytest.param("java", JAVA_LOG4J, id="java, with cause and suppressed"),
        pytest.param("java", JAVA_LOGBACK_ROOT_FIRST, id="java, root cause first"),
        pytest.param("java", JAVA_UNCAUGHT, id="java, uncaught"),
        pytest.param("python", PYTHON_CHAINED, id="python, chained"),
        pytest.param("python", PYTHON_GROUP, id="python, an exception group"),
        pytest.param("python", PYTHON_INTERRUPTED, id="python, no text"),
        pytest.param("go", GO_PANIC, id="go, panic with goroutines"),
        pytest.param("go", GO_SERVING, id="go, panic in a server"),
        pytest.param("go", GO_DEADLOCK, id="go, deadlock"),
        pytest.param("ruby", RUBY_UNCAUGHT, id="ruby, with cause"),
        pytest.param("ruby", RUBY_LOGGER, id="ruby, by a logger"),
    ],
)
def test_trace_is_one_record(preset: frame.Preset, trace: str, newline: str) -> None:
    """At the file's beginning, after an ordinary line, twice in a row, and before another."""
    whole = trace.replace("\n", newline).encode()
    before = f"[info] 12:00 started in 5 ms{newline}".encode()
    after = f"2026-01-01 12:00:01 [info] (7) next{newline}".encode()

    found = records(whole + after + before + whole + after, frame.Multiline(preset))

    # What is indented goes on, whatever comes before; so does a header that a logger writes.
    is_joined = trace.startswith((" ", "Traceback"))
    middle = [before + whole] if is_joined else [before, whole]
    assert [whole, after, *middle, after] == found


@pytest.mark.parametrize("preset", ["java", "python", "go", "ruby", "csv"])
def test_ordinary_lines_stay_records(preset: frame.Preset) -> None:
    """Access logs, JSON, syslog, empty lines: one record each."""
    lines = [
        b'127.0.0.1 - - [01/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 12 "-" "curl"\n',
        b'{"level": "error", "error": "java.lang.Error: x"}\n',
        b"Jan  1 12:00:00 host app[7]: Error: nothing (really)\n",
        b"\n",
        b"www.example.com: main.main() ok\n",
        b"\r\n",
    ]

    assert lines == records(b"".join(lines), frame.Multiline(preset))


@pytest.mark.parametrize("preset", ["java", "python", "go", "ruby"])
def test_continuation_without_a_first_line_is_a_record(preset: frame.Preset) -> None:
    """A file may begin in the middle of a trace; nothing is dropped."""
    assert [b"\tat a\n\tat b\n", b"next\n"] == records(
        b"\tat a\n\tat b\nnext\n", frame.Multiline(preset)
    )


def test_csv_record_goes_on_within_quotes() -> None:
    """Doubled quotes, empty lines, other delimiters; a quote elsewhere is a character."""
    found = records(CSV.encode(), frame.Multiline("csv"))

    assert CSV.encode() == b"".join(found)
    assert [0, 3, 0, 0, 1] == [record.count(b"\n") - 1 for record in found]


def test_csv_quote_that_never_closes_takes_max_lines() -> None:
    """A mistake in one line does not swallow the file."""
    data = b'"open\n' + b"1,2\n" * 9

    found = records(data, frame.Multiline("csv", lines_max=4))

    assert [b'"open\n' + b"1,2\n" * 3, *[b"1,2\n"] * 6] == found


@pytest.mark.parametrize(
    ("patterns", "data", "expected"),
    [
        pytest.param(
            {"start": r"\d{4}-"},
            b"junk\n2026-1 a\nb\n\n2026-2 c\n",
            [b"junk\n", b"2026-1 a\nb\n\n", b"2026-2 c\n"],
            id="start",
        ),
        pytest.param(
            {"continuation": r"[ \t]|\.\.\."},
            b" x\na\n b\n...\nc\n",
            [b" x\n", b"a\n b\n...\n", b"c\n"],
            id="continuation",
        ),
        pytest.param(
            {"end": r".*;\r?$"},
            b"select\n1;\nselect 2;\r\nx\n",
            [b"select\n1;\n", b"select 2;\r\n", b"x\n"],
            id="end",
        ),
        pytest.param(
            {"start": "BEGIN", "end": "END"},
            b"BEGIN\na\nEND\nb\nc\nBEGIN\nd\n",
            [b"BEGIN\na\nEND\n", b"b\nc\n", b"BEGIN\nd\n"],
            id="start and end",
        ),
        pytest.param(
            {"start": "--", "continuation": "-"},
            b"--a\n-b\n--c\nd\n-e\n",
            [b"--a\n-b\n", b"--c\n", b"d\n-e\n"],
            id="start and continuation",
        ),
        pytest.param(
            {"start": "café"},
            "x\ncafé\ny\n".encode(),
            [b"x\n", "café\ny\n".encode()],
            id="not ASCII",
        ),
    ],
)
def test_patterns_decide_which_lines_go_on(
    patterns: dict[str, str], data: bytes, expected: list[bytes]
) -> None:
    """Each alone and together, held against a line's beginning."""
    assert expected == records(data, frame.Multiline(**patterns))


def test_long_records_are_cut_between_lines() -> None:
    """At max_lines, and before the line that max_bytes has no room for."""
    data = b"a\n" + b"\tat bcd\n" * 5

    by_lines = records(data, frame.Multiline("java", lines_max=3))
    by_bytes = records(data, frame.Multiline("java", bytes_max=20))

    assert [2 + 16, 24] == list(map(len, by_lines))
    assert [2 + 16, 16, 8] == list(map(len, by_bytes))


def test_presets_do_not_run_away() -> None:
    """Every repetition is possessive: hostile lines cost little more than ordinary ones."""
    hostile = [b"a." * 30_000, b'"' * 60_000, b'"",' * 20_000, b"a(" * 30_000, b"a:1:in `" * 7_000]
    for preset in multiline.PRESETS:
        for line in hostile:
            assert records(line + b"\n\t" + line + b"\n", frame.Multiline(preset))


def test_pattern_that_takes_its_time_gets_it_in_turns() -> None:
    """When a block's time is over, the rest of its lines waits, and none is looked at twice."""
    now = iter(range(1000))
    rules = split.Rules(
        1 << 20,
        "split",
        frame.Frame(multiline=frame.Multiline(start="x")),
        lambda: float(next(now)),
    )
    framer = framing.Framer("t", rules)
    framer.begin(b"")
    data = b"x\ny\n" * 200
    found: list[bytes] = []
    at, turns = 0, 0
    while at < len(data):
        result = framer.split_block(model.Block(at, data[at:]), 1000, is_closed=True)
        found += result.chunk.records
        at, turns = result.chunk.end, turns + 1

    assert [b"x\ny\n"] * 200 == found
    assert 5 < turns < 10
