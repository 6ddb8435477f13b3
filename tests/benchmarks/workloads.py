"""The files that are shipped: made anew for each run, the same bytes each time."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Callable

MIB = 1024**2
_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def lines_200(chooser: random.Random, number: int) -> bytes:
    """Return a numbered line of 200 bytes."""
    text = f"{number:012d} {chooser.getrandbits(256):064x} "
    return text.encode().ljust(199, b"abcdefgh ijklmnop qrstuvwx"[number % 20 :][:1]) + b"\n"


def lines_2000(chooser: random.Random, number: int) -> bytes:
    """Return a numbered line of 2,000 bytes."""
    return f"{number:012d} {chooser.getrandbits(256):064x} ".encode().ljust(1999, b"x") + b"\n"


def lines_1m(chooser: random.Random, number: int) -> bytes:
    """Return a numbered line of a megabyte."""
    return f"{number:012d} ".encode() + chooser.randbytes(480_000).hex().encode() + b"\n"


def apache(chooser: random.Random, number: int) -> bytes:
    """Return a line of Apache's combined log, 200 bytes on average."""
    address = ".".join(str(part) for part in chooser.randbytes(4))
    path = f"/shop/{number:09d}/{chooser.getrandbits(48):012x}.html"
    return (
        f"{address} - - [26/Nov/2026:09:{number // 60 % 60:02d}:{number % 60:02d} +0000] "
        f'"GET {path} HTTP/1.1" 200 {chooser.randrange(100, 99999)} '
        f'"https://shop.example/" "{_AGENT}"\n'
    ).encode()


def csv(chooser: random.Random, number: int) -> bytes:
    """Return a line of ten columns, 150 bytes."""
    columns = [f"{number}", "eu-west-1", *(f"{chooser.getrandbits(56):014x}" for _ in range(8))]
    return ",".join(columns).encode() + b"\n"


def java(chooser: random.Random, number: int) -> bytes:
    """Return an exception of ten lines."""
    frames = "".join(
        f"\tat com.example.shop.Order{chooser.randrange(1000)}.place(Order.java:{line})\n"
        for line in range(8)
    )
    head = f"2026-11-26 09:00:00.000 ERROR [worker-{number % 16}] order {number:012d} failed\n"
    return f"{head}java.lang.IllegalStateException: no stock\n{frames}".encode()


MAKERS: dict[str, Callable[[random.Random, int], bytes]] = {
    "200B": lines_200,
    "2kB": lines_2000,
    "1MB": lines_1m,
    "apache": apache,
    "csv": csv,
    "java": java,
}


def write(directory: pathlib.Path, maker: str, size_bytes: int, files: int = 1) -> int:
    """Write so many files of one size; return their bytes."""
    directory.mkdir(parents=True)
    chooser = random.Random(1)
    make = MAKERS[maker]
    count = 1 if maker == "1MB" else 1000 if files < 100 else 20  # lines that are made at once
    number = total = 0
    for index in range(files):
        with (directory / f"{index:05d}.log").open("wb") as file:
            written = 0
            while written < size_bytes // files:
                some = b"".join(make(chooser, number + k) for k in range(count))
                number += count
                written += file.write(some)
            total += written
    return total
