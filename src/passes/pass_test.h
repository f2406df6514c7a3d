// What the tests of passes share: IR text in, one pass or the pipeline, IR text out.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>

#include <cmath>
#include <cstring>
#include <random>

#include "eval/eval.h"
#include "ops/def.h"
#include "ops/elementwise.h"
#include "passes/pipeline.h"

namespace sconce {

// Trailing arguments that are left out take the operator's defaults.
inline void complete(Graph& graph) {
  for (auto& inner : graph.subgraphs) complete(*inner);
  for (Node& node : graph.nodes) {
    const Op* op = find_op(node.op);
    for (size_t i = node.arguments.size(); op && i < op->arguments.size(); i++)
      node.arguments.push_back(op->arguments[i].has_default ? op->arguments[i].default_value
                                                            : Argument(None{}));
  }
}

inline std::unique_ptr<Program> parse_completed(const std::string& text) {
  auto program = parse_program(text);
  EXPECT_TRUE(program.ok()) << program.error().text;
  if (!program.ok()) return std::make_unique<Program>();
  for (Method& method : (*program)->methods) complete(method.graph);
  return std::move(*program);
}

// A target that runs every operator with a kernel, but for those named.
inline PassContext target_without(std::set<std::string> missing = {}) {
  PassContext context;
  context.has_node = [missing](const Op& op, Program&, const Graph&, const Node&) {
    return op.kernel && !missing.count(op.name);
  };
  return context;
}

using PassFunction = Result<void> (*)(Program&, Graph&, const PassContext&);

inline void apply(PassFunction pass, Program& program, Graph& graph, const PassContext& context) {
  for (auto& inner : graph.subgraphs) apply(pass, program, *inner, context);
  Result<void> done = pass(program, graph, context);
  ASSERT_TRUE(done.ok()) << done.error().text;
}

// Inputs of the sizes that symbols had at export.
inline std::vector<EvalValue> random_inputs(const Program& program, const Graph& graph,
                                            uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<EvalValue> inputs;
  for (ValueId id : graph.inputs) {
    const Type& type = graph.type(id);
    if (type.kind == Type::Kind::integer) {
      inputs.push_back(program.symbols.hint(type.number));
      continue;
    }
    std::vector<int64_t> sizes;
    for (const SymInt& size : type.tensor.sizes) sizes.push_back(program.symbols.hint(size));
    EvalTensor tensor = make_eval_tensor(type.tensor.dtype, sizes);
    DType dtype = type.tensor.dtype;
    for (uint64_t i = 0; i < tensor.bytes / dtype_bytes(dtype); i++) {
      uint8_t* at = tensor.owner->data() + i * dtype_bytes(dtype);
      int64_t integer = dtype == DType::b8 ? int64_t(random() % 2) : int64_t(random() % 5);
      float number = float(int(random() % 4001) - 2000) / 1000;
      if (is_integral(dtype))
        store_elements<int64_t>(at, 1, &integer, 1, dtype);
      else
        store_elements<float>(at, 1, &number, 1, dtype);
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

// Gives constants that a text leaves out f32 elements by lot.
inline void draw_omitted_constants(Program& program) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (ConstantData& constant : program.constants) {
    if (!constant.omitted) continue;
    auto bytes = std::make_shared<std::vector<uint8_t>>(constant.bytes.size());
    for (size_t i = 0; i + 4 <= bytes->size(); i += 4) {
      float x = uniform(random);
      memcpy(bytes->data() + i, &x, 4);
    }
    constant.bytes = *bytes;
    constant.owned = bytes;
    constant.omitted = 0;
  }
}

// f32 elements of `wanted` and those that lie at `found` are equal, to a share of their size.
inline void expect_near(const EvalTensor& wanted, const uint8_t* found, double tolerance,
                        size_t output) {
  for (size_t i = 0; i < wanted.bytes / 4; i++) {
    float a, b;
    memcpy(&a, wanted.data + 4 * i, 4);
    memcpy(&b, found + 4 * i, 4);
    if (a == b || (a != a && b != b)) continue;
    EXPECT_NEAR(a, b, tolerance * std::max(1.0f, std::fabs(a)))
        << "output " << output << ", element " << i;
    if (std::fabs(a - b) > 1) break;
  }
}

inline std::vector<double> elements(const EvalTensor& tensor) {
  std::vector<double> result(tensor.bytes / dtype_bytes(tensor.dtype));
  for (size_t i = 0; i < result.size(); i++)
    load_elements<double>(&result[i], tensor.data + i * dtype_bytes(tensor.dtype), 1, 1,
                          tensor.dtype);
  return result;
}

// Outputs and new buffers are the same, to a rounding or two of the element type.
inline void expect_same_results(const Program& before, const Graph& old_graph, const Program& after,
                                const Graph& new_graph, uint32_t seed = 1) {
  Evaluator old_run(before), new_run(after);
  std::vector<EvalValue> inputs = random_inputs(before, old_graph, seed);
  auto wanted = old_run.run(old_graph, inputs);
  ASSERT_TRUE(wanted.ok()) << wanted.error().text;
  auto found = new_run.run(new_graph, inputs);
  ASSERT_TRUE(found.ok()) << found.error().text;
  ASSERT_EQ(wanted->size(), found->size());
  for (const EvalTensor& buffer : old_run.buffers()) wanted->push_back(buffer);
  for (const EvalTensor& buffer : new_run.buffers()) found->push_back(buffer);
  for (size_t k = 0; k < wanted->size(); k++) {
    auto *a = std::get_if<EvalTensor>(&(*wanted)[k]), *b = std::get_if<EvalTensor>(&(*found)[k]);
    if (!a || !b) {
      EXPECT_EQ((*wanted)[k].index(), (*found)[k].index());
      continue;
    }
    ASSERT_EQ(a->dtype, b->dtype);
    ASSERT_EQ(a->sizes, b->sizes);
    double unit = a->dtype == DType::bf16  ? 1.6e-2
                  : a->dtype == DType::f16 ? 2e-3
                  : is_integral(a->dtype)  ? 0
                                           : 1e-5;
    std::vector<double> x = elements(*a), y = elements(*b);
    double scale = 1;
    for (double v : x)
      if (std::isfinite(v)) scale = std::max(scale, std::fabs(v));
    for (size_t i = 0; i < x.size(); i++) {
      if (std::isnan(x[i]) && std::isnan(y[i])) continue;
      if (x[i] == y[i]) continue;
      ASSERT_LE(std::fabs(x[i] - y[i]), unit * scale)
          << "output " << k << ", element " << i << ": " << x[i] << " became " << y[i];
    }
  }
}

// The first method's nodes after the pass, dead ones removed, one per line without indentation.
inline std::string after(PassFunction pass, const std::string& text,
                         const PassContext& context = target_without()) {
  auto program = parse_completed(text);
  for (Method& method : program->methods) {
    apply(pass, *program, method.graph, context);
    apply(remove_dead_code, *program, method.graph, context);
    method.graph.compact();
  }
  auto original = parse_completed(text);
  for (size_t k = 0; k < program->methods.size(); k++)
    expect_same_results(*original, original->methods[k].graph, *program, program->methods[k].graph);
  Result<void> sound = verify(*program);
  EXPECT_TRUE(sound.ok()) << sound.error().text;
  std::string lines;
  for (const Method& method : program->methods) {
    std::string all = print(method.graph, *program);
    for (size_t at = 0, end; at < all.size(); at = end + 1) {
      end = all.find('\n', at);
      size_t first = all.find_first_not_of(' ', at);
      std::string line = all.substr(first, end - first);
      if (line != "}" && !line.starts_with("graph forward")) lines += line + "\n";
    }
  }
  return lines;
}

// The names of the operators that are left, in order, with a space between.
inline std::string ops_after(PassFunction pass, const std::string& text,
                             const PassContext& context = target_without()) {
  auto program = parse_completed(text);
  Graph& graph = program->methods.at(0).graph;
  apply(pass, *program, graph, context);
  apply(remove_dead_code, *program, graph, context);
  Result<void> sound = verify(*program);
  EXPECT_TRUE(sound.ok()) << sound.error().text;
  auto original = parse_completed(text);
  expect_same_results(*original, original->methods[0].graph, *program, graph);
  std::string names;
  for (NodeId id : graph.order) {
    std::string op = graph.nodes[size_t(id)].op;
    if (op.starts_with("aten::")) op = op.substr(6);
    names += (names.empty() ? "" : " ") + op;
  }
  return names;
}

}  // namespace sconce
