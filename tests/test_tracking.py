"""`tracking`: every row of its table, and the doubt that always ends in reading again."""

from __future__ import annotations

import dataclasses

import pytest

from kagent import model, tracking

SIZE = 5000
NOTHING = model.Frontier(0, b"")


def identity(inode: int, device: int = 1) -> model.FileIdentity:
    return model.FileIdentity(device, inode)


def sighting(
    path: str = "/logs/a.log", inode: int = 1, size: int = SIZE, device: int = 1
) -> model.Sighting:
    return model.Sighting(path, "/logs", identity(inode, device), size, 0, ("/logs/*.log",))


def frontiers(*offsets: int) -> tuple[model.Frontier, ...]:
    return tuple(model.Frontier(offset, b"digest") for offset in offsets)


def checkpoint(
    tail_id: str = "a",
    inode: int = 1,
    offset: int = 3000,
    *,
    path: str = "/logs/a.log",
    start: int = 0,
    older: tuple[int, ...] = (),
    ranges: tuple[tuple[int, int], ...] = (),
    was_unlinked: bool = False,
) -> model.Checkpoint:
    return model.Checkpoint(
        tail_id,
        (path,),
        identity(inode),
        0,
        was_unlinked,
        start,
        offset,
        model.Fingerprint(min(offset, 1024), b"digest"),
        *frontiers(offset),
        frontiers(*older),
        tuple(model.SettledRange(*one, b"digest") for one in ranges),
    )


def held(*offsets: int, head: bool = True) -> model.Evidence:
    return model.Evidence(head, frozenset(offsets))


def resume(
    row: model.Checkpoint,
    offset: int,
    seen: tuple[model.Sighting, ...] = (sighting(),),
    *,
    ranges: int = 0,
    is_rolled_back: bool = False,
) -> tracking.Resume:
    """Return the decision to resume a row; `ranges` counts how many of its ranges still hold."""
    return tracking.Resume(seen, row, offset, row.ranges[:ranges], is_rolled_back)


def decide(
    *seen: model.Sighting,
    tails: tuple[tracking.TailFacts, ...] = (),
    rows: tuple[model.Checkpoint, ...] = (),
    evidence: dict[str, model.Evidence] | None = None,
    first_scan_paths: frozenset[str] = frozenset(),
) -> tracking.Reconciliation:
    """Reconcile with evidence given by tail_id, for whichever file the probe is about."""
    answers = {
        (one.identity, tail_id): answer
        for one in seen
        for tail_id, answer in (evidence or {}).items()
    }
    return tracking.reconcile(tails, rows, seen, answers, first_scan_paths)


NOTHING_MEANT = tracking.Reconciliation({}, [], [], [], [], [])
KNOWN = tracking.TailFacts("t", identity(1), ("/logs/a.log",), position=3000)


def meaning(**parts: object) -> tracking.Reconciliation:
    return dataclasses.replace(NOTHING_MEANT, **parts)


# --- a tail that is open ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(
            [sighting(size=3000)],
            meaning(seen={"t": (sighting(size=3000),)}),
            id="same identity, size = position: keep",
        ),
        pytest.param(
            [sighting(size=9000)],
            meaning(seen={"t": (sighting(size=9000),)}),
            id="same identity, size > position: keep",
        ),
        pytest.param(
            [sighting(size=2999)],
            meaning(seen={"t": (sighting(size=2999),)}, truncated=["t"]),
            id="same identity, size < position: truncated",
        ),
        pytest.param(
            [sighting("/logs/a.log.1")],
            meaning(seen={"t": (sighting("/logs/a.log.1"),)}),
            id="at another path: followed",
        ),
        pytest.param(
            [sighting("/logs/a.log.1", size=10)],
            meaning(seen={"t": (sighting("/logs/a.log.1", size=10),)}, truncated=["t"]),
            id="at another path and shorter: both",
        ),
        pytest.param(
            [sighting("/logs/a.log"), sighting("/logs/b.log")],
            meaning(seen={"t": (sighting("/logs/a.log"), sighting("/logs/b.log"))}),
            id="at two paths: one tail",
        ),
        pytest.param([], meaning(unseen=["t"]), id="at no matching path: left"),
        pytest.param(
            [sighting(inode=2)],
            meaning(unseen=["t"], opened=[tracking.Start((sighting(inode=2),), False)]),
            id="another file at its path: left, and a new one",
        ),
        pytest.param(
            [sighting("/logs/a.log.1"), sighting(inode=2)],
            meaning(
                seen={"t": (sighting("/logs/a.log.1"),)},
                opened=[tracking.Start((sighting(inode=2),), False)],
            ),
            id="rename and create: followed, and a new one",
        ),
    ],
)
def test_open_tail_is_decided_by_identity_and_size(
    seen: list[model.Sighting], expected: tracking.Reconciliation
) -> None:
    """The first five rows of the table: content by size, path by where it was seen."""
    decisions = decide(*seen, tails=(KNOWN,))

    assert expected == decisions


