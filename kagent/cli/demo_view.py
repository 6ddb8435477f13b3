"""What the demo shows while it runs, on stderr: a live table on a terminal, else plain lines."""

from __future__ import annotations

import dataclasses
import os
import time
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TextIO

import click

if typing.TYPE_CHECKING:
    from rich import table

_REDRAW_S = 0.2
_LINE_S = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """One flow at this moment, as its writer and its service count it."""

    flow: str
    destination: str
    written: int
    arrived: int
    refused: int  # records that were refused, and sent again
    duplicated: int


class View(Protocol):
    """What shows the demo; a context manager."""

    def note(self, text: str) -> None:
        """Say what just happened."""
        ...

    def show(self, figures: Sequence[Figures]) -> None:
        """Show where things are; may be called as often as one likes."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None: ...


def is_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether a stream is a terminal that can redraw a table."""
    return stream.isatty() and environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def make(stream: TextIO) -> View:
    """Return the view for a stream.

    Raises:
        ImportError: rich is missing, and the stream is a terminal.
    """
    return LiveView(stream) if is_live(stream, os.environ) else PlainView(stream)


class PlainView:
    """A line for each event, and one every few seconds for the rest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._shown = self._began

    def note(self, text: str) -> None:
        """Say what just happened."""
        seconds = time.monotonic() - self._began
        click.echo(f"{seconds:5.1f} s  {text}", file=self._stream)

    def show(self, figures: Sequence[Figures]) -> None:
        """Show where things are, every few seconds."""
        now = time.monotonic()
        if now - self._shown >= _LINE_S:
            self._shown = now
            self.note("; ".join(_sentence(one) for one in figures))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None:
        pass


class LiveView:
    """A table that is redrawn in place, with the events above it. NO_COLOR is rich's to honour."""

    def __init__(self, stream: TextIO) -> None:
        from rich import console, live  # optional

        self._console = console.Console(file=stream, highlight=False)
        self._live = live.Live(console=self._console, auto_refresh=False, transient=True)
        self._began = time.monotonic()
        self._shown = float("-inf")
        self._speed = _Speed()

    def note(self, text: str) -> None:
        """Say what just happened."""
        from rich import text as rich_text  # optional

        seconds = time.monotonic() - self._began
        self._console.print(rich_text.Text.assemble((f"{seconds:5.1f} s  ", "dim"), text))

    def show(self, figures: Sequence[Figures]) -> None:
        """Redraw the table, a few times a second."""
        now = time.monotonic()
        if now - self._shown >= _REDRAW_S:
            self._shown = now
            self._speed.note(now, figures)
            self._live.update(self._table(figures), refresh=True)

    def _table(self, figures: Sequence[Figures]) -> table.Table:
        from rich import box, table  # optional

        drawn = table.Table(box=box.SIMPLE_HEAD, title_justify="left")
        drawn.add_column("flow", style="bold")
        drawn.add_column("destination")
        for title in ("written", "arrived", "behind", "lines/s", "refused, sent again", "twice"):
            drawn.add_column(title, justify="right")
        for one in figures:
            behind = one.written - one.arrived
            drawn.add_row(
                one.flow,
                one.destination,
                f"{one.written:,}",
                f"[green]{one.arrived:,}[/green]",
                f"[yellow]{behind:,}[/yellow]" if behind else "0",
                f"{self._speed.of(one.flow):,.0f}",
                f"{one.refused:,}",
                f"{one.duplicated:,}",
            )
        return drawn

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: types.TracebackType | None,
    ) -> None:
        self._live.stop()


class _Speed:
    """Lines that arrived a second, over the last seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, dict[str, int]]] = []

    def note(self, now: float, figures: Sequence[Figures]) -> None:
        self._seen = [one for one in self._seen if now - one[0] <= _LINE_S]
        self._seen.append((now, {one.flow: one.arrived for one in figures}))

    def of(self, flow: str) -> float:
        (then, was), (now, arrived) = self._seen[0], self._seen[-1]
        return (arrived[flow] - was[flow]) / (now - then) if now > then else 0.0


def _sentence(one: Figures) -> str:
    return f"{one.flow}: {one.written:,} written, {one.arrived:,} arrived"
