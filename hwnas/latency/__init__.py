"""Latencies: the table of measured ones, what to measure next, and the predictor fitted on them.

| module | what it does |
| --- | --- |
| `records` | `Setting`, `Measured`, `Predicted`, `PredictedMemory`, `network_key` |
| `schema`, `table` | `LatencyTable` and its tables |
| `design` | which networks to measure, which to hold out |
| `networks` | sub-networks as ONNX files, cheaply |
| `setting` | `make_setting` |
| `measure` | `measure`, which times groups of networks |
| `predictor` | `Predictor` and the additive law under it |
| `profile` | `profile_model`, `load_predictor` |
"""