def test_open_tail_needs_no_probe() -> None:
    """The file of a tail is proved in each read; a row with its identity is not looked at."""
    row = checkpoint("other")

    decisions = decide(sighting(), tails=(KNOWN,), rows=(row,))

    assert meaning(seen={"t": (sighting(),)}) == decisions


# --- a file that no tail follows --------------------------------------------------------------

PLAIN = checkpoint(older=(1000, 2000))
ROW = dataclasses.replace(PLAIN, ranges=checkpoint(ranges=((3500, 4000), (4500, 5000))).ranges)


@pytest.mark.parametrize(
    ("seen", "row", "evidence", "expected"),
    [
        pytest.param(
            sighting(),
            ROW,
            held(3000, 4000, 5000),
            meaning(opened=[resume(ROW, 3000, ranges=2)]),
            id="identity, fingerprint and frontier hold: resumed",
        ),
        pytest.param(
            sighting(device=7),
            ROW,
            held(3000, 4000, 5000),
            meaning(opened=[resume(ROW, 3000, (sighting(device=7),), ranges=2)]),
            id="path and inode after a reboot: resumed",
        ),
        pytest.param(
            sighting("/logs/b.log"),
            ROW,
            held(3000, 4000, 5000),
            meaning(opened=[resume(ROW, 3000, (sighting("/logs/b.log"),), ranges=2)]),
            id="renamed while down: resumed",
        ),
        pytest.param(
            sighting(size=3000),
            PLAIN,
            held(3000),
            meaning(opened=[resume(PLAIN, 3000, (sighting(size=3000),))]),
            id="exactly as long as the offset: resumed",
        ),
        pytest.param(
            sighting(),
            ROW,
            held(3000, 4000),
            meaning(opened=[resume(ROW, 3000, ranges=1, is_rolled_back=True)]),
            id="a range whose frontier fails is read again, by a new tail",
        ),
        pytest.param(
            sighting(size=4200),
            ROW,
            held(3000, 4000, 5000),
            meaning(
                opened=[resume(ROW, 3000, (sighting(size=4200),), ranges=1, is_rolled_back=True)]
            ),
            id="a range behind the end is read again, by a new tail",
        ),
        pytest.param(
            sighting(size=2999),
            ROW,
            held(1000, 2000, 3000),
            meaning(opened=[resume(ROW, 2000, (sighting(size=2999),), is_rolled_back=True)]),
            id="shorter: rolled back to the largest older frontier",
        ),
        pytest.param(
            sighting(size=1999),
            ROW,
            held(1000, 2000),
            meaning(opened=[resume(ROW, 1000, (sighting(size=1999),), is_rolled_back=True)]),
            id="shorter than that one as well: rolled back to the next",
        ),
        pytest.param(
            sighting(),
            ROW,
            held(1000),
            meaning(opened=[resume(ROW, 1000, is_rolled_back=True)]),
            id="the frontier fails: rolled back, without ranges",
        ),
        pytest.param(
            sighting(),
            ROW,
            held(),
            meaning(lost=[ROW], opened=[tracking.Start((sighting(),), False)]),
            id="no frontier holds: lost, and from 0",
        ),
        pytest.param(
            sighting(size=999),
            ROW,
            held(1000, 2000, 3000),
            meaning(lost=[ROW], opened=[tracking.Start((sighting(size=999),), False)]),
            id="shorter than every frontier: lost, and from 0",
        ),
        pytest.param(
            sighting(),
            ROW,
            held(1000, 2000, 3000, head=False),
            meaning(lost=[ROW], opened=[tracking.Start((sighting(),), False)]),
            id="the fingerprint fails: lost, whatever frontiers say",
        ),
        pytest.param(
            sighting(device=7),
            ROW,
            held(head=False),
            meaning(opened=[tracking.Start((sighting(device=7),), False)]),
            id="path and inode, other content: the row waits, and from 0",
        ),
        pytest.param(
            sighting("/logs/b.log", device=7),
            ROW,
            held(3000),
            meaning(opened=[tracking.Start((sighting("/logs/b.log", device=7),), False)]),
            id="inode alone: from 0",
        ),
        pytest.param(
            sighting(inode=2),
            ROW,
            held(3000),
            meaning(opened=[tracking.Start((sighting(inode=2),), False)]),
            id="path alone: from 0",
        ),
    ],
)
def test_unknown_file_is_decided_by_proof(
    seen: model.Sighting,
    row: model.Checkpoint,
    evidence: model.Evidence,
    expected: tracking.Reconciliation,
) -> None:
    """A checkpoint is continued where its bytes are proved, and nowhere else."""
    decisions = decide(seen, rows=(row,), evidence={row.tail_id: evidence})

    assert expected == decisions


