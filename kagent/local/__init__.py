"""A strict Kinesis, Firehose and CloudWatch on this machine, to test and measure against.

Strict: the limits, the throttling, the partial failures, the signatures and the sizes of AWS, each
with its page (limits.py); faults on request (faults.py); books of its own (records.py), which an
agent's claims can be held against. It imports nothing of kagent: it could not share a mistake.

In process: `Service(ServiceOptions(...)).listen()`, see service.py. As a process of its own:
`python -m kagent.local --stream web=4`, see __main__.py.
"""

from kagent.local.faults import Faults
from kagent.local.journals import JournalEntry
from kagent.local.options import DeliveryStreamOptions, ServiceOptions, StreamOptions
from kagent.local.server import Server
from kagent.local.service import Service

__all__ = [
    "DeliveryStreamOptions",
    "Faults",
    "JournalEntry",
    "Server",
    "Service",
    "ServiceOptions",
    "StreamOptions",
]
