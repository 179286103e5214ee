"""Export the student to an ONNX graph, with batch norms folded in and every state as an input and an output.

Inputs: `log_mel` (1, frames, NUM_MELS) and `state_0`, ... . Outputs: `scores` (steps,), probabilities in double
precision, and `next_state_0`, ... .
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from torch import Tensor

from speechxfer.errors import MissingExtraError
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, CausalConv, SeparableBlock, Student
from speechxfer.wakeword.runtime.features import NUM_MELS

STUDENT_OPSET = 17


def export_student(student: Student) -> bytes:
    """Return the serialised graph.

    Raises: MissingExtraError without the package `onnx`.
    """
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError:
        raise MissingExtraError("onnx", "wakeword", "writing a detector") from None

    builder = _GraphBuilder(onnx)
    builder.add_student(student, TensorProto.DOUBLE)
    shapes = student.state_shapes()

    def declare_states(prefix: str) -> list[Any]:
        return [
            helper.make_tensor_value_info(f"{prefix}_{i}", TensorProto.FLOAT, [1, *s]) for i, s in enumerate(shapes)
        ]

    frames = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, [1, "frames", NUM_MELS])
    scores = helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["steps"])
    inputs, outputs = [frames, *declare_states("state")], [scores, *declare_states("next_state")]
    graph = helper.make_graph(builder.nodes, "wakeword", inputs, outputs, builder.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", STUDENT_OPSET)], producer_name="speechxfer")
    model.ir_version = 9  # readable by the runtimes of the last two years
    helper.set_model_props(model, {"frames_a_score": str(FRAMES_PER_STEP)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class _GraphBuilder:
    """Collects the nodes and initializers of a graph. onnx: the package, which is optional."""

    def __init__(self, onnx: Any) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add_constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add an initializer; return its name."""
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(np.asarray(array, dtype)), name))
        return name

    def add_node(self, kind: str, inputs: list[str], output: str, attributes: dict[str, Any] | None = None) -> str:
        """Add a node with one output; return the output's name."""
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=output, **(attributes or {})))
        return output

    def add_convolution(self, layer: CausalConv, inputs: str, name: str, state: int | None = None) -> str:
        """Add a convolution with folded batch norm and its rectifier; `state`: index of its state, if it has one."""
        if state is not None:
            inputs = self.add_node("Concat", [f"state_{state}", inputs], f"{name}.joined", {"axis": 2})
            starts = self.add_constant(f"{name}.from", [-layer.before], np.int64)
            self.nodes.append(
                self.onnx.helper.make_node("Slice", [inputs, starts, "end", "time"], [f"next_state_{state}"])
            )
        weight, bias = layer.fold_batch_norm()
        attributes = {
            "kernel_shape": list(layer.conv.kernel_size),
            "dilations": list(layer.conv.dilation),
            "strides": list(layer.conv.stride),
            "group": layer.conv.groups,
        }
        names = [inputs, self.add_constant(f"{name}.weight", weight), self.add_constant(f"{name}.bias", bias)]
        return self.add_node("Relu", [self.add_node("Conv", names, f"{name}.conv", attributes)], f"{name}.out")

    def add_student(self, student: Student, score_type: int) -> None:
        """Add the whole student, from `log_mel` to `scores`."""
        self.add_constant("end", [np.iinfo(np.int64).max], np.int64)
        self.add_constant("time", [2], np.int64)
        centred = self.add_node("Sub", ["log_mel", self.add_constant("mean", student.mean)], "centred")
        scaled = self.add_node("Mul", [centred, self.add_constant("scale", student.scale)], "scaled")
        steps = self.add_node("Transpose", [scaled], "features", {"perm": [0, 2, 1]})
        steps = self.add_convolution(student.stem, steps, "stem", 0)
        for index, block in enumerate(cast("list[SeparableBlock]", list(student.blocks))):
            depthwise = self.add_convolution(block.depthwise, steps, f"block_{index}.depthwise", index + 1)
            pointwise = self.add_convolution(block.pointwise, depthwise, f"block_{index}.pointwise")
            steps = self.add_node("Add", [steps, pointwise], f"block_{index}.out")
        bias = self.add_constant("head.bias", student.head.bias)
        weight = self.add_constant("head.weight", student.head.weight[:, :, None])
        logits = self.add_node("Conv", [steps, weight, bias], "logits")
        flat = self.add_node("Reshape", [logits, self.add_constant("flat", [-1], np.int64)], "flat_logits")
        self.add_node("Sigmoid", [self.add_node("Cast", [flat], "wide_logits", {"to": score_type})], "scores")
