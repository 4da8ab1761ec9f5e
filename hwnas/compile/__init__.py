"""Sub-network -> ONNX -> engine, verified against the source, with a manifest that says what is in the folder.

| module | what it does |
| --- | --- |
| `export` | `export_onnx`, `verify_onnx` |
| `onnxfile` | helpers around ONNX files |
| `engine` | `ShapeProfile`, `EngineInfo`, `plan_build`, `build_engine` and the registry of runtimes |
| `nvidia` | what the two TensorRTs share |
| `onnxruntime`, `tensorrt_rtx`, `tensorrt` | one runtime each |
| `manifest` | `read_manifest`, `check_manifest`, `Number`, `Numbers` |
| `member` | `build_member`: all of the above for one sub-network, in one folder |
"""
