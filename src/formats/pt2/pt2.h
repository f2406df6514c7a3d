// Archive that torch.export.save writes (.pt2): programs as plain structs, weights in place.
//
// Knows the file only: what an operator means, what a symbolic expression says and which tensors
// alias is the importer's business. Nothing is unpickled: sample inputs are never read, and weights
// or constants that torch stored as pickle are refused. Layout and limits: format.md.
//
// Strings, lists and graphs live in the Archive; weights are views into the file given to
// read_archive, which must outlive it. Everything is read only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "base/span.h"
#include "tensor/dtype.h"

namespace sconce::pt2 {

// --- Numbers that may be symbolic

// A constant (`expr` is empty and `hint` is its value) or an expression as sympy.srepr prints it,
// "Add(Symbol('s77', positive=True, integer=True), Integer(1))", whose hint is the value it had
// while exporting, when that was kept.
template <class T>
struct Symbolic {
  std::string_view expr;
  std::optional<T> hint;
  bool is_constant() const { return expr.empty(); }
};
using SymInt = Symbolic<int64_t>;
using SymFloat = Symbolic<double>;
using SymBool = Symbolic<bool>;

// --- Types of values

// Numbers of the file.
// clang-format off
enum class Layout : uint8_t {
  unknown, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, mkldnn, strided
};
enum class MemoryFormat : uint8_t { unknown, contiguous, channels_last, channels_last_3d, preserve };
// clang-format on

struct Device {
  std::string_view type;  // "cpu", "cuda", "meta", ...
  int32_t index = -1;     // -1: not said
};

struct TensorMeta {
  DType dtype = DType::f32;
  Layout layout = Layout::strided;
  bool requires_grad = false;
  Span<const SymInt> sizes;
  Span<const SymInt> strides;  // in elements, as many as sizes
  SymInt storage_offset;       // in elements
  Device device;
};

// --- Graph

struct Graph;

// One argument or result of a node, or an input or output of a graph. Lists of every kind hold
// their entries in `items`, each an Argument of a single kind; nested lists hold lists.
struct Argument {
  enum class Kind : uint8_t {
    none,
    // Names of values defined earlier in the same graph (or by this place: inputs, node outputs).
    tensor,      // name
    sym_int,     // name; a symbolic int that is a plain number comes as `integer`
    sym_float,   // name; plain number: `floating`
    sym_bool,    // name; plain number: `boolean`
    custom_obj,  // name, and its class in `text`
    token,       // name; only in signatures
    // Constants.
    integer,        // integer
    floating,       // floating
    boolean,        // boolean
    complex,        // floating + imaginary * i
    string,         // text
    dtype,          // dtype
    layout,         // layout
    memory_format,  // memory_format
    device,         // text is its type, integer its index or -1
    op,             // text, such as "torch.ops.aten.add.Tensor"
    graph,          // name and *graph
    // Lists. The kind of an empty list is kept, so that its element type is known.
    tensors,           // items: tensor
    optional_tensors,  // items: tensor or none
    tensor_lists,      // items: tensors
    integers,          // items: integer
    integer_lists,     // items: integers
    floats,            // items: floating
    float_lists,       // items: floats
    booleans,          // items: boolean
    strings,           // items: string
    sym_ints,          // items: sym_int or integer
    sym_floats,        // items: sym_float or floating
    sym_bools,         // items: sym_bool or boolean
    dictionary,        // items of any kind; the key of each is in its `key`
  };
  Kind kind = Kind::none;
  union {
    int64_t integer = 0;
    double floating;
    bool boolean;
    DType dtype;
    Layout layout;
    MemoryFormat memory_format;
    const Graph* graph;
  };
  double imaginary = 0;
  std::string_view name;
  std::string_view text;
  std::string_view key;
  Span<const Argument> items;

