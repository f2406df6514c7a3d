#include "targets/cpu/lower.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "ops/own_kernel.h"
#include "ops/quantized/tokens.h"
#include "ops/tile.h"
#include "ops/traits.h"
#include "plan/plan.h"
#include "targets/cpu/pack.h"
#include "targets/cpu/view.h"
#include "tensor/half.h"

namespace sconce {
namespace {

using tile::Index;
using tile::Operand;
using tile::Storage;
using tile::Varying;

constexpr uint64_t kAlignment = 64;

const std::vector<SymInt>& sizes_of(const Graph& graph, ValueId id) {
  return graph.type(id).tensor.sizes;
}

// True when a formula can say it.
bool is_computable(const SymbolTable& symbols, SymInt value) {
  if (value.is_known()) return true;
  const Expr& expr = symbols.expr(value.expr);
  if (expr.kind == ExprKind::power || expr.kind == ExprKind::ceil_divide) return false;
  return std::all_of(expr.operands.begin(), expr.operands.end(), [&](ExprId operand) {
    return is_computable(symbols, SymInt::symbolic(operand));
  });
}

// A tensor whose memory can be planned.
bool is_bounded_tensor(const Program& program, const Graph& graph, ValueId id) {
  const Type& type = graph.type(id);
  if (!type.is_tensor() || !bytes_max(type.tensor, program.symbols)) return false;
  return std::all_of(type.tensor.sizes.begin(), type.tensor.sizes.end(),
                     [&](SymInt size) { return is_computable(program.symbols, size); });
}

// factor * symbol + offset, when a size is that.
struct Linear {
  int64_t factor, offset;
};
std::optional<Linear> linear_in(const SymbolTable& symbols, SymInt size, int32_t symbol) {
  if (size.is_known()) return std::nullopt;
  const Expr* expr = &symbols.expr(size.expr);
  Linear linear{1, 0};
  auto constant = [&](ExprId id) {
    const Expr& operand = symbols.expr(id);
    return operand.kind == ExprKind::constant ? std::optional(operand.value) : std::nullopt;
  };
  if (expr->kind == ExprKind::add && expr->operands.size() == 2) {
    auto offset = constant(expr->operands[1]);
    if (!offset) return std::nullopt;
    linear.offset = *offset;
    expr = &symbols.expr(expr->operands[0]);
  }
  if (expr->kind == ExprKind::multiply && expr->operands.size() == 2) {
    auto factor = constant(expr->operands[0]);
    if (!factor || *factor < 1) return std::nullopt;
    linear.factor = *factor;
    expr = &symbols.expr(expr->operands[1]);
  }
  if (expr->kind != ExprKind::symbol || expr->value != symbol) return std::nullopt;
  return linear;
}

// True when sizes of the graph's inputs tell every symbol of a size.
bool inputs_tell(const Program& program, const Graph& graph, SymInt size) {
  if (size.is_known()) return true;
  const Expr& expr = program.symbols.expr(size.expr);
  if (expr.kind == ExprKind::symbol)
    return std::any_of(graph.inputs.begin(), graph.inputs.end(), [&](ValueId input) {
      if (!is_bounded_tensor(program, graph, input)) return false;
      const std::vector<SymInt>& sizes = sizes_of(graph, input);
      return std::any_of(sizes.begin(), sizes.end(), [&](SymInt of_input) {
        return linear_in(program.symbols, of_input, int32_t(expr.value)).has_value();
      });
    });
  return std::all_of(expr.operands.begin(), expr.operands.end(), [&](ExprId operand) {
    return inputs_tell(program, graph, SymInt::symbolic(operand));
  });
}

// Strides of a dense tensor with this dim order.
std::vector<SymInt> ordered_strides(SymbolTable& symbols, const std::vector<SymInt>& sizes,
                                    const std::vector<uint8_t>& dim_order) {
  std::vector<size_t> order(dim_order.rbegin(), dim_order.rend());
  return dim_order.empty() ? contiguous_strides(symbols, sizes)
                           : dense_strides(symbols, sizes, order);
}

bool is_concatenation(const Node& node) { return node.op == "aten::cat"; }

bool is_stored(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::i32:
    case DType::i64:
    case DType::b8: return true;
    default: return false;
  }
}

// True for a node that rounds to 16 bits because the model says so. Others compute in f32, and are
// rounded where they leave a region.
bool is_rounding(const Graph& graph, const Node& node) {
  if (node.op != "aten::_to_copy") return false;
  const ValueId* from = tensor_argument(node, 0);
  DType to = graph.type(node.results[0]).tensor.dtype;
  return from && is_half(to) && graph.type(*from).tensor.dtype != to;
}

// The rule of a node whose result is its first operand with a part changed; null for others.
const TileRule* update_rule(const Node& node) {
  const TileRule* rule = find_tile_rule(node.op);
  return rule && rule->update ? rule : nullptr;
}

// Integers of 8 and 16 bits are read and written by operators on them, where numbers come from and
// go to, and where elements only move. Others would compute with more bits than they have.
bool takes(const Graph& graph, const Node& node, DType dtype) {
  if (!is_narrow(dtype)) return is_stored(dtype);
  if (node.op.starts_with("quantized_decomposed::") || node.op == "aten::_to_copy" ||
      node.op == "aten::_int_mm" || is_concatenation(node) || is_view(graph, node))
    return true;
  return dtype == DType::i8 &&
         (node.op.starts_with("int8::") || update_rule(node) ||
          node.op == "aten::max_pool2d_with_indices" || node.op == "aten::constant_pad_nd");
}

// What a node puts around its operand: how many elements before each dimension, and which number.
struct Padding {
  std::vector<int64_t> before;
  double value;
};
// Nothing when the node does something else, or takes elements away.
std::optional<Padding> padding_of(const Graph& graph, const Node& node) {
  if (node.op != "aten::constant_pad_nd") return std::nullopt;
  auto pads = ints_argument(node, 1);
  auto value = number_argument(node, 2);
  size_t rank = graph.type(node.results[0]).tensor.sizes.size();
  if (!pads || !value || pads->size() > 2 * rank) return std::nullopt;
  Padding padding{std::vector<int64_t>(rank, 0), *value};
  for (size_t k = 0; k < pads->size(); k++) {  // the last dimension first; before, after
    if ((*pads)[k] < 0) return std::nullopt;
    if (k % 2 == 0) padding.before[rank - 1 - k / 2] = (*pads)[k];
  }
  return padding;
}

// A kernel under construction: what its buffers are.
struct KernelOperand {
  ElementView view;      // of `view.root`
  std::string constant;  // or of a constant that was packed or put in order
};

// Integers, a scale and a zero point of each row, for every element of a tensor; nothing runs along
// the last dimension of the latter two.
struct IntegerViews {
  ValueId q = kNoValue, scale = kNoValue, zero = kNoValue;  // zero: none when all are 0
  ElementView of_q, of_scale, of_zero;
};

// Where a tensor is written, and read from.
class Places {
 public:
  explicit Places(Prefer prefer) : prefer(prefer) {}
  virtual ~Places() = default;
  virtual std::optional<ElementView> place(ValueId tensor) = 0;
  // Of its elements there.
  virtual DType stored(ValueId tensor, const ElementView& view) = 0;
  // Null when the tensor is not computed in the kernel that is being built.
  virtual const Node* inlined(ValueId tensor) = 0;
  // The pad that a tensor is, when it is read as its operand with the same around.
  virtual const Node* padded(ValueId) { return nullptr; }
  // Where the integers lie that a tensor is made of where it is read.
  virtual std::optional<IntegerViews> integers(ValueId) { return std::nullopt; }
  // Name of a constant made here from one of the model.
  virtual std::string add_constant(const std::string& name, Bytes bytes,
                                   std::shared_ptr<const std::vector<uint8_t>> owned) = 0;
  virtual std::optional<std::string> find_constant(const std::string& name) = 0;
  // True when some node of the region will make this constant.
  virtual bool is_wanted(const std::string&) { return false; }

  const Prefer prefer;
};

class KernelLowering : public TileLowering {
 public:
  KernelLowering(Program& program, const Graph& graph, tile::Builder& build, Places& places)
      : TileLowering(graph, program.symbols, build, places.prefer),
        program_(program),
        places_(places) {}

  // Goes on to another element of the result; what is inlined is computed there and nowhere else.
  void begin_element(const TileIndex& index) {
    result_ = index;
    computed_.clear();
  }
  std::vector<KernelOperand> operands;