def test_unlinked_row_never_matches() -> None:
    """Its inode was free to be given to any other file: not even equal bytes are asked for."""
    row = dataclasses.replace(ROW, was_unlinked=True)

    decisions = decide(sighting(), rows=(row,), evidence={"a": held(3000)})

    assert meaning(opened=[tracking.Start((sighting(),), False)]) == decisions


def test_frontier_before_the_start_is_no_place_to_resume() -> None:
    """What lies before the start position was never to be shipped."""
    row = checkpoint(start=1500, older=(1000, 2000))

    decisions = decide(sighting(size=2500), rows=(row,), evidence={"a": held(1000)})

    assert [row] == decisions.lost
    assert [tracking.Start((sighting(size=2500),), False)] == decisions.opened


def test_row_at_the_beginning_needs_no_proof() -> None:
    """Nothing of it was settled, so its tail_id goes on with whatever is there."""
    row = checkpoint(offset=0)

    decisions = decide(sighting(size=1), rows=(row,))

    assert meaning(opened=[resume(row, 0, (sighting(size=1),))]) == decisions


# --- probes -----------------------------------------------------------------------------------


def test_undecided_file_is_asked_about_and_left_alone() -> None:
    """Without evidence there is a probe, and no decision about that file or its row."""
    known_file = sighting("/logs/b.log", inode=2)

    decisions = decide(sighting(), known_file, rows=(ROW,))

    probe = tracking.Probe(sighting(), ROW)
    start = tracking.Start((known_file,), False)
    assert meaning(probes=[probe], opened=[start]) == decisions
    assert (sighting().identity, "a") == probe.key


def test_every_candidate_is_asked_about_at_once() -> None:
    """A file with two rows waits for both answers, and asks again only for the missing one."""
    other = checkpoint("b", offset=100)

    both = decide(sighting(), rows=(ROW, other))
    missing = decide(sighting(), rows=(ROW, other), evidence={"a": held(3000)})

    assert [ROW, other] == [probe.checkpoint for probe in both.probes]
    assert [other] == [probe.checkpoint for probe in missing.probes]
    assert [] == missing.opened


def test_row_at_the_beginning_is_not_asked_about() -> None:
    """A probe is needed only where a checkpoint claims something."""
    rows = checkpoint("a", offset=0), checkpoint("b", offset=100)

    decisions = decide(sighting(), rows=rows)

    assert [rows[1]] == [probe.checkpoint for probe in decisions.probes]
    assert [False, True] == [tracking.Probe(sighting(), row).is_needed for row in rows]


