"""`kagent test-config`: check the configuration, and show what each flow would ship now.

Looks at the same files as the daemon, through the same scanner, and opens each once, as the
daemon would; reads a sample of a few, writes nothing, and never asks AWS.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import click

from kagent import (
    config,
    cost,
    discovery,
    model,
    patterns,
    preflight,
    scanning,
    system,
    userpattern,
)
from kagent.cli import reckoning, sample
from kagent.options import printable

_MIB = 1024**2
WARNINGS_MAX = 5  # of one kind for one flow; the rest is counted


@dataclasses.dataclass(frozen=True, slots=True)
class FlowSurvey:
    """What one flow would ship now: files by pattern, in the configuration's order."""

    flow: config.FlowConfig
    files: Mapping[str, tuple[str, ...]]
    cost: cost.Estimate | None  # None: there is no line to go by


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What all flows would ship now, and what an operator should know of it."""

    flows: tuple[FlowSurvey, ...]
    warnings: tuple[str, ...]


def run(config_option: str | None, *, is_strict: bool, is_json: bool, is_aws: bool = False) -> int:
    """Check the configuration and print what it means; return the exit code.

    With `is_aws`, AWS is asked as well, and a check that fails is an answer of no.

    Raises:
        errors.ConfigError: the configuration is wrong; nothing was printed.
    """
    with sample.stdout_for_data():  # the operator's preprocessors are imported, and may print
        loaded = config.load(config.default_path(config_option, os.environ), os.environ)
    survey = look(loaded, system.OsFiles(), system.SystemClock())
    region = region_of(loaded, os.environ)
    checks = list(preflight.checks(loaded)) if is_aws else []
    if is_json:
        click.echo(as_json(loaded, survey, region, checks if is_aws else None))
    else:
        for warning in survey.warnings:
            click.echo(f"warning: {warning}", err=True)
        click.echo("\n".join([*as_text(loaded, survey, region), *map(check_line, checks)]))
    is_good = preflight.is_good(checks) and not (is_strict and survey.warnings)
    return 0 if is_good else 1


def check_line(check: preflight.Check) -> str:
    """Return what was found out as one line."""
    state = {"ok": "ok", "unknown": "??", "failed": "FAILED"}[check.state]
    hint = f"; hint: {printable(check.hint)}" if check.hint else ""
    return f"  {check.flow}   {state:6}  {printable(check.text)}{hint}"


def look(loaded: config.Config, files: model.Files, clock: model.Clock) -> Survey:
    """Look for the files of every flow, and for what is wrong with them."""
    warnings: list[str] = []
    flows: list[FlowSurvey] = []
    if not loaded.flows:
        warnings.append("there are no flows; nothing is shipped")
    for flow in loaded.flows:
        source = flow.source
        result = scanning.Scanner(
            source.paths,
            source.exclude,
            files,
            clock,
            follows_links=source.follow_symlinks,
        ).scan()
        matched = {
            pattern: tuple(sorted(s.path for s in result.sightings if pattern in s.patterns))
            for pattern in source.paths
        }
        paths = list({path: None for paths in matched.values() for path in paths})
        flows.append(FlowSurvey(flow, matched, cost.estimate(flow, paths, files, clock)))
        warnings += (f"flow {flow.name}: {text}" for text in _torn_apart(flow))
        found = [*_warnings(matched, result, files), *_uncaptured(source, result.sightings)]
        warnings += (f"flow {flow.name}: {text}" for text in found)
    warnings += _shipped_twice(flows)
    return Survey(tuple(flows), tuple(warnings))


def _warnings(
    matched: Mapping[str, tuple[str, ...]], result: scanning.ScanResult, files: model.Files
) -> Iterator[str]:
    """Yield what an operator should know of one flow's files."""
    for pattern, paths in matched.items():
        if not paths:
            absent = _first_absent(pattern, files)
            reason = f"; {printable(absent)} does not exist" if absent else ""
            yield f"{printable(pattern)} matches no file now{reason}"
    faults = [f"{printable(fault.path)}: {fault.reason}" for fault in result.faults]
    yield from _at_most(faults, "paths that match and are no files")
    yield from _at_most(list(_unreadable(result.sightings, files)), "files that cannot be read")


def _torn_apart(flow: config.FlowConfig) -> Iterator[str]:
    """Yield that readers will take records of several lines apart, if they will."""
    packing = flow.batch.pack
    is_many = flow.source.multiline is not None and not flow.preprocess
    if is_many and packing is not None and packing.form == "newline":
        yield (
            "pack: newline and multiline: readers split records of several lines at each "
            "newline; use pack: kpl, or a preprocessor that makes one line of them"
        )


