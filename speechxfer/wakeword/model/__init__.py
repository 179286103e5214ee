"""The streaming student network, its ONNX graph and the teacher that it is distilled from."""
