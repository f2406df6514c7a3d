// Evaluator: runs any IR graph on the reference kernels. Oracle, constant folder, calibration.
//
// Plain and sequential: every result gets memory of its own, freed after its last use. Not for
// speed.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "ir/graph.h"

namespace sconce {

// A contiguous tensor, shared and never changed once made. `data` points into `owner` or into
// memory that the caller keeps.
struct EvalTensor {
  DType dtype = DType::f32;
  std::vector<int64_t> sizes;
  const uint8_t* data = nullptr;
  uint64_t bytes = 0;
  std::shared_ptr<std::vector<uint8_t>> owner;
};

using EvalValue = std::variant<EvalTensor, int64_t, double, bool>;

class Evaluator {
 public:
  // `program` must outlive this. Without buffers, only nodes that read none can be run.
  explicit Evaluator(const Program& program, bool with_buffers = true);

  // Runs a method's graph. Inputs in the graph's order, numbers for integer inputs. Outputs in
  // order. Buffers keep their values from call to call.
  Result<std::vector<EvalValue>> run(const Graph& graph, std::vector<EvalValue> inputs);
  // Runs one node whose operands are given by `value_of`; used by constant folding.
  Result<std::vector<EvalValue>> run_node(const Graph& graph, const Node& node,
                                          const std::vector<EvalValue>& values);
  const std::vector<EvalTensor>& buffers() const { return buffers_; }
  // New contents of the graph's inputs that the last run mutated, by position.
  const std::vector<std::pair<int32_t, EvalTensor>>& mutated_inputs() const {
    return mutated_inputs_;
  }
  // Limit for one result, so that a hostile program cannot exhaust memory.
  uint64_t tensor_bytes_max = uint64_t(1) << 34;

 private:
  Result<std::vector<EvalValue>> run_values(const Graph& graph, std::vector<EvalValue> inputs,
                                            bool top);
  Result<std::vector<EvalValue>> run_control_flow(const Graph& graph, const Node& node,
                                                  const std::vector<EvalValue>& values);
  const Program& program_;
  std::vector<EvalTensor> buffers_;
  std::vector<std::pair<int32_t, EvalTensor>> mutated_inputs_;
  uint64_t random_state_ = 0;
};

EvalTensor make_eval_tensor(DType dtype, std::vector<int64_t> sizes);  // uninitialised, owned

}  // namespace sconce
