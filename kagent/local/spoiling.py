"""What is made of good answers when a fault wants them to be nonsense."""

from __future__ import annotations

import re
from collections.abc import Callable

from kagent.local import faults, limits

_REFUSED_COUNT = re.compile(rb'("Failed(?:Record|Put)Count":)(\d+)')
SPOILED: dict[faults.Outcome, Callable[[bytes], bytes]] = {
    "garble": lambda _: b"<html><body>Welcome to the hotel</body></html>",
    "miscount": lambda body: _REFUSED_COUNT.sub(
        lambda found: found[1] + b"%d" % (int(found[2]) + 1), body
    ),
    "bloat": lambda body: body[:-1] + b',"Padding":"' + b"x" * 8 * limits.MIB + b'"}',
}
