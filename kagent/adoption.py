"""Which flow's state belongs to which flow, when names changed.

`plan_adoptions` is pure and decides; `carry_out` does it in the database.

A flow that the configuration no longer has is *gone*; its rows stay. The law for a flow that the
database does not know yet:

    `renamed_from` names a gone flow              adopts its state
    a gone flow has the same paths and            adopts its state: it was renamed
      destination
    a gone flow shares its paths or its           refused: is it the same flow or another one?
      destination, not both                       `renamed_from` or `forget` says which
    otherwise                                     begins with nothing

Beginning with nothing where a flow was meant to go on would ship files again, or, with
`start_at: end`, skip lines: so the doubtful case is the operator's to decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from kagent import checkpoint, config, errors, inheritance, logs


@dataclasses.dataclass(frozen=True, slots=True)
class FlowFacts:
    """What identifies a flow beyond its name: in the database, or in the configuration."""

    name: str
    paths: tuple[str, ...]
    destination: str
    renamed_from: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the state of gone flows; refusals are by flow name, with the reason."""

    adoptions: tuple[tuple[str, str], ...] = ()  # (gone, new)
    forgotten: tuple[str, ...] = ()
    refusals: tuple[tuple[str, str], ...] = ()


def plan(
    loaded: config.Config, store: checkpoint.CheckpointStore | checkpoint.CheckpointReader
) -> Plan:
    """Return what the flows of a configuration take over; nothing is changed.

    Raises:
        ConfigError: a new flow is too like a gone one to tell whether it is the same.
    """
    known = [FlowFacts(one.name, one.paths, one.destination) for one in store.flows()]
    found = plan_adoptions(known, [_facts_of(one) for one in loaded.flows], loaded.forget)
    if found.refusals:
        raise errors.ConfigError(
            [
                errors.Problem(loaded.file, 0, 0, f"flow '{name}'", why)
                for name, why in found.refusals
            ]
        )
    return found


def carry_out(found: Plan, loaded: config.Config, store: checkpoint.CheckpointStore) -> None:
    """Give each flow the state that is its own, and describe all flows for the next start.

    No flow that the plan names may run: what it saved afterwards would stand under a wrong name.
    """
    for name in found.forgotten:
        store.forget(name)
    known = {one.name for one in store.flows()}
    for old, new in found.adoptions:
        store.forget(new)
        store.adopt(old, new)
        known.add(new)
        logs.of_flow(new).info(
            "flow renamed flow=%s was=%s; its checkpoints are adopted", new, old
        )
    for one in loaded.flows:
        if one.name not in known:
            store.forget(one.name)  # rows without a flow are nobody's: they must not be resumed
        facts = _facts_of(one)
        store.describe(checkpoint.KnownFlow(facts.name, facts.paths, facts.destination))


def take_over(
    found: Plan, loaded: config.Config, store: checkpoint.CheckpointStore
) -> dict[str, inheritance.Estate]:
    """Carry a plan out, and return what the database then knows of each flow."""
    carry_out(found, loaded, store)
    return {one.name: estate_of(store, one.name) for one in loaded.flows}


def _facts_of(one: config.FlowConfig) -> FlowFacts:
    return FlowFacts(one.name, one.source.paths, one.destination.identity, one.renamed_from)


def estate_of(store: checkpoint.CheckpointStore, name: str) -> inheritance.Estate:
    """Return what the database knows of a flow's files."""
    rows, scanned = store.load(name)
    return inheritance.Estate(rows, scanned)


def plan_adoptions(
    known: Sequence[FlowFacts], configured: Sequence[FlowFacts], forget: Sequence[str]
) -> Plan:
    """Return what the flows of a configuration take over from the database's."""
    names = {flow.name for flow in configured}
    gone = {flow.name: flow for flow in known if flow.name not in names}
    forgotten = tuple(name for name in forget if gone.pop(name, None))
    known_names = {flow.name for flow in known}
    adoptions: list[tuple[str, str]] = []
    refusals: list[tuple[str, str]] = []
    for flow in configured:
        if flow.name in known_names:
            continue
        source = _source_of(flow, list(gone.values()))
        if source is not None:
            del gone[source.name]
            adoptions.append((source.name, flow.name))
            continue
        doubtful = next((other for other in gone.values() if _is_alike(flow, other)), None)
        if doubtful is not None:
            refusals.append((flow.name, _question(flow, doubtful)))
    return Plan(tuple(adoptions), forgotten, tuple(refusals))


def _source_of(flow: FlowFacts, gone: Sequence[FlowFacts]) -> FlowFacts | None:
    if flow.renamed_from is not None:
        return next((other for other in gone if other.name == flow.renamed_from), None)
    return next((other for other in gone if _is_same(flow, other)), None)


def _is_same(flow: FlowFacts, other: FlowFacts) -> bool:
    return set(flow.paths) == set(other.paths) and flow.destination == other.destination


def _is_alike(flow: FlowFacts, other: FlowFacts) -> bool:
    return bool(set(flow.paths) & set(other.paths)) or flow.destination == other.destination


def _question(flow: FlowFacts, other: FlowFacts) -> str:
    shared = "destination" if flow.destination == other.destination else "paths"
    return (
        f"shares its {shared} with the flow '{other.name}', which is gone from the configuration "
        f"but has checkpoints; write 'renamed_from: {other.name}' to go on from them, or add "
        f"'{other.name}' to 'forget' to give them up"
    )
