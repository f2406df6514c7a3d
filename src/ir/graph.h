// IR: a program of methods, each an SSA graph at the level of ATen operators.
//
// Functional: no node changes its operands. What the exported program mutated is in
// Graph::write_backs, done when the method ends. A Graph owns its nodes and values in vectors;
// everything else holds ids, which stay valid while nodes are added; removed nodes leave a hole
// (Node::removed) until compact(). Constants and buffers belong to the Program, so methods share them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

#include "base/span.h"
#include "ir/symbol.h"
#include "tensor/dtype.h"

namespace sconce {

namespace tile {
struct Kernel;
}

using ValueId = int32_t;
using NodeId = int32_t;
inline constexpr ValueId kNoValue = -1;

struct TensorType {
  DType dtype = DType::f32;
  std::vector<SymInt> sizes;
  std::vector<uint8_t> dim_order;  // empty: contiguous
  bool operator==(const TensorType&) const = default;
};

// What a value is. Lists do not occur: an operator that returns a list has that many results.
struct Type {
  // none: an output of the program that is None, or a result that nobody can use.
  enum class Kind : uint8_t { tensor, integer, floating, boolean, none };
  Kind kind = Kind::tensor;
  TensorType tensor;  // kind tensor
  SymInt number;      // kind integer: what is known of it
  bool is_tensor() const { return kind == Kind::tensor; }
  bool operator==(const Type&) const = default;
  static Type of(TensorType type) { return {Kind::tensor, std::move(type), {}}; }
  static Type integer(SymInt number) { return {Kind::integer, {}, number}; }
};

struct None {
  bool operator==(const None&) const = default;
};
struct ValueRef {
  ValueId id = kNoValue;
  bool operator==(const ValueRef&) const = default;
};
// One integer of a list: known, or a value of kind integer.
struct IntItem {
  int64_t known = 0;
  ValueId value = kNoValue;
  bool is_known() const { return value == kNoValue; }
  bool operator==(const IntItem&) const = default;
};
struct GraphRef {  // index in Graph::subgraphs of the graph that holds the node
  int index = 0;
  bool operator==(const GraphRef&) const = default;
};
// An argument of a node, in the order of the operator's schema, defaults filled in. Enumerations
// (dtype, layout, memory format) are integers with ATen's codes; devices are dropped (none).
using Argument =
    std::variant<None, ValueRef, int64_t, double, bool, std::string, std::vector<IntItem>,
                 std::vector<double>, std::vector<bool>,
                 std::vector<ValueRef>,  // tensor list; kNoValue for an absent entry
                 GraphRef>;

struct Node {
  std::string op;  // "aten::add.Tensor"; control flow: "cond", "while_loop", "map", "scan"
  std::vector<Argument> arguments;
  std::vector<ValueId> results;
  std::string source;  // where the model's author wrote it: "model.py:12 in forward: y = x + 1"
  bool removed = false;
};

// Where a value comes from.
enum class Origin : uint8_t { node, input, constant, buffer };

struct ValueInfo {
  Type type;
  std::string name;  // unique in the graph; printed as %name
  Origin origin = Origin::node;
  int32_t index = 0;  // node: its NodeId; input: position; constant, buffer: index in the Program
  int32_t result = 0; // node: which result
};

// A mutation of the exported program: when the method ends, `value` becomes the new content.
struct WriteBack {
  enum class Target : uint8_t { buffer, input };
  Target target = Target::buffer;
  int32_t index = 0;  // buffer: index in Program::buffers; input: position in Graph::inputs
  ValueId value = kNoValue;
};

struct Graph {
  std::string name;
  std::vector<ValueInfo> values;
  std::vector<Node> nodes;       // by NodeId; order of execution is `order`
  std::vector<NodeId> order;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;  // user outputs in order; kNoValue never occurs
  std::vector<WriteBack> write_backs;
  std::vector<std::unique_ptr<Graph>> subgraphs;  // branches and bodies of control flow

