"""kagent.local's books and what it serves under /_local/: counts, journals, line identities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_local_rig import Rig, running

from kagent.local import DeliveryStreamOptions, Faults, StreamOptions


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A stream and a delivery stream, both without throttling."""
    with running(
        streams={"web": StreamOptions(shards=4, is_throttled=False)},
        delivery_streams={"audit": DeliveryStreamOptions(is_throttled=False)},
    ) as rig:
        yield rig


def web_counts(rig: Rig) -> dict[str, Any]:
    return dict(rig.service.counts()["streams"]["web"])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([], id="no object"),
        pytest.param({"lose_shrae": 1}, id="unknown key"),
        pytest.param({"lose_share": 2}, id="share above 1"),
        pytest.param({"lose_share": "all"}, id="share no number"),
        pytest.param({"slow_s": -1}, id="negative time"),
        pytest.param({"fail_status": 200}, id="status of success"),
        pytest.param({"refuse_code": 'a"b'}, id="code no name"),
        pytest.param({"streams": "web"}, id="no list"),
        pytest.param({"faults_max": 1.5}, id="no whole number"),
    ],
)
def test_wrong_faults_are_refused_and_change_nothing(rig: Rig, wrong: object) -> None:
    """POST /_local/faults answers 400 with the reason; the faults in force stay."""
    rig.service.set_faults(Faults(fail_share=0.5))

    status, answer = rig.admin("POST", "/_local/faults", wrong)

    assert status == 400
    assert answer["message"]
    assert rig.service.source.faults == Faults(fail_share=0.5)


def test_faults_and_books_are_served_under_local(rig: Rig) -> None:
    """Faults are set over HTTP without a signature; counts, journal and deliveries are read."""
    rig.admin("POST", "/_local/faults", {"refuse_share": 1, "faults_max": 1, "streams": ["web"]})
    rig.put(b"1\n", b"2\n")
    rig.firehose.put_record_batch(
        DeliveryStreamName="audit", Records=[{"Data": b"%d" % n} for n in range(3)]
    )

    _, counts = rig.admin("GET", "/_local/counts")
    _, in_force = rig.admin("GET", "/_local/faults")
    _, journal = rig.admin("GET", "/_local/journal?stream=web")
    _, deliveries = rig.admin("GET", "/_local/deliveries?stream=audit&from=1&limit=1")

    assert counts == rig.service.counts()
    assert {"refuse": 1} == counts["faults"]
    assert 1 == in_force["refuse_share"]
    assert "Mgo=" == journal["data"]
    assert (0, "good") == (journal["order"], journal["answer"])
    assert {"order": 1, "data": "MQ=="} == deliveries


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/_local/journal?stream=nope", 404, id="unknown stream"),
        pytest.param("/_local/deliveries?stream=audit&from=x", 400, id="no number"),
        pytest.param("/_local/nope", 404, id="unknown path"),
    ],
)
def test_wrong_questions_get_an_answer(rig: Rig, path: str, status: int) -> None:
    """What is not there under /_local/ is answered with a status and a message."""
    answer = rig.admin("GET", path)

    assert status == answer[0]
    assert answer[1]["message"]


def test_a_pattern_can_identify_lines() -> None:
    """With line_pattern two lines with the same number are one line, and others do not count."""
    numbered = StreamOptions(line_pattern=r"^n=(\d+)")
    with running(streams={"web": numbered}) as rig:
        rig.put(b"n=1 a\nn=2 b\nheader\n", b"n=1 c\n")

        counts = web_counts(rig)
        assert (3, 2, 1) == (counts["lines"], counts["lines_distinct"], counts["duplicates"])


def test_packed_records_can_be_unpacked_for_counting() -> None:
    """`unpack` turns a record into its lines before they are counted."""
    reversed_lines = StreamOptions(unpack=lambda record: record[::-1])
    with running(streams={"web": reversed_lines}) as rig:
        rig.put(b"1\n2", b"2\n1")

        counts = web_counts(rig)
        assert (4, 2) == (counts["lines"], counts["lines_distinct"])


def test_lines_need_not_be_counted() -> None:
    """With count_lines off records are counted and lines are not."""
    with running(streams={"web": StreamOptions(count_lines=False)}) as rig:
        rig.put(b"x", b"x")

        counts = web_counts(rig)
        assert (2, 0, 0) == (counts["records_accepted"], counts["lines"], counts["duplicates"])