# --- more than one candidate ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "evidence", "winner"),
    [
        pytest.param(
            (checkpoint("a", offset=3000), checkpoint("b", offset=100)),
            {"a": held(head=False), "b": held(100)},
            ("b", 100),
            id="only one proves itself",
        ),
        pytest.param(
            (checkpoint("a", offset=100), checkpoint("b", offset=3000)),
            {"a": held(100), "b": held(3000)},
            ("b", 3000),
            id="both do: the one that proves more",
        ),
        pytest.param(
            (checkpoint("a", offset=4000, older=(2000,)), checkpoint("b", offset=100)),
            {"a": held(2000), "b": held(100)},
            ("b", 100),
            id="a proven offset before a rolled-back one",
        ),
        pytest.param(
            (checkpoint("a", offset=0), checkpoint("b", offset=100)),
            {"b": held(100)},
            ("b", 100),
            id="a proof before a row at the beginning",
        ),
        pytest.param(
            (
                checkpoint("a", offset=0),
                checkpoint("b", offset=0, ranges=((20, 40),)),
            ),
            {"b": held(0, 40)},
            ("b", 0),
            id="settled ranges before a row that proves nothing",
        ),
    ],
)
def test_best_proof_of_one_identity_wins(
    rows: tuple[model.Checkpoint, ...],
    evidence: dict[str, model.Evidence],
    winner: tuple[str, int],
) -> None:
    """A truncation while running leaves two rows of one identity; the others are given up."""
    decisions = decide(sighting(), rows=rows, evidence=evidence)

    (opened,) = decisions.opened
    assert isinstance(opened, tracking.Resume)
    assert winner == (opened.checkpoint.tail_id, opened.offset)
    assert [row for row in rows if row.tail_id != winner[0]] == decisions.lost


def test_row_with_the_identity_comes_before_one_with_path_and_inode() -> None:
    """After a reboot a device number may be the old one of another disk: identity is tried."""
    same = checkpoint("same", path="/logs/other.log")
    elsewhere = dataclasses.replace(checkpoint("elsewhere"), identity=identity(1, device=9))

    decisions = decide(sighting(), rows=(elsewhere, same))

    assert [same] == [probe.checkpoint for probe in decisions.probes]


def test_row_is_continued_by_one_file_only() -> None:
    """Two files on two devices with the inode of a row at its paths: the first proof has it."""
    row = dataclasses.replace(ROW, paths=("/logs/a.log", "/logs/b.log"), ranges=())
    first, second = sighting(device=7), sighting("/logs/b.log", device=8)

    decisions = decide(first, second, rows=(row,), evidence={"a": held(3000)})

    expected = [resume(row, 3000, (first,)), tracking.Start((second,), False)]
    assert expected == decisions.opened


def test_rows_of_files_that_are_not_seen_stay() -> None:
    """A row without a file is neither lost nor asked about: the file may come back."""
    decisions = decide(rows=(ROW,))

    assert meaning() == decisions


# --- where a new file starts ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first_scan_paths", "is_first_scan"),
    [
        pytest.param({"/logs/a.log", "/logs/b.log"}, True, id="both paths for the first time"),
        pytest.param({"/logs/a.log"}, False, id="one path is later"),
        pytest.param(set(), False, id="a later scan"),
    ],
)
def test_start_at_is_for_files_whose_every_path_is_of_the_first_scan(
    first_scan_paths: set[str], is_first_scan: bool
) -> None:
    """A hard link that a pattern already watched was written meanwhile: it begins at 0."""
    seen = sighting("/logs/a.log"), sighting("/logs/b.log")

    decisions = decide(*seen, first_scan_paths=frozenset(first_scan_paths))

    assert meaning(opened=[tracking.Start(seen, is_first_scan)]) == decisions


def test_lost_row_does_not_change_where_the_file_starts() -> None:
    """Other content under a known identity goes on down the table, to the first scan's rule."""
    decisions = decide(
        sighting(),
        rows=(ROW,),
        evidence={"a": held(head=False)},
        first_scan_paths=frozenset({"/logs/a.log"}),
    )

    assert meaning(lost=[ROW], opened=[tracking.Start((sighting(),), True)]) == decisions


# --- a file that is to be read from 0 ---------------------------------------------------------


def source(
    tail_id: str = "s", offset: int = 3000, *, is_gone: bool = True, older: tuple[int, ...] = ()
) -> tracking.Source:
    return tracking.Source(checkpoint(tail_id, 9, offset, older=older), is_gone, known_end=offset)


