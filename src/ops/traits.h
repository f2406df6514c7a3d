// Traits of operators that several layers ask about: which ones only rename memory, which ones may
// write over an operand. Stated once, by kernel name.
#pragma once

#include <string_view>
#include <vector>

#include "ops/def.h"

namespace sconce {

// The result has the same elements in the same row-major order as argument 0, when both are
// contiguous: view, squeeze, unsqueeze, flatten, alias, clone, ... dtype must be equal too, which the
// caller compares (_to_copy).
bool keeps_element_order(const Op& op);
// The permutation of dimensions that a view does (permute, transpose, t, movedim, swapaxes, mT, T): result
// dimension i is operand dimension p[i]. Empty when the operator is none of these, its arguments are
// not known numbers or do not fit `rank`.
std::vector<int64_t> permutation_of(std::string_view op, Span<const Argument> arguments, int rank);
// The kernel reads element i of an operand before it writes element i of its result, so the result
// may take the memory of an operand of the same type and sizes.
bool may_run_in_place(const Op& op);
// The result is operand 0 with a part changed, and the kernel touches that part only when the result
// has the operand's memory.
bool may_update_in_place(const Op& op);

// The tensor whose one element an integer of the graph is (item()); null when it is made otherwise.
const ValueId* tensor_of_integer(const Graph& graph, ValueId integer);

// What a target makes of graphs that torch quantised.
enum class QuantizedGraphs : uint8_t {
  as_they_are,            // quantize and dequantize run as instructions
  integers,               // what stands between them becomes operators on integers
  integers_then_numbers,  // so it does; weights that are left become numbers when compiled
};

// Makes numbers of quantised weights: folded, they would take four times the space, and what reads
// integers would not find them.
bool widens_weights(const Op& op);

// Element i of the result depends on element i of the operands only, which broadcast.
bool is_pointwise(const Op& op);

}  // namespace sconce
