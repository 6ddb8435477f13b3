"""What most scripts do: boto3's default client, 500 lines a call, one call after the other.

    baseline.py ENDPOINT_URL STREAM kinesis|firehose raw|apache PATH...

`apache` parses each line with a regular expression of named groups, as a script would, and ships
JSON. TLS is verified against AWS_CA_BUNDLE.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
from collections.abc import Iterator

import boto3

BYTES_MAX = 4_000_000  # of a request, without its keys; Firehose takes 4 MiB
APACHE = re.compile(
    r'(?P<host>\S+) (?P<ident>\S+) (?P<authuser>\S+) \[(?P<datetime>[^\]]+)\] "(?P<request>[^"]*)"'
    r' (?P<response>\d+) (?P<bytes>\S+) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)"'
)


def to_json(line: bytes) -> bytes:
    """Parse a line of Apache's combined log."""
    found = APACHE.match(line.decode())
    assert found is not None
    fields = {name: None if text == "-" else text for name, text in found.groupdict().items()}
    return json.dumps(fields).encode() + b"\n"


def batches(paths: list[str], parse: str) -> Iterator[list[bytes]]:
    """Yield 500 records at a time, or fewer that a request can hold."""
    for path in paths:
        with open(path, "rb") as file:
            while lines := list(itertools.islice(file, 500)):
                count = max(1, 500 * BYTES_MAX // max(BYTES_MAX, 500 * max(map(len, lines))))
                for first in range(0, len(lines), count):
                    some = lines[first : first + count]
                    yield list(map(to_json, some)) if parse == "apache" else some


def main() -> int:
    """Ship the files once."""
    endpoint_url, stream, service, parse, *paths = sys.argv[1:]
    client = boto3.client(service, region_name="eu-west-1", endpoint_url=endpoint_url)
    for lines in batches(paths, parse):
        if service == "kinesis":
            records = [{"Data": line, "PartitionKey": str(random.random())} for line in lines]
            answer = client.put_records(StreamName=stream, Records=records)
            assert answer["FailedRecordCount"] == 0
        else:
            answer = client.put_record_batch(
                DeliveryStreamName=stream, Records=[{"Data": line} for line in lines]
            )
            assert answer["FailedPutCount"] == 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