  std::optional<tile::ValueId> at(ValueId tensor, const TileIndex& index, double outside) override {
    if (const Node* pad = places_.padded(tensor)) {
      auto padding = padding_of(graph, *pad);
      if (!padding || outside != padding->value) return std::nullopt;
      TileIndex shifted = index;
      for (size_t d = 0; d < index.size(); d++) shifted[d].offset -= padding->before[d];
      return at(*tensor_argument(*pad, 0), shifted, outside);
    }
    if (const Node* node = places_.inlined(tensor)) {
      if (auto found = computed_.find(tensor); found != computed_.end()) return found->second;
      if (!is_result(index, tensor)) return std::nullopt;
      const TileRule* rule = find_tile_rule(node->op);
      auto value = rule->lower(*this, *node, result_);
      if (value) computed_[tensor] = *value;
      return value;
    }
    if (auto views = places_.integers(tensor)) {
      if (outside != 0) return std::nullopt;
      Scaled made = scaled(*views, tensor, index);
      return build.mul(made.value, *made.scale);
    }
    auto buffer = this->buffer(tensor);
    if (!buffer) return std::nullopt;
    return loaded(*buffer, index, outside);
  }
  std::optional<Scaled> scaled(ValueId tensor, const TileIndex& index) override {
    if (auto views = places_.integers(tensor)) return scaled(*views, tensor, index);
    return TileLowering::scaled(tensor, index);
  }
  std::optional<tile::ValueId> at_strict(ValueId tensor, const TileIndex& index) override {
    if (places_.inlined(tensor)) return std::nullopt;
    // A table that is also the weight of a linear is read from where that has packed it.
    if (const ValueInfo& info = graph.values[size_t(tensor)];
        info.origin == Origin::constant && rank(tensor) == 2) {
      std::vector<int64_t> own = sizes(tensor);
      if (places_.is_wanted(prepared_name(info.index, {own[1], own[0]}, {1, 0}, 0))) {
        auto packed = panels(tensor, own, {1, 0}, 0, 1);
        if (packed) return build.load_strict(*packed, {index[1], index[0]});
      }
    }
    auto buffer = this->buffer(tensor);
    if (!buffer) return std::nullopt;
    return build.load_strict(*buffer, index);
  }

  std::optional<int32_t> weights(ValueId tensor, const std::vector<int64_t>& sizes,
                                 const std::vector<int>& permutation) override {
    return prepared(tensor, sizes, permutation, -1, 1);
  }
  std::optional<int32_t> panels(ValueId tensor, const std::vector<int64_t>& sizes,
                                const std::vector<int>& permutation, int32_t lead,
                                int run) override {
    return prepared(tensor, sizes, permutation, lead, run);
  }
  std::optional<int32_t> part(ValueId tensor, int64_t offset, std::vector<int64_t> sizes,
                              std::vector<int64_t> strides, int32_t lead) override {
    ConstantPart part{offset, std::move(sizes), std::move(strides)};
    return floats(tensor, prepared_name(graph.values[size_t(tensor)].index, part, lead), part.sizes,
                  part, lead);
  }
  std::optional<int32_t> nibbles(ValueId tensor) override {
    int64_t columns = size(tensor, 0), steps = size(tensor, 1);
    std::string name = fmt::format("constant {} as nibbles", graph.values[size_t(tensor)].index);
    return constant_made_of(tensor, name, {steps, columns}, tile::Layout::nibbles, 0,
                            [&](Bytes data) { return packed_nibbles(data, columns, steps); });
  }
  std::optional<int32_t> constant_index(ValueId tensor) const override {
    const ValueInfo& info = graph.values[size_t(tensor)];
    if (info.origin != Origin::constant || is_half(graph.type(tensor).tensor.dtype))
      return std::nullopt;
    return info.index;
  }
  Bytes constant_bytes(ValueId tensor) const override {
    return program_.constants[size_t(*constant_index(tensor))].bytes;
  }
  int32_t made(const std::string& name, DType dtype, int64_t size,
               const std::function<std::vector<uint8_t>()>& make) override {
    if (!places_.find_constant(name)) {
      auto bytes = std::make_shared<std::vector<uint8_t>>(make());
      places_.add_constant(name, *bytes, bytes);
    }
    if (auto found = made_.find(name); found != made_.end()) return found->second;
    return made_[name] = constant_buffer(name, dtype, {size}, tile::Layout::strided, 0);
  }

  std::optional<int32_t> panels_made_of(
      ValueId tensor, const std::string& how, const std::vector<int64_t>& sizes,
      const std::function<std::vector<float>(Bytes)>& make) override {
    if (graph.type(tensor).tensor.dtype != DType::f32) return std::nullopt;
    std::string name = fmt::format("constant {} {}", graph.values[size_t(tensor)].index, how);
    return constant_made_of(tensor, name, sizes, tile::Layout::panels, 1, [&](Bytes data) {
      std::vector<float> made = make(data);
      Bytes bytes(reinterpret_cast<const uint8_t*>(made.data()), made.size() * sizeof(float));
      return packed_panels(bytes, 4, in_order({sizes[0], sizes[2], sizes[1]}, {0, 2, 1}), 1);
    });
  }

  bool is_innermost(ValueId tensor, int dim) const override {
    if (const Node* pad = places_.padded(tensor)) tensor = *tensor_argument(*pad, 0);
    auto view = places_.place(tensor);
    std::vector<SymInt> strides = view ? view->strides : contiguous_strides(symbols, shape(tensor));
    return strides[size_t(dim)] == SymInt(1);
  }

 private:
  // True for the index of the kernel's result; a dimension of size 1 may be indexed by its axis or
  // not.
  bool is_result(const TileIndex& index, ValueId tensor) const {
    if (index.size() != result_.size()) return false;
    for (size_t d = 0; d < index.size(); d++)
      if (index[d] != result_[d] && shape(tensor, int(d)) != SymInt(1)) return false;
    return true;
  }

  std::optional<int32_t> buffer(ValueId tensor) {
    if (auto found = buffers_.find(tensor); found != buffers_.end()) return found->second;
    auto view = places_.place(tensor);
    if (!view) return std::nullopt;
    return buffers_[tensor] = add_buffer(places_.stored(tensor, *view), *view);
  }
  int32_t add_buffer(DType dtype, const ElementView& view) {
    std::vector<tile::Extent> dims;
    for (SymInt size : view.sizes) dims.push_back(extent(size));
    operands.push_back({view, {}});
    return build.input(dtype, dims);
  }
  tile::ValueId loaded(int32_t buffer, const TileIndex& index, double outside) {
    for (const auto& [key, value] : loaded_)
      if (key.first == buffer && key.second == index) return value;
    tile::ValueId value = build.load(buffer, index, outside);
    loaded_.push_back({{buffer, index}, value});
    return value;
  }

  Scaled scaled(const IntegerViews& views, ValueId tensor, const TileIndex& index) {
    std::vector<int32_t>& buffers = integers_[tensor];
    if (buffers.empty()) {
      buffers.push_back(add_buffer(DType::i8, views.of_q));
      buffers.push_back(add_buffer(DType::f32, views.of_scale));
      if (views.zero != kNoValue)
        buffers.push_back(add_buffer(places_.stored(views.zero, views.of_zero), views.of_zero));
    }
    TileIndex row = token_of(index);
    tile::ValueId q = loaded(buffers[0], index, 0);
    tile::ValueId value =
        views.zero == kNoValue
            ? build.cast(q, DType::f32)
            : without_zero(build, q, loaded(buffers[2], row, 0), type(views.zero).dtype);
    return {value, loaded(buffers[1], row, 0)};
  }

  // A constant in another order, packed when lead >= 0.
  std::optional<int32_t> prepared(ValueId tensor, const std::vector<int64_t>& sizes,
                                  const std::vector<int>& permutation, int32_t lead, int run) {
    std::vector<int64_t> ordered;
    for (int d : permutation) ordered.push_back(sizes[size_t(d)]);
    int32_t index = graph.values[size_t(tensor)].index;
    std::string name = prepared_name(index, ordered, permutation, lead, run);
    for (; run > 1; run--) {  // one dim of the buffer
      ordered[ordered.size() - 3] *= ordered[ordered.size() - 2];
      ordered.erase(ordered.end() - 2);
    }
    if (type(tensor).dtype != DType::i8)
      return floats(tensor, name, ordered, in_order(sizes, permutation), lead);
    int joined = int(permutation.size() - ordered.size()) + 1;
    tile::Layout layout = lead < 0 ? tile::Layout::strided : tile::Layout::panels;
    return constant_made_of(tensor, name, ordered, layout, lead, [&](Bytes data) {
      return lead < 0 ? gathered(data, 1, in_order(sizes, permutation))
                      : packed_panels_i8(data, sizes, permutation, lead, joined);
    });
  }

