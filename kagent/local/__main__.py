"""The local service as a process of its own.

    python -m kagent.local --stream web=4 --delivery-stream audit --faults '{"lose_share": 0.1}'

Prints one line of JSON when it is ready, {"endpoint_url": ..., "ca_file": ..., "pid": ...}, and
serves until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys

import orjson

from kagent.local import faults, limits, options, service


def main(arguments: list[str] | None = None) -> int:
    """Run the service until a signal ends it."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        local = service.Service(_service_options(given))
        local.set_faults(faults.faults_from_json(orjson.loads(given.faults)))
    except ValueError as error:
        parser.error(str(error))
    gc.freeze()  # what follows holds many small tuples and no cycles: with the collector's usual
    gc.set_threshold(100_000, 50, 100)  # thresholds a fifth of the time went into looking at them
    awaited = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)  # before any thread: they inherit it
    with local.listen(given.host, given.port) as server:
        ready = {
            "endpoint_url": server.endpoint_url,
            "ca_file": server.ca_file,
            "pid": os.getpid(),
        }
        sys.stdout.write(orjson.dumps(ready).decode() + "\n")
        sys.stdout.flush()
        signal.sigwait(awaited)
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = options.ServiceOptions()
    parser = argparse.ArgumentParser(
        prog="python -m kagent.local",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0: a free one, see the line on stdout")
    add("--tls", action="store_true", help="with a certificate made for this run")
    add("--stream", action="append", default=[], metavar="NAME[=SHARDS]")
    add("--delivery-stream", action="append", default=[], metavar="NAME")
    add("--region", default=defaults.region)
    add("--account", default=defaults.account)
    add("--access-key", default=defaults.access_key)
    add("--secret-key", default=defaults.secret_key)
    add("--session-token", default=None)
    add("--no-signatures", action="store_true", help="take unsigned requests")
    add("--no-throttle", action="store_true", help="no token buckets")
    add("--shard-records", type=float, default=limits.SHARD_RECORDS_PER_S, help="a second")
    add("--shard-bytes", type=float, default=limits.SHARD_BYTES_PER_S, help="a second")
    add("--record-bytes", type=int, default=limits.RECORD_BYTES_DEFAULT, help="largest record")
    add("--no-keep", action="store_true", help="count records, do not keep them")
    add("--keep-bytes", type=int, default=options.StoreOptions().keep_bytes_max, help="a stream")
    add("--no-count-lines", action="store_true", help="do not look for duplicate lines")
    add("--line-pattern", default="", help="regex whose first group identifies a line")
    add("--idle-timeout", type=float, default=defaults.idle_timeout_s, help="seconds")
    add("--seed", type=int, default=0, help="of all random choices")
    add("--faults", default="{}", help="JSON object; see kagent/local/faults.py")
    return parser


def _service_options(given: argparse.Namespace) -> options.ServiceOptions:
    kept = {
        "keep_records": not given.no_keep,
        "keep_bytes_max": given.keep_bytes,
        "count_lines": not given.no_count_lines,
        "line_pattern": given.line_pattern,
        "is_throttled": not given.no_throttle,
    }
    streams = {}
    for text in given.stream:
        name, _, shards = text.partition("=")
        streams[name] = options.StreamOptions(
            shards=int(shards or 1),
            record_bytes_max=given.record_bytes,
            shard_records_per_s=given.shard_records,
            shard_bytes_per_s=given.shard_bytes,
            **kept,
        )
    return options.ServiceOptions(
        streams=streams,
        delivery_streams={
            name: options.DeliveryStreamOptions(**kept) for name in given.delivery_stream
        },
        region=given.region,
        account=given.account,
        access_key=given.access_key,
        secret_key=given.secret_key,
        session_token=given.session_token,
        checks_signatures=not given.no_signatures,
        tls=given.tls,
        idle_timeout_s=given.idle_timeout,
        seed=given.seed,
    )


if __name__ == "__main__":
    sys.exit(main())
