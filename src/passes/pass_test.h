// What the tests of passes share: IR text in, one pass or the pipeline, IR text out.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "ops/def.h"
#include "passes/pipeline.h"

namespace sconce {

// Trailing arguments that are left out take the operator's defaults.
inline void complete(Graph& graph) {
  for (auto& inner : graph.subgraphs) complete(*inner);
  for (Node& node : graph.nodes) {
    const Op* op = find_op(node.op);
    for (size_t i = node.arguments.size(); op && i < op->arguments.size(); i++)
      node.arguments.push_back(op->arguments[i].has_default ? op->arguments[i].default_value : Argument(None{}));
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
  context.has_node = [missing](const Op& op, const Program&, const Graph&, const Node&) {
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

// The first method's nodes after the pass, dead ones removed, one per line without indentation.
inline std::string after(PassFunction pass, const std::string& text, const PassContext& context = target_without()) {
  auto program = parse_completed(text);
  for (Method& method : program->methods) {
    apply(pass, *program, method.graph, context);
    apply(remove_dead_code, *program, method.graph, context);
    method.graph.compact();
  }
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
inline std::string ops_after(PassFunction pass, const std::string& text, const PassContext& context = target_without()) {
  auto program = parse_completed(text);
  Graph& graph = program->methods.at(0).graph;
  apply(pass, *program, graph, context);
  apply(remove_dead_code, *program, graph, context);
  Result<void> sound = verify(*program);
  EXPECT_TRUE(sound.ok()) << sound.error().text;
  std::string names;
  for (NodeId id : graph.order) {
    std::string op = graph.nodes[size_t(id)].op;
    if (op.starts_with("aten::")) op = op.substr(6);
    names += (names.empty() ? "" : " ") + op;
  }
  return names;
}

}  // namespace sconce