  // Elements of a constant of floats. Panels of 16-bit floats stay as they are; what is read by
  // depth is small, and widened here.
  std::optional<int32_t> floats(ValueId tensor, const std::string& name,
                                const std::vector<int64_t>& sizes, const ConstantPart& part,
                                int32_t lead) {
    DType stored = graph.type(tensor).tensor.dtype;
    if (lead >= 0)
      return constant_made_of(tensor, name, sizes, tile::Layout::panels, lead, [&](Bytes data) {
        return packed_panels(data, dtype_bytes(stored), part, lead);
      });
    if (!is_half(stored))
      return constant_made_of(tensor, name, sizes, tile::Layout::strided, lead,
                              [&](Bytes data) { return gathered(data, 4, part); });
    if (graph.values[size_t(tensor)].origin != Origin::constant) return std::nullopt;
    auto make = [&](Bytes data) { return widened(gathered(data, 2, part), stored); };
    return constant_made_of(tensor, name + " widened", sizes, tile::Layout::strided, lead, make,
                            DType::f32);
  }

  // A buffer of the bytes that `make` makes of a constant, once for each name.
  template <class Make>
  std::optional<int32_t> constant_made_of(ValueId tensor, const std::string& name,
                                          const std::vector<int64_t>& ordered, tile::Layout layout,
                                          int32_t lead, Make make,
                                          std::optional<DType> made_dtype = std::nullopt) {
    const ValueInfo& info = graph.values[size_t(tensor)];
    DType dtype = made_dtype.value_or(graph.type(tensor).tensor.dtype);
    if (info.origin != Origin::constant ||
        (dtype != DType::f32 && dtype != DType::i8 && !is_half(dtype)))
      return std::nullopt;
    const ConstantData& constant = program_.constants[size_t(info.index)];
    if (!places_.find_constant(name)) {
      auto bytes = std::make_shared<std::vector<uint8_t>>(make(constant.bytes));
      places_.add_constant(name, *bytes, bytes);
      release_pages(constant.bytes);  // the copy takes its place in the file
    }
    return constant_buffer(name, dtype, ordered, layout, lead);
  }
  int32_t constant_buffer(const std::string& name, DType dtype, const std::vector<int64_t>& ordered,
                          tile::Layout layout, int32_t lead) {
    std::vector<tile::Extent> dims;
    for (int64_t size : ordered) dims.push_back(tile::known(size));
    int32_t id = layout == tile::Layout::strided ? build.input(dtype, dims)
                                                 : build.packed(layout, dtype, dims, lead);
    std::vector<SymInt> sizes(ordered.begin(), ordered.end());
    ElementView view{kNoValue, 0, sizes, contiguous_strides(symbols, sizes)};
    operands.push_back({std::move(view), name});
    return id;
  }

  Program& program_;
  Places& places_;
  TileIndex result_;  // of the element that is being computed
  std::unordered_map<ValueId, tile::ValueId> computed_;
  std::unordered_map<ValueId, int32_t> buffers_;
  std::unordered_map<ValueId, std::vector<int32_t>> integers_;  // buffers: q, scale, zero
  std::unordered_map<std::string, int32_t> made_;
  std::vector<std::pair<std::pair<int32_t, TileIndex>, tile::ValueId>> loaded_;
};

// The kernels of one node, with what is inlined into it, storing to `result`. Elements of a cell
// are done by several kernels when they are many; the first is asked for before the others.
struct MadeKernel {
  tile::Kernel kernel;
  std::vector<KernelOperand> operands;
};
constexpr int64_t kCellMax = 16;  // elements of one kernel, each with a buffer or two of its own

// The part of a dimension that is the `part`-th of `count` apart, all as long as the longest: where
// it begins, where what is stored of it begins, and its end.
struct ApartCell {
  int64_t first, stored, end;
};
ApartCell apart_cell(int64_t size, int64_t count, int64_t part) {
  const int64_t length = (size + count - 1) / count;
  auto end = [&](int64_t p) { return std::min((p + 1) * length, size); };
  const int64_t stored = part == 0 ? 0 : end(part - 1);
  return {std::max<int64_t>(end(part) - length, 0), stored, end(part)};
}

// Closes the loop of an anchor's rule, and stores what it carries out where that has a place.
bool store_carried(KernelLowering& l, const Node& anchor, Places& places) {
  const TileLowering::OpenLoop& loop = *l.loop;
  if (!loop.results.empty() && loop.results.size() + 1 != anchor.results.size()) return false;
  std::vector<tile::ValueId> last = l.build.end_loop(loop.axis, loop.next);
  for (size_t r = 0; r < loop.results.size(); r++) {
    ValueId result = anchor.results[r + 1];
    auto view = places.place(result);
    if (!view) continue;
    std::vector<tile::Extent> dims;
    for (SymInt size : view->sizes) dims.push_back(l.extent(size));
    int32_t output = l.build.output(places.stored(result, *view), dims);
    l.operands.push_back({*view, {}});
    l.build.store(output, loop.results[r], last[r]);
  }
  return true;
}

std::optional<std::vector<MadeKernel>> make_kernels(Program& program, const Graph& graph,
                                                    Places& places, const Node* root,
                                                    const Node* anchor, ValueId value,
                                                    const ElementView& result) {
  std::vector<MadeKernel> made;
  const std::vector<SymInt>& sizes = sizes_of(graph, value);
  SymbolTable& symbols = program.symbols;
  int64_t count = 1;  // elements of a cell
  for (int64_t first = 0; first < count; first += kCellMax) {
    tile::Builder build("k");
    KernelLowering l(program, graph, build, places);
    TileIndex loops;
    std::vector<TileCell> cell;
    if (anchor) {
      const TileRule* rule = find_tile_rule(anchor->op);
      auto axes = rule->axes(l, *anchor);
      if (!axes) return std::nullopt;
      loops = *axes;
      if (rule->cell) cell = rule->cell(l, *anchor);
    } else {
      for (SymInt size : sizes) loops.push_back(l.parallel(size));
    }
    if (loops.size() != sizes.size() || (!cell.empty() && cell.size() != sizes.size()))
      return std::nullopt;
    count = 1;
    for (const TileCell& along : cell) count *= along.count;
    for (int64_t element = first; element < std::min(count, first + kCellMax); element++) {
      // Every element of a cell goes to a buffer of its own: a view of each so many-th one, or of a
      // part.
      TileIndex index = loops, place = loops;
      ElementView part = result;
      int64_t rest = element;
      for (size_t d = cell.size(); d-- > 0;) {
        int64_t along = cell[d].count, offset = rest % along;
        rest /= along;
        if (along == 1) continue;
        if (cell[d].apart) {
          const ApartCell at = apart_cell(l.number(part.sizes[d]), along, offset);
          index[d].offset += at.first;
          place[d].offset -= at.stored - at.first;
          part.offset = symbols.add(part.offset, symbols.multiply(at.stored, part.strides[d]));
          part.sizes[d] = at.end - at.stored;
          continue;
        }
        for (tile::Term& term : index[d].terms) term.factor *= along;
        index[d].offset += offset;
        part.offset = symbols.add(part.offset, symbols.multiply(offset, part.strides[d]));
        part.sizes[d] = symbols.floor_divide(symbols.add(part.sizes[d], along - 1 - offset), along);
        part.strides[d] = symbols.multiply(part.strides[d], along);
      }
      l.begin_element(index);
      std::optional<tile::ValueId> computed =
          root ? find_tile_rule(root->op)->lower(l, *root, index) : l.at(value, index, 0);
      if (!computed) return std::nullopt;
      std::vector<tile::Extent> dims;
      for (SymInt size : part.sizes) dims.push_back(l.extent(size));
      int32_t output = build.output(places.stored(value, result), dims);
      l.operands.push_back({part, {}});
      build.store(output, place, *computed);
    }
    if (l.loop && !store_carried(l, *anchor, places)) return std::nullopt;
    if (l.is_refused()) return std::nullopt;
    Result<tile::Kernel> kernel = build.finish();
    if (!kernel.ok()) return std::nullopt;
    made.push_back({std::move(*kernel), std::move(l.operands)});
  }
  return made;
}

// The kernel of an update, which writes into `result`; that holds operand 0 already.
std::optional<MadeKernel> make_update(Program& program, const Graph& graph, Places& places,
                                      const Node& node, const ElementView& result) {
  tile::Builder build("k");
  KernelLowering l(program, graph, build, places);
  std::vector<tile::Extent> dims;
  for (SymInt size : result.sizes) dims.push_back(l.extent(size));
  int32_t output = build.output(places.stored(node.results[0], result), dims);
  l.operands.push_back({result, {}});
  if (!update_rule(node)->update(l, node, output) || l.is_refused()) return std::nullopt;
  Result<tile::Kernel> kernel = build.finish();
  if (!kernel.ok()) return std::nullopt;
  return MadeKernel{std::move(*kernel), std::move(l.operands)};
}

// Everything materialized and contiguous: for the question whether a node can be lowered at all.
class PlainPlaces : public Places {
 public:
  PlainPlaces(Program& program, const Graph& graph, Prefer prefer)
      : Places(prefer), program_(program), graph_(graph) {}
  std::optional<ElementView> place(ValueId tensor) override {
    if (!graph_.type(tensor).is_tensor()) return std::nullopt;
    const std::vector<SymInt>& sizes = sizes_of(graph_, tensor);
    return ElementView{tensor, 0, sizes, contiguous_strides(program_.symbols, sizes)};
  }
  DType stored(ValueId tensor, const ElementView&) override {
    return graph_.type(tensor).tensor.dtype;
  }
  const Node* inlined(ValueId) override { return nullptr; }
  std::string add_constant(const std::string& name, Bytes,
                           std::shared_ptr<const std::vector<uint8_t>>) override {
    return name;
  }
  std::optional<std::string> find_constant(const std::string& name) override { return name; }

