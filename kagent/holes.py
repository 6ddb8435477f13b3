r"""NULs that nobody wrote: before what a writer goes on with, and behind what was written.

A writer without O_APPEND that does not notice a truncation goes on where it was: the file begins
with a hole, which may become longer with each truncation. A writer that allocates space before it
writes leaves NULs at the end, which wait. Says where they are; `reading` drops them or lets them
wait. Where NULs may be in lines, only what the file system knows to be a hole is one.
"""

from __future__ import annotations

from kagent import frame, model, proven

BLOCKS_MAX = 64  # of NULs that are looked through in one go


class Holes:
    """The NULs of one file; owned by its reading. What looks at it raises OSError."""

    def __init__(self, file: proven.File, rules: frame.Frame) -> None:
        """Look for none yet."""
        self._file = file
        self._has_no_nuls = rules.has_no_nuls
        self._is_over = False  # something else than NULs was seen where it ends

    def note_over(self) -> None:
        """Note that something else was seen where a hole ends, by an earlier life."""
        self._is_over = True

    def find_end(self) -> int:
        """Return where the NULs end, as far as they were looked through, that a file begins with.

        0 if they are data.
        """
        file = self._file
        end = min(file.data_start(), file.size)
        for _ in range(BLOCKS_MAX if self._has_no_nuls else 0):
            data = file.look(end, proven.BLOCK_BYTES)
            end += len(data) - len(data.lstrip(b"\0"))
            self._is_over = bool(data.strip(b"\0"))
            if self._is_over or not data:
                break
        return end

    def lengthen(self, block: model.Block) -> int:
        """Return by how many NULs, with which a block begins, the hole before it became longer.

        Raises:
            TruncatedError: something else stood there.
        """
        file = self._file
        if block.start != file.hole_end or not self._has_no_nuls:
            return 0
        nuls = len(block.data) - len(block.data.lstrip(b"\0"))
        is_over = nuls < len(block.data)
        is_behind = is_over or not self._is_rest(block.start + nuls)
        if not (nuls and is_behind):
            return 0
        if self._is_over:
            raise proven.TruncatedError
        file.hole_end += nuls  # truncated again, written on behind
        self._is_over = is_over
        return nuls

    def is_begun_in(self, block: model.Block) -> bool:
        """Return whether a block ends in NULs, and nothing else is behind them."""
        return block.data.endswith(b"\0") and self._is_rest(block.start + len(block.data))

    def _is_rest(self, offset: int) -> bool:
        """Return whether nothing but NULs that no line has stands from an offset to the end."""
        if not self._has_no_nuls:
            return False
        stop = min(self._file.size, offset + BLOCKS_MAX * proven.BLOCK_BYTES)
        return not any(
            self._file.look(at, proven.BLOCK_BYTES).strip(b"\0")
            for at in range(offset, stop, proven.BLOCK_BYTES)
        )
