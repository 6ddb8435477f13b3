"""Which flow's state belongs to which flow, when names changed."""

from __future__ import annotations

import pytest

from kagent import adoption

WEB = adoption.FlowFacts("web", ("/log/*.log",), "kinesis web")


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        pytest.param(
            adoption.FlowFacts("site", ("/log/*.log",), "kinesis web"),
            adoption.Plan(adoptions=(("web", "site"),)),
            id="same paths and destination: renamed",
        ),
        pytest.param(
            adoption.FlowFacts("site", ("/other/*.log",), "kinesis other", renamed_from="web"),
            adoption.Plan(adoptions=(("web", "site"),)),
            id="the operator says so",
        ),
        pytest.param(
            adoption.FlowFacts("site", ("/other/*.log",), "kinesis other"),
            adoption.Plan(),
            id="another flow",
        ),
        pytest.param(
            adoption.FlowFacts("web", ("/other/*.log",), "kinesis other"),
            adoption.Plan(),
            id="known by its name",
        ),
    ],
)
def test_a_new_flow_takes_over_what_is_its_own(
    new: adoption.FlowFacts, expected: adoption.Plan
) -> None:
    """A gone flow's state goes to the one that names it or has its paths and destination."""
    plan = adoption.plan_adoptions([WEB], [new], forget=[])

    assert expected == plan


@pytest.mark.parametrize(
    ("new", "shared"),
    [
        pytest.param(
            adoption.FlowFacts("site", ("/log/*.log",), "kinesis other"), "paths", id="paths"
        ),
        pytest.param(
            adoption.FlowFacts("site", ("/other",), "kinesis web"), "destination", id="destination"
        ),
    ],
)
def test_a_doubtful_flow_is_refused_until_the_operator_decides(
    new: adoption.FlowFacts, shared: str
) -> None:
    """Sharing one of paths and destination with a gone flow is a question, which `forget` ends."""
    refused = adoption.plan_adoptions([WEB], [new], forget=[])
    decided = adoption.plan_adoptions([WEB], [new], forget=["web", "never heard of"])

    ((name, question),) = refused.refusals
    assert name == "site"
    assert f"shares its {shared} with the flow 'web'" in question
    assert adoption.Plan(forgotten=("web",)) == decided


def test_one_gone_flow_is_adopted_once() -> None:
    """Two new flows cannot take over the same state."""
    twins = [
        adoption.FlowFacts(name, ("/log/*.log",), "kinesis web") for name in ("first", "second")
    ]

    plan = adoption.plan_adoptions([WEB], twins, forget=[])

    assert plan.adoptions == (("web", "first"),)
