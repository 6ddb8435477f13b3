"""Keep a sample of the records: an example of a preprocessor of one's own.

A preprocessor is a pydantic model. Its fields are its options: kagent checks what the
configuration says of them and reports mistakes with their line. An instance is called with the
records of a block and says what becomes of each, in the same order:

    bytes                           what is shipped in its place
    None                            nothing: the record is dropped, and counted
    kagent.model.Unparsed("why")    the flow's `on_no_match` decides; the log says why

It must be pure: the same records become the same again when they are read again. It must not
change its arguments, print, or wait for anything. What it raises costs the records it raises for.
"""

from __future__ import annotations

import zlib

import pydantic

from kagent import model


class ThinOut(pydantic.BaseModel):
    """Keeps one of so many records, and every one that holds a certain text."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    every: int = pydantic.Field(ge=1, le=1_000_000)
    always: str | None = None

    def __call__(self, records: list[bytes], context: model.ChunkContext) -> list[model.Outcome]:
        """Return each record, or None in its place.

        Args:
            records: As the preprocessor before made them, newlines and all.
            context: Where they are from: path, captured groups, offsets, host.
        """
        always = self.always.encode() if self.always else None
        return [
            record
            if (always is not None and always in record) or zlib.crc32(record) % self.every == 0
            else None
            for record in records
        ]