@pytest.mark.parametrize(
    ("sources", "evidence", "expected"),
    [
        pytest.param([source()], [held(3000)], "s at 3000", id="gone, all holds: the copy"),
        pytest.param(
            [source(older=(2000, 2500))],
            [held(2000, 2500)],
            "s rolled back to 2500",
            id="gone, an older frontier holds: a copy that ended before",
        ),
        pytest.param(
            [source(is_gone=False)], [held(3000)], "held by s", id="there: may be under way"
        ),
        pytest.param(
            [source(is_gone=False, older=(2000,))],
            [held(2000)],
            None,
            id="there, only an older frontier holds: a byte differs",
        ),
        pytest.param([source()], [held(3000, head=False)], None, id="another head"),
        pytest.param([source()], [held()], None, id="another end"),
        pytest.param([source(offset=6000)], [held(6000)], None, id="shorter than the source"),
        pytest.param(
            [source()],
            [dataclasses.replace(held(3000), is_telling=False)],
            None,
            id="one byte value repeated",
        ),
        pytest.param(
            [source("a", is_gone=False), source("b", older=(2000,)), source("c")],
            [held(3000), held(2000), held(3000)],
            "c at 3000",
            id="of several the one that proves most",
        ),
        pytest.param(
            [source("a", is_gone=False), source("b", older=(2000,))],
            [held(3000), held(2000)],
            "held by a",
            id="all of it is in one that is there: no matter what was before",
        ),
        pytest.param(
            [source("a", offset=2500), source("b", is_gone=False)],
            [held(2500), held(3000)],
            "held by b",
            id="more of it is in one that is there",
        ),
    ],
)
def test_new_file_is_recognised(
    sources: list[tracking.Source], evidence: list[model.Evidence], expected: str | None
) -> None:
    """A copy is known by its bytes, never by its name alone, and in doubt it is none."""
    proofs = {one.checkpoint.tail_id: proof for one, proof in zip(sources, evidence, strict=True)}

    decision = tracking.recognise((sighting(),), sources, proofs)

    said = None
    if isinstance(decision, tracking.Hold):
        said = f"held by {', '.join(decision.sources)}"
    elif decision is not None:
        how = "rolled back to" if decision.is_rolled_back else "at"
        said = f"{decision.checkpoint.tail_id} {how} {decision.offset}"
    assert expected == said


@pytest.mark.parametrize(
    ("row", "proof", "is_itself", "expected"),
    [
        pytest.param(checkpoint(offset=0), None, True, "resumed at 0", id="itself, nothing sent"),
        pytest.param(checkpoint(offset=0), None, False, None, id="another one, nothing sent"),
        pytest.param(checkpoint(offset=500), held(500), True, "resumed at 500", id="itself, few"),
        pytest.param(
            checkpoint(offset=500), held(500), False, "from 0", id="begins like few bytes"
        ),
        pytest.param(checkpoint(), held(3000), False, "resumed at 3000", id="a copy"),
        pytest.param(checkpoint(), held(), False, None, id="other content"),
        pytest.param(
            checkpoint(offset=500, older=(100,)), held(100), False, None, id="few, in part"
        ),
    ],
)
def test_generation_of_a_lost_file_is_recognised(
    row: model.Checkpoint, proof: model.Evidence | None, *, is_itself: bool, expected: str | None
) -> None:
    """By inode and content, by content, or, with few bytes, as likely enough to be read again."""
    probe = tracking.Probe(sighting("/logs/a.log.1"), row)

    decision = tracking.generation(probe, proof, 0, is_itself=is_itself)

    said = None
    if isinstance(decision, tracking.Resume):
        said = f"resumed at {decision.offset}"
    elif decision is not None:
        said = "from 0"
    assert expected == said


def test_size_of_an_archive_is_its_content_s() -> None:
    """A compressed generation is smaller than what it continues, and continues it all the same."""
    probe = tracking.Probe(sighting("/logs/a.log.1.gz", size=100), checkpoint())
    whole = dataclasses.replace(held(3000), size=4000)
    cut = dataclasses.replace(held(3000), size=2000)

    assert isinstance(tracking.generation(probe, whole, 3000, is_itself=False), tracking.Resume)
    assert tracking.generation(probe, cut, 3000, is_itself=False) is None