  ValueId add_value(Type type, std::string name_hint, Origin origin, int32_t index,
                    int32_t result = 0);
  ValueId add_input(Type type, std::string name_hint);
  // Appends at the end of `order`. Results get their types from `types`.
  NodeId add_node(std::string op, std::vector<Argument> arguments, std::vector<Type> types,
                  std::string source = {}, std::string name_hint = {});
  const Node& producer(ValueId id) const { return nodes[size_t(values[size_t(id)].index)]; }
  bool is_node(ValueId id) const { return values[size_t(id)].origin == Origin::node; }
  const Type& type(ValueId id) const { return values[size_t(id)].type; }

  // Calls f(ValueId&) for every value a node uses, in order (absent list entries are skipped).
  template <class F> static void for_each_use(Node& node, F f);
  template <class F> static void for_each_use(const Node& node, F f);
  // Every use of `from`, outputs and write-backs included, becomes `to`. Subgraphs use their own
  // values only, so they are not touched. Looks at every node: a pass that replaces many values
  // collects them and calls the form below once, or keeps a UserIndex.
  void replace_all_uses(ValueId from, ValueId to);
  // All at once: a use of `v` becomes to[v], unless that is kNoValue or `v` is past its end. Chains
  // are followed to their end and must have one.
  void replace_all_uses(Span<const ValueId> to);
  // How often each value is used (outputs and write-backs count).
  std::vector<int32_t> use_counts() const;
  // Marks a node removed and takes it out of `order`. Its results must have no uses.
  void remove_node(NodeId id);
  void remove_nodes(Span<const NodeId> ids);  // the same, one sweep for all
  // Drops removed nodes and their values, constants, buffers and subgraphs that nothing uses;
  // nodes then stand in the order of execution. Ids change.
  void compact();

  // For unique names; kept by add_value, made anew when `values` was filled by other means.
  std::unordered_set<std::string> used_names;
  std::unordered_map<std::string, int32_t> name_counts;
};

// Who uses what, for passes that ask or replace node by node. Stays right while changes go through
// it; nodes that were added or rewritten by other means are told to it.
class UserIndex {
 public:
  explicit UserIndex(Graph& graph);
  // Nodes that use a value, each once. Outputs and write-backs count in `is_output`.
  Span<const NodeId> users(ValueId id) const;
  bool is_output(ValueId id) const;
  bool is_unused(ValueId id) const { return users(id).empty() && !is_output(id); }
  void replace_all_uses(ValueId from, ValueId to);
  // Tells of a node that is new or was removed; `remove` comes before its arguments are changed.
  void add(NodeId id);
  void remove(NodeId id);

