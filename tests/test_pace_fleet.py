"""A fleet of agents and one stream: what each makes of its refusals is fair and loses nothing.

The agents are `pace` as the product has it. The stream is token buckets written here, with the
semantics of the service: each shard takes 1,000 records and 1 MiB a second, a rested one a
second's worth at once, and what does not fit is refused record by record, the shard named.
https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html, 2026-11.

`make fleet` prints the figures, for other sizes as well.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import heapq
import random

import pytest

from kagent import model, pace

RECORD_BYTES = 200
BATCH_RECORDS = 500
LINGER_S = 1.0  # max_age
LATENCY_S = 0.03


class Bucket:
    """Tokens of one shard: records and bytes."""

    def __init__(self, share: float) -> None:
        self.rates = (1000.0 * share, 1024.0**2 * share)
        self.tokens = list(self.rates)
        self.filled = 0.0

    def admit(self, records: int, now: float) -> int:
        """Return how many of equal records are taken."""
        for index, rate in enumerate(self.rates):
            filled = self.tokens[index] + (now - self.filled) * rate
            self.tokens[index] = min(rate, filled)
        self.filled = now
        taken = min(records, int(self.tokens[0]), int(self.tokens[1] / RECORD_BYTES))
        self.tokens[0] -= taken
        self.tokens[1] -= taken * RECORD_BYTES
        return taken


@dataclasses.dataclass
class Agent:
    """One host: lines come at a constant rate, and wait as long as it takes."""

    pace: pace.Pace
    demand: float
    backlog: float = 0.0
    since: float = 0.0
    in_flight: int = 0
    accepted: int = 0
    sent: int = 0
    answers: collections.deque[model.Receipt] = dataclasses.field(
        default_factory=collections.deque
    )

    def arrive(self, now: float) -> None:
        self.backlog += (now - self.since) * self.demand
        self.since = now


@dataclasses.dataclass
class Figures:
    """What a phase of a run came to."""

    goodput: float  # of the capacity
    fairness: float  # Jain's index over the agents
    refused: float  # of what was sent
    backlog_s: float  # how long the worst agent would need at its demand for what it holds
    by_shard: list[float]  # accepted, of each shard's capacity

    def __str__(self) -> str:
        slowest = min(self.by_shard)
        return (
            f"goodput {self.goodput:6.1%}  fairness {self.fairness:.3f}"
            f"  refused {self.refused:5.1%}  least shard {slowest:6.1%}"
            f"  backlog {self.backlog_s:5.1f} s"
        )


class Fleet:
    """Agents, shards and time; every attempt is an event."""

    def __init__(
        self, agents: int, shares: list[float], demand: float, seed: int, *, fixed: bool = False
    ) -> None:
        self.random = random.Random(seed)
        self.shards = [Bucket(share) for share in shares]
        self.names = [f"shardId-{number:012d}" for number in range(len(shares))]
        self.capacity = 1000.0 * sum(shares)
        self.now = 0.0
        self.taken = [0] * len(shares)
        settings = pace.PaceSettings(in_flight_max=16, records_max=BATCH_RECORDS)
        self.agents = [
            Agent(pace.Pace(settings, self.random), demand * self.capacity / agents)
            for _ in range(agents)
        ]
        self.events = [
            (self.random.random() * LINGER_S, number, "look") for number in range(agents)
        ]
        heapq.heapify(self.events)

    def run(self, seconds: float) -> Figures:
        """Let time pass, and say what came of it."""
        end, started = self.now + seconds, self.now
        accepted, sent = [a.accepted for a in self.agents], [a.sent for a in self.agents]
        taken = list(self.taken)
        while self.events[0][0] < end:
            self.now, number, what = heapq.heappop(self.events)
            self.look(number) if what == "look" else self.collect(number)
        self.now = end
        gained = [agent.accepted - was for agent, was in zip(self.agents, accepted, strict=True)]
        tried = sum(agent.sent for agent in self.agents) - sum(sent)
        total = sum(gained)
        passed = end - started
        return Figures(
            total / (self.capacity * passed),
            total**2 / (len(gained) * sum(one**2 for one in gained)) if total else 0.0,
            1.0 - total / tried if tried else 0.0,
            max(a.backlog / a.demand if a.demand else 0.0 for a in self.agents),
            [
                (now - was) / (bucket.rates[0] * passed)
                for now, was, bucket in zip(self.taken, taken, self.shards, strict=True)
            ],
        )

    def look(self, number: int) -> None:
        """Let an agent send what it may; few records wait LINGER_S for others."""
        agent = self.agents[number]
        agent.arrive(self.now)
        due = agent.pace.next_attempt(self.now, agent.in_flight)
        if due is None:
            due = self.now + LATENCY_S
        elif due <= self.now:
            room, _ = agent.pace.room(self.now)
            count = min(int(agent.backlog), BATCH_RECORDS, room or BATCH_RECORDS)
            if count:
                self.send(number, count)
            is_full = agent.backlog >= BATCH_RECORDS
            due = self.now + (0.001 if is_full else LINGER_S * (0.95 + 0.1 * self.random.random()))
        heapq.heappush(self.events, (max(due, self.now + 0.001), number, "look"))

    def send(self, number: int, count: int) -> None:
        """Spread a batch over the shards by random keys; the answer comes after LATENCY_S."""
        agent = self.agents[number]
        batch = model.Batch([b""] * count, [], [], count * RECORD_BYTES)
        targets = self.random.choices(range(len(self.shards)), k=count)
        refused: list[model.Refusal] = []
        for shard, records in collections.Counter(targets).items():
            taken = self.shards[shard].admit(records, self.now)
            self.taken[shard] += taken
            if taken < records:
                refused += [model.Refusal(0, "Throttled", self.names[shard])] * (records - taken)
        agent.backlog -= count
        agent.sent += count
        agent.in_flight += 1
        agent.pace.note_submitted(batch)
        receipt = model.Receipt(
            batch,
            tuple(refused),
            collections.Counter(self.names[shard] for shard in targets) if refused else {},
            submitted=self.now,
            received=self.now + LATENCY_S,
        )
        heapq.heappush(self.events, (self.now + LATENCY_S, number, "answer"))
        agent.answers.append(receipt)

    def collect(self, number: int) -> None:
        """Let an agent take in its oldest answer: refused records get new keys, and go again."""
        agent = self.agents[number]
        receipt = agent.answers.popleft()
        agent.pace.note_answer(receipt, self.now, agent.in_flight)
        agent.in_flight -= 1
        agent.backlog += len(receipt.refused)
        agent.accepted += len(receipt.batch.records) - len(receipt.refused)


# --- what must hold ---------------------------------------------------------------------------

AGENTS, SHARDS = 200, 20


@pytest.mark.parametrize("demand", [0.5, 1.0, 3.0])
def test_fleet_uses_what_there_is_and_shares_it(demand: float) -> None:
    """Under overload nearly all of the capacity is used, by all alike; below it nobody waits."""
    fleet = Fleet(AGENTS, [1.0] * SHARDS, demand, seed=1)

    fleet.run(15.0)
    found = fleet.run(25.0)

    print(f"\n{AGENTS} agents, {SHARDS} shards, demand {demand} x capacity: {found}")
    assert found.goodput >= 0.95 * min(1.0, demand)
    assert found.fairness >= 0.9
    assert found.refused <= 0.1
    if demand <= 1.0:
        assert found.backlog_s <= 2.0


def test_fleet_recovers_within_seconds_after_an_overload() -> None:
    """When half of the agents fall silent, the others take what these leave."""
    fleet = Fleet(AGENTS, [1.0] * SHARDS, 3.0, seed=1)
    fleet.run(30.0)

    for agent in fleet.agents[AGENTS // 2 :]:
        agent.arrive(fleet.now)
        agent.demand = agent.backlog = 0.0
    seconds = [fleet.run(1.0).goodput for _ in range(10)]

    print(f"\ngoodput in each second after: {' '.join(f'{one:.0%}' for one in seconds)}")
    assert max(seconds[:7]) >= 0.95
    assert sum(seconds[5:]) / 5 >= 0.95


def test_newcomers_get_their_share() -> None:
    """Agents that begin when all is taken have the same rate half a minute later."""
    fleet = Fleet(AGENTS, [1.0] * SHARDS, 3.0, seed=1)
    late = fleet.agents[AGENTS // 2 :]
    for agent in late:
        agent.demand = 0.0
    fleet.run(15.0)
    for agent in late:
        agent.arrive(fleet.now)
        agent.demand = 3.0 * fleet.capacity / AGENTS
        agent.pace.rate.records, agent.pace.rate.bytes = 10.0, 10.0 * RECORD_BYTES

    fleet.run(30.0)
    found = fleet.run(10.0)

    print(f"\nhalf of them late: {found}")
    assert found.fairness >= 0.85


@pytest.mark.parametrize("agents", [4, AGENTS])
def test_slow_shard_slows_no_other(agents: int) -> None:
    """One shard has a tenth of its capacity: the others take what they took without it."""
    fleet = Fleet(agents, [0.1, *[1.0] * (SHARDS - 1)], 3.0, seed=1)

    fleet.run(15.0)
    found = fleet.run(15.0)

    print(f"\n{agents} agents, one shard of a tenth: {found}")
    assert sum(found.by_shard[1:]) / (SHARDS - 1) >= 0.95
    assert found.by_shard[0] >= 0.95


# --- figures ----------------------------------------------------------------------------------


def measure(agents: int, shares: list[float], seed: int = 1) -> None:
    """Print what a fleet comes to at several demands."""
    for demand in (0.5, 1.0, 3.0):
        fleet = Fleet(agents, shares, demand, seed)
        print(f"{agents} agents, {len(shares)} shards, demand {demand} x capacity")
        print(f"  first 15 s    {fleet.run(15.0)}")
        print(f"  next 25 s     {fleet.run(25.0)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--slow", type=float, default=1.0, help="share of one shard's capacity")
    given = parser.parse_args()
    measure(given.agents, [given.slow, *[1.0] * (given.shards - 1)])
