"""`kagent demo`: all that happens to logs, on this machine, in twenty seconds.

A Kinesis and a Firehose of our own, over TLS; a real daemon; log files that are written, renamed
and truncated; throttling, refusals, a lost answer, a SIGKILL. At the end every line is read back
and accounted for. `_perform` is the story; those who play in it are in modules of their own:

    demo_stage    lets time pass for everyone     demo_writer    writes access logs
    demo_daemon   the child `kagent run`          demo_account   what was lost, what came twice
    demo_view     a live table, or lines          demo_consumer  reads a stream back
    demo_report   the last word

Everything lies in one temporary directory. When the demo ends well its bulk is removed, and the
configuration and the daemon's log stay to be looked at; `--keep`, or a failure, keeps everything.
"""

from __future__ import annotations

import contextlib
import importlib.util
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
from kagent.cli import demo_daemon, demo_report, demo_stage, demo_view, demo_writer

SECONDS_DEFAULT = 15.0
EX_INTERRUPTED = 130  # what a shell makes of SIGINT

WEB = demo_stage.Flow("web", "web-logs", is_firehose=False)
AUDIT = demo_stage.Flow("audit", "audit-logs", is_firehose=True)
FLOWS = (WEB, AUDIT)
SHARDS = 6
HOT_SHARD = "shardId-000000000001"
_GRACE_S = 25.0  # for the daemon to start, and for the last lines to arrive
_KEPT = {demo_daemon.CONFIG_NAME, demo_daemon.LOG_NAME, demo_daemon.CA_NAME}


def run(seconds: float = SECONDS_DEFAULT, *, keep: bool = False) -> int:
    """Run the demo; return 0 if nothing was lost and every duplicate is explained, else 1.

    Args:
        seconds: How long lines are written; everything is over at most 40 s after that.
        keep: Keep the log files and the daemon's database, too.
    """
    missing = _missing_package()
    if missing:
        hint = "hint: pip install 'kagent[demo]'"
        click.echo(f"kagent: the demo needs the package {missing}; {hint}", err=True)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # which nohup asks for
            signal.signal(number, _interrupt)
    directory = os.path.realpath(tempfile.mkdtemp(prefix="kagent-demo-"))
    try:
        is_good = _run_in(directory, seconds)
    except KeyboardInterrupt:
        click.echo("kagent: interrupted; the daemon was ended", err=True)
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        return EX_INTERRUPTED
    if is_good and not keep:
        _remove_bulk(directory)
    return 0 if is_good else 1


def _run_in(directory: str, seconds: float) -> bool:
    """Set the stage, perform, and report; return whether all is well."""
    deadline = time.monotonic() + seconds + _GRACE_S
    problems: list[str] = []
    with contextlib.ExitStack() as cleanup:
        stage = _set_stage(directory, deadline, cleanup)
        try:
            _perform(stage, seconds)
        except (demo_daemon.DaemonError, demo_stage.StageError) as error:
            problems.append(str(error))
            stage.end_writing()
            stage.daemon.end()
        stage.view.note("reading everything back")
        balances = [stage.balance(one) for one in FLOWS]
    return demo_report.report(stage, balances, problems)