 private:
  void grow();
  Graph& graph_;
  std::vector<std::vector<NodeId>> users_;  // by value
  std::vector<int32_t> output_counts_;
};

// Bytes of a constant: a view into a mapped archive, or owned.
struct ConstantData {
  TensorType type;       // sizes are all known; contiguous
  Bytes bytes;           // exactly the tensor's bytes
  std::string name;      // "model.layers.0.weight"; other names of the same data follow in aliases
  std::vector<std::string> aliases;
  std::shared_ptr<const std::vector<uint8_t>> owned;  // keeps `bytes` alive when we made them
  // Read from text that left the bytes out: their hash there; `bytes` are zeros. 0: bytes are true.
  uint64_t omitted = 0;
};

// State that lives from call to call.
struct BufferData {
  TensorType type;
  std::string name;
  Bytes initial;  // empty: zeros
  std::shared_ptr<const std::vector<uint8_t>> owned;
  uint64_t omitted = 0;  // as in ConstantData
};

// A piece of a graph that a backend has taken over; only the backend knows what the payload says.
// A node "delegate" runs it: arguments are its index and the list of its operands, perhaps a list of
// which operand each result is with a part changed (-1: none). Partitioning comes after the passes, so
// that no pass and no text form knows such nodes.
struct DelegateData {
  std::string id;  // of the backend, as the file names it: "SconceBackend"
  std::vector<uint8_t> payload;
};

// Bytes that payloads find by name. Equal names have equal bytes.
struct NamedData {
  std::string name;
  Bytes bytes;
  std::shared_ptr<const std::vector<uint8_t>> owned;  // keeps `bytes` alive when we made them
  uint32_t alignment = 64;
};

// What a caller passes that is not a tensor, or what is fixed: checked on every call.
struct FixedInput {
  int32_t position = 0;  // among the graph's inputs
  std::variant<int64_t, double, bool, std::string, None> value;
};

// In a namespace of their own: the runtime has a Program and a Method too, of bytes instead of nodes.
namespace ir {

struct Method {
  std::string name;
  Graph graph;
  std::vector<FixedInput> fixed_inputs;
  std::string in_spec, out_spec;          // pytree specs as torch wrote them; may be empty
  std::vector<std::string> input_names;   // by position
};

struct Program {
  SymbolTable symbols;
  std::vector<ConstantData> constants;
  std::vector<BufferData> buffers;
  std::vector<Method> methods;
  std::vector<DelegateData> delegates;
  // What nodes "kernel" run, which stand for operators of the model: arguments are the index here and
  // the operands, by argument of the operator (ops/own_kernel.h).
  std::vector<std::shared_ptr<const tile::Kernel>> own_kernels;
  std::vector<NamedData> named_data;
  std::vector<std::shared_ptr<const void>> keep_alive;  // mappings that constants view into

  // Index of a constant with these bytes: one that is there when it has the same bytes and type
  // (and, above 4 KiB, the same name), else a new one.
  int32_t add_constant(TensorType type, std::shared_ptr<const std::vector<uint8_t>> bytes,
                       std::string name);

  // Index of the first `constants_indexed` constants for add_constant, which keeps it.
  std::unordered_multimap<uint64_t, int32_t> constants_by_hash;
  size_t constants_indexed = 0;
};

}  // namespace ir

using ir::Method;
using ir::Program;

// Upper bound of a tensor's bytes; nullopt when a size is unbounded or the product overflows. A size
// whose bound exceeds int32 counts as unbounded: no runtime takes it.
std::optional<uint64_t> bytes_max(const TensorType& type, const SymbolTable& symbols);
// Sizes at the upper bounds of their symbols.
std::optional<std::vector<int64_t>> sizes_max(const TensorType& type, const SymbolTable& symbols);
bool is_static(const TensorType& type);

// The same program again, ids and all; bytes of constants are shared.
std::unique_ptr<Program> copy(const Program& program);

// Text form: print and parse are inverse, but for data above 64 bytes, of which the text has a hash
// (docs/ir.md). What is parsed has been verified.
std::string print(const Program& program);
std::string print(const Graph& graph, const Program& program);
Result<std::unique_ptr<Program>> parse_program(const std::string& text);
// Structure: every use is defined before, ids in range, results point back, types present, subgraph
// arguments exist, data as long as its type says, names unique, write-backs of the type they replace.
// The operators' own rules are checked in ops/check.h.
Result<void> verify(const Program& program);

template <class F>
void Graph::for_each_use(Node& node, F f) {
  for (Argument& argument : node.arguments) {
    if (auto* ref = std::get_if<ValueRef>(&argument)) f(ref->id);
    else if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
      for (IntItem& item : *items)
        if (!item.is_known()) f(item.value);
    } else if (auto* refs = std::get_if<std::vector<ValueRef>>(&argument)) {
      for (ValueRef& r : *refs)
        if (r.id != kNoValue) f(r.id);
    }
  }
}

template <class F>
void Graph::for_each_use(const Node& node, F f) {
  for_each_use(const_cast<Node&>(node), [&](ValueId& id) { f(ValueId(id)); });
}

}  // namespace sconce
