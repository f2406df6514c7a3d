"""Writes lifetimes of the activations of exported programs: one line "bytes first_step last_step".

    python make_blocks.py OUT_FOLDER MODEL.pt2 ...    (torch 2.13, transformers)

Steps are positions in the graph after run_decompositions(); views share the memory of what they
view; the user's inputs live throughout, outputs to the end; an unknown size counts as 64.
"""
import math
import os
import sys

import torch
import transformers.modeling_outputs  # noqa: F401  (its output classes load with the models)

VIEWS = set(
    "view reshape permute transpose t unsqueeze squeeze expand slice select flatten alias detach"
    " contiguous dropout _unsafe_view chunk split getitem unflatten to _to_copy clone movedim"
    " split_with_sizes unbind narrow".split())


def size_of(size):
    try:
        return int(size)
    except Exception:
        return 64


def tensor_bytes(tensor):
    return tensor.element_size() * math.prod(size_of(size) for size in tensor.shape)


def blocks(program):
    graph = program.run_decompositions().graph
    inputs = program.graph_signature.user_inputs
    end = len(graph.nodes)
    base, first, last, size = {}, {}, {}, {}
    for step, node in enumerate(graph.nodes):
        value = node.meta.get("val")
        tensors = [t for t in (value if isinstance(value, (tuple, list)) else [value])
                   if isinstance(t, torch.Tensor)]
        if node.op == "call_function":
            name = getattr(node.target, "__name__", str(node.target)).split(".")[0]
            if name in VIEWS and node.args and node.args[0] in base:
                base[node] = base[node.args[0]]
            elif tensors:
                base[node] = node
                first[node] = last[node] = step
                size[node] = sum(map(tensor_bytes, tensors))
        elif node.op == "placeholder" and node.name in inputs and tensors:
            base[node] = node
            first[node], last[node] = 0, end
            size[node] = sum(map(tensor_bytes, tensors))
        for used in node.all_input_nodes:
            if used in base:
                last[base[used]] = max(last[base[used]], end if node.op == "output" else step)
    return [(size[node], first[node], last[node]) for node in size]


for path in sys.argv[2:]:
    name = os.path.splitext(os.path.basename(path))[0]
    with open(os.path.join(sys.argv[1], name + ".blocks"), "w") as out:
        for block in blocks(torch.export.load(path)):
            print(*block, file=out)
