// OpDef: all that the compiler knows about an operator, by its functional ATen name.
//
// OP(name) = {...} at the start of a line in a *.def.cc under ops/ registers one; the build scans
// for it. Most facts are in the schema text, which is ATen's own: argument names, types, defaults,
// which results alias which arguments (a), which arguments are mutated (a!). In-place operators
// need no row: the importer derives them from the functional one (ops named "add_" mutate self of
// "add").
#pragma once

#include <optional>
#include <string_view>

#include "ir/graph.h"
#include "ops/kernel.h"

namespace sconce {

class Build;

// Rewrites a node as other nodes: adds them through `build` and returns one value per result.
// Nullopt: this decomposition does not apply to these arguments (nothing may have been added then).
using Decompose = std::optional<std::vector<ValueId>> (*)(Build& build, const Node& node);

// What a call that changes arguments in place comes to.
struct Effects {
  struct Write {
    int argument;   // position of the tensor that is changed
    ValueId value;  // what it holds afterwards
  };
  std::vector<ValueId> results;  // one per result of the operator
  std::vector<Write> writes;
};
// Rewrites a call that changes arguments, whether its schema says so or not, as nodes that do not.
// Nullopt: a call with these arguments changes nothing (nothing may have been added then).
using Functionalize = std::optional<Effects> (*)(Build& build, const Node& node);

struct OpDef {
  const char* schema;  // "aten::add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"
  const char* out = nullptr;      // kernel's name, "aten::add.out"; null: always decomposed
  Decompose decompose = nullptr;  // used when a target lacks `out`
  bool random = false;            // two equal calls differ: never merged, never folded
  // For operators that change some arguments beside giving results; the importer uses it. Plain
  // in-place operators ("add_") need none.
  Functionalize functionalize = nullptr;
};

#define OP(name)                          \
  extern const ::sconce::OpDef op_##name; \
  const ::sconce::OpDef op_##name

struct SchemaArgument {
  std::string name;
  std::string type;  // "Tensor", "Tensor?", "Scalar", "SymInt[2]", "int[]?", "Tensor[]", ...
  bool keyword_only = false;
  bool optional = false;  // has '?' or a default
  bool has_default = false;
  Argument default_value;  // valid when has_default
  char alias = 0;          // 'a' of Tensor(a)
  bool mutated = false;    // '!'
};

struct SchemaReturn {
  std::string type;
  char alias = 0;
};

// An operator as looked up: definition, parsed schema, kernel.
struct Op {
  const OpDef* def = nullptr;
  std::string name;  // "aten::add.Tensor" (an empty overload prints without the dot: "aten::relu")
  std::vector<SchemaArgument> arguments;
  std::vector<SchemaReturn> returns;
  const Kernel* kernel = nullptr;       // null when composite
  const char* kernel_symbol = nullptr;  // C++ symbol of the kernel, for selective builds
  // Arguments that the kernel takes, by position. All, but for operators with tensor options
  // (dtype, layout, device, pin_memory): the out variant lacks these four, its out tells them.
  std::vector<int> kernel_arguments;
  // Position of the dropped dtype: when given, the results have it instead of what the shape rule
  // says. -1 when the operator has no tensor options.
  int dtype_option = -1;
  int argument_index(std::string_view name) const;  // -1 when there is none
};

// Null when unknown. Names are "aten::add.Tensor"; "aten::relu.default" finds "aten::relu".
const Op* find_op(std::string_view name);
// The operator whose kernel has that name ("aten::add.out"); null when unknown.
const Kernel* find_kernel(std::string_view name);
// The operator that a kernel of that name ("aten::permute_copy.out") computes; null when unknown.
// Of several with one kernel (permute, permute_copy) it is the one with the shortest name, which is
// the one that passes know.
const Op* find_op_of_kernel(std::string_view name);
Span<const Op> all_ops();

// A schema text as torch prints it. Public for tests and for in-place forms.
Result<Op> parse_schema(std::string_view schema);

}  // namespace sconce
