"""Errors, sorted by who must act on them.

`ConfigError` and `CheckpointError` are the operator's, before anything starts; `DestinationError`
and its kinds are the service's answers, translated once at the edge (destinations/) into what a
flow does about them. Anything else that is raised is our bug, and restarts the flow.
"""

from __future__ import annotations

import dataclasses

_EXCERPT_CHARACTERS = 160  # a line can be long: show what surrounds the place


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration, with the place where it stands."""

    file: str
    line: int  # from 1; 0 when the problem is with the file as a whole
    column: int  # from 1
    key: str  # 'flows[1].batch.max_age'; empty for the file as a whole
    message: str
    hint: str = ""
    source_line: str = ""
    width: int = 1  # characters to underline in source_line

    def render(self) -> str:
        """Return the problem as an operator reads it: place, key, message, the line, a hint."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        head = f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"
        lines = [head]
        if self.source_line:
            cut = max(0, self.column - 1 - _EXCERPT_CHARACTERS // 2)
            shown = self.source_line[cut : cut + _EXCERPT_CHARACTERS]
            before = self.column - 1 - cut
            width = max(1, min(self.width, len(shown) - before))
            lines.append(f"{self.line:5d} | {shown}")
            lines.append(f"      | {' ' * before}{'^' * width}")
        if self.hint:
            lines.append(f"   {self.hint}")
        return "\n".join(lines)


class ConfigError(Exception):
    """The configuration is wrong; carries every problem at once, sorted by place."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda p: (p.file, p.line, p.column))
        count, files = (
            len(self.problems),
            " and ".join(dict.fromkeys(p.file for p in self.problems)),
        )
        summary = f"kagent: {count} problem{'s' if count != 1 else ''} in {files}"
        super().__init__("\n\n".join([*(p.render() for p in self.problems), summary]))


class CheckpointError(Exception):
    """The checkpoint database cannot be used; `hint` says what the operator can do."""

    def __init__(self, path: str, message: str, hint: str) -> None:
        self.path = path
        self.hint = hint
        super().__init__(f"{path}: {message}; hint: {hint}")


class AlreadyRunningError(Exception):
    """Another daemon holds the lock on the same state directory."""


class DestinationError(Exception):
    """The service did not take a whole call. `code` is its error code, `hint` what would help."""

    def __init__(self, code: str, message: str = "", hint: str = "") -> None:
        self.code = code
        self.hint = hint
        self.message = message
        super().__init__(f"{code}: {message}" if message else code)


class ThrottledError(DestinationError):
    """The service asks to slow down; again after a wait, for ever."""


class UnavailableError(DestinationError):
    """A 5xx, a time-out, a broken connection, expired credentials: again, for ever."""


class DeniedError(DestinationError):
    """Credentials or a key policy refuse the call: the flow is blocked until a human acts."""


class NotFoundError(DestinationError):
    """The stream does not exist: the flow is blocked until a human acts."""


class RejectedError(DestinationError):
    """The service calls the request itself invalid: halve it until the culprit stands alone."""
