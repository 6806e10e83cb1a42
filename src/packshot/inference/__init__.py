"""What computes a network's features and enhancement: torch, or OpenVINO in f32, bf16 or int8."""

import sys

# OpenVINO and NNCF report every import to their maker, unasked; without this module they have nothing to do it with
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
