// Target: what the compiler asks of a backend.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"
#include "ops/prefer.h"
#include "ops/traits.h"

namespace sconce {

struct Target {
  const char* name;         // as given to --target
  const char* description;  // one line for --help
  // True when the target runs this node as it stands.
  bool (*has_node)(const Op& op, Program& program, const Graph& graph, const Node& node);
  QuantizedGraphs quantized;
  // Makes calls of a backend of the nodes that it takes; the others are for kernels. Null: none.
  Result<void> (*partition)(Program& program, Graph& graph, Prefer prefer);
  bool own_kernels = false;  // runs nodes "kernel" (ops/own_kernel.h)
};

Span<const Target> all_targets();
const Target* find_target(std::string_view name);

}  // namespace sconce