def _perform(stage: demo_stage.Stage, seconds: float) -> None:
    """Let happen what happens to logs, one thing after the other.

    Raises:
        DaemonError: the daemon did what it must not do.
        StageError: something did not come in time.
    """
    web, audit = stage.sites["web"], stage.sites["audit"]
    note, set_faults = stage.view.note, stage.service.set_faults

    stage.daemon.start()
    stage.wait_until(lambda: all(map(stage.arrived, FLOWS)), "the first lines to arrive")
    stage.begin()
    note("the daemon is up; both flows deliver")

    stage.play_until(0.10 * seconds)
    web.rename("shop.log", "shop.log.1")
    stage.play_for(0.2)
    web.reopen("shop.log")
    note("web: shop.log was renamed to shop.log.1, which the pattern matches, and made anew")

    stage.play_until(0.20 * seconds)
    set_faults(local.Faults(lose_share=1.0, faults_max=1, streams=(WEB.stream,)))
    note("Kinesis: takes the next request, but its answer is lost")

    stage.play_until(0.28 * seconds)
    set_faults(local.Faults(refuse_share=0.05))
    note("Kinesis and Firehose: refuse 5 % of the records")

    stage.play_until(0.38 * seconds)
    set_faults(local.Faults(throttle_shards=(HOT_SHARD,), streams=(WEB.stream,)))
    note(f"Kinesis: throttles one of {SHARDS} shards")

    stage.play_until(0.52 * seconds)
    set_faults(local.Faults())
    note("Kinesis: takes everything again")

    stage.play_until(0.56 * seconds)
    note("the daemon: killed with SIGKILL; the logs grow on")
    stage.kill_daemon(max(0.5, 0.06 * seconds))
    note("the daemon: started again")
    started = stage.seconds
    stage.wait_until_caught_up()
    note(f"the daemon: had caught up within {stage.seconds - started:.1f} s")

    stage.play_until(0.74 * seconds)
    audit.rename("login.log", "login.log.1")
    note("audit: login.log was renamed to login.log.1, which no pattern matches, and written on")
    stage.play_for(max(0.5, 0.06 * seconds))
    audit.reopen("login.log")
    note("audit: login.log was made anew")

    stage.play_until(0.86 * seconds)
    lines = audit.pause("payment.log")
    stage.wait_until_arrived(AUDIT, lines, "the lines of payment.log to arrive")
    audit.truncate("payment.log")
    note("audit: payment.log was truncated, all its lines having arrived")

    stage.play_until(seconds)
    stage.end_writing()
    note("nothing is written any more; the last lines are on their way")
    stage.wait_until_caught_up()
    stage.daemon.stop()
    note("everything arrived; the daemon ended with exit code 0 at SIGTERM")


def _set_stage(directory: str, deadline: float, cleanup: contextlib.ExitStack) -> demo_stage.Stage:
    """Start the services, create the log files and configure the daemon.

    `cleanup` gets to close all of them, the daemon first.
    """
    service = local.Service(_service_options())
    server = cleanup.enter_context(service.listen())
    assert server.ca_file is not None
    logs = os.path.join(directory, "logs")
    sites = {
        "web": demo_writer.Site(WEB.name, f"{logs}/web", ("shop.log", "api.log", "img.log"), 2400),
        "audit": demo_writer.Site(AUDIT.name, f"{logs}/audit", ("login.log", "payment.log"), 1000),
    }
    for site in sites.values():
        cleanup.callback(site.close)
    view = cleanup.enter_context(demo_view.make(sys.stderr))
    key, secret = service.options.access_key, service.options.secret_key
    environ = demo_daemon.clean_environ(os.environ, key, secret)
    daemon = cleanup.enter_context(demo_daemon.Daemon(directory, environ))
    daemon.configure(server.endpoint_url, server.ca_file, service.options.region)
    return demo_stage.Stage(FLOWS, sites, service, server, daemon, view, deadline)


def _service_options() -> local.ServiceOptions:
    return local.ServiceOptions(
        streams={WEB.stream: local.StreamOptions(shards=SHARDS)},
        delivery_streams={AUDIT.stream: local.DeliveryStreamOptions()},
        access_key=f"AKIADEMO{secrets.token_hex(6).upper()}",
        secret_key=secrets.token_urlsafe(30),
        tls=True,
    )


def _missing_package() -> str:
    """Return which package the demo needs and does not find, or nothing."""
    needed = ["cryptography"]
    if demo_view.is_live(sys.stderr, os.environ):
        needed.append("rich")
    return next((name for name in needed if importlib.util.find_spec(name) is None), "")


def _remove_bulk(directory: str) -> None:
    """Remove everything but what a newcomer would like to look at."""
    for name in set(os.listdir(directory)) - _KEPT:
        path = os.path.join(directory, name)
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    """End as at Ctrl-C: everything is cleared away."""
    raise KeyboardInterrupt
