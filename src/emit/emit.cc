#include "emit/emit.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "emit/constraints.h"
#include "ops/prim/prim.h"
#include "ops/traits.h"
#include "plan/plan.h"

namespace sconce {
namespace {

constexpr uint64_t kAlignment = 16;

// Memory that one or more tensors share.
struct Storage {
  enum class Kind : uint8_t { planned, constant, caller };
  Kind kind = Kind::planned;
  uint64_t bytes = 0;
  uint32_t first = UINT32_MAX, last = 0;  // steps, inclusive
  uint32_t data_index = 0;                // constant: in constants; buffer: in initial_values
  int32_t remaining = 0;                  // uses still to be emitted, of all values placed here
  bool pinned = false;                    // never given to a result: inputs, buffers, loop state
};

// Where an SSA value is in the file.
struct Place {
  int32_t value = -1;    // index in PteMethod::values
  int32_t storage = -1;  // tensors only
  uint64_t offset = 0;
};

struct Loop {
  uint32_t first, last;
};
struct Use {
  int32_t storage;
  uint32_t step;
};

struct Constants {
  PteProgram& program;
  std::map<std::pair<const uint8_t*, uint64_t>, uint32_t> index;

  uint32_t add(Bytes bytes) {
    auto [found, added] =
        index.try_emplace({bytes.data(), bytes.size()}, uint32_t(program.constants.size()));
    if (added) program.constants.push_back(bytes);
    return found->second;
  }
};

class MethodEmitter {
 public:
  MethodEmitter(const Program& program, const Method& method, const EmitOptions& options,
                PteProgram& file, Constants& constants)
      : program_(program), method_(method), options_(options), file_(file), constants_(constants) {}

  Result<void> run(PlanReport* report);
  PteMethod take() { return std::move(out_); }

 private:
  using Env = std::vector<Place>;  // by ValueId

  // --- values of the file
  int32_t add_value(PteValue value) {
    out_.values.push_back(std::move(value));
    return int32_t(out_.values.size()) - 1;
  }
  int32_t constant_value(const PteValue& value);
  int32_t number_value(const Type& type);
  Result<Place> new_tensor(const TensorType& type, int32_t storage, uint64_t offset);
  int32_t new_storage(uint64_t bytes) {
    storages_.push_back({});
    storages_.back().bytes = bytes;
    return int32_t(storages_.size()) - 1;
  }
  Result<uint64_t> bytes_of(const TensorType& type) const {
    auto bytes = bytes_max(type, program_.symbols);
    if (!bytes)
      return error(Code::unsupported,
                   "a tensor has no upper bound: give its dynamic dimension a maximum at export");
    return *bytes;
  }

  // --- instructions
  uint32_t step() const { return uint32_t(chain().instructions.size()); }
  PteChain& chain() { return out_.chains[0]; }
  const PteChain& chain() const { return out_.chains[0]; }
  void add_instruction(PteInstruction instruction, const std::string& source) {
    chain().instructions.push_back(std::move(instruction));
    if (options_.source_lines) chain().stacks.push_back(frames(source));
  }
  static std::vector<PteFrame> frames(const std::string& source);
  int32_t operator_index(std::string_view name);
  void call(std::string_view op, std::vector<int32_t> args, const std::string& source) {
    int32_t index = operator_index(name_in_file(op));
    add_instruction(PteKernelCall{index, std::move(args)}, source);
  }
  static std::string_view name_in_file(std::string_view op) { return op; }
  void touch(int32_t storage) {
    if (storage < 0) return;
    Storage& s = storages_[size_t(storage)];
    s.first = std::min(s.first, step());
    s.last = std::max(s.last, step());
    uses_.push_back({storage, step()});
  }
  void touch(const Place& place) { touch(place.storage); }

  // --- graph
  Result<void> place_constants(const Graph& graph, Env& env, const std::vector<int32_t>& uses);
  Result<void> emit_nodes(const Graph& graph, Env& env, const std::map<ValueId, Place>& targets);
  Result<void> emit_node(const Graph& graph, const Node& node, Env& env,
                         const std::map<ValueId, Place>& targets);
  Result<bool> emit_view(const Graph& graph, const Node& node, const Op& op, Env& env);
  Result<int32_t> argument(const Argument& argument, const std::string& type, const Env& env);
  void bind(ValueId id, Place place, Env& env, const std::vector<int32_t>& uses) {
    if (place.storage >= 0) storages_[size_t(place.storage)].remaining += uses[size_t(id)];
    env[size_t(id)] = place;
  }
  void release(const Node& node, const Env& env) {
    Graph::for_each_use(node, [&](ValueId id) {
      if (env[size_t(id)].storage >= 0) storages_[size_t(env[size_t(id)].storage)].remaining--;
    });
  }
  Result<void> emit_cond(const Graph& graph, const Node& node, Env& env);
  Result<void> emit_while(const Graph& graph, const Node& node, Env& env);
  Result<void> emit_scan(const Graph& graph, const Node& node, Env& env);
  Result<void> emit_delegate(const Graph& graph, const Node& node, Env& env);
  std::optional<Place> replaced_state(const Graph& graph, ValueId before, ValueId now,
                                      const Env& env) const;
  // Emits the body of control flow. `results` say where each output has to end up.
  Result<void> emit_subgraph(const Graph& graph, std::vector<Place> inputs,
                             const std::vector<Place>& results, bool loop_state,
                             const std::string& source);
  void copy(const Type& type, const Place& from, const Place& to, const std::string& source);
  int32_t jump_false(int32_t condition, const std::string& source) {  // destination set later
    add_instruction(PteJumpFalse{condition, 0}, source);
    return int32_t(step()) - 1;
  }
  void set_destination(int32_t instruction) {
    std::get<PteJumpFalse>(chain().instructions[size_t(instruction)]).destination = int32_t(step());
  }
  Result<Place> new_result(const Type& type);
  std::vector<ValueRef> list(const Argument& argument) {
    if (auto* refs = std::get_if<std::vector<ValueRef>>(&argument)) return *refs;
    return {};
  }

