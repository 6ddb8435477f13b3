"""Put braces around records, for logs whose lines are the inside of a JSON object."""

from __future__ import annotations

from typing import Literal

from kagent import model
from kagent.preprocessors import stage


class AddBrackets(stage.Stage):
    """Puts `{` before and `}` behind each record."""

    newline: Literal["after", "inside"] = "after"
    """Where the newline that ends a record goes: after the closing brace, so that records stay
    lines, or inside, as the Java agent leaves it."""

    def __call__(self, records: list[bytes], context: model.ChunkContext) -> list[bytes]:
        """Return each record in braces."""
        if self.newline == "inside":
            return [b"{%b}" % record for record in records]  # 0.1 us a record
        return [
            b"{%b}\n" % record[:-1] if record.endswith(b"\n") else b"{%b}" % record
            for record in records
        ]
