// TileRule: how an operator is written in the tile language.
//
// TILE(name) = {...} at the start of a line in a *.tile.cc under ops/ gives one; the build scans
// for it. A rule that returns nothing says "not this node": the same function is the question
// whether an operator is supported and the lowering, so the two cannot disagree.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ops/def.h"
#include "ops/prefer.h"
#include "tile/build.h"

namespace sconce {

// One index per dimension of a tensor.
using TileIndex = std::vector<tile::Index>;

// Integers that are only read, written and moved: computed with as i32, or as numbers, of which
// every one of them is one.
inline bool is_narrow(DType dtype) {
  return dtype == DType::i8 || dtype == DType::u8 || dtype == DType::i16;
}

// What a rule works with: the kernel being built and the tensors of the graph. Their sizes are
// numbers, or expressions that a call tells: shape() gives either, size() and sizes() give numbers,
// and a rule that asks those for one that is not known does not take the node.
class TileLowering {
 public:
  TileLowering(const Graph& graph, SymbolTable& symbols, tile::Builder& build, Prefer prefer)
      : build(build), graph(graph), symbols(symbols), prefer(prefer) {}
  virtual ~TileLowering() = default;

  // The element of a tensor at `index`: computed here when the tensor is part of this kernel, else
  // loaded; `outside` is what lies around it.
  virtual std::optional<tile::ValueId> at(ValueId tensor, const TileIndex& index,
                                          double outside = 0) = 0;
  // The same as integers and the scale of their row, which is not along the tensor's last
  // dimension, where it is kept so and read through views only. Else without a scale.
  struct Scaled {
    tile::ValueId value;
    std::optional<tile::ValueId> scale;
  };
  virtual std::optional<Scaled> scaled(ValueId tensor, const TileIndex& index) {
    auto value = at(tensor, index);
    return value ? std::optional(Scaled{*value, {}}) : std::nullopt;
  }
  // As above for a tensor that is broadcast to the result that `index` is of.
  std::optional<tile::ValueId> broadcast(ValueId tensor, const TileIndex& index);
  // As above; the index of an element that is not there is an error at run time.
  virtual std::optional<tile::ValueId> at_strict(ValueId tensor, const TileIndex& index) = 0;
  // A constant seen as `sizes`, its dimensions then in the order of `permutation`; nothing when the
  // tensor is not a constant of floats or i8. weights(): in memory in that order. panels(): packed
  // for dot, the first `lead` dimensions apart, the last one that of the columns; the `run`
  // dimensions before it are one of the buffer.
  virtual std::optional<int32_t> weights(ValueId tensor, const std::vector<int64_t>& sizes,
                                         const std::vector<int>& permutation) = 0;
  virtual std::optional<int32_t> panels(ValueId tensor, const std::vector<int64_t>& sizes,
                                        const std::vector<int>& permutation, int32_t lead,
                                        int run = 1) = 0;
  // Elements of a constant of floats from one of them on, by strides: as weights() when lead is -1,
  // else as panels().
  virtual std::optional<int32_t> part(ValueId tensor, int64_t offset, std::vector<int64_t> sizes,
                                      std::vector<int64_t> strides, int32_t lead) = 0;
  // A constant i8 [columns, steps] of -8 to 7 as nibbles [steps, columns] for dot.
  virtual std::optional<int32_t> nibbles(ValueId tensor) = 0;
  // The index of a constant in the program, and its bytes; nothing for other tensors, and for those
  // of 16-bit floats, whose bytes are not what type() says.
  virtual std::optional<int32_t> constant_index(ValueId tensor) const = 0;
  virtual Bytes constant_bytes(ValueId tensor) const = 0;
  // A constant of one dimension that `make` computes from those of the model; equal names are equal
  // constants.
  virtual int32_t made(const std::string& name, DType dtype, int64_t size,
                       const std::function<std::vector<uint8_t>()>& make) = 0;
  // Packed matrices [count, steps, columns], the first dimension apart, of the numbers [count,
  // columns, steps] that `make` makes of a constant of f32; `how` names what it does. Nothing for
  // other tensors.
  virtual std::optional<int32_t> panels_made_of(
      ValueId tensor, const std::string& how, const std::vector<int64_t>& sizes,
      const std::function<std::vector<float>(Bytes)>& make) = 0;

  // True when neighbours along this dimension are neighbours in memory.
  virtual bool is_innermost(ValueId tensor, int dim) const = 0;