 private:
  Program& program_;
  const Graph& graph_;
};

std::optional<size_t> concatenated_dim(const Graph& graph, const Node& node) {
  auto dim = number_argument(node, 1);
  if (!dim) return std::nullopt;
  int rank = int(graph.type(node.results[0]).tensor.sizes.size());
  return size_t(*dim < 0 ? int(*dim) + rank : int(*dim));
}

// Takes down which constants rules ask for.
class NotingPlaces : public PlainPlaces {
 public:
  using PlainPlaces::PlainPlaces;
  std::optional<std::string> find_constant(const std::string& name) override {
    names.insert(name);
    return name;
  }
  std::unordered_set<std::string> names;
};

class Lowering : public Places {
 public:
  Lowering(Program& program, const Graph& graph, Span<const NodeId> nodes, Prefer prefer)
      : Places(prefer), program_(program), symbols_(program.symbols), graph_(graph), nodes_(nodes) {
    for (const Symbol& symbol : symbols_.symbols()) {
      least_.push_back(ceil_multiple(std::max<int64_t>(symbol.bounds.min, 0), symbol.divisor));
      largest_.push_back(symbol.bounds.max / symbol.divisor * symbol.divisor);
    }
  }

  Result<LoweredRegion> run() {
    find_uses();
    find_shared_constants();
    choose_inlined();
    find_pads();
    choose_layouts();
    for (ValueId input : inputs_) {
      uint32_t index = add_input(input);
      storage_of_[input] =
          add_storage(Storage::Kind::input, bytes_of(region_.program.inputs[index]), index);
      places_[input] = argument_view(input);
    }
    find_outputs();
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      Result<void> done = lower_node(node);
      if (!done.ok()) {
        std::string where = node.op;
        if (!node.source.empty()) where += " at " + node.source;
        return std::move(done.error()).with_context(where);
      }
    }
    for (ValueId output : region_.outputs) TRY_VOID(deliver(output));
    TRY_VOID(bind_symbols());
    plan();
    if (mentioned_.empty()) {
      TRY_VOID(tile::verify(region_.program));
    } else if (Result<void> checked = check_bounds(); !checked.ok()) {
      return error(Code::unsupported, "{}", checked.error().text);
    }
    return std::move(region_);
  }

 private:
  // Values from outside in the order of first use; how often values are used within, and whether
  // also without.
  void find_uses() {
    std::vector<bool> here(graph_.values.size(), false), seen(graph_.values.size(), false);
    uses_.assign(graph_.values.size(), 0);
    user_.assign(graph_.values.size(), nullptr);
    in_region_.assign(graph_.nodes.size(), false);
    for (NodeId id : nodes_) {
      in_region_[size_t(id)] = true;
      const Node& node = graph_.nodes[size_t(id)];
      Graph::for_each_use(node, [&](ValueId used) {
        if (const ValueId* tensor = tensor_of_integer(graph_, used)) used = *tensor;
        uses_[size_t(used)]++;
        user_[size_t(used)] = &node;
        if (here[size_t(used)] || seen[size_t(used)]) return;
        seen[size_t(used)] = true;
        if (graph_.values[size_t(used)].origin != Origin::constant && graph_.type(used).is_tensor())
          inputs_.push_back(used);
      });
      for (ValueId result : node.results) here[size_t(result)] = true;
    }
    is_output_.assign(graph_.values.size(), false);
    auto outside = [&](ValueId used) {
      if (here[size_t(used)]) is_output_[size_t(used)] = true;
    };
    for (NodeId id : graph_.order)
      if (!in_region_[size_t(id)]) Graph::for_each_use(graph_.nodes[size_t(id)], outside);
    for (ValueId id : graph_.outputs) outside(id);
    for (const WriteBack& write : graph_.write_backs) outside(write.value);
  }

