"""What a flow reads: the options of its source, declared once."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from kagent import frame, generations, options

# A field called `multiline` would hide the module from its own annotation.
from kagent.multiline import Setting
from kagent.userpattern import PatternText


class SourceOptions(options.Options):
    """Which files a flow reads, from where, and how their bytes become lines."""

    paths: tuple[str, ...] = pydantic.Field(min_length=1)
    """Absolute patterns of files; `*`, `?`, `[..]`, `{a,b}` and `**` in any component."""

    exclude: tuple[str, ...] = ()
    """Patterns of files to leave out; one without a slash is held against the file's name."""

    start_at: Literal["end", "beginning"] = "end"
    """Where to begin in files that the first complete scan finds; later ones begin at 0."""

    capture: PatternText | None = None
    """A regular expression with named groups, such as `/(?P<app>[^/]+)/[^/]+$`, that is looked for
    in a file's path. What its groups match are values like {path}: fields and keys can name them.
    Where it does not match they are empty."""

    rotated: str = pydantic.Field(default="auto", min_length=1)
    """Where older generations of a followed file are that no pattern matches: a pattern in which
    {name} is the file's name and {stem} its name without the last extension; below the file's
    directory unless it begins with a slash. There the rest of a file is looked for that was copied
    and truncated, or was renamed or compressed while kagent was down. auto means {name}[-.]*, and
    those that no content proves to be generations by what rotators append alone: numbers, dates,
    old, gz and the like; with logrotate's `olddir old` write "old/{name}[-.]*"."""

    rotate_wait: Annotated[float, options.Duration(1.0, 86400.0)] = 300.0
    """How long a file that was renamed away is read on after its last byte."""

    follow_symlinks: bool = False
    """Follow links that a wildcard matched, to files and to directories, as they are now: when one
    leads elsewhere, the new file is read from 0 and the old one to its end. Only where nobody else
    may plant a link. Links in what is written out are followed in any case."""

    unlinked_max: Annotated[int, options.Size(1024**2, 1024 * 1024**4)] = 2 * 1024**3
    """How many bytes deleted files that are still open may hold on disk, together. Beyond that,
    or with less than 5 % of the disk free, the largest are closed, unread bytes and all: error,
    counted as abandoned unless a copy is found."""

    decode: frame.Decode = "none"
    """Take the lines of a container apart first: cri (kubelet, containerd, CRI-O) or docker
    (json-file). What is shipped is their text. A line that is not in the format is shipped as it
    is, and counted."""

    multiline: Setting = None
    """Lines that belong together are one record. A preset: java, python, go, ruby, or csv, where
    a record goes on within quotes; or patterns of your own."""

    encoding: frame.Encoding = "bytes"
    """The encoding of the files. bytes are shipped as they stand; all else becomes UTF-8, and what
    is no text in the encoding becomes U+FFFD, and is counted. utf-16 goes by the byte order mark,
    without one it is utf-16le."""

    delimiter: str = pydantic.Field(default="\n", min_length=1, max_length=16)
    """What ends a line: in double quotes, with escapes such as "\\r\\n" or "\\0". Each character
    up to U+00FF is one byte; in UTF-16 it is a character."""

    terminator: Literal["keep", "strip"] = "keep"
    """Whether records keep the delimiter; strip drops a line with nothing else, and counts it."""

    header_lines: int = pydantic.Field(default=0, ge=0, le=1000)
    """The first lines of each file, which are no records; they are counted as dropped. Only lines
    within the first MiB."""

    final_line: Annotated[float | None, options.DurationOrNever(1.0, 30 * 86400.0)] = None
    """When a last line without its delimiter is shipped all the same: after so long without
    growth, or 'never' before the file is given up, which is the default. What is written to the
    line later is a record of its own."""

    ignore_older: Annotated[float, options.Duration(1.0, 3650 * 86400.0)] | None = None
    """Files to which nothing had happened for so long when they were first seen are left alone
    until they change; then they are read from their beginning. Files that `start_at` begins at
    their end are not concerned."""

    close_inactive: Annotated[float, options.Duration(1.0, 30 * 86400.0)] = 600.0
    """With more than 10,000 files open, those that are shipped to their end and have not grown for
    so long are closed; they are looked at by name, and opened again when they change. Where the
    system allows fewer (LimitNOFILE), shipped files are closed as soon as others wait."""

    read_compressed: bool = False
    """Whether files that match and are compressed by gzip or zstd are shipped, decompressed. One
    that continues a file that was shipped is in any case; others are left out, and named once."""

    max_line: Annotated[int, options.Size(1024, 10 * 1024**2)] = 1024**2
    """The longest line that stays one record, its newline (one byte of any delimiter) not counted;
    see `oversize` for longer ones, whose parts have one byte more, as a line with its newline may
    have. In latin-1 and UTF-16 a line is as long as the longest UTF-8 that it may become."""

    @pydantic.field_validator("rotated")
    @classmethod
    def _check_rotated(cls, written: str) -> str:
        """Refuse what is no pattern."""
        try:
            generations.Rotated.of(written)
        except ValueError as error:
            raise options.NotAllowedError(f"a pattern, or 'auto'; {error}", "auto") from None
        return written

    def records(self) -> frame.Frame:
        """Return what the options say of records."""
        return frame.Frame(
            delimiter=self.delimiter,
            is_stripped=self.terminator == "strip",
            encoding=self.encoding,
            decode=self.decode,
            header_lines=self.header_lines,
            multiline=self.multiline.resolve() if self.multiline else None,
        )
