"""What the demo says at the end: on stdout, and its last line is for machines."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kagent.cli import demo_account, demo_stage

_MIB = 1024**2


def report(
    stage: demo_stage.Stage, balances: Sequence[demo_account.Balance], problems: Sequence[str]
) -> bool:
    """Say how it went; return whether all is well.

    Args:
        stage: When everything on it has ended.
        balances: Of each of its flows.
        problems: What went wrong on the stage itself.
    """
    together = demo_account.sum_of(balances)
    bugs = stage.daemon.bugs()
    problems = [*problems, *together.problems()]
    if bugs:
        problems.append(f"the daemon's log shows {bugs} tracebacks")
    for line in _lines(stage, balances, together):
        click.echo(line)
    if problems:
        _complain(stage, problems)
    click.echo(last_line(together))
    return not problems


def last_line(together: demo_account.Balance) -> str:
    """Return the sum of it all, for machines."""
    return (
        f"demo: written={together.written} arrived={together.arrived} "
        f"lost={len(together.lost)} duplicated={together.duplicated}"
    )


def _lines(
    stage: demo_stage.Stage,
    balances: Sequence[demo_account.Balance],
    together: demo_account.Balance,
) -> list[str]:
    sites = list(stage.sites.values())
    seconds, written_bytes = stage.writing_s, sum(site.written_bytes for site in sites)
    renames, truncations = sum(s.renames for s in sites), sum(s.truncations for s in sites)
    refused = sum(stage.figures(one).refused for one in stage.flows)
    points = stage.service.counts()["metrics"]["data_points"]
    speed, rate = written_bytes / seconds / _MIB, together.written / seconds
    return [
        "",
        f"{'':8}{'':20}{'written':>10}{'arrived':>10}{'lost':>8}{'duplicated':>12}",
        *(
            f"{flow.name:8}{flow.destination:20}{one.written:10,}{one.arrived:10,}"
            f"{len(one.lost):8,}{one.duplicated:12,}"
            for flow, one in zip(stage.flows, balances, strict=True)
        ),
        "",
        f"duplicates     {together.by_kill:,} by the kill: accepted, and not yet saved on disk",
        f"               {together.by_lost_answer:,} by the lost answer: accepted, and never told",
        f"               {len(together.unexplained):,} unexplained",
        f"rotations      {renames} renames, {truncations} truncation",
        f"refused        {refused:,} records, each sent again",
        f"throughput     {rate:,.0f} lines/s, {speed:.2f} MiB/s, for {seconds:.1f} s",
        f"metrics        {points} data points were put to CloudWatch",
        f"configuration  {stage.daemon.config_path}",
        f"daemon's log   {stage.daemon.log_path}",
        "",
    ]


def _complain(stage: demo_stage.Stage, problems: Sequence[str]) -> None:
    """Say what must not be, on stderr."""
    for problem in problems:
        click.echo(f"kagent: demo failed: {problem}", err=True)
    click.echo(f"the daemon's log, {stage.daemon.log_path}, ends with:", err=True)
    click.echo(stage.daemon.log_tail(), err=True)
    click.echo(f"hint: everything was kept in {stage.daemon.directory}", err=True)