  // A size in the kernel that is built: a dim of it when a call tells it.
  tile::Extent extent(SymInt size);
  // An axis for a dimension of a result: none for size 1.
  tile::Index parallel(SymInt size);
  tile::Index each(SymInt size);
  tile::AxisId span(SymInt size) { return build.span(extent(size)); }
  // The same span for all elements of a step that ask with the same number.
  tile::AxisId shared_span(int64_t key, SymInt size);
  // An index as a value of i64.
  tile::ValueId position(const tile::Index& index);
  // A size as a value of `dtype`.
  tile::ValueId number_of(SymInt size, DType dtype);
  // 1 / how many indices these axes have together, as f32.
  tile::ValueId share_of(Span<const tile::AxisId> axes);
  // An argument that is a tensor, a number or an integer that a tensor holds, as a value of
  // `dtype`.
  std::optional<tile::ValueId> operand(const Argument& argument, DType dtype,
                                       const TileIndex& index);

  // As kernels see it: 16-bit floats are f32, since loads widen and stores round.
  const TensorType& type(ValueId id) const;
  const std::vector<SymInt>& shape(ValueId id) const { return graph.type(id).tensor.sizes; }
  SymInt shape(ValueId id, int dim) const { return shape(id)[size_t(dim)]; }
  std::vector<int64_t> sizes(ValueId id) const;
  int64_t size(ValueId id, int dim) const { return number(shape(id, dim)); }
  int rank(ValueId id) const { return int(shape(id).size()); }
  // A size as a number. What is not known is 1, and is_refused() from then on.
  int64_t number(SymInt size) const;
  bool is_refused() const { return is_refused_; }
  // A size to choose by what never decides whether a result is right: the one at export, if
  // unknown.
  int64_t likely(SymInt size) const;

  tile::Builder& build;
  const Graph& graph;
  SymbolTable& symbols;
  const Prefer prefer;
  // What a rule keeps from its axes, or from one of several elements a step, for what follows.
  std::vector<tile::ValueId> kept;
  // The loop that a rule or its axes have opened: a step gives part of the first result, which is
  // stored in it. Then it is closed; of a rule with all results, what it carries out are the
  // others, at these indices.
  struct OpenLoop {
    tile::AxisId axis;
    std::vector<tile::ValueId> next;
    std::vector<TileIndex> results;
  };
  std::optional<OpenLoop> loop;

 private:
  std::vector<std::pair<ExprId, tile::Extent>> dims_;  // of the kernel
  std::unordered_map<int64_t, tile::AxisId> shared_;
  mutable std::unordered_map<ValueId, TensorType> widened_;
  mutable bool is_refused_ = false;
};

// Of a dimension: the elements of a cell are neighbours, or, where they are `apart`, at the same
// place of as many parts. Where these are not equal, the last ones begin with what is the last of
// the parts before them, computed again and stored once.
struct TileCell {
  int64_t count = 1;
  bool apart = false;
};

struct TileRule {
  const char* op;  // "aten::add.Tensor"
  // The element of result 0 at an index.
  std::optional<tile::ValueId> (*lower)(TileLowering& l, const Node& node, const TileIndex& at);
  // For operators with axes of their own: the index of the result that the kernel's loops give.
  // Such an operator is computed once per element, and never inside another one's loops. Null: any
  // index will do, one element depends on those at the same place.
  std::optional<TileIndex> (*axes)(TileLowering& l, const Node& node) = nullptr;
  // With axes: reads its operands at the index of the result, so they may be computed in its
  // kernel.
  bool in_step = false;
  // How many elements along each dimension one step of the loops gives: a cell. axes() are then
  // those of cells, and lower() is asked for each element of one; those of large cells are asked
  // for in several kernels. Null, or no numbers: one.
  std::vector<TileCell> (*cell)(const TileLowering& l, const Node& node) = nullptr;
  // Runs along channels: its input, and what it gives, are best laid out with channels innermost.
  bool channels_last = false;
  // Reads its first operand elsewhere than at the index of the result, so that must be in memory.
  bool gathers = false;
  // Integers among its arguments are sizes, which the type of its result says too.
  bool sized = false;
  // What it sees around its input, so that what a pad puts there need not be made. Null: nothing.
  std::optional<double> (*around)(const Node& node) = nullptr;
  // Instead of lower(): the result is operand 0 with a part changed. Buffer `to` holds operand 0;
  // this stores the part, or says false: not this node.
  bool (*update)(TileLowering& l, const Node& node, int32_t to) = nullptr;
  // With axes: gives all results of the operator, those after the first by TileLowering::loop.
  // Others give the first one.
  bool all_results = false;
};

#define TILE(name)                             \
  extern const ::sconce::TileRule tile_##name; \
  const ::sconce::TileRule tile_##name

// Null when there is none.
const TileRule* find_tile_rule(std::string_view op);
// The scan's table.
Span<const TileRule* const> all_tile_rules();

// Arguments of a node, for rules.
inline const ValueId* tensor_argument(const Node& node, size_t i) {
  auto* ref = std::get_if<ValueRef>(&node.arguments[i]);
  return ref ? &ref->id : nullptr;
}
std::optional<double> number_argument(const Node& node, size_t i);
// Known integers of a list; nothing when one is computed.
std::optional<std::vector<int64_t>> ints_argument(const Node& node, size_t i);

}  // namespace sconce
