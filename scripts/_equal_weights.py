"""Weights of two sides, held against each other where their files' bytes differ: tensor by tensor, node by node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Naming = Callable[[str], str]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors(path: Path) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Return, by name, every tensor of a safetensors file as its type, its shape and the SHA-256 of its bytes."""
    found = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name, stated in header.items():
            if name == "__metadata__":
                continue
            first, last = stated["data_offsets"]
            file.seek(8 + length + first)
            content = hashlib.sha256(file.read(last - first)).hexdigest()
            found[name] = (stated["dtype"], tuple(stated["shape"]), content)
    return found


def same_tensors(old: Path, new: Path, name_of: Naming) -> list[str]:
    """Return what differs between two safetensors files, the old one's tensors renamed."""
    left = {name_of(name): tensor for name, tensor in tensors(old).items()}
    right = tensors(new)
    alone = [
        f"tensor {name}: only on the {'new' if name in right else 'old'} side"
        for name in sorted(left.keys() ^ right.keys())
    ]
    both = sorted(left.keys() & right.keys())
    other = [name for name in both if left[name] != right[name]]
    return alone + [f"tensor {name}: {left[name][:2]} and {right[name][:2]}, other bits" for name in other]


def same_graph(old: Path, new: Path, name_of: Naming) -> list[str]:
    """Return what differs between two ONNX graphs apart from the names of nodes and values and from remarks.

    name_of: unused; a graph's inner names carry nothing.
    """
    left, right = _anonymous(old), _anonymous(new)
    if left == right:
        return []
    counts = [f"{len(graph['nodes'])} nodes, {len(graph['weights'])} weights" for graph in (left, right)]
    unlike = [name for name in left if left[name] != right[name]]
    return [f"other graph ({', '.join(unlike)}): {counts[0]} and {counts[1]}"]


def _anonymous(path: Path) -> dict[str, Any]:
    """Return a graph's nodes and weights, every inner value named by the order in which it is first written or read."""
    import onnx

    graph = onnx.load(str(path)).graph
    outer = [value.name for value in (*graph.input, *graph.output)]
    numbers = {name: name for name in ("", *outer)}
    nodes = []
    for node in graph.node:
        ends = [[numbers.setdefault(name, str(len(numbers))) for name in side] for side in (node.input, node.output)]
        attributes = sorted((one.name, one.SerializeToString(deterministic=True).hex()) for one in node.attribute)
        nodes.append((node.op_type, node.domain, ends, attributes))
    weights = {}
    for tensor in graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        content = hashlib.sha256(array.tobytes()).hexdigest()
        weights[numbers.setdefault(tensor.name, str(len(numbers)))] = (str(array.dtype), array.shape, content)
    ends = [value.SerializeToString(deterministic=True).hex() for value in (*graph.input, *graph.output)]
    return {"nodes": nodes, "weights": weights, "inputs and outputs": ends}
