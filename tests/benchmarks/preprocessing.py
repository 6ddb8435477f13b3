"""CPU of the preprocessors beside the way that a script would go, alternating in one run.

The plain way is what anybody writes first: `re` with named groups or `csv.DictReader`, then
`json.dumps`, line by line; for `single_line`, decode, strip each line, join. It makes the same
objects, which is checked before anything is measured. A ratio is the median of pairs that follow
each other; other load on the machine makes both slower, the ratio hardly.

Exits 1 if a ratio is below the one that kagent means to keep.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from kagent import model, preprocessors

CONTEXT = model.ChunkContext("/var/log/example.log", "id", [0], [1])
Way = Callable[[list[bytes]], list[Any]]


@dataclasses.dataclass
class Case:
    """One preprocessor, what it is given, and the plain way to the same result."""

    name: str
    preprocessor: str
    options: dict[str, Any]
    records: list[bytes]
    plain: Way
    ratio_min: float


# --- the plain ways ---------------------------------------------------------------------------

COMBINED = re.compile(
    r"(?P<host>\S+) (?P<ident>\S+) (?P<authuser>\S+) \[(?P<datetime>[^\]]+)\] "
    r'"(?P<request>[^"]*)" (?P<response>\d+|-) (?P<bytes>\d+|-) '
    r'"(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)
COLUMNS = (
    "id",
    "time",
    "user",
    "action",
    "status",
    "bytes",
    "address",
    "path",
    "agent",
    "referer",
)


def combined_plainly(records: list[bytes]) -> list[bytes]:
    shipped = []
    for record in records:
        match = COMBINED.match(record.decode("utf-8", "replace"))
        assert match is not None
        fields = {name: None if one == "-" else one for name, one in match.groupdict().items()}
        shipped.append((json.dumps(fields) + "\n").encode())
    return shipped


def csv_plainly(records: list[bytes]) -> list[bytes]:
    lines = (record.decode("utf-8", "replace") for record in records)
    return [(json.dumps(row) + "\n").encode() for row in csv.DictReader(lines, fieldnames=COLUMNS)]


def single_line_plainly(records: list[bytes]) -> list[bytes]:
    shipped = []
    for record in records:
        lines = (line.strip() for line in record.decode("utf-8", "replace").splitlines())
        shipped.append((" ".join(filter(None, lines)) + "\n").encode())
    return shipped


# --- what they are given ----------------------------------------------------------------------

AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0",
    "curl/8.5.0",
)


def combined_lines(chooser: random.Random, count: int) -> list[bytes]:
    lines = []
    for number in range(count):
        host = ".".join(str(chooser.randrange(256)) for _ in range(4))
        user = "joe" if chooser.random() < 0.01 else "-"
        size = "-" if chooser.random() < 0.1 else str(chooser.randrange(100_000))
        referer = "-" if chooser.random() < 0.4 else "https://www.example.com/shop/cart"
        lines.append(
            f"{host} - {user} [26/Nov/2026:00:{number % 60:02d}:00 +0000] "
            f'"GET /shop/items/{number}?page={number % 7} HTTP/1.1" 200 {size} '
            f'"{referer}" "{chooser.choice(AGENTS)}"\n'
        )
    return [line.encode() for line in lines]


def csv_rows(chooser: random.Random, count: int, *, has_quotes: bool) -> list[bytes]:
    rows = []
    for number in range(count):
        name = f"user{number % 97}"
        action = chooser.choice(["login", "view", "buy"])
        if has_quotes:
            name = f"{name}, Mr"
            action = f'said "{action}"' if number % 10 == 0 else action
        row = [
            *(number, f"2026-11-26T00:{number % 60:02d}:00Z", name, action, 200, number * 7),
            *(
                f"10.0.{number % 256}.7",
                f"/shop/items/{number}",
                AGENTS[2],
                "https://example.com/",
            ),
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        rows.append(text.getvalue().encode())
    return rows


def application_records(chooser: random.Random, count: int, several: float) -> list[bytes]:
    """Return messages, of which a share has a stack trace behind it."""
    records = []
    for number in range(count):
        record = (
            f"2026-11-26T00:00:{number % 60:02d}Z ERROR [{number % 8}] com.example.Orders - "
            f"order {number} of customer {number % 815} was not stored in time\n"
        )
        if chooser.random() < several:
            for depth in range(chooser.choice([8, 12, 20])):
                record += f"\tat com.example.orders.Store{depth}.put(Store{depth}.java:{depth})\n"
        records.append(record.encode())
    return records


def cases(count: int) -> list[Case]:
    chooser = random.Random(1)
    columns = {"columns": COLUMNS}
    return [
        Case(
            "log_to_json combined_apache",
            "log_to_json",
            {"format": "combined_apache"},
            combined_lines(chooser, count),
            combined_plainly,
            3.5,
        ),
        Case(
            "csv_to_json",
            "csv_to_json",
            columns,
            csv_rows(chooser, count, has_quotes=False),
            csv_plainly,
            5.0,
        ),
        Case(
            "csv_to_json with quotes",
            "csv_to_json",
            columns,
            csv_rows(chooser, count, has_quotes=True),
            csv_plainly,
            1.5,
        ),
        Case(
            "single_line, no record has several lines",
            "single_line",
            {},
            application_records(chooser, count, 0.0),
            single_line_plainly,
            3.0,
        ),
        Case(
            "single_line, 1 record in 10 has several",
            "single_line",
            {},
            application_records(chooser, count // 2, 0.1),
            single_line_plainly,
            2.0,
        ),
        Case(
            "single_line, all records have several",
            "single_line",
            {},
            application_records(chooser, count // 10, 1.0),
            single_line_plainly,
            1.0,
        ),
    ]


# --- measuring --------------------------------------------------------------------------------


def cpu_s(way: Way, records: list[bytes]) -> float:
    begun = time.thread_time()
    way(records)
    return time.thread_time() - begun


def same(ours: Sequence[Any], plain: Sequence[Any], *, is_json: bool) -> bool:
    if is_json:
        return [json.loads(one) for one in ours] == [json.loads(one) for one in plain]
    return list(ours) == list(plain)


def measure(case: Case, rounds: int) -> float:
    stage = preprocessors.make(case.preprocessor, case.options).preprocessor

    def ours(records: list[bytes]) -> list[Any]:
        return list(stage(records, CONTEXT))

    is_json = case.preprocessor != "single_line"
    assert same(ours(case.records), case.plain(case.records), is_json=is_json)
    pairs = [(cpu_s(ours, case.records), cpu_s(case.plain, case.records)) for _ in range(rounds)]
    ratio = statistics.median(plain / own for own, plain in pairs)
    own, plain = (min(column) / len(case.records) * 1e6 for column in zip(*pairs, strict=True))
    verdict = "" if ratio >= case.ratio_min else f"   below {case.ratio_min:g}"
    print(f"{case.name:42} {own:8.2f} {plain:8.2f} {ratio:8.1f}{verdict}")
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", type=int, default=5000, help="records of a block")
    parser.add_argument("--rounds", type=int, default=15, help="pairs to take the median of")
    arguments = parser.parse_args()
    print(f"{'us a record':42} {'kagent':>8} {'plain':>8} {'ratio':>8}")
    ratios = [(case, measure(case, arguments.rounds)) for case in cases(arguments.records)]
    return int(any(ratio < case.ratio_min for case, ratio in ratios))


if __name__ == "__main__":
    sys.exit(main())
