"""`kagent demo`: all that goes wrong with logs, on this machine, in a quarter of a minute.

A Kinesis and a Firehose of our own, over TLS; a real daemon; log files that are written, renamed
and truncated; throttling, refusals, a lost answer, a SIGKILL. At the end every line is read back
and accounted for. `_perform` is the whole story; what it is told with is in the demo_* modules:

    demo_stage     lets time pass for everyone   demo_writer    writes access logs
    demo_daemon    the child `kagent run`        demo_account   what was lost, what came twice
    demo_view      a live table, or lines

Everything lies in one temporary directory. When the demo ends well its bulk is removed, and the
configuration and the daemon's log stay to be looked at; `--keep`, or a failure, keeps everything.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from typing import NoReturn

import click

from kagent import local
from kagent.cli import demo_account, demo_daemon, demo_stage, demo_view, demo_writer

SECONDS_DEFAULT = 15.0
SECONDS_MIN, SECONDS_MAX = 3.0, 120.0
EX_INTERRUPTED = 130  # what shells use for SIGINT

WEB = demo_stage.Flow("web", "web-logs", is_firehose=False)
AUDIT = demo_stage.Flow("audit", "audit-logs", is_firehose=True)
FLOWS = (WEB, AUDIT)
SHARDS = 4
HOT_SHARD = "shardId-000000000001"
REGION = "eu-west-1"
_WEB_FILES = ("shop.log", "api.log", "static.log")
_AUDIT_FILES = ("login.log", "payment.log")
_WEB_RATE, _AUDIT_RATE = 2400.0, 1000.0  # lines a second
_GRACE_S = 30.0  # for the daemon to start, and for the last lines to arrive
_KEPT = {"kagent.yaml", "daemon.log"}

_CONFIGURATION = """\
# Written by `kagent demo`. Two flows, to a Kinesis and a Firehose that ran on this machine only.
state_dir: {state_dir}
drain_timeout: 5s

aws:
  region: {region}
  endpoint_url: {endpoint_url}  # with AWS itself, leave this out
  ca_bundle: {ca_bundle}        # and this

metrics:
  cloudwatch: {{interval: 10s}}

flows:
  - name: web
    source:
      paths: [{web_paths}]  # shop.log, and shop.log.1 after its rotation
      start_at: beginning
    batch: {{max_age: 250ms}}
    destination: {{kinesis: {{stream: web-logs}}}}

  - name: audit
    source:
      paths: [{audit_paths}]  # login.log; after its rotation the file has no matching name
      start_at: beginning
    batch: {{max_age: 500ms}}
    destination: {{firehose: {{delivery_stream: audit-logs}}}}
"""


def run(seconds: float = SECONDS_DEFAULT, *, keep: bool = False) -> int:
    """Run the demo; return 0 if nothing was lost and every duplicate is explained, else 1.

    Args:
        seconds: How long lines are written; everything is over at most 45 s after that.
        keep: Keep the log files and the daemon's database, too.
    """
    missing = _missing_package()
    if missing:
        hint = "hint: pip install 'kagent[demo]'"
        click.echo(f"kagent: the demo needs the package {missing}; {hint}", err=True)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    directory = os.path.realpath(tempfile.mkdtemp(prefix="kagent-demo-"))
    try:
        is_good = _run_in(directory, seconds)
    except KeyboardInterrupt:
        click.echo("kagent: interrupted; the daemon is gone", err=True)
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        return EX_INTERRUPTED
    if is_good and not keep:
        _remove_bulk(directory)
    return 0 if is_good else 1


def _run_in(directory: str, seconds: float) -> bool:
    """Set everything up, perform, clear away, and say how it went; return whether it went well."""
    deadline = time.monotonic() + seconds + _GRACE_S
    service = local.Service(_service_options())
    environ = demo_daemon.clean_environ(
        os.environ, service.options.access_key, service.options.secret_key
    )
    daemon = demo_daemon.Daemon(directory, environ)
    problems: list[str] = []
    with contextlib.ExitStack() as cleanup:
        server = cleanup.enter_context(service.listen())
        _configure(directory, server)
        sites = {one.flow: one for one in (_web(directory), _audit(directory))}
        for site in sites.values():
            cleanup.callback(site.close)
        view = cleanup.enter_context(demo_view.make(sys.stderr))
        cleanup.enter_context(daemon)
        stage = demo_stage.Stage(FLOWS, sites, service, daemon, view, deadline)
        try:
            _perform(stage, seconds)
        except (demo_daemon.DaemonError, demo_stage.StageError) as error:
            problems.append(str(error))
        daemon_s = stage.seconds
        view.note("reading everything back")
        

    return _report(stage, daemon, problems)


def _perform(stage: demo_stage.Stage, seconds: float) -> None:
    """Let happen what happens to logs, one thing after the other.

    Raises:
        DaemonError: the daemon did what it must not do.
        StageError: something did not come in time.
    """
    web, audit = stage.sites["web"], stage.sites["audit"]
    note, set_faults = stage.view.note, stage.service.set_faults

    stage.daemon.start()
    stage.wait_until(lambda: all(map(stage.arrived, FLOWS)), "no line of each flow arrived")
    stage.begin()
    note("the daemon is up; both flows deliver")

    stage.play_until(0.10 * seconds)
    web.rename("shop.log", "shop.log.1")
    stage.play_for(0.2)
    web.reopen("shop.log")
    note("web: renamed shop.log to shop.log.1, which the pattern matches, and made it anew")

    stage.play_until(0.20 * seconds)
    set_faults(local.Faults(lose_share=1.0, faults_max=1, streams=(WEB.stream,)))
    note("Kinesis: takes the next request, and its answer is lost")

    stage.play_until(0.28 * seconds)
    set_faults(local.Faults(refuse_share=0.05))
    note("both services: refuse 5 % of the records")

    stage.play_until(0.38 * seconds)
    set_faults(local.Faults(throttle_shards=(HOT_SHARD,), streams=(WEB.stream,)))
    note(f"Kinesis: throttles one shard of {SHARDS}")
    stage.play_until(0.52 * seconds)
    set_faults(local.Faults())
    note("Kinesis: takes everything again")

    stage.play_until(0.56 * seconds)
    note("the daemon: killed with SIGKILL; the site writes on")
    stage.kill_daemon(max(0.5, 0.06 * seconds))
    note("the daemon: started again")
    stage.wait_until_caught_up()
    note("the daemon: has caught up")

    stage.play_until(0.74 * seconds)
    audit.rename("login.log", "login.log.1")
    note("audit: renamed login.log to login.log.1, which no pattern matches; it is written on")
    stage.play_for(max(0.5, 0.06 * seconds))
    audit.reopen("login.log")
    note("audit: made login.log anew")

    stage.play_until(0.86 * seconds)
    payment = audit.files["payment.log"]
    payment.pause()
    stage.wait_until(lambda: stage.has_arrived(AUDIT, payment.lines), "payment.log not arrived")
    payment.truncate()
    note("audit: all of payment.log has arrived; truncated it")

    stage.play_until(seconds)
    stage.end_writing()
    note("nothing more is written; the last lines are on their way")
    stage.wait_until_caught_up()
    stage.daemon.stop()
    note("every line arrived; the daemon was stopped with SIGTERM, exit code 0")