  // What nodes make of constants that several of them use.
  void find_shared_constants() {
    NotingPlaces places(program_, graph_, prefer);
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      bool shares = false;
      Graph::for_each_use(node, [&](ValueId used) {
        shares |= graph_.values[size_t(used)].origin == Origin::constant &&
                  uses_[size_t(used)] > 1 && graph_.type(used).tensor.sizes.size() == 2;
      });
      const TileRule* rule = shares ? find_tile_rule(node.op) : nullptr;
      if (!rule || rule->update) continue;
      (void)make_kernels(program_, graph_, places, &node, rule->axes ? &node : nullptr,
                         node.results[0], *places.place(node.results[0]));
    }
    wanted_ = std::move(places.names);
  }

  // A node is inlined into its only user when both are of the same sizes and at most one of those
  // that end in one kernel has axes of its own.
  void choose_inlined() {
    anchor_.assign(graph_.nodes.size(), nullptr);
    inlined_.assign(graph_.values.size(), nullptr);
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      const TileRule* rule = find_tile_rule(node.op);
      if (!rule || rule->update || is_view(graph_, node)) continue;
      const Node*& anchor = anchor_[size_t(id)];
      if (rule->axes) anchor = &node;
      if (rule->axes && !rule->in_step) continue;
      // The operand that was computed last first: its memory is still warm if it is not inlined.
      std::vector<ValueId> operands;
      Graph::for_each_use(node, [&](ValueId used) { operands.push_back(used); });
      std::sort(operands.begin(), operands.end(), std::greater<>());
      for (ValueId used : operands) {
        const ValueInfo& info = graph_.values[size_t(used)];
        if (info.origin != Origin::node || uses_[size_t(used)] != 1 || is_output_[size_t(used)] ||
            info.result != 0 || (rule->gathers && used == *tensor_argument(node, 0)))
          continue;
        const Node& producer = graph_.nodes[size_t(info.index)];
        const TileRule* producer_rule = find_tile_rule(producer.op);
        if (!in_region_[size_t(info.index)] || !producer_rule || producer_rule->update ||
            is_view(graph_, producer) || is_concatenation(producer) ||
            is_rounding(graph_, producer) || !other_results(producer).empty() ||
            sizes_of(graph_, used) != sizes_of(graph_, node.results[0]))
          continue;
        const Node* inner = anchor_[size_t(info.index)];
        if (inner && anchor) continue;
        if (inner) anchor = inner;
        inlined_[size_t(used)] = &producer;
      }
    }
  }

  // Those after the first one that are used, here or without.
  std::vector<ValueId> other_results(const Node& node) const {
    std::vector<ValueId> others;
    for (size_t r = 1; r < node.results.size(); r++)
      if (size_t id = size_t(node.results[r]); is_output_[id] || uses_[id] > 0)
        others.push_back(node.results[r]);
    return others;
  }

  // Pads by what the nodes that read them see around their input anyway.
  void find_pads() {
    padded_.assign(graph_.values.size(), nullptr);
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      auto padding = padding_of(graph_, node);
      if (padding && !is_output_[size_t(node.results[0])]) padded_[size_t(node.results[0])] = &node;
    }
    std::vector<int32_t> seen(graph_.values.size(), 0);
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      const TileRule* rule = find_tile_rule(node.op);
      if (!rule || !rule->around) continue;
      ValueId operand = *tensor_argument(node, 0);
      if (const Node* pad = padded_[size_t(operand)])
        seen[size_t(operand)] += rule->around(node) == padding_of(graph_, *pad)->value;
    }
    for (size_t v = 0; v < padded_.size(); v++)
      if (seen[v] == 0 || seen[v] != uses_[v]) padded_[v] = nullptr;
  }

  // Channels innermost for what convolutions give, and for what is computed from such tensors.
  void choose_layouts() {
    channels_last_.assign(graph_.values.size(), false);
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      const TileRule* rule = find_tile_rule(node.op);
      if (is_view(graph_, node) || (!rule && !is_concatenation(node)) || update_rule(node))
        continue;
      bool last = rule && rule->channels_last;
      Graph::for_each_use(node, [&](ValueId used) {
        last |=
            channels_last_[size_t(used)] && graph_.type(used).tensor.sizes.size() ==
                                                graph_.type(node.results[0]).tensor.sizes.size();
      });
      if (graph_.type(node.results[0]).tensor.sizes.size() >= 3)
        channels_last_[size_t(node.results[0])] = last;
    }
    // What is computed for nothing but convolutions is computed as they want it.
    std::vector<int32_t> wanted(graph_.values.size(), 0);
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      const TileRule* rule = find_tile_rule(node.op);
      if (rule && rule->channels_last) wanted[size_t(*tensor_argument(node, 0))]++;
    }
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      const TileRule* rule = find_tile_rule(node.op);
      size_t value = size_t(node.results[0]);
      if (rule && !rule->axes && !rule->update && !is_output_[value] && wanted[value] > 0 &&
          wanted[value] == uses_[value] && graph_.type(node.results[0]).tensor.sizes.size() >= 3)
        channels_last_[value] = true;
    }
  }

  void find_outputs() {
    for (NodeId id : nodes_)
      for (ValueId result : graph_.nodes[size_t(id)].results)
        if (is_output_[size_t(result)]) region_.outputs.push_back(result);
    for (size_t i = 0; i < region_.outputs.size(); i++) {
      ValueId output = region_.outputs[i];
      add_argument(output, Varying::What::output_size, &region_.program.outputs);
      output_storage_[output] =
          add_storage(Storage::Kind::output, bytes_of(region_.program.outputs[i]), uint32_t(i));
    }
  }

  // The most bytes that a tensor can have.
  uint64_t bytes_of(ValueId id, DType as) const {
    const TensorType& type = graph_.type(id).tensor;
    return *bytes_max(type, symbols_) / dtype_bytes(type.dtype) * dtype_bytes(as);
  }
  static uint64_t bytes_of(const tile::Argument& argument) {
    uint64_t bytes = dtype_bytes(argument.dtype);
    for (int64_t size : argument.sizes) bytes *= uint64_t(size);
    return bytes;
  }
  uint32_t add_input(ValueId id) {
    region_.inputs.push_back(id);
    add_argument(id, Varying::What::input_size, &region_.program.inputs);
    return uint32_t(region_.inputs.size()) - 1;
  }
  void add_argument(ValueId id, Varying::What what, std::vector<tile::Argument>* to) {
    const TensorType& type = graph_.type(id).tensor;
    tile::Argument argument{type.dtype, {}, type.dim_order};
    for (size_t d = 0; d < type.sizes.size(); d++)
      argument.sizes.push_back(
          number(type.sizes[d], {what, uint32_t(to->size()), 0, uint32_t(d), 0}));
    to->push_back(std::move(argument));
  }
  ElementView argument_view(ValueId id) {
    const std::vector<SymInt>& sizes = sizes_of(graph_, id);
    return {id, 0, sizes, ordered_strides(symbols_, sizes, graph_.type(id).tensor.dim_order)};
  }

  // A number of the program at the largest sizes. One that varies is noted down with its place.
  int64_t number(SymInt value, Varying place) {
    if (value.is_known()) return value.value;
    auto [found, is_new] = formulas_.emplace(value.expr, uint32_t(region_.program.formulas.size()));
    if (is_new) {
      tile::Formula formula;
      write_formula(value.expr, &formula);
      region_.program.formulas.push_back(std::move(formula));
    }
    place.formula = found->second;
    region_.program.varying.push_back(place);
    return symbols_.evaluate(value, largest_).value_or(0);  // verify() compares with the formula's
  }
  void write_formula(ExprId id, tile::Formula* formula) {
    using Op = tile::Formula::Op;
    const Expr& expr = symbols_.expr(id);
    Op op = Op::number;
    switch (expr.kind) {
      case ExprKind::symbol: {
        auto [found, is_new] = mentioned_at_.emplace(int32_t(expr.value), mentioned_.size());
        if (is_new) mentioned_.push_back(int32_t(expr.value));
        formula->steps.push_back({Op::symbol, int64_t(found->second)});
        return;
      }
      case ExprKind::constant: formula->steps.push_back({Op::number, expr.value}); return;
      case ExprKind::add: op = Op::add; break;
      case ExprKind::multiply: op = Op::multiply; break;
      case ExprKind::floor_divide: op = Op::floor_divide; break;
      case ExprKind::modulo: op = Op::modulo; break;
      case ExprKind::minimum: op = Op::minimum; break;
      case ExprKind::maximum: op = Op::maximum; break;
      case ExprKind::power:
      case ExprKind::ceil_divide: return;  // is_computable(): not here; verify() refuses no steps
    }
    for (size_t i = 0; i < expr.operands.size(); i++) {
      write_formula(expr.operands[i], formula);
      if (i > 0) formula->steps.push_back({op, 0});
    }
  }

  std::optional<tile::Symbol> told_by(uint32_t input, int32_t symbol) const {
    const std::vector<SymInt>& sizes = sizes_of(graph_, region_.inputs[input]);
    const Bounds& bounds = symbols_.symbols()[size_t(symbol)].bounds;
    for (size_t d = 0; d < sizes.size(); d++)
      if (auto linear = linear_in(symbols_, sizes[d], symbol))
        return tile::Symbol{input,
                            uint32_t(d),
                            linear->factor,
                            linear->offset,
                            std::max<int64_t>(bounds.min, 0),
                            std::min<int64_t>(bounds.max, INT32_MAX)};
    return std::nullopt;
  }
  // Every symbol that is mentioned is told by an input; inputs of the graph that are taken for that
  // may mention more of them.
  Result<void> bind_symbols() {
    for (size_t m = 0; m < mentioned_.size(); m++) {
      std::optional<tile::Symbol> told;
      for (uint32_t i = 0; i < region_.inputs.size() && !told; i++)
        told = told_by(i, mentioned_[m]);
      for (ValueId input : graph_.inputs) {
        if (told || !is_bounded_tensor(program_, graph_, input)) continue;
        const std::vector<SymInt>& sizes = sizes_of(graph_, input);
        if (std::any_of(sizes.begin(), sizes.end(), [&](SymInt size) {
              return linear_in(symbols_, size, mentioned_[m]).has_value();
            }))
          told = told_by(add_input(input), mentioned_[m]);
      }
      if (!told)
        return error(Code::unsupported, "no input of the graph tells {}",
                     symbols_.symbols()[size_t(mentioned_[m])].name);
      region_.program.symbols.push_back(*told);
    }
    if (mentioned_.size() > tile::kSymbolsMax ||
        region_.program.formulas.size() > tile::kFormulasMax)
      return error(Code::unsupported, "{} symbols in {} sizes; at most {} in {}", mentioned_.size(),
                   region_.program.formulas.size(), tile::kSymbolsMax, tile::kFormulasMax);
    for (const tile::Formula& formula : region_.program.formulas)
      if (formula.steps.size() > tile::kFormulaStepsMax)
        return error(Code::unsupported, "a size computed in {} steps; at most {}",
                     formula.steps.size(), tile::kFormulaStepsMax);
    return {};
  }
  // Sound at both ends; the numbers of the largest sizes stay.
  Result<void> check_bounds() {
    TRY_VOID(tile::verify(region_.program).with_context("at the largest sizes"));
    TRY_VOID(set_sizes(least_).with_context("at the least sizes"));
    return set_sizes(largest_).with_context("at the largest sizes");
  }
  Result<void> set_sizes(const std::vector<int64_t>& values) {
    std::vector<int64_t> mentioned;
    for (int32_t symbol : mentioned_) mentioned.push_back(values[size_t(symbol)]);
    return tile::set_sizes(region_.program, mentioned);
  }
  static int64_t ceil_multiple(int64_t value, int64_t divisor) {
    return (value + divisor - 1) / divisor * divisor;
  }

  uint32_t add_storage(Storage::Kind kind, uint64_t bytes, uint32_t index = 0,
                       std::string name = {}) {
    region_.program.storages.push_back({kind, bytes, index, 0, std::move(name)});
    return uint32_t(region_.program.storages.size()) - 1;
  }

  // Places.
  std::optional<ElementView> place(ValueId tensor) override {
    if (auto found = places_.find(tensor); found != places_.end()) return found->second;
    const ValueInfo& info = graph_.values[size_t(tensor)];
    if (info.origin != Origin::constant) return std::nullopt;
    const ConstantData& constant = program_.constants[size_t(info.index)];
    std::string name = "constant " + std::to_string(info.index);
    if (!find_constant(name)) add_constant(name, constant.bytes, constant.owned);
    storage_of_[tensor] = constants_[name];
    const std::vector<SymInt>& sizes = sizes_of(graph_, tensor);
    return places_[tensor] = ElementView{tensor, 0, sizes, contiguous_strides(symbols_, sizes)};
  }
  DType stored(ValueId tensor, const ElementView& view) override {
    auto found = dtypes_.find(view.root);
    return found == dtypes_.end() ? graph_.type(tensor).tensor.dtype : found->second;
  }
  const Node* inlined(ValueId tensor) override { return inlined_[size_t(tensor)]; }
  const Node* padded(ValueId tensor) override { return padded_[size_t(tensor)]; }
  std::string add_constant(const std::string& name, Bytes bytes,
                           std::shared_ptr<const std::vector<uint8_t>> owned) override {
    constants_[name] = add_storage(Storage::Kind::constant, bytes.size(), 0, name);
    region_.constants.push_back({name, bytes, std::move(owned)});
    return name;
  }
  std::optional<std::string> find_constant(const std::string& name) override {
    if (constants_.count(name)) return name;
    return std::nullopt;
  }
  bool is_wanted(const std::string& name) override { return wanted_.count(name) > 0; }

  Result<void> lower_node(const Node& node) {
    if (const tile::Kernel* own = own_kernel_of(program_, node))
      return lower_own_kernel(node, *own);
    ValueId value = node.results[0];
    if (inlined_[size_t(value)] || padded_[size_t(value)]) return {};
    if (is_view(graph_, node)) {
      ValueId operand = *tensor_argument(node, 0);
      auto view = place(operand);
      if (!view) return error(Code::internal, "operand without a place");
      auto through = view_through(symbols_, graph_, node, *view);
      if (!through) {  // its memory lies otherwise: copy it first
        TRY(ElementView copy, copied(operand, false, DType::f32));
        through = view_through(symbols_, graph_, node, copy);
        if (!through) return error(Code::internal, "no view of a contiguous tensor");
      }
      places_[value] = *through;
      return {};
    }
    if (is_concatenation(node)) return concatenate(node);
    if (update_rule(node)) return update(node);
    if (auto found = integers_read_in_place(node)) {
      const std::vector<SymInt>& sizes = sizes_of(graph_, value);
      places_[value] = {value, 0, sizes, contiguous_strides(symbols_, sizes)};
      integers_[value] = std::move(*found);
      return {};
    }
    const Node* anchor = anchor_[size_t(graph_.values[size_t(value)].index)];
    if (!anchor) return compute(node, anchor);
    const TileRule& rule = *find_tile_rule(anchor->op);
    std::vector<std::pair<ValueId, ElementView>> before;  // what is read from copies
    auto read_from = [&](ValueId used) {
      const Node* pad = padded_[size_t(used)];
      return pad ? *tensor_argument(*pad, 0) : used;
    };
    ValueId turned = kNoValue;
    if (rule.channels_last) turned = read_from(*tensor_argument(*anchor, 0));
    std::vector<ValueId> operands;
    Graph::for_each_use(*anchor, [&](ValueId used) {
      if (!inlined_[size_t(used)]) operands.push_back(read_from(used));
    });
    for (ValueId operand : operands) {
      bool is_constant = graph_.values[size_t(operand)].origin == Origin::constant;
      if (is_constant && operand != turned) continue;
      auto view = place(operand);
      if (!view) continue;
      // Block kernels read f32 where it lies.
      bool widen = is_half(stored(operand, *view)) && !rule.in_step;
      bool turn = operand == turned && view->sizes.size() >= 3 && view->sizes[1] != SymInt(0) &&
                  view->sizes[1] != SymInt(1) && view->strides[1] != SymInt(1);
      if (!widen && !turn) continue;
      TRY(ElementView copy, copied(operand, operand == turned, DType::f32));
      before.push_back({operand, places_[operand]});
      places_[operand] = copy;
    }
    Result<void> done = compute(node, anchor);
    while (!before.empty()) {
      places_[before.back().first] = before.back().second;
      before.pop_back();
    }
    return done;
  }

  // Rows of integers that attention alone reads, as keys and values: their numbers are never in
  // memory. Nothing when anything else reads them too, or when they do not lie in order.
  std::optional<IntegerViews> integers_read_in_place(const Node& node) {
    tile::Builder unused("k");
    KernelLowering l(program_, graph_, unused, *this);
    auto integers = token_integers(l, node);
    ValueId value = node.results[0];
    if (!integers || is_output_[size_t(value)]) return std::nullopt;
    const std::vector<SymInt>& sizes = sizes_of(graph_, value);
    IntegerViews views{integers->q, integers->scale, integers->zero, {}, {}, {}};
    auto lies_in_order = [&](ValueId id, ElementView* view) {
      auto found = id == kNoValue ? std::nullopt : place(id);
      if (found) *view = *found;
      return id == kNoValue ||
             (found && found->strides == contiguous_strides(symbols_, sizes_of(graph_, id)));
    };
    bool fits = is_static(graph_.type(value).tensor) && lies_in_order(views.q, &views.of_q) &&
                lies_in_order(views.scale, &views.of_scale) &&
                lies_in_order(views.zero, &views.of_zero) &&
                are_keys_and_values(value, {value, 0, sizes, contiguous_strides(symbols_, sizes)},
                                    sizes.back().value);
    return fits ? std::optional(views) : std::nullopt;
  }
  // All that uses this view of rows of `width` elements are views that keep rows whole, and
  // attention.
  bool are_keys_and_values(ValueId value, const ElementView& view, int64_t width) {
    if (is_output_[size_t(value)] || !rows_of(view, width)) return false;
    int32_t found = 0;
    for (NodeId id : nodes_) {
      const Node& node = graph_.nodes[size_t(id)];
      int32_t uses = 0;
      Graph::for_each_use(node, [&](ValueId used) { uses += used == value; });
      if (uses == 0) continue;
      found += uses;
      if (is_view(graph_, node)) {
        auto next = view_through(symbols_, graph_, node, view);
        if (!next || !are_keys_and_values(node.results[0], *next, width)) return false;
        continue;
      }
      for (size_t i : {size_t(1), size_t(2)})
        if (auto* operand = tensor_argument(node, i); operand && *operand == value) uses--;
      if (uses != 0 || node.op != "aten::scaled_dot_product_attention") return false;
    }
    return found == uses_[size_t(value)];
  }
  // The view of a number for each row that is beside a view of rows of `width` elements; nothing
  // when that does not keep rows whole.
  static std::optional<ElementView> rows_of(const ElementView& view, int64_t width) {
    ElementView rows = view;
    if (width < 1 || view.sizes.empty() || !view.offset.is_known() ||
        view.offset.value % width != 0 || view.sizes.back() != SymInt(width) ||
        (view.strides.back() != SymInt(1) && width != 1))
      return std::nullopt;
    for (size_t d = 0; d + 1 < view.sizes.size(); d++) {
      if (!view.strides[d].is_known() || view.strides[d].value % width != 0) return std::nullopt;
      rows.strides[d] = view.strides[d].value / width;
    }
    rows.offset = view.offset.value / width;
    rows.sizes.back() = 1;
    return rows;
  }
  std::optional<IntegerViews> integers(ValueId tensor) override {
    auto view = places_.find(tensor);
    if (view == places_.end()) return std::nullopt;
    auto found = integers_.find(view->second.root);
    if (found == integers_.end()) return std::nullopt;
    IntegerViews views = found->second;
    auto move_to = [&](ElementView* whole, ElementView part) {
      part.root = whole->root;
      part.offset = symbols_.add(whole->offset, part.offset);
      *whole = std::move(part);
    };
    ElementView rows = *rows_of(view->second, sizes_of(graph_, found->first).back().value);
    move_to(&views.of_q, view->second);
    move_to(&views.of_scale, rows);
    if (views.zero != kNoValue) move_to(&views.of_zero, rows);
    return views;
  }

  // The update that is all that uses a tensor; null when there is more.
  const Node* only_update_of(ValueId value) const {
    const Node* user = user_[size_t(value)];
    bool alone = user && uses_[size_t(value)] == 1 && !is_output_[size_t(value)];
    return alone && update_rule(*user) && *tensor_argument(*user, 0) == value ? user : nullptr;
  }

  // Updates that follow each other have one place, that of the last. An input that nothing else
  // here reads as it was comes there without a step: the output updates it.
  Result<void> update(const Node& node) {
    ValueId before = *tensor_argument(node, 0), value = node.results[0], last = value;
    const ValueInfo& info = graph_.values[size_t(before)];
    if (info.origin == Origin::node && in_region_[size_t(info.index)] && only_update_of(before) &&
        update_rule(graph_.nodes[size_t(info.index)])) {
      places_[value] = places_[before];
    } else {
      while (const Node* next = only_update_of(last)) last = next->results[0];
      places_[value] = make_place(last, true);
      int32_t input = input_updated_by(before, last);
      if (input != tile::kNone)
        region_.program.outputs[size_t(output_index(last))].updates = input;
      else
        TRY_VOID(add_step(nullptr, nullptr, before, places_[value], node.source));
    }
    auto made = make_update(program_, graph_, *this, node, places_[value]);
    if (!made) return error(Code::internal, "no kernel for what can_lower() took");
    add_kernel_step(std::move(*made), node.source);
    return {};
  }
  int64_t output_index(ValueId value) const {
    auto found = std::find(region_.outputs.begin(), region_.outputs.end(), value);
    return found == region_.outputs.end() ? tile::kNone : found - region_.outputs.begin();
  }
  int32_t input_updated_by(ValueId before, ValueId last) const {
    int64_t output = output_index(last);
    auto found = std::find(region_.inputs.begin(), region_.inputs.end(), before);
    if (output == tile::kNone || found == region_.inputs.end() || !only_update_of(before))
      return tile::kNone;
    size_t input = size_t(found - region_.inputs.begin());
    bool same = region_.program.inputs[input] == region_.program.outputs[size_t(output)];
    return same ? int32_t(input) : tile::kNone;
  }

  // A kernel that stands for an operator is a step of its own.
  Result<void> lower_own_kernel(const Node& node, const tile::Kernel& kernel) {
    tile::Kernel own = kernel;
    own.stands_for = {};
    tile::Step step{0, std::vector<Operand>(own.buffers.size()), node.source};
    const auto& operands = std::get<std::vector<ValueRef>>(node.arguments[1]);
    for (size_t i = 0; i < operands.size(); i++) {
      size_t b = buffer_of_argument(kernel, i);
      const tile::Buffer& buffer = own.buffers[b];
      KernelOperand from;
      if (buffer.is_packed()) {
        tile::Builder unused("k");
        KernelLowering l(program_, graph_, unused, *this);
        std::vector<int> order;
        std::vector<int64_t> sizes;
        for (const SymInt& size : graph_.type(operands[i].id).tensor.sizes) {
          order.push_back(int(order.size()));
          sizes.push_back(size.value);
        }
        if (!l.panels(operands[i].id, sizes, order, buffer.panel_lead, 1))
          return error(Code::internal, "a constant that cannot be packed");
        from = l.operands[0];
      } else {
        auto view = place(operands[i].id);
        if (!view) return error(Code::internal, "operand without a place");
        from.view = *view;
        if (stored(operands[i].id, *view) != buffer.dtype) {
          TRY(from.view, copied(operands[i].id, false, buffer.dtype));
        }
      }
      step.operands[b] = operand_of(from, uint32_t(b), buffer.dtype);
    }
    for (size_t r = 0; r < node.results.size(); r++) {
      size_t b = buffer_of_result(kernel, r);
      step.operands[b] =
          operand_of({make_place(node.results[r], true), {}}, uint32_t(b), own.buffers[b].dtype);
    }
    own.name = "k";
    auto [found, is_new] =
        kernels_.emplace(tile::print(own), uint32_t(region_.program.kernels.size()));
    step.kernel = found->second;
    if (is_new) {
      own.name = fmt::format("k{}", found->second);
      region_.program.kernels.push_back(std::move(own));
    }
    region_.program.steps.push_back(std::move(step));
    return {};
  }

  Result<void> compute(const Node& node, const Node* anchor) {
    ValueId value = node.results[0];
    ElementView result = make_place(value);
    if (anchor)
      for (ValueId other : other_results(*anchor)) make_place(other);
    return add_step(&node, anchor, value, result, node.source);
  }

  // Where a tensor that is computed here goes: the output, its part of a concatenation, or memory
  // of its own, as `exact` with the type that the graph says.
  ElementView make_place(ValueId value, bool exact = false) {
    if (auto found = output_storage_.find(value); found != output_storage_.end()) {
      storage_of_[value] = found->second;
      return places_[value] = argument_view(value);
    }
    if (const Node* user = user_[size_t(value)];
        user && uses_[size_t(value)] == 1 && is_concatenation(*user) && !exact) {
      ElementView whole = concatenation_place(*user);
      SymInt offset;
      size_t dim = *concatenated_dim(graph_, *user);
      for (const ValueRef& part : std::get<std::vector<ValueRef>>(user->arguments[0])) {
        if (part.id == value) break;
        offset = symbols_.add(offset, sizes_of(graph_, part.id)[dim]);
      }
      whole.offset = symbols_.add(whole.offset, symbols_.multiply(offset, whole.strides[dim]));
      whole.sizes = sizes_of(graph_, value);
      return places_[value] = whole;
    }
    places_[value] = own_place(value, channels_last_[size_t(value)], exact);
    if (!channels_last_[size_t(value)]) lie_as_permuted(value, places_[value]);
    return places_[value];
  }
  // What is only read in another order of dimensions lies in that order, so that what follows, like
  // heads that become columns again, is a view; unless its rows would lie apart.
  void lie_as_permuted(ValueId value, ElementView& place) const {
    const Node* user = user_[size_t(value)];
    if (!user || uses_[size_t(value)] != 1 || is_output_[size_t(value)] || !is_view(graph_, *user))
      return;
    std::vector<int64_t> order = permutation_of(user->op, user->arguments, int(place.sizes.size()));
    if (order.empty() || order.back() + 1 != int64_t(order.size())) return;
    std::vector<SymInt> strides = contiguous_strides(symbols_, sizes_of(graph_, user->results[0]));
    for (size_t d = 0; d < order.size(); d++) place.strides[size_t(order[d])] = strides[d];
  }
  // 16-bit floats are kept in f32 unless the model says that they are rounded.
  ElementView own_place(ValueId value, bool channels_last, bool exact) {
    DType dtype = graph_.type(value).tensor.dtype;
    const Node& node = graph_.nodes[size_t(graph_.values[size_t(value)].index)];
    exact |= is_rounding(graph_, node);
    if (is_concatenation(node))
      for (const ValueRef& part : std::get<std::vector<ValueRef>>(node.arguments[0])) {
        const ValueInfo& info = graph_.values[size_t(part.id)];
        exact |=
            info.origin == Origin::node && is_rounding(graph_, graph_.nodes[size_t(info.index)]);
      }
    if (is_half(dtype) && !exact) dtype = DType::f32;
    dtypes_[value] = dtype;
    storage_of_[value] = add_storage(Storage::Kind::temporary, bytes_of(value, dtype));
    return dense_view(value, sizes_of(graph_, value), channels_last);
  }
  ElementView dense_view(ValueId root, const std::vector<SymInt>& sizes, bool channels_last) {
    return {root, 0, sizes,
            channels_last ? channels_last_strides(symbols_, sizes)
                          : contiguous_strides(symbols_, sizes)};
  }
  ElementView concatenation_place(const Node& node) {
    ValueId whole = node.results[0];
    if (auto found = places_.find(whole); found != places_.end()) return found->second;
    return make_place(whole);
  }

  Result<void> concatenate(const Node& node) {
    auto* parts = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
    auto dim = concatenated_dim(graph_, node);
    if (!parts || !dim) return error(Code::internal, "not a concatenation that can be lowered");
    ElementView whole = concatenation_place(node);
    SymInt offset;
    for (const ValueRef& part : *parts) {
      const std::vector<SymInt>& sizes = sizes_of(graph_, part.id);
      if (sizes.size() != whole.sizes.size()) continue;  // an empty tensor of rank 1
      ElementView to = whole;
      to.offset = symbols_.add(to.offset, symbols_.multiply(offset, whole.strides[*dim]));
      to.sizes = sizes;
      offset = symbols_.add(offset, sizes[*dim]);
      auto from = place(part.id);
      if (!from) return error(Code::internal, "part without a place");
      bool there = from->root == to.root && from->offset == to.offset;
      bool is_empty = std::find(sizes.begin(), sizes.end(), SymInt(0)) != sizes.end();
      if (!there && !is_empty) TRY_VOID(add_step(nullptr, nullptr, part.id, to, node.source));
    }
    return {};
  }

  // A copy with another layout, or as another type of floats; one per tensor, layout and type.
  Result<ElementView> copied(ValueId value, bool channels_last, DType floats) {
    DType dtype = graph_.type(value).tensor.dtype;
    if (is_half(dtype)) dtype = floats;
    auto key = std::make_tuple(value, channels_last, dtype);
    if (auto found = copies_.find(key); found != copies_.end()) return found->second;
    // The copy has no value of its own; a root below zero tells its storage.
    uint32_t storage = add_storage(Storage::Kind::temporary, bytes_of(value, dtype));
    ValueId root = -2 - ValueId(storage);
    dtypes_[root] = dtype;
    ElementView to = dense_view(root, sizes_of(graph_, value), channels_last);
    TRY_VOID(add_step(nullptr, nullptr, value, to, {}));
    copies_[key] = to;
    return to;
  }

  // An output that is a view, or an input, gets a copy.
  Result<void> deliver(ValueId output) {
    auto view = place(output);
    if (!view) return error(Code::internal, "output without a value");
    uint32_t storage = output_storage_[output];
    if (view->root >= 0 && storage_of_[view->root] == storage) return {};
    ElementView to = argument_view(output);
    to.root = -2 - ValueId(storage);
    return add_step(nullptr, nullptr, output, to, {});
  }

  // Operand `index` of the next step.
  Operand operand_of(const KernelOperand& made, uint32_t index, DType dtype) {
    uint32_t storage = made.view.root == kNoValue ? constants_[made.constant]
                       : made.view.root < 0       ? uint32_t(-2 - made.view.root)
                                                  : storage_of_[made.view.root];
    uint32_t step = uint32_t(region_.program.steps.size());
    Operand operand{storage, 0, {}, {}};
    // Where nothing is, an offset says nothing.
    const std::vector<SymInt>& sizes = made.view.sizes;
    if (std::find(sizes.begin(), sizes.end(), SymInt(0)) == sizes.end())
      operand.offset = uint64_t(number(symbols_.multiply(made.view.offset, dtype_bytes(dtype)),
                                       {Varying::What::operand_offset, step, index, 0, 0}));
    for (uint32_t d = 0; d < made.view.sizes.size(); d++) {
      operand.sizes.push_back(
          number(made.view.sizes[d], {Varying::What::operand_size, step, index, d, 0}));
      operand.strides.push_back(
          number(made.view.strides[d], {Varying::What::operand_stride, step, index, d, 0}));
    }
    return operand;
  }

  Result<void> add_step(const Node* root, const Node* anchor, ValueId value,
                        const ElementView& result, const std::string& source) {
    auto all = make_kernels(program_, graph_, *this, root, anchor, value, result);
    if (!all) return error(Code::internal, "no kernel for what can_lower() took");
    for (MadeKernel& made : *all) add_kernel_step(std::move(made), source);
    return {};
  }
  void add_kernel_step(MadeKernel made, const std::string& source) {
    std::string text = tile::print(made.kernel);
    auto [found, is_new] = kernels_.emplace(text, uint32_t(region_.program.kernels.size()));
    tile::Step step{found->second, {}, source};
    for (size_t b = 0; b < made.operands.size(); b++)
      step.operands.push_back(
          operand_of(made.operands[b], uint32_t(b), made.kernel.buffers[b].dtype));
    if (is_new) {
      made.kernel.name = fmt::format("k{}", found->second);
      region_.program.kernels.push_back(std::move(made.kernel));
    }
    region_.program.steps.push_back(std::move(step));
  }

  void plan() {
    tile::Program& program = region_.program;
    std::vector<Block> blocks;
    std::vector<size_t> which;
    std::vector<Block> lives(program.storages.size(), {0, UINT32_MAX, 0});
    for (size_t step = 0; step < program.steps.size(); step++)
      for (const Operand& operand : program.steps[step].operands) {
        Block& life = lives[operand.storage];
        life.first_step = std::min(life.first_step, uint32_t(step));
        life.last_step = uint32_t(step);
      }
    for (size_t s = 0; s < program.storages.size(); s++) {
      if (program.storages[s].kind != Storage::Kind::temporary || lives[s].first_step == UINT32_MAX)
        continue;
      lives[s].bytes = program.storages[s].bytes;
      blocks.push_back(lives[s]);
      which.push_back(s);
    }
    ArenaPlan arena = plan_arena(blocks, kAlignment);
    for (size_t b = 0; b < which.size(); b++) program.storages[which[b]].offset = arena.offsets[b];
    program.arena_bytes = arena.arena_bytes;
  }

  Program& program_;
  SymbolTable& symbols_;
  const Graph& graph_;
  Span<const NodeId> nodes_;
  std::vector<int64_t> least_, largest_;              // by symbol of the program
  std::unordered_map<ExprId, uint32_t> formulas_;     // which of the region's
  std::vector<int32_t> mentioned_;                    // by symbol of the region: of the program
  std::unordered_map<int32_t, size_t> mentioned_at_;  // the other way round
  std::vector<ValueId> inputs_;
  std::vector<int32_t> uses_;      // by value, in the region
  std::vector<const Node*> user_;  // by value, the last one
  std::vector<bool> in_region_;    // by node
  std::vector<bool> is_output_, channels_last_;
  std::vector<const Node*> anchor_;   // by node: the one with axes in its kernel so far
  std::vector<const Node*> inlined_;  // by value: its node, when it has no memory
  std::vector<const Node*> padded_;   // by value: the pad, when what reads it sees its operand
  std::unordered_map<ValueId, ElementView> places_;
  std::unordered_map<ValueId, IntegerViews> integers_;  // by root of a view: what it is made of
  std::unordered_map<ValueId, uint32_t> storage_of_, output_storage_;
  std::unordered_map<std::string, uint32_t> constants_;
  std::unordered_map<std::string, uint32_t> kernels_;
  std::unordered_set<std::string> wanted_;  // see find_shared_constants()
  std::map<std::tuple<ValueId, bool, DType>, ElementView> copies_;
  // By root of a view: of its elements, where that is not what the graph says.
  std::unordered_map<ValueId, DType> dtypes_;
  LoweredRegion region_;
};

}  // namespace

