from __future__ import annotations

import copy
import json

import pytest

from hwnas.errors import TableError, UnsupportedModelError, UsageError
from hwnas.latency.keys import largest_sizes, model_key, network_key, network_shape, shared_key, split_model
from hwnas.latency.records import Measured, Predicted, PredictedMemory, Setting
from hwnas.spaces import Architecture


def test_one_shape_has_one_key(bert):
    first = network_key(bert, Architecture((2, 0), (16, 0)))
    assert first == network_key(bert, Architecture((0, (1, 3)), (0, tuple(range(1, 17)))))
    assert first != network_key(bert, Architecture((2, 0), (0, 16)))
    assert network_shape(first) == ((2, 16),)
    assert network_shape(network_key(bert, Architecture((0, 3), (5, 0)))) == ((0, 5), (3, 0))


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_labels", 5), ("vocab_size", 101), ("hidden_act", "relu"), ("max_position_embeddings", 33)],
)
def test_key_changes_with_what_changes_the_latency(bert, field, value):
    arch, other = Architecture((2, 1), (16, 8)), copy.deepcopy(bert)
    setattr(other, field, value)
    assert network_key(other, arch) != network_key(bert, arch)
    assert model_key(other) != model_key(bert)


def test_key_is_of_the_family(bert, roberta):
    assert json.loads(model_key(bert))["model_type"] == "bert"
    assert model_key(bert) != model_key(roberta)
    other = copy.deepcopy(bert)
    other.model_type = "gpt2"
    with pytest.raises(UnsupportedModelError):
        model_key(other)
    with pytest.raises(UsageError, match="another model"):
        network_key(bert, Architecture((5, 1), (1, 1)))


def test_depth_of_the_super_network_makes_no_difference(bert):
    deeper = copy.deepcopy(bert)
    deeper.num_hidden_layers = 3
    assert network_key(deeper, Architecture((2, 0, 0), (16, 0, 0))) == network_key(bert, Architecture((2, 0), (16, 0)))
    assert shared_key(deeper) == shared_key(bert)


@pytest.mark.parametrize("field", ["num_hidden_layers", "intermediate_size"])
def test_sizes_of_the_super_network_tell_its_fits_apart(bert, field):
    other = copy.deepcopy(bert)
    setattr(other, field, 3)
    assert model_key(other) != model_key(bert)
    assert split_model(model_key(bert)) == (shared_key(bert), (2, 4, 64))
    assert split_model(shared_key(bert)) == (shared_key(bert), None)
    networks = [network_key(bert, Architecture(*arch)) for arch in (((4, 1), (0, 2)), ((1, 0), (64, 0)))]
    assert largest_sizes(networks) == (2, 4, 64)


def test_damaged_key():
    for text in ("", "{}", '{"shape": 3}', '{"shape": [[1]]}'):
        with pytest.raises(TableError, match="not the key"):
            network_shape(text)


def test_measurement_round_trip(measured):
    assert Measured.from_json(json.loads(json.dumps(measured.to_json()))) == measured
    data = measured.to_json()
    del data["p95"]
    with pytest.raises(TableError, match="'p95'"):
        Measured.from_json(data)


def test_measured_and_predicted_are_told_apart(measured):
    predicted = Predicted(0.1, 0.09, 0.11)
    assert predicted.to_json() == {"kind": "predicted", "seconds": 0.1, "low": 0.09, "high": 0.11}
    assert PredictedMemory(10, 9, 11).to_json() == {"kind": "predicted", "bytes": 10, "low": 9, "high": 11}
    assert measured.to_json()["kind"] == "measured"
    with pytest.raises(TableError, match="'predicted'"):
        Measured.from_json({**measured.to_json(), **predicted.to_json()})


def test_setting_round_trip_and_options(setting):
    assert Setting.from_json(json.loads(setting.key())) == setting
    assert setting.options() == (
        "--target cpu --runtime onnxruntime --precision fp32 --batch 1 --seq-len 8 --threads 1 --rounds 2"
    )
    with pytest.raises(TableError, match="'target'"):
        Setting.from_json({})
