// XnnRunner: runs one XNNPACK payload on plain kernels. Internal to the delegate; host code.
//
// What a node means is what XNNPACK's own reference kernels make of it: floats as written,
// quantised pointwise nodes over the numbers that the integers stand for, matrix products of
// integers exactly. Shapes are inferred anew on every call. NaN passes through limits and pools.
#pragma once

#include <functional>
#include <memory>

#include "base/result.h"
#include "ops/kernel.h"
#include "runtime/delegate.h"
#include "targets/xnnpack/run/multiply.h"
#include "targets/xnnpack/run/value.h"

namespace sconce::xnn {

// Bytes of a named constant, which outlive the runner; null data = unknown.
using FindData = std::function<Bytes(const std::string& key)>;

class XnnRunner {
 public:
  // Checks every node against its values; the payload outlives the runner. No computed value may
  // take more than `bytes_max`.
  static Result<std::unique_ptr<XnnRunner>> make(Bytes payload, const FindData& find,
                                                 uint64_t bytes_max = uint64_t(1) << 36);
  // `args` by external id. One thread at a time.
  Result<void> execute(Span<const Value* const> args);
  // Told of every node while its on_step is set; outlives the runner.
  void set_profile(const DelegateProfile* profile) { profile_ = profile; }

 private:
  // Memory that grows and starts at a multiple of 64.
  struct Block {
    std::vector<uint8_t> bytes;
    uint8_t* at = nullptr;
  };
  struct Call;

  // load.cc
  Result<void> load(Bytes payload, const FindData& find);
  void expand_dynamic_inputs();
  Result<void> load_value(const XnnValue& declared, RunValue& value, const FindData& find);
  Result<void> load_scales(RunValue& value, const FindData& find);
  Result<Bytes> constant_bytes(uint32_t index, const FindData& find) const;
  uint8_t* keep(Bytes bytes);
  Result<void> check_order();
  Result<void> check_node(const XnnNode& node) const;
  Result<void> check_product(const XnnNode& node) const;
  void plan_blocks();

  // shape.cc
  Result<void> infer_sizes(const XnnNode& node);
  Result<Taps> taps_of(const XnnNode& node) const;
  Result<void> set_sizes(uint32_t value, std::initializer_list<int64_t> sizes);
  Result<void> set_sizes(uint32_t value, Span<const int64_t> sizes);

  // run.cc
  Result<void> bind_inputs(Span<const Value* const> args);
  Result<void> place(uint32_t value, Span<const Value* const> args);
  Result<void> run_node(const XnnNode& node);
  Result<void> run_floats(const XnnNode& node);
  Result<void> run_product(const XnnNode& node);
  Result<void> run_attention(const XnnNode& node);
  void run_move(const XnnNode& node);
  void run_images(const XnnNode& node);
  void run_prelu(const XnnNode& node);
  void apply_limits(const XnnNode& node, RunValue& value) const;
  Result<void> call(const Kernel& kernel, Call& call, Tensor& out);
  Result<void> grow(Block& block, uint64_t bytes);

  RunValue& in(const XnnNode& node, size_t i) { return values_[node.inputs[i]]; }
  const RunValue& in(const XnnNode& node, size_t i) const { return values_[node.inputs[i]]; }
  RunValue& out(const XnnNode& node, size_t i = 0) { return values_[node.outputs[i]]; }
  const RunValue& out(const XnnNode& node, size_t i = 0) const { return values_[node.outputs[i]]; }
  const RunValue* find_in(const XnnNode& node, size_t i) const {
    return node.inputs[i] == kXnnNoValue ? nullptr : &values_[node.inputs[i]];
  }

  const DelegateProfile* profile_ = nullptr;
  XnnGraph graph_;
  std::vector<RunValue> values_;  // by position in the graph
  std::vector<std::unique_ptr<Block>> kept_;
  std::vector<Block> blocks_;
  std::vector<int> block_of_;  // of a value; -1 = none
  Block scratch_;
  uint64_t bytes_max_ = 0;
};

}  // namespace sconce::xnn