std::optional<std::string> why_not_own_kernel(const Program& program, const Graph& graph,
                                              const Node& node) {
  const tile::Kernel& kernel = *own_kernel_of(program, node);
  std::optional<std::string> why;
  auto of_known_sizes = [&](ValueId id, size_t b) {
    if (!why && !(graph.type(id).is_tensor() && is_static(graph.type(id).tensor)))
      why = fmt::format("sizes of {} are known only when it runs", kernel.buffers[b].name);
  };
  const auto& operands = std::get<std::vector<ValueRef>>(node.arguments[1]);
  for (size_t i = 0; i < operands.size(); i++) {
    size_t b = buffer_of_argument(kernel, i);
    const tile::Buffer& buffer = kernel.buffers[b];
    of_known_sizes(operands[i].id, b);
    if (!buffer.is_packed()) continue;
    if (graph.values[size_t(operands[i].id)].origin != Origin::constant)
      why = fmt::format("{} is packed, so it has to be a constant of the model", buffer.name);
    else if (buffer.layout != tile::Layout::panels ||
             (buffer.dtype != DType::f32 && buffer.dtype != DType::i8))
      why = fmt::format("{} is packed in another way than panels of f32 or i8", buffer.name);
  }
  for (size_t r = 0; r < node.results.size(); r++)
    of_known_sizes(node.results[r], buffer_of_result(kernel, r));
  return why;
}

