"""The student as an ONNX graph, written node by node: batch norms folded in, every state an input and an output.

Inputs `compute_log_mel` (1, frames, MELS) and `state_0` ...; outputs `scores` (steps,), probabilities, and `next_state_0` ....
"""

from __future__ import annotations

from typing import Any

import numpy as np

from speechxfer.errors import MissingExtraError
from speechxfer.wakeword.model.student import FRAMES_PER_STEP, CausalConv, Student
from speechxfer.wakeword.runtime.features import NUM_MELS

STUDENT_OPSET = 17


def export_student(student: Student) -> bytes:
    """The serialised graph. Raises MissingExtraError without the package `onnx`."""
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingExtraError("onnx", "wakeword", "writing a detector") from None

    nodes: list[Any] = []
    weights: list[Any] = []

    def constant(name: str, value: Any, kind: Any = np.float32) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, kind)), name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolution(layer: CausalConv, inputs: str, name: str, state: int | None) -> str:
        if state is not None:
            inputs = node("Concat", [f"state_{state}", inputs], f"{name}.joined", axis=2)
            starts = constant(f"{name}.from", [-layer.before], np.int64)
            nodes.append(helper.make_node("Slice", [inputs, starts, "end", "time"], [f"next_state_{state}"]))
        weight, bias = (tensor.detach().cpu().numpy() for tensor in layer.fold_batch_norm())
        found = node(
            "Conv",
            [inputs, constant(f"{name}.weight", weight), constant(f"{name}.bias", bias)],
            f"{name}.conv",
            kernel_shape=list(layer.conv.kernel_size),
            dilations=list(layer.conv.dilation),
            strides=list(layer.conv.stride),
            group=layer.conv.groups,
        )
        return node("Relu", [found], f"{name}.out")

    constant("end", [np.iinfo(np.int64).max], np.int64)
    constant("time", [2], np.int64)
    centred = node("Sub", ["log_mel", constant("mean", student.mean.cpu().numpy())], "centred")
    scaled = node("Mul", [centred, constant("scale", student.scale.cpu().numpy())], "scaled")
    steps = node("Transpose", [scaled], "features", perm=[0, 2, 1])
    steps = convolution(student.stem, steps, "stem", 0)
    for place, block in enumerate(student.blocks):
        along = convolution(block.depthwise, steps, f"block_{place}.depthwise", place + 1)  # type: ignore[arg-type]
        added = convolution(block.pointwise, along, f"block_{place}.pointwise", None)  # type: ignore[arg-type]
        steps = node("Add", [steps, added], f"block_{place}.out")
    head = student.head.weight.detach().cpu().numpy()[:, :, None]
    bias = constant("head.bias", student.head.bias.detach().cpu().numpy())
    logits = node("Conv", [steps, constant("head.weight", head), bias], "logits")
    flat = node("Reshape", [logits, constant("flat", [-1], np.int64)], "flat_logits")
    node("Sigmoid", [node("Cast", [flat], "wide_logits", to=TensorProto.DOUBLE)], "scores")

    shapes = student.state_shapes()
    frames = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, [1, "frames", NUM_MELS])
    before = [helper.make_tensor_value_info(f"state_{i}", TensorProto.FLOAT, [1, *s]) for i, s in enumerate(shapes)]
    after = [helper.make_tensor_value_info(f"next_state_{i}", TensorProto.FLOAT, [1, *s]) for i, s in enumerate(shapes)]
    scores = helper.make_tensor_value_info("scores", TensorProto.DOUBLE, ["steps"])
    graph = helper.make_graph(nodes, "wakeword", [frames, *before], [scores, *after], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", STUDENT_OPSET)], producer_name="speechxfer")
    model.ir_version = 9  # what runtimes of the last two years read
    helper.set_model_props(model, {"frames_a_score": str(FRAMES_PER_STEP)})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