  bool is_list() const { return kind >= Kind::tensors; }
};

// "tensor", "sym_ints", ...: for messages.
const char* kind_name(Argument::Kind kind);

struct NamedArgument {
  std::string_view name;  // parameter name in the operator's schema; empty for positional extras
  bool is_keyword = false;
  Argument value;
};

struct Node {
  std::string_view target;  // "torch.ops.aten.linear.default", "torch.ops.higher_order.cond", ...
  std::string_view name;    // of the node while tracing; may be empty
  Span<const NamedArgument> inputs;
  Span<const Argument> outputs;
  // Of a higher-order operator: true when its single result is a tensor and not a list of one.
  bool is_single_tensor_return = false;
  // From the metadata, empty when absent. Both are for people, except nn_module_stack:
  // "key,path,type" entries from outermost to innermost, separated by ';'.
  std::string_view stack_trace;
  std::string_view nn_module_stack;
  std::string_view torch_fn;
  std::string_view custom;  // JSON text of the user's annotations
};

template <class T>
struct Named {
  std::string_view name;
  T value;
};

// Every name is defined once, by an input or by an earlier node's output, before its first use;
// every tensor has its entry in `tensor_values` (checked by the reader). A nested graph sees
// no names of the graph around it.
struct Graph {
  Span<const Argument> inputs;  // constants stand where a user passed a plain number or None
  Span<const Argument> outputs;
  Span<const Node> nodes;
  bool is_single_tensor_return = false;
  // Sorted by name.
  Span<const Named<TensorMeta>> tensor_values;
  Span<const Named<SymInt>> sym_int_values;
  Span<const Named<SymFloat>> sym_float_values;
  Span<const Named<SymBool>> sym_bool_values;
  Span<const Named<std::string_view>> custom_obj_values;  // class names
};

// Null when the graph has no such value.
const TensorMeta* find_tensor(const Graph& graph, std::string_view name);
const SymInt* find_sym_int(const Graph& graph, std::string_view name);
const SymFloat* find_sym_float(const Graph& graph, std::string_view name);
const SymBool* find_sym_bool(const Graph& graph, std::string_view name);

// --- Signature

// What stands behind each input of the graph, in the order of graph.inputs.
struct InputSpec {
  enum class Kind : uint8_t {
    user_input,       // arg
    parameter,        // arg, target: name of the parameter, one of Program::weights
    buffer,           // arg, target: name of the buffer; in weights when persistent, else constants
    tensor_constant,  // arg, target: name of the constant, one of Program::constants
    custom_obj,       // arg, target
    token,            // arg
    constant_input,   // arg is the value the user passed, target the name of the input
  };
  Kind kind = Kind::user_input;
  bool persistent = false;  // buffer
  Argument arg;
  std::string_view target;
};

// What becomes of each output of the graph, in the order of graph.outputs.
struct OutputSpec {
  enum class Kind : uint8_t {
    user_output,             // arg
    loss,                    // arg
    buffer_mutation,         // arg is the new value of buffer `target`
    parameter_mutation,      // arg is the new value of parameter `target`
    user_input_mutation,     // arg is the new value of the user input named `target`
    gradient_to_parameter,   // arg, target
    gradient_to_user_input,  // arg, target
    token,                   // arg
  };
  Kind kind = Kind::user_output;
  Argument arg;
  std::string_view target;
};

// Bounds of a symbol of the expressions, inclusive. Empty: unbounded on that side.
struct Range {
  std::optional<int64_t> min, max;
};

// How a module of the source model was called; the entry with an empty fqn is the whole model.
// in_spec and out_spec are pytree specifications (JSON text) of arguments and results.
struct ModuleCall {
  std::string_view fqn;
  bool has_signature = false;  // the rest is empty without one
  Span<const Argument> inputs, outputs;
  std::string_view in_spec, out_spec;
  Span<const std::string_view> argument_names;
};

// --- Weights

// A parameter, buffer or constant. Several may share a payload: tied weights, and views of one
// storage. `bytes` begins at the first element and ends after the last one that the strides reach.
struct Weight {
  std::string_view name;  // as in InputSpec::target
  DType dtype = DType::f32;
  bool is_parameter = false;
  bool requires_grad = false;
  Span<const int64_t> sizes;
  Span<const int64_t> strides;  // in elements, >= 0
  int64_t storage_offset = 0;   // in elements, >= 0
  Bytes bytes;
  Bytes storage;          // the whole payload; equal data() means shared storage
  std::string_view path;  // of the payload inside the archive, for messages
};

// True when the elements lie in row-major order without gaps: `bytes` is the dense tensor.
bool is_contiguous(const Weight& weight);

// --- Archive

struct Program {
  std::string_view name;  // "model" unless several were packaged
  Graph graph;
  Span<const InputSpec> inputs;
  Span<const OutputSpec> outputs;
  Span<const Named<Range>> range_constraints;  // by symbol, sorted
  Span<const ModuleCall> module_calls;
  Span<const Named<int64_t>> opset_version;  // by namespace, sorted
  Span<const std::string_view> guards;       // Python text of what the export assumed of inputs
  Span<const Weight> weights;                // sorted by name
  Span<const Weight> constants;              // sorted by name
  std::string_view torch_version;
  int32_t schema_major = 0, schema_minor = 0;
};

// Null when there is none of that name.
const Weight* find_weight(const Program& program, std::string_view name);
const Weight* find_constant(const Program& program, std::string_view name);
// Of a parameter, buffer or tensor constant: its data, which is always there and has the dtype and
// sizes of the graph's input. Null for the other kinds.
const Weight* find_data(const Program& program, const InputSpec& spec);
const Range* find_range(const Program& program, std::string_view symbol);

struct Storage;
struct StorageDelete {
  void operator()(Storage* storage) const;
};

struct Archive {
  Span<const Program> programs;  // at least one, sorted by name
  Span<const Named<Bytes>> extra_files;
  std::unique_ptr<Storage, StorageDelete>
      storage;  // owns all but the weights' bytes and names of entries
};

struct ReadOptions {
  // Checksums of JSON entries are always verified. Those of weights cost a pass over all bytes.
  bool verify_weights = false;
  uint64_t json_bytes_max = uint64_t(256) << 20;  // of one entry
  uint32_t graph_depth_max = 64;                  // graphs nested in graphs
};

// Views in the result point into `file`. Payloads that are not aligned to 16 bytes there (torch
// aligns to 64) are copied, so that every Weight can be read in place.
Result<Archive> read_archive(Bytes file, const ReadOptions& options = {});

}  // namespace sconce::pt2