bool can_lower(Program& program, const Graph& graph, const Node& node, Prefer prefer) {
  if (node.op == kOwnKernel) return !why_not_own_kernel(program, graph, node);
  if (node.results.empty()) return false;
  bool fits = true, is_renamed = is_view(graph, node);
  const TileRule* rule = find_tile_rule(node.op);
  auto check = [&](ValueId id) {
    // Integers among a view's arguments say what the type of its result says too.
    if ((is_renamed || (rule && rule->sized)) && graph.type(id).kind == Type::Kind::integer) return;
    if (const ValueId* tensor = tensor_of_integer(graph, id))
      id = *tensor;
    else if (graph.type(id).kind == Type::Kind::integer && update_rule(node))
      return;  // where a slice ends follows from what is written
    fits &=
        is_bounded_tensor(program, graph, id) && takes(graph, node, graph.type(id).tensor.dtype);
  };
  Graph::for_each_use(node, check);
  check(node.results[0]);
  if (fits && rule && rule->sized)  // there is no operand that could tell them
    for (SymInt size : sizes_of(graph, node.results[0])) fits &= inputs_tell(program, graph, size);
  // Other results must be unused, unless the kernel gives them.
  if (fits && node.results.size() > 1) {
    std::vector<int32_t> uses = graph.use_counts();
    for (size_t r = 1; r < node.results.size(); r++) {
      if (uses[size_t(node.results[r])] == 0) continue;
      fits &= rule && rule->all_results;
      check(node.results[r]);
    }
  }
  if (!fits) return false;
  PlainPlaces places(program, graph, prefer);
  if (is_renamed) {
    auto view = places.place(*tensor_argument(node, 0));
    return view && view_through(program.symbols, graph, node, *view).has_value();
  }
  if (is_concatenation(node)) {
    auto* parts = std::get_if<std::vector<ValueRef>>(&node.arguments[0]);
    if (!parts || !concatenated_dim(graph, node)) return false;
    for (const ValueRef& part : *parts)
      if (graph.type(part.id).tensor.dtype != graph.type(node.results[0]).tensor.dtype)
        return false;
    return true;
  }
  if (!rule) return false;
  ElementView result = *places.place(node.results[0]);
  if (rule->update) {
    const ValueId* before = tensor_argument(node, 0);
    return before && graph.type(*before) == graph.type(node.results[0]) &&
           make_update(program, graph, places, node, result).has_value();
  }
  return make_kernels(program, graph, places, &node, rule->axes ? &node : nullptr, node.results[0],
                      result)
      .has_value();
}

Result<LoweredRegion> lower(Program& program, const Graph& graph, Span<const NodeId> nodes,
                            Prefer prefer) {
  return Lowering(program, graph, nodes, prefer).run();
}

}  // namespace sconce
