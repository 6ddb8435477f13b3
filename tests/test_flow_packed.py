"""`Flow.step()` with packing: spans of many lines settle, are buried and are saved one by one."""

from __future__ import annotations

import pytest
from test_batch import KEYED
from test_flow import Rig
from test_pack import lines_of

from kagent import errors, model, pack

forms = pytest.mark.parametrize("form", ["newline", "kpl"])


def rig(form: str, *, target_bytes: int = 250, **more: object) -> Rig:
    packing = pack.PackSettings(form, target_bytes, is_plain=True)  # type: ignore[arg-type]
    return Rig(packing=packing, limits=KEYED, **more)  # type: ignore[arg-type]


def lines(one: Rig, form: str) -> list[bytes]:
    return [line for record in one.accepted for line in lines_of(record, form)]


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %05d\n" % number for number in range(first, last))


@forms
def test_lines_of_many_files_share_records_and_every_position_is_saved(form: str) -> None:
    """Settlement is of each file's own span, whatever record carried it."""
    one = rig(form)
    for number in range(5):
        one.write(f"/logs/{number}.log", numbered(10 * number, 10 * number + 10))

    one.go_on()

    assert [b"line %05d\n" % number for number in range(50)] == sorted(lines(one, form))
    assert len(one.accepted) < 25
    assert {110} == {row.offset for row in one.rows().values()}
    one.flow.counters.check_balance(0)


@forms
def test_refused_records_alone_come_again_to_the_byte(form: str) -> None:
    """What was accepted settles, gaps stay, and what is sent again is what was sent before."""
    one = rig(form)
    one.write("/logs/a.log", numbered(0, 60))
    one.destination.refuse = [0, 2]
    one.go_on(0.7)

    first, *again = one.destination.calls
    assert not again
    one.go_on(10.0)

    sent = [record for call in one.destination.calls[1:] for record in call.records]
    assert {first.records[0], first.records[2]} == set(sent)
    assert 2 == len(sent)
    assert 60 == len(lines(one, form)) == len(set(lines(one, form)))
    one.flow.counters.check_balance(0)


@forms
def test_only_the_rejected_line_of_a_record_is_dead_lettered(form: str) -> None:
    """Request and record are halved down to it; its letter names its own bytes of its own file."""
    one = rig(form)
    one.write("/logs/good.log", numbered(0, 10))
    one.go_on()
    one.write("/logs/a.log", numbered(10, 30) + b"poison\n" + numbered(30, 50))
    one.destination.poison = {b"poison"}

    one.go_on(10.0)

    (letter,) = one.letters
    assert (b"poison\n", "/logs/a.log") == (letter.data, letter.path)
    assert (220, 227) == (letter.start, letter.end)
    assert 50 == len(lines(one, form)) == len(set(lines(one, form)))
    one.flow.reports.put(model.DeadLettered(letter))
    one.go_on()
    assert {110, 447} == {row.offset for row in one.rows().values()}
    assert 0 == one.flow._batcher.held_bytes


@forms
def test_record_that_a_wrong_destination_rejects_is_not_buried(form: str) -> None:
    """As long as nothing was accepted, no line is at fault; what waits goes when it is mended."""
    one = rig(form, target_bytes=5000)
    one.write("/logs/a.log", numbered(0, 20))
    one.destination.setback = errors.RejectedError("ValidationException", hint="look at it")

    one.go_on(300.0)
    assert not one.letters
    one.destination.setback = None
    one.go_on(300.0)

    assert 20 == len(lines(one, form)) == len(set(lines(one, form)))
    assert not one.letters


@forms
@pytest.mark.parametrize("max_in_flight", [1, 4])
def test_lines_keep_their_order_while_nothing_is_refused(form: str, max_in_flight: int) -> None:
    """Within a file always; with one request at a time also over what is refused."""
    one = rig(form, max_in_flight=max_in_flight, records_max=3)
    one.write("/logs/a.log", numbered(0, 200))
    if max_in_flight == 1:
        one.destination.refuse = [1]

    one.go_on(20.0)

    found = lines(one, form)
    assert 200 == len(found)
    if max_in_flight == 4:
        assert sorted(found) == found
    else:
        first = one.destination.calls[0]
        refused = lines_of(first.records[1], form)
        at = found.index(refused[0])
        assert refused == found[at : at + len(refused)]
        others = found[:at] + found[at + len(refused) :]
        assert sorted(others) == others
        assert [first.records[1]] == one.destination.calls[1].records


@forms
def test_memory_is_bounded_with_packing(form: str) -> None:
    """Lines, open records and packed ones are counted together."""
    one = rig(form, max_buffer_bytes=20_000, target_bytes=3000)
    one.write("/logs/a.log", numbered(0, 5000))
    one.step()
    one.save()

    for _ in range(20):
        one.step(0.3)
        held = one.flow._batcher.held_bytes
        under_way = sum(len(record) for batch in one.pending for record in batch.records)
        assert under_way <= held <= 20_000
    one.go_on(60.0)

    assert 5000 == len(lines(one, form))
    assert 0 == one.flow._batcher.held_bytes
