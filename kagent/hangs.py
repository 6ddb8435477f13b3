"""Preprocessors that do not return: said by name, and after a while left to systemd.

A thread cannot be stopped from outside. What the main thread can do is say where the call is, and
stop telling systemd that all is well: then the daemon is restarted, and `suspects` sees to it that
the record is not called for ever. Other flows go on until that moment.
"""

from __future__ import annotations

from collections.abc import Mapping

from kagent import logs, options, suspects

SAY_S = 10.0
SAY_AGAIN_S = 60.0
GIVE_UP_S = 60.0


class Hangs:
    """Looks at calls that have not returned; used by the main thread."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._give_up_s = GIVE_UP_S
        self._said: dict[str, tuple[suspects.Call, float]] = {}  # by flow

    def look(self, calls: Mapping[str, suspects.Call], now: float) -> bool:
        """Say what hangs; return whether the daemon may still be called well.

        Args:
            calls: The calls that have not returned, by flow.
            now: Monotonic time.
        """
        for flow, call in calls.items():
            if now - call.since >= SAY_S:
                self._say(flow, call, now)
        return all(now - call.since < self._give_up_s for call in calls.values())

    def _say(self, flow: str, call: suspects.Call, now: float) -> None:
        said, at = self._said.get(flow, (None, 0.0))
        if said == call and now - at < SAY_AGAIN_S:
            return
        self._said[flow] = (call, now)
        logs.of_flow(flow).error(
            "preprocessor hangs flow=%s preprocessor=%s path=%s offset=%d bytes=%d seconds=%.0f; "
            "the flow stands still, others go on; hint: systemd restarts kagent after %.0f s "
            "without a sign of life, and what hangs again is dead-lettered",
            flow,
            options.printable(call.preprocessor),
            options.printable(call.path),
            call.start,
            call.end - call.start,
            now - call.since,
            self._give_up_s,
        )
