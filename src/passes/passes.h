// Passes: what the compiler does to a graph, each a file with one function and one promise.
//
// A pass changes one graph in place, keeps no state and prints nothing; the runner (pipeline.h)
// names, times, dumps and verifies it, and runs it on subgraphs too. Errors are for graphs that
// cannot be compiled, not for patterns that do not apply.
#pragma once

#include "ir/graph.h"

namespace sconce {

struct PassContext;

// No node is left whose results nobody uses, except effects of which there are none in a functional
// graph. Unused constants stay in the program; emit stores only what is used.
Result<void> remove_dead_code(Program& program, Graph& graph, const PassContext& context);
// No two nodes compute the same from the same; random operators are kept apart.
Result<void> merge_common_subexpressions(Program& program, Graph& graph,
                                         const PassContext& context);
// Nodes whose operands are all constants are constants, unless the result is much larger than what
// it was made from (a full, an expand).
Result<void> fold_constants(Program& program, Graph& graph, const PassContext& context);
// The same once operators on integers stand: weights that are left become numbers where the target
// wants that.
Result<void> fold_constants_again(Program& program, Graph& graph, const PassContext& context);
// No node returns its operand unchanged: copies, casts to the same type, views to the same sizes,
// dropout, x * 1. Views of views are one view, permutes of permutes one permute.
Result<void> remove_no_ops(Program& program, Graph& graph, const PassContext& context);
// Batch norm and per-channel scale and shift after a convolution or linear with constant weights is
// part of these weights.
Result<void> fold_batch_norm(Program& program, Graph& graph, const PassContext& context);
// A matrix product with a constant weight is a linear, its bias inside.
Result<void> recognize_linear(Program& program, Graph& graph, const PassContext& context);
// SiLU, GELU, hardsigmoid, hardswish, mish and softplus written out are one operator.
Result<void> recognize_activations(Program& program, Graph& graph, const PassContext& context);
// Softmax, log softmax, layer norm and RMS norm written out are one operator, weight and bias
// inside.
Result<void> recognize_norms(Program& program, Graph& graph, const PassContext& context);
// Attention written out is one operator.
Result<void> recognize_attention(Program& program, Graph& graph, const PassContext& context);
// Zeros around a convolution's input are the convolution's own padding.
Result<void> fold_padding(Program& program, Graph& graph, const PassContext& context);
// Integers of 8 bits between quantize and dequantize have a sign, on targets that compute with them.
Result<void> make_integers_signed(Program& program, Graph& graph, const PassContext& context);
// What is between dequantize and quantize works on integers, on targets that ask for it.
Result<void> fold_quantization(Program& program, Graph& graph, const PassContext& context);
// No two permutes of the same tensors cancel each other across the pointwise operators between
// them.
Result<void> cancel_permutes(Program& program, Graph& graph, const PassContext& context);
// Operands of promoting operators have the type that the operator computes in; numbers in tensor
// positions are 0-dim tensors.
Result<void> make_promotion_explicit(Program& program, Graph& graph, const PassContext& context);
// Every node is one that the target has; all that it lacks is listed in the error.
Result<void> legalize(Program& program, Graph& graph, const PassContext& context);

}  // namespace sconce
