"""Which numbers go with a built member, and what each is called."""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.latency.records import Estimated, Predicted
from hwnas.pipeline.build import _numbers
from hwnas.search.front import Front, Latency, Member
from hwnas.spaces import Architecture

SETTING = {"target": "l4", "runtime": "estimate", "precision": "fp16", "batch": 1, "sequence_length": 128}
ABOUT = {"quality": "accuracy", "task": "t", "validation_examples": 8, "test_examples": 9, "setting": SETTING}


def numbers(
    latency: Latency, predicted: Predicted | None, about: Mapping[str, object] = ABOUT
) -> dict[str, dict[str, dict[str, object]]]:
    member = Member(Architecture((4,), (20,)), 0.25, 0.5, latency, predicted, 1000, 2e-3, "fp16")
    return _numbers(Front(about, member, (member,)), 0).to_json()


def test_an_estimate_is_not_called_a_prediction() -> None:
    found = numbers(Estimated(2e-3, 1e-3, 4e-3, "roofline of l4"), None)
    assert (found["predicted"], "latency" in found["measured"]) == ({}, False)
    latency = found["estimated"]["latency"]
    assert (latency["value"], latency["low"], latency["high"]) == (2e-3, 1e-3, 4e-3)
    assert latency["provenance"] == {**SETTING, "basis": "roofline of l4"}
    said = Predicted(3e-3, 2e-3, 4e-3)
    found = numbers(said, said)
    assert (found["predicted"]["latency"]["value"], found["estimated"]) == (3e-3, {})


def test_a_prediction_is_of_the_precision_of_its_member() -> None:
    """Of a search in several precisions the setting names the first alone."""
    said = Predicted(3e-3, 2e-3, 4e-3)
    found = numbers(said, said, {**ABOUT, "setting": {**SETTING, "precision": "fp32"}})
    assert found["predicted"]["latency"]["provenance"] == {**SETTING, "predictor": "additive fit"}
