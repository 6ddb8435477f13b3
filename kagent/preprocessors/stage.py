"""What the built-in preprocessors have in common: a model whose fields are the options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from kagent import options

# Whether a stage also gets records that an earlier one could not take apart: never, those that
# `on_no_match: wrap` made JSON of, or all of them, also when they go to the dead letters.
ForUnparsed = Literal["never", "wrapped", "always"]


class Stage(options.Options):
    """Base of the built-in preprocessors; the first sentence of a docstring is its description.

    Subclasses are callable, see model.Preprocessor. An instance serves one flow, in one thread.
    """

    for_unparsed: ClassVar[ForUnparsed] = "never"

    @property
    def value_names(self) -> Iterable[str]:
        """The named values (see `values`) that the options refer to."""
        return ()

    @property
    def needs_instance(self) -> bool:
        """EC2 instance data or tags are wanted; the flow waits for them, at most 10 s."""
        return False

    @property
    def needs_tags(self) -> bool:
        """Tags of the EC2 instance are wanted."""
        return False
