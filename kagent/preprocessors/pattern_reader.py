"""Reads lines by the operator's own pattern. Pure; bounded in time by `userpattern`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kagent import model, patternparts, userpattern
from kagent.preprocessors import conversion, flat, jsontext

PARTS_MAX = 20  # lines of one block of which it is found out what failed
_EXPIRED = model.Unparsed("took too long")


class PatternReader:
    """Makes an object of the groups of a pattern that must match a whole line: 5 us a line."""

    def __init__(
        self,
        text: str,
        fields: Sequence[str] | None,
        types: Mapping[str, conversion.Type],
        *,
        is_dash_null: bool,
    ) -> None:
        """Compile the pattern.

        Args:
            text: A pattern that is known to be right.
            fields: Names for all its groups, named or not; None for the named groups only.
            types: By field.
            is_dash_null: Whether '-' means null.
        """
        self._pattern = userpattern.UserPattern(text)
        self._parts = patternparts.Parts(text)
        self.names = self._pattern.groups if fields is None else list(fields)
        self._groups: Sequence[str | int] = (
            self.names if fields is None else range(1, len(fields) + 1)
        )
        self._writer = flat.Writer(self.names, types, null=b"-" if is_dash_null else None)

    def read(self, records: Sequence[bytes]) -> list[model.Outcome]:
        """Return an object for each record, or why there is none."""
        lines = list(map(jsontext.line_of, records))
        outcomes: list[model.Outcome] = []
        failed = 0
        for line, match in zip(lines, self._pattern.each(lines, "fullmatch"), strict=True):
            if match is userpattern.EXPIRED:
                outcomes.append(_EXPIRED)
            elif match is None:
                failed += 1
                part = self._parts.failed_at(line) if failed <= PARTS_MAX else ""
                outcomes.append(model.Unparsed(part or "the pattern does not match"))
            else:
                values = [match[group] for group in self._groups]
                outcomes.append(self._writer.write(values))
        return outcomes