def _uncaptured(
    source: discovery.SourceOptions, sightings: Iterable[model.Sighting]
) -> Iterator[str]:
    """Yield for files whose path `capture` does not match that their values are empty."""
    if source.capture is None:
        return
    paths = [sighting.path for sighting in sightings]
    encoded = [path.encode("utf-8", "surrogateescape") for path in paths]
    found = userpattern.UserPattern(source.capture).each(encoded, "search")
    missed = [
        f"{printable(path)}: 'capture' does not match, its values are empty"
        for path, one in zip(paths, found, strict=True)
        if one is None or one is userpattern.EXPIRED
    ]
    yield from _at_most(missed, "files that 'capture' does not match")


def _unreadable(sightings: Iterable[model.Sighting], files: model.Files) -> Iterator[str]:
    for sighting in sightings:
        try:
            files.close(files.open(sighting.path, sighting.base))
        except OSError as error:
            yield f"{printable(sighting.path)}: cannot be read by this user: {error.strerror}"


def _at_most(warnings: list[str], what: str) -> Iterator[str]:
    yield from warnings[:WARNINGS_MAX]
    if len(warnings) > WARNINGS_MAX:
        yield f"and {len(warnings) - WARNINGS_MAX} more {what}"


def _first_absent(pattern: str, files: model.Files) -> str:
    """Return the first directory of the written-out part that does not exist; '' if all do."""
    alternative = patterns.parse_pattern(pattern).alternatives[0]
    deepest = alternative.base if alternative.components else os.path.dirname(alternative.base)
    directory = ""
    for name in deepest.split("/")[1:]:
        directory = f"{directory}/{name}"
        try:
            files.status(directory, directory)
        except (FileNotFoundError, NotADirectoryError):
            return directory
        except OSError:  # not allowed to look further
            return ""
    return ""


def _shipped_twice(flows: Sequence[FlowSurvey]) -> Iterator[str]:
    """Yield for each two flows that match the same files which ones they are.

    One name in two regions or accounts is a copy on purpose.
    """
    owners: dict[str, list[str]] = defaultdict(list)
    destinations = {survey.flow.name: survey.flow.destination for survey in flows}
    for survey in flows:
        for path in {path: None for matched in survey.files.values() for path in matched}:
            owners[path].append(survey.flow.name)
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path, names in owners.items():
        if len(names) > 1:
            shared[tuple(names)].append(path)
    for together, common in shared.items():
        places = [destinations[name] for name in together]
        is_copy = len({one.description for one in places}) == 1
        if is_copy and len({one.identity for one in places}) == len(places):
            continue
        more = f" and {len(common) - 1} more" if len(common) > 1 else ""
        yield f"shipped twice, by the flows {' and '.join(together)}: {printable(common[0])}{more}"


def as_text(loaded: config.Config, survey: Survey, region: str | None) -> Iterator[str]:
    """Yield the lines that say what each flow ships: one a pattern."""
    count = len(survey.flows)
    yield (
        f"{printable(loaded.file)}: ok; {_counted(count, 'flow')}, "
        f"at most {-(-loaded.buffers_bytes // _MIB):,} MiB of buffers"
    )
    width = max((len(one.flow.name) for one in survey.flows), default=0)
    for one in survey.flows:
        own = one.flow.destination.aws.region or region
        where = printable(own) if own else "region from boto3's chain"
        names = [stage.name for stage in one.flow.preprocess]
        path = "  ->  ".join([*names, f"{one.flow.destination.description}, {where}"])
        for pattern, paths in one.files.items():
            source = f"{printable(pattern)} ({_counted(len(paths), 'file')} now)"
            yield f"  {one.flow.name:{width}}   {source}  ->  {path}"
        for line in reckoning.lines(one.flow, one.cost):
            yield f"  {'':{width}}   {line}"


def as_json(
    loaded: config.Config,
    survey: Survey,
    region: str | None,
    checks: Sequence[preflight.Check] | None = None,
) -> str:
    """Return the same and the files' names as a JSON document."""
    document: dict[str, object] = {
        "config": printable(loaded.file),
        "max_memory_bytes": loaded.max_memory,
        "buffers_bytes": loaded.buffers_bytes,
        "region": region,
        "flows": [
            {
                "name": one.flow.name,
                "patterns": [
                    {"pattern": printable(pattern), "files": [printable(path) for path in paths]}
                    for pattern, paths in one.files.items()
                ],
                "preprocess": [stage.name for stage in one.flow.preprocess],
                "destination": one.flow.destination.description,
                "region": one.flow.destination.aws.region or region,
                "max_buffer_bytes": one.flow.max_buffer,
                "cost_of_a_million_lines": dataclasses.asdict(one.cost) if one.cost else None,
                "readers": reckoning.readers(one.flow),
            }
            for one in survey.flows
        ],
        "warnings": survey.warnings,
    }
    if checks is not None:
        document["aws"] = [dataclasses.asdict(one) for one in checks]
    return json.dumps(document, indent=2)


def region_of(loaded: config.Config, environ: Mapping[str, str]) -> str | None:
    """Return the region; None if only botocore, which takes its time, can find it."""
    named = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION")
    return loaded.aws.region or named or None


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