  const Program& program_;
  const Method& method_;
  const EmitOptions& options_;
  PteProgram& file_;
  Constants& constants_;
  PteMethod out_;
  std::vector<Storage> storages_;
  std::vector<Use> uses_;
  std::vector<Loop> loops_;
  std::vector<std::pair<int32_t, std::pair<int32_t, uint64_t>>>
      placed_;  // value -> storage, offset
  std::map<std::string, int32_t> operators_;
  std::map<PteValue, int32_t, bool (*)(const PteValue&, const PteValue&)> constant_values_{
      [](const PteValue& a, const PteValue& b) {
        if (a.index() != b.index()) return a.index() < b.index();
        return std::visit(
            [&](const auto& x) -> bool {
              using T = std::decay_t<decltype(x)>;
              const T& y = std::get<T>(b);
              if constexpr (std::is_same_v<T, std::monostate>)
                return false;
              else if constexpr (std::is_same_v<T, double>)
                return memcmp(&x, &y, sizeof(x)) < 0;
              else if constexpr (requires { x < y; })
                return x < y;
              else if constexpr (requires { x.items < y.items; })
                return x.items < y.items;
              else
                return false;
            },
            a);
      }};
  std::unordered_map<const Graph*, std::vector<int32_t>> use_counts_;
};

std::vector<PteFrame> MethodEmitter::frames(const std::string& source) {
  if (source.empty()) return {};
  PteFrame frame;
  size_t colon = source.find(':');
  frame.file = source.substr(0, colon);
  if (colon != std::string::npos) {
    frame.line = atoi(source.c_str() + colon + 1);
    size_t code = source.find(": ", colon);
    if (code != std::string::npos) frame.code = source.substr(code + 2);
  }
  return {frame};
}

int32_t MethodEmitter::operator_index(std::string_view name) {
  auto [found, added] = operators_.try_emplace(std::string(name), int32_t(out_.operators.size()));
  if (added) {
    size_t colons = name.find("::"),
           dot = name.find('.', colons == std::string_view::npos ? 0 : colons);
    PteOperator op;
    op.name = std::string(name.substr(0, dot));
    if (dot != std::string_view::npos) op.overload = std::string(name.substr(dot + 1));
    out_.operators.push_back(std::move(op));
  }
  return found->second;
}

int32_t MethodEmitter::constant_value(const PteValue& value) {
  auto [found, added] = constant_values_.try_emplace(value, 0);
  if (added) found->second = add_value(value);
  return found->second;
}

// A number that is computed: every one is a value of its own.
int32_t MethodEmitter::number_value(const Type& type) {
  switch (type.kind) {
    case Type::Kind::integer: return add_value(program_.symbols.hint(type.number));
    case Type::Kind::floating: return add_value(0.0);
    case Type::Kind::boolean: return add_value(false);
    default: return add_value(std::monostate());
  }
}

Result<Place> MethodEmitter::new_tensor(const TensorType& type, int32_t storage, uint64_t offset) {
  PteTensor tensor;
  tensor.scalar_type = int8_t(type.dtype);
  auto sizes = sizes_max(type, program_.symbols);
  if (!sizes)
    return error(Code::unsupported,
                 "a tensor has no upper bound: give its dynamic dimension a maximum at export");
  for (int64_t size : *sizes) {
    if (size > INT32_MAX) return error(Code::too_large, "size {} exceeds {}", size, INT32_MAX);
    tensor.sizes.push_back(int32_t(size));
  }
  tensor.dynamism = is_static(type) ? PteDynamism::fixed : PteDynamism::bounded;
  tensor.dim_order = type.dim_order;
  const Storage& s = storages_[size_t(storage)];
  if (s.kind == Storage::Kind::constant || s.data_index > 0) tensor.data_index = s.data_index;
  Place place{add_value(std::move(tensor)), storage, offset};
  if (s.kind == Storage::Kind::planned) placed_.push_back({place.value, {storage, offset}});
  return place;
}

Result<Place> MethodEmitter::new_result(const Type& type) {
  if (!type.is_tensor()) return Place{number_value(type), -1, 0};
  TRY(uint64_t bytes, bytes_of(type.tensor));
  return new_tensor(type.tensor, new_storage(bytes), 0);
}

Result<void> MethodEmitter::place_constants(const Graph& graph, Env& env,
                                            const std::vector<int32_t>& uses) {
  for (size_t id = 0; id < graph.values.size(); id++) {
    const ValueInfo& info = graph.values[id];
    if (uses[id] == 0) continue;
    if (info.origin == Origin::constant) {
      const ConstantData& constant = program_.constants[size_t(info.index)];
      int32_t storage = new_storage(constant.bytes.size());
      Storage& s = storages_[size_t(storage)];
      s.pinned = true;
      if (constant.bytes.empty()) {  // no bytes to store: any place will do
        s.kind = Storage::Kind::planned;
      } else {
        s.kind = Storage::Kind::constant;
        s.data_index = constants_.add(constant.bytes);
      }
      TRY(Place place, new_tensor(constant.type, storage, 0));
      std::get<PteTensor>(out_.values[size_t(place.value)]).name = constant.name;
      bind(ValueId(id), place, env, uses);
    } else if (info.origin == Origin::buffer) {
      const BufferData& buffer = program_.buffers[size_t(info.index)];
      TRY(uint64_t bytes, bytes_of(buffer.type));
      int32_t storage = new_storage(bytes);
      Storage& s = storages_[size_t(storage)];
      s.pinned = true;
      s.first = 0;
      s.last = UINT32_MAX;  // from call to call
      bool zero = std::all_of(buffer.initial.begin(), buffer.initial.end(),
                              [](uint8_t b) { return b == 0; });
      if (!zero) {
        s.data_index = uint32_t(file_.initial_values.size());
        file_.initial_values.push_back(buffer.initial);
      }
      TRY(Place place, new_tensor(buffer.type, storage, 0));
      std::get<PteTensor>(out_.values[size_t(place.value)]).name = buffer.name;
      bind(ValueId(id), place, env, uses);
    }
  }
  return {};
}

Result<int32_t> MethodEmitter::argument(const Argument& argument, const std::string& type,
                                        const Env& env) {
  auto place_of = [&](ValueId id) -> Result<int32_t> {
    const Place& place = env[size_t(id)];
    if (place.value < 0) return error(Code::internal, "a value is used before it is placed");
    return place.value;
  };
  bool floats = type.starts_with("float");
  if (std::holds_alternative<None>(argument)) return constant_value(std::monostate());
  if (auto* ref = std::get_if<ValueRef>(&argument)) return place_of(ref->id);
  if (auto* integer = std::get_if<int64_t>(&argument)) {
    if (floats) return constant_value(double(*integer));
    if (type.starts_with("bool")) return constant_value(*integer != 0);
    if (type.starts_with("int[") || type.starts_with("SymInt[")) {
      PteIntList items;
      items.items.push_back(constant_value(*integer));
      return constant_value(items);
    }
    return constant_value(*integer);
  }
  if (auto* number = std::get_if<double>(&argument)) return constant_value(*number);
  if (auto* boolean = std::get_if<bool>(&argument)) return constant_value(*boolean);
  if (auto* text = std::get_if<std::string>(&argument)) return constant_value(*text);
  if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) {
    if (floats) {
      PteDoubleList list;
      for (const IntItem& item : *items) list.items.push_back(double(item.known));
      return constant_value(list);
    }
    if (type.starts_with("Tensor")) return constant_value(PteTensorList{});
    PteIntList list;
    for (const IntItem& item : *items) {
      if (item.is_known()) {
        list.items.push_back(constant_value(item.known));
        continue;
      }
      TRY(int32_t value, place_of(item.value));
      list.items.push_back(value);
    }
    return constant_value(list);
  }
  if (auto* list = std::get_if<std::vector<double>>(&argument))
    return constant_value(PteDoubleList{*list});
  if (auto* list = std::get_if<std::vector<bool>>(&argument)) {
    PteBoolList booleans;
    for (bool b : *list) booleans.items.push_back(b);
    return constant_value(booleans);
  }
  if (auto* refs = std::get_if<std::vector<ValueRef>>(&argument)) {
    bool optional = type.starts_with("Tensor?");
    std::vector<int32_t> items;
    for (const ValueRef& ref : *refs) {
      if (ref.id == kNoValue) {
        items.push_back(-1);
        continue;
      }
      TRY(int32_t value, place_of(ref.id));
      items.push_back(value);
    }
    if (optional) return constant_value(PteOptionalTensorList{std::move(items)});
    return constant_value(PteTensorList{std::move(items)});
  }
  return error(Code::internal, "an argument that no instruction can hold");
}

// A result that is its operand's memory under other sizes. True when nothing more is to be done.
Result<bool> MethodEmitter::emit_view(const Graph& graph, const Node& node, const Op& op,
                                      Env& env) {
  const auto* ref = node.arguments.empty() ? nullptr : std::get_if<ValueRef>(&node.arguments[0]);
  if (!ref) return false;
  const Type& from = graph.type(ref->id);
  if (!from.is_tensor() || !from.tensor.dim_order.empty()) return false;
  const Place& base = env[size_t(ref->id)];
  const Storage& storage = storages_[size_t(base.storage)];
  if (storage.kind == Storage::Kind::caller) return false;
  const std::vector<int32_t>& uses = use_counts_[&graph];
  // Outputs that are views of inputs, constants or buffers are copied: what the caller holds must
  // not change under it.
  auto escapes = [&](ValueId id) {
    return storage.pinned &&
           std::find(graph.outputs.begin(), graph.outputs.end(), id) != graph.outputs.end();
  };
  for (ValueId id : node.results) {
    if (escapes(id)) return false;
    const Type& to = graph.type(id);
    if (to.tensor.dtype != from.tensor.dtype || !to.tensor.dim_order.empty()) return false;
    if (!is_static(to.tensor) || !is_static(from.tensor)) return false;
  }
  size_t element = dtype_bytes(from.tensor.dtype);
  std::vector<uint64_t> offsets;
  if (keeps_element_order(op)) {
    offsets.push_back(0);
  } else if (op.name == "aten::expand" || op.name == "aten::expand_copy") {
    // Free when it repeats nothing.
    int64_t before = 1, after = 1;
    for (const SymInt& s : from.tensor.sizes) before *= s.value;
    for (const SymInt& s : graph.type(node.results[0]).tensor.sizes) after *= s.value;
    if (before != after) return false;
    offsets.push_back(0);
  } else if (std::vector<int64_t> dims =
                 permutation_of(op.name, node.arguments, int(from.tensor.sizes.size()));
             !dims.empty()) {
    // Free when nothing moves: dimensions of size 1 may stand anywhere.
    int64_t last = -1;
    for (int64_t dim : dims) {
      if (from.tensor.sizes[size_t(dim)].value == 1) continue;
      if (dim < last) return false;
      last = dim;
    }
    offsets.push_back(0);
  } else if (op.name == "aten::select.int" || op.name == "aten::slice.Tensor" ||
             op.name == "aten::split.Tensor" || op.name == "aten::split_with_sizes" ||
             op.name == "aten::unbind.int" || op.name == "aten::select_copy.int" ||
             op.name == "aten::slice_copy.Tensor") {
    // A range of the outermost dimension: the same memory further on.
    int rank = int(from.tensor.sizes.size());
    const Argument& dim_argument =
        op.name.starts_with("aten::split") ? node.arguments[2] : node.arguments[1];
    auto* dim_given = std::get_if<int64_t>(&dim_argument);
    if (!dim_given || rank == 0) return false;
    int64_t dim = *dim_given < 0 ? *dim_given + rank : *dim_given;
    if (dim < 0 || dim >= rank) return false;
    for (int64_t d = 0; d < dim; d++)
      if (from.tensor.sizes[size_t(d)].value != 1) return false;
    uint64_t row = element;
    for (int64_t d = dim + 1; d < rank; d++) row *= uint64_t(from.tensor.sizes[size_t(d)].value);
    int64_t size = from.tensor.sizes[size_t(dim)].value, start = 0;
    if (op.name.starts_with("aten::select") || op.name.starts_with("aten::slice")) {
      const Argument& at = node.arguments[2];
      auto* index = std::get_if<int64_t>(&at);
      if (!index && !std::holds_alternative<None>(at)) return false;
      start = index ? *index : 0;
      if (start < 0) start += size;
      start = std::clamp<int64_t>(start, 0, size);
      if (op.name.starts_with("aten::slice")) {
        auto* step = std::get_if<int64_t>(&node.arguments[4]);
        if (!step || *step != 1) return false;
      }
    }
    uint64_t offset = uint64_t(start) * row;
    for (ValueId id : node.results) {
      offsets.push_back(offset);
      uint64_t bytes = element;
      for (const SymInt& s : graph.type(id).tensor.sizes) bytes *= uint64_t(s.value);
      offset += bytes;
    }
    // Tensors stay aligned: kernels and other runtimes count on it. Constants have no place of
    // their own inside another constant.
    for (uint64_t o : offsets)
      if ((base.offset + o) % kAlignment != 0) return false;
    if (storage.kind == Storage::Kind::constant && (offsets.size() > 1 || offsets[0] != 0))
      return false;
  } else {
    return false;
  }
  // Zero bytes: a result that shares nothing is simpler.
  for (size_t r = 0; r < node.results.size(); r++) {
    TRY(Place place,
        new_tensor(graph.type(node.results[r]).tensor, base.storage, base.offset + offsets[r]));
    bind(node.results[r], place, env, uses);
  }
  return true;
}

Result<void> MethodEmitter::emit_node(const Graph& graph, const Node& node, Env& env,
                                      const std::map<ValueId, Place>& targets) {
  const std::vector<int32_t>& uses = use_counts_[&graph];
  if (node.op == "cond") return emit_cond(graph, node, env);
  if (node.op == "while_loop") return emit_while(graph, node, env);
  if (node.op == "map" || node.op == "scan") return emit_scan(graph, node, env);
  if (node.op == "delegate") return emit_delegate(graph, node, env);
  if (node.op == "sconce_prim::constant") {
    TRY(int32_t value, argument(node.arguments[0], "Scalar", env));
    env[size_t(node.results[0])] = Place{value, -1, 0};
    return {};
  }
  if (find_prim(node.op.data(), node.op.size())) {
    std::vector<int32_t> args;
    for (const Argument& a : node.arguments) {
      TRY(int32_t value, argument(a, "Scalar", env));
      args.push_back(value);
    }
    Graph::for_each_use(node, [&](ValueId id) { touch(env[size_t(id)]); });
    const Type& type = graph.type(node.results[0]);
    Place place{number_value(type), -1, 0};
    env[size_t(node.results[0])] = place;
    args.push_back(place.value);
    call(node.op, std::move(args), node.source);
    release(node, env);
    return {};
  }
  const Op* op = find_op(node.op);
  if (!op || !op->kernel)
    return error(Code::unsupported, "{} has no kernel and was not decomposed", node.op);
  bool is_target = false;
  for (ValueId id : node.results) is_target |= targets.count(id) > 0;
  if (!is_target) {
    TRY(bool viewed, emit_view(graph, node, *op, env));
    if (viewed) {
      release(node, env);
      return {};
    }
  }
  std::vector<int32_t> args;
  for (int i : op->kernel_arguments) {
    TRY(int32_t value, argument(node.arguments[size_t(i)], op->arguments[size_t(i)].type, env));
    args.push_back(value);
  }
  Graph::for_each_use(node, [&](ValueId id) { touch(env[size_t(id)]); });
  // In place: an operand of the same type that ends here gives its memory to the result.
  int32_t reuse = -1;
  uint64_t reuse_offset = 0;
  release(node, env);
  if (!is_target && node.results.size() == 1 && may_run_in_place(*op)) {
    const TensorType& result = graph.type(node.results[0]).tensor;
    Graph::for_each_use(node, [&](ValueId id) {
      const Type& type = graph.type(id);
      const Place& place = env[size_t(id)];
      if (reuse >= 0 || !type.is_tensor() || place.storage < 0 || !(type.tensor == result)) return;
      const Storage& s = storages_[size_t(place.storage)];
      if (s.kind != Storage::Kind::planned || s.pinned || s.remaining != 0) return;
      // Another operand at another place of the same memory would be overwritten while it is read.
      bool overlaps = false;
      Graph::for_each_use(node, [&](ValueId other) {
        const Place& p = env[size_t(other)];
        overlaps |= p.storage == place.storage &&
                    (p.offset != place.offset || !(graph.type(other) == type));
      });
      if (overlaps) return;
      reuse = place.storage;
      reuse_offset = place.offset;
    });
  }
  std::optional<Place> state;
  if (!is_target && may_update_in_place(*op))
    state = replaced_state(graph, std::get<ValueRef>(node.arguments[0]).id, node.results[0], env);
  std::vector<int32_t> outs;
  for (ValueId id : node.results) {
    Place place;
    if (state) {
      touch(*state);
      bind(id, *state, env, uses);
      place = *state;
    } else if (auto target = targets.find(id); target != targets.end()) {
      place = target->second;
      touch(place);
      env[size_t(id)] = place;
      storages_[size_t(place.storage)].remaining += uses[size_t(id)];
    } else {
      const Type& type = graph.type(id);
      if (!type.is_tensor()) return error(Code::internal, "{} gives a number", node.op);
      if (reuse >= 0) {
        TRY(place, new_tensor(type.tensor, reuse, reuse_offset));
      } else {
        TRY(place, new_result(type));
      }
      touch(place);
      bind(id, place, env, uses);
    }
    outs.push_back(place.value);
  }
  const char* letters = strchr(op->kernel->signature, '>') + 1;
  if (*letters == 'v') {
    int32_t list = add_value(PteTensorList{outs});
    args.push_back(list);
    args.push_back(list);
  } else {
    args.insert(args.end(), outs.begin(), outs.end());
    if (outs.size() == 1)
      args.push_back(outs[0]);
    else
      args.push_back(add_value(PteTensorList{outs}));
  }
  call(op->kernel->name, std::move(args), node.source);
  return {};
}

// Where state lies that nobody reads as it was any more, and that `now` replaces: it is changed
// there.
std::optional<Place> MethodEmitter::replaced_state(const Graph& graph, ValueId before, ValueId now,
                                                   const Env& env) const {
  const ValueInfo& info = graph.values[size_t(before)];
  const Place& place = env[size_t(before)];
  bool replaces = std::any_of(
      graph.write_backs.begin(), graph.write_backs.end(), [&](const WriteBack& write) {
        return write.target == WriteBack::Target::buffer && info.origin == Origin::buffer &&
               write.index == info.index && write.value == now;
      });
  if (!replaces || storages_[size_t(place.storage)].remaining != 0) return std::nullopt;
  return place;
}

// A call of a backend: its operands, then its results, each a tensor of its own unless it replaces
// an operand.
Result<void> MethodEmitter::emit_delegate(const Graph& graph, const Node& node, Env& env) {
  const DelegateData& data =
      program_.delegates[size_t(std::get<int64_t>(node.arguments[0]))];
  PteDelegateCall instruction{int32_t(out_.delegates.size()), {}};
  out_.delegates.push_back({data.id, Bytes(data.payload), false, {}});
  for (ValueRef ref : list(node.arguments[1])) {
    const Place& place = env[size_t(ref.id)];
    if (place.value < 0) return error(Code::internal, "a value is used before it is placed");
    instruction.args.push_back(place.value);
  }
  Graph::for_each_use(node, [&](ValueId id) { touch(env[size_t(id)]); });
  release(node, env);
  const std::vector<ValueRef>& operands = list(node.arguments[1]);
  std::vector<IntItem> updates;
  if (node.arguments.size() > 2) updates = std::get<std::vector<IntItem>>(node.arguments[2]);
  for (size_t r = 0; r < node.results.size(); r++) {
    ValueId id = node.results[r];
    std::optional<Place> place;
    if (r < updates.size() && updates[r].known >= 0)
      place = replaced_state(graph, operands[size_t(updates[r].known)].id, id, env);
    if (!place) {
      TRY(place, new_result(graph.type(id)));
    }
    touch(*place);
    bind(id, *place, env, use_counts_[&graph]);
    instruction.args.push_back(place->value);
  }
  add_instruction(std::move(instruction), node.source);
  return {};
}

Result<void> MethodEmitter::emit_nodes(const Graph& graph, Env& env,
                                       const std::map<ValueId, Place>& targets) {
  for (NodeId id : graph.order) {
    const Node& node = graph.nodes[size_t(id)];
    Result<void> done = emit_node(graph, node, env, targets);
    if (!done.ok()) {
      std::string where = node.op;
      if (!node.source.empty()) where += " at " + node.source;
      return std::move(done.error()).with_context(where);
    }
  }
  return {};
}

void MethodEmitter::copy(const Type& type, const Place& from, const Place& to,
                         const std::string& source) {
  if (from.value == to.value) return;
  if (!type.is_tensor()) {
    add_instruction(PteMove{from.value, to.value}, source);
    return;
  }
  touch(from);
  touch(to);
  call("aten::clone.out", {from.value, constant_value(std::monostate()), to.value, to.value},
       source);
}

Result<void> MethodEmitter::emit_subgraph(const Graph& graph, std::vector<Place> inputs,
                                          const std::vector<Place>& results, bool loop_state,
                                          const std::string& source) {
  if (inputs.size() != graph.inputs.size())
    return error(Code::internal, "{}: {} operands, {} are wanted", graph.name, inputs.size(),
                 graph.inputs.size());
  Env env(graph.values.size());
  std::vector<int32_t> uses = graph.use_counts();
  use_counts_[&graph] = uses;
  for (size_t i = 0; i < inputs.size(); i++) {
    env[size_t(graph.inputs[i])] = inputs[i];
    // An extra use keeps the operand's memory from being given away: the outer graph still owns it.
    if (inputs[i].storage >= 0)
      storages_[size_t(inputs[i].storage)].remaining += uses[size_t(graph.inputs[i])] + 1;
  }
  TRY_VOID(place_constants(graph, env, uses));
  // An output made by a node here, and used for nothing else, is computed in its final place. Not
  // in loops: there the place still holds the state that other nodes read.
  std::map<ValueId, Place> targets;
  if (!loop_state) {
    for (size_t i = 0; i < results.size(); i++) {
      ValueId id = graph.outputs[i];
      if (!graph.type(id).is_tensor() || !graph.is_node(id) || targets.count(id)) continue;
      const Node& node = graph.producer(id);
      if (node.op.find("::") == std::string::npos) continue;
      targets[id] = results[i];
    }
  }
  TRY_VOID(emit_nodes(graph, env, targets));
  // Outputs that are inputs under another index would be overwritten before they are read: such
  // moves go through a copy.
  std::vector<Place> from;
  for (size_t i = 0; i < results.size(); i++) from.push_back(env[size_t(graph.outputs[i])]);
  for (size_t i = 0; i < results.size(); i++) {
    bool clash = false;
    for (size_t j = 0; j < results.size(); j++) {
      if (j == i) continue;
      if (from[i].storage >= 0 ? from[i].storage == results[j].storage
                               : from[i].value == results[j].value)
        clash = true;
    }
    if (!clash) continue;
    const Type& type = graph.type(graph.outputs[i]);
    TRY(Place keep, new_result(type));
    copy(type, from[i], keep, source);
    from[i] = keep;
  }
  for (size_t i = 0; i < results.size(); i++)
    copy(graph.type(graph.outputs[i]), from[i], results[i], source);
  for (const Place& input : inputs)
    if (input.storage >= 0) storages_[size_t(input.storage)].remaining--;
  return {};
}

Result<void> MethodEmitter::emit_cond(const Graph& graph, const Node& node, Env& env) {
  std::vector<Place> operands;
  for (ValueRef ref : list(node.arguments[3])) operands.push_back(env[size_t(ref.id)]);
  const auto* predicate = std::get_if<ValueRef>(&node.arguments[0]);
  std::vector<Place> results;
  for (ValueId id : node.results) {
    TRY(Place place, new_result(graph.type(id)));
    touch(place);
    results.push_back(place);
  }
  auto branch = [&](size_t i) -> const Graph& {
    return *graph.subgraphs[size_t(std::get<GraphRef>(node.arguments[i]).index)];
  };
  if (!predicate) {
    bool taken = std::get_if<bool>(&node.arguments[0]) && std::get<bool>(node.arguments[0]);
    TRY_VOID(emit_subgraph(branch(taken ? 1 : 2), operands, results, false, node.source));
  } else {
    touch(env[size_t(predicate->id)]);
    int32_t to_else = jump_false(env[size_t(predicate->id)].value, node.source);
    TRY_VOID(emit_subgraph(branch(1), operands, results, false, node.source));
    int32_t to_end = jump_false(constant_value(false), node.source);
    set_destination(to_else);
    TRY_VOID(emit_subgraph(branch(2), operands, results, false, node.source));
    set_destination(to_end);
  }
  const std::vector<int32_t>& uses = use_counts_[&graph];
  for (size_t i = 0; i < results.size(); i++) {
    touch(results[i]);
    bind(node.results[i], results[i], env, uses);
  }
  release(node, env);
  return {};
}

Result<void> MethodEmitter::emit_while(const Graph& graph, const Node& node, Env& env) {
  auto body = [&](size_t i) -> const Graph& {
    return *graph.subgraphs[size_t(std::get<GraphRef>(node.arguments[i]).index)];
  };
  std::vector<Place> state, inputs;
  std::vector<ValueRef> carried = list(node.arguments[2]);
  for (size_t i = 0; i < carried.size(); i++) {
    // The state has the type of the result: sizes may grow up to its bounds.
    TRY(Place place,
        new_result(graph.type(node.results.size() > i ? node.results[i] : carried[i].id)));
    if (place.storage >= 0) storages_[size_t(place.storage)].pinned = true;
    copy(graph.type(carried[i].id), env[size_t(carried[i].id)], place, node.source);
    state.push_back(place);
  }
  inputs = state;
  for (ValueRef ref : list(node.arguments[3])) inputs.push_back(env[size_t(ref.id)]);
  uint32_t first = step();
  const Graph& condition = body(0);
  Type predicate_type = condition.type(condition.outputs.at(0));
  TRY(Place predicate, new_result(predicate_type));
  TRY_VOID(emit_subgraph(condition, inputs, {predicate}, false, node.source));
  touch(predicate);
  int32_t to_end = jump_false(predicate.value, node.source);
  TRY_VOID(emit_subgraph(body(1), inputs, state, true, node.source));
  add_instruction(PteJumpFalse{constant_value(false), int32_t(first)}, node.source);
  loops_.push_back({first, step()});
  for (const Place& place : inputs) touch(place);
  set_destination(to_end);
  const std::vector<int32_t>& uses = use_counts_[&graph];
  for (size_t i = 0; i < node.results.size(); i++) bind(node.results[i], state[i], env, uses);
  release(node, env);
  return {};
}

// map and scan: a counter, a slice of each xs per step, results written to slice `counter`.
Result<void> MethodEmitter::emit_scan(const Graph& graph, const Node& node, Env& env) {
  bool scan = node.op == "scan";
  const Graph& body = *graph.subgraphs[size_t(std::get<GraphRef>(node.arguments[0]).index)];
  std::vector<ValueRef> init = scan ? list(node.arguments[1]) : std::vector<ValueRef>();
  std::vector<ValueRef> xs = list(node.arguments[scan ? 2 : 1]);
  std::vector<ValueRef> additional = list(node.arguments[scan ? 3 : 2]);
  if (xs.empty()) return error(Code::unsupported, "{} without a tensor to walk over", node.op);
  std::vector<Place> state, inputs;
  for (size_t i = 0; i < init.size(); i++) {
    TRY(Place place, new_result(graph.type(node.results[i])));
    if (place.storage >= 0) storages_[size_t(place.storage)].pinned = true;
    copy(graph.type(init[i].id), env[size_t(init[i].id)], place, node.source);
    state.push_back(place);
  }
  std::vector<Place> stacks;
  for (size_t i = init.size(); i < node.results.size(); i++) {
    TRY(Place place, new_result(graph.type(node.results[i])));
    // et_copy_index grows it slice by slice.
    std::get<PteTensor>(out_.values[size_t(place.value)]).dynamism = PteDynamism::bounded;
    storages_[size_t(place.storage)].pinned = true;
    touch(place);
    stacks.push_back(place);
  }
  int32_t counter = add_value(int64_t{0}), count = add_value(int64_t{0}), done = add_value(false);
  add_instruction(PteMove{constant_value(int64_t{0}), counter}, node.source);
  touch(env[size_t(xs[0].id)]);
  call("aten::sym_size.int", {env[size_t(xs[0].id)].value, constant_value(int64_t{0}), count},
       node.source);
  uint32_t first = step();
  inputs = state;
  for (size_t i = 0; i < xs.size(); i++) {
    const Place& whole = env[size_t(xs[i].id)];
    TensorType type = graph.type(xs[i].id).tensor;
    if (type.sizes.empty()) return error(Code::unsupported, "{} over a tensor of rank 0", node.op);
    type.sizes.erase(type.sizes.begin());
    TRY(Place slice, new_result(Type::of(type)));
    touch(whole);
    touch(slice);
    call("aten::select_copy.int_out",
         {whole.value, constant_value(int64_t{0}), counter, slice.value, slice.value}, node.source);
    inputs.push_back(slice);
  }
  for (ValueRef ref : additional) inputs.push_back(env[size_t(ref.id)]);
  // Every output goes to a place of its own first; then the state moves on.
  std::vector<Place> results;
  for (ValueId id : body.outputs) {
    TRY(Place place, new_result(body.type(id)));
    results.push_back(place);
  }
  TRY_VOID(emit_subgraph(body, inputs, results, false, node.source));
  for (size_t i = 0; i < results.size(); i++) {
    if (i < state.size()) {
      copy(body.type(body.outputs[i]), results[i], state[i], node.source);
    } else {
      const Place& stack = stacks[i - state.size()];
      touch(results[i]);
      touch(stack);
      call("executorch_prim::et_copy_index.tensor", {stack.value, results[i].value, counter},
           node.source);
    }
  }
  call("executorch_prim::add.Scalar", {counter, constant_value(int64_t{1}), counter}, node.source);
  call("executorch_prim::eq.Scalar", {counter, count, done}, node.source);
  add_instruction(PteJumpFalse{done, int32_t(first)}, node.source);
  loops_.push_back({first, step()});
  for (const Place& place : inputs) touch(place);
  for (ValueRef ref : xs) touch(env[size_t(ref.id)]);
  const std::vector<int32_t>& uses = use_counts_[&graph];
  for (size_t i = 0; i < node.results.size(); i++) {
    const Place& place = i < state.size() ? state[i] : stacks[i - state.size()];
    touch(place);
    bind(node.results[i], place, env, uses);
  }
  release(node, env);
  return {};
}

Result<void> MethodEmitter::run(PlanReport* report) {
  const Graph& graph = method_.graph;
  out_.name = method_.name;
  out_.input_spec = method_.in_spec;
  out_.output_spec = method_.out_spec;
  out_.chains.resize(1);
  Env env(graph.values.size());
  std::vector<int32_t> uses = graph.use_counts();
  use_counts_[&graph] = uses;

  std::map<int32_t, const FixedInput*> fixed;
  for (const FixedInput& f : method_.fixed_inputs) fixed[f.position] = &f;
  std::vector<bool> mutated(graph.inputs.size(), false);
  for (const WriteBack& write : graph.write_backs)
    if (write.target == WriteBack::Target::input) mutated[size_t(write.index)] = true;
  for (size_t i = 0; i < graph.inputs.size(); i++) {
    ValueId id = graph.inputs[i];
    const Type& type = graph.type(id);
    Place place;
    if (type.is_tensor()) {
      TRY(uint64_t bytes, bytes_of(type.tensor));
      int32_t storage = new_storage(bytes);
      // What the model writes back to must be the caller's own memory.
      if (mutated[i]) storages_[size_t(storage)].kind = Storage::Kind::caller;
      storages_[size_t(storage)].pinned = true;
      touch(storage);
      TRY(place, new_tensor(type.tensor, storage, 0));
    } else if (auto found = fixed.find(int32_t(i)); found != fixed.end()) {
      const auto& value = found->second->value;
      if (auto* integer = std::get_if<int64_t>(&value))
        place.value = add_value(*integer);
      else if (auto* number = std::get_if<double>(&value))
        place.value = add_value(*number);
      else if (auto* boolean = std::get_if<bool>(&value))
        place.value = add_value(*boolean);
      else if (auto* text = std::get_if<std::string>(&value))
        place.value = add_value(*text);
      else
        place.value = add_value(std::monostate());
    } else {
      place.value = number_value(type);
    }
    bind(id, place, env, uses);
    out_.inputs.push_back(place.value);
  }
  TRY_VOID(place_constants(graph, env, uses));
  TRY_VOID(emit_nodes(graph, env, {}));

  // Outputs that are inputs, constants, buffers, or twice the same are copied: every output is a
  // tensor of its own.
  std::vector<Place> outputs;
  for (size_t i = 0; i < graph.outputs.size(); i++) {
    ValueId id = graph.outputs[i];
    Place place = env[size_t(id)];
    if (graph.type(id).is_tensor()) {
      bool again = std::find(graph.outputs.begin(), graph.outputs.begin() + int64_t(i), id) !=
                   graph.outputs.begin() + int64_t(i);
      const Storage& s = storages_[size_t(place.storage)];
      bool loop_state =
          s.pinned && graph.is_node(id) && graph.producer(id).op.find("::") == std::string::npos;
      if (again || (s.pinned && !loop_state)) {
        TRY(Place fresh, new_result(graph.type(id)));
        copy(graph.type(id), place, fresh, {});
        place = fresh;
      }
    }
    outputs.push_back(place);
  }
  // Write-backs happen together: a new value that lives where another one is written is kept first.
  std::vector<Place> sources;
  auto target_of = [&](const WriteBack& write) -> ValueId {
    if (write.target == WriteBack::Target::input) return graph.inputs[size_t(write.index)];
    for (size_t id = 0; id < graph.values.size(); id++)
      if (graph.values[id].origin == Origin::buffer && graph.values[id].index == write.index)
        return ValueId(id);
    return kNoValue;
  };
  std::vector<Place> targets;
  for (const WriteBack& write : graph.write_backs) {
    ValueId id = target_of(write);
    Place place = id == kNoValue ? Place() : env[size_t(id)];
    if (place.value < 0) {  // written but never read: it still needs its memory
      Env scratch(graph.values.size());
      std::vector<int32_t> one(graph.values.size(), 0);
      if (id == kNoValue)
        return error(Code::internal, "a write-back to a buffer that the graph does not have");
      one[size_t(id)] = 1;
      TRY_VOID(place_constants(graph, scratch, one));
      place = env[size_t(id)] = scratch[size_t(id)];
    }
    targets.push_back(place);
  }
  for (size_t i = 0; i < graph.write_backs.size(); i++) {
    Place from = env[size_t(graph.write_backs[i].value)];
    bool clash = false;
    for (size_t j = 0; j < targets.size(); j++)
      clash |= j != i && targets[j].storage == from.storage;
    if (clash) {
      const Type& type = graph.type(graph.write_backs[i].value);
      TRY(Place keep, new_result(type));
      copy(type, from, keep, {});
      from = keep;
    }
    sources.push_back(from);
  }
  for (size_t i = 0; i < targets.size(); i++) {
    if (sources[i].value == targets[i].value) continue;
    touch(sources[i]);
    touch(targets[i]);
    call("aten::copy_",
         {targets[i].value, sources[i].value, constant_value(false), targets[i].value}, {});
  }
  for (const Place& place : outputs) {
    touch(place);
    out_.outputs.push_back(place.value);
  }

  // What is made outside a loop and used in it lives until the loop ends.
  std::sort(loops_.begin(), loops_.end(),
            [](const Loop& a, const Loop& b) { return a.last - a.first < b.last - b.first; });
  for (const Loop& loop : loops_)
    for (const Use& use : uses_) {
      Storage& s = storages_[size_t(use.storage)];
      if (use.step >= loop.first && use.step <= loop.last && s.first < loop.first)
        s.last = std::max(s.last, loop.last);
    }

  std::vector<Block> blocks;
  std::vector<int32_t> block_of(storages_.size(), -1);
  uint32_t end = step();
  for (size_t i = 0; i < storages_.size(); i++) {
    Storage& s = storages_[i];
    if (s.kind != Storage::Kind::planned || s.bytes == 0) continue;  // nothing has any place
    if (s.first == UINT32_MAX) s.first = s.last = 0;
    block_of[i] = int32_t(blocks.size());
    blocks.push_back({s.bytes, s.first, std::min(s.last, end)});
  }
  ArenaPlan plan = plan_arena(blocks, kAlignment);
  report->arena_bytes = plan.arena_bytes;
  report->lower_bound_bytes = live_bytes_max(blocks, kAlignment);
  for (auto& [value, where] : placed_) {
    PtePlacement placement;
    placement.memory_id = 1;
    int32_t block = block_of[size_t(where.first)];
    if (block >= 0) placement.offset = plan.offsets[size_t(block)] + where.second;
    std::get<PteTensor>(out_.values[size_t(value)]).placement = placement;
  }
  if (!placed_.empty()) out_.memories.push_back(std::max(plan.arena_bytes, kAlignment));
  return {};
}

}  // namespace

