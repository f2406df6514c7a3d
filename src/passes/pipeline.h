// Pipeline: the order of the passes, and the runner that names, times, dumps and verifies them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ops/traits.h"
#include "passes/passes.h"

namespace sconce {

// What a pass may know of the target: which operators it has. Passes never learn its name.
struct PassContext {
  // True when the target runs this node as it stands.
  std::function<bool(const Op&, Program&, const Graph&, const Node&)> has_node;
  QuantizedGraphs quantized = QuantizedGraphs::as_they_are;
};

struct Pass {
  const char* name;
  Result<void> (*run)(Program&, Graph&, const PassContext&);
};

// The last of the passes after which layers stand as they will run, batch norms in their weights, and
// nothing has been rewritten for a target yet: where models are quantised.
inline constexpr char kNormalized[] = "fold_batch_norm";

// All passes in their order.
Span<const Pass> pipeline();

struct PassRun {
  std::string name;
  double milliseconds;
  size_t nodes_after;
};

struct PipelineOptions {
  bool verify = true;      // after every pass
  std::string start_after; // a pass's name: what comes after it runs; empty = start with the first
  std::string stop_after;  // a pass's name; empty = run all
  // Called after each pass that ran.
  std::function<void(const Pass&, const Program&)> after_pass;
  std::vector<PassRun>* runs = nullptr;  // filled when given
};

Result<void> run_pipeline(Program& program, const PassContext& context,
                          const PipelineOptions& options);

}  // namespace sconce