Result<Emitted> emit(const Program& program, const EmitOptions& options) {
  Emitted emitted;
  Constants constants{emitted.program, {}};
  for (const NamedData& data : program.named_data) {
    emitted.program.named_data.push_back({data.name, data.bytes, data.alignment});
    emitted.owned.push_back(data.owned);
  }
  for (const Method& method : program.methods) {
    MethodEmitter emitter(program, method, options, emitted.program, constants);
    PlanReport report;
    if (Result<void> done = emitter.run(&report); !done.ok())
      return std::move(done.error()).with_context("method " + method.name);
    emitted.plans.push_back(report);
    emitted.program.methods.push_back(emitter.take());
    if (auto c = input_constraints(program, method)) emitted.constraints.push_back(std::move(*c));
  }
  return emitted;
}

Result<Emitted> join(std::vector<Emitted> parts) {
  CHECK(!parts.empty());
  Emitted whole = std::move(parts[0]);
  for (size_t p = 1; p < parts.size(); p++) {
    Emitted& part = parts[p];
    uint32_t constants = uint32_t(whole.program.constants.size()) - 1;
    uint32_t initial_values = uint32_t(whole.program.initial_values.size()) - 1;
    for (PteMethod& method : part.program.methods) {
      for (const PteMethod& other : whole.program.methods)
        if (other.name == method.name)
          return error(Code::invalid_argument, "two methods are called \"{}\"", method.name);
      for (PteValue& value : method.values) {
        auto* tensor = std::get_if<PteTensor>(&value);
        if (!tensor || tensor->data_index == 0) continue;
        tensor->data_index += tensor->placement ? initial_values : constants;
      }
      whole.program.methods.push_back(std::move(method));
    }
    auto append = [](std::vector<Bytes>& to, const std::vector<Bytes>& from) {
      to.insert(to.end(), from.begin() + 1, from.end());
    };
    append(whole.program.constants, part.program.constants);
    append(whole.program.initial_values, part.program.initial_values);
    for (PteNamedData& data : part.program.named_data) {
      bool there = std::any_of(whole.program.named_data.begin(), whole.program.named_data.end(),
                               [&](const PteNamedData& other) { return other.key == data.key; });
      if (!there) whole.program.named_data.push_back(std::move(data));
    }
    whole.plans.insert(whole.plans.end(), part.plans.begin(), part.plans.end());
    whole.owned.insert(whole.owned.end(), part.owned.begin(), part.owned.end());
    whole.constraints.insert(whole.constraints.end(), part.constraints.begin(),
                             part.constraints.end());
  }
  if (!whole.constraints.empty()) {
    auto bytes = std::make_shared<const std::vector<uint8_t>>(write_constraints(whole.constraints));
    whole.program.named_data.push_back({kConstraintsKey, Bytes(*bytes), 16});
    whole.owned.push_back(bytes);
  }
  return whole;
}

PteMethod constant_method(const std::string& name, int64_t value) {
  PteMethod method;
  method.name = name;
  method.values.push_back(value);
  method.outputs.push_back(0);
  method.chains.resize(1);
  return method;
}

}  // namespace sconce
