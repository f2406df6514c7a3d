// What rules make an XNNPACK graph with: the region so far, and a graph's values in it.
//
// Rules are rows of tables, a file a family (rules_*.cc). A rule takes a node or refuses it; asked
// in a trial it makes no bytes, so that "supported" and "lowered" are one piece of code.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "targets/xnnpack/compile/lower.h"

namespace sconce::xnn_compile {

using Dims = std::vector<int64_t>;
using Kind = XnnNodeKind;

constexpr uint32_t kTransposeB = 1, kKeepDims = 0x40, kAlignCorners = 8;

int64_t product(const Dims& dims);
// The sizes of an image (N, H, W, C) of those in order; rows are images of height 1.
inline bool can_be_image(const Dims& d) { return d.size() == 3 || d.size() == 4; }
inline Dims to_image(const Dims& d) { return {d[0], d.size() == 4 ? d[2] : 1, d.back(), d[1]}; }

// --- arguments of nodes -------------------------------------------------------------------------

std::optional<ValueId> value_argument(const Node& node, size_t i);
bool is_none(const Node& node, size_t i);
std::optional<double> number_argument(const Node& node, size_t i);
std::optional<int64_t> int_argument(const Node& node, size_t i);
bool bool_argument(const Node& node, size_t i);
// A list of known integers; an integer alone stands for `count` times itself.
std::optional<Dims> ints_argument(const Node& node, size_t i, size_t count);

// True when a reduction of a tensor of `dims` is over all of what makes it an image.
bool is_over_image(const Dims& dims, std::optional<Dims> over);

// --- rules --------------------------------------------------------------------------------------

class Lowering;
using Rule = bool (*)(Lowering& l, const Node& node);
struct Row {
  const char* op;
  Rule rule;
  bool moves = false;  // takes integers of 8 bits, too
};
Span<const Row> pointwise_rules();
Span<const Row> image_rules();
Span<const Row> product_rules();
Span<const Row> shape_rules();
Span<const Row> integer_rules();
// Null when there is none.
const Row* find_row(const std::string& op);

struct XnnScale {
  float scale;
  int32_t zero;
  bool operator==(const XnnScale&) const = default;
};

class Lowering {
 public:
  // A trial says whether a rule takes a node; it makes no bytes.
  Lowering(const Program& program, const Graph& graph, bool trial)
      : program(program), graph(graph), trial(trial) {
    region.graph.version = "0";
    region.graph.constants.push_back({"", true, {}});
  }

  Result<XnnRegion> run(Span<const NodeId> nodes);

  // --- what rules ask ---

  bool is_f32(ValueId id) const {
    const Type& type = graph.type(id);
    return type.is_tensor() && type.tensor.dtype == DType::f32 && has_xnn_shape(id);
  }
  bool has_xnn_shape(ValueId id) const;
  // Integers of 8 bits that stand for numbers: here values carry scale and zero point.
  bool is_i8(ValueId id) const {
    const Type& type = graph.type(id);
    if (!type.is_tensor() || type.tensor.dtype != DType::i8) return false;
    return has_xnn_shape(id);
  }
  bool is_i32(ValueId id) const {
    const Type& type = graph.type(id);
    return type.is_tensor() && type.tensor.dtype == DType::i32 && has_xnn_shape(id);
  }
  bool is_constant(ValueId id) const { return graph.values[size_t(id)].origin == Origin::constant; }
  Dims dims(ValueId id) const {
    Dims all;
    for (const SymInt& size : graph.type(id).tensor.sizes) all.push_back(size.value);
    return all;
  }
  const float* floats(ValueId id) const {
    return reinterpret_cast<const float*>(
        program.constants[size_t(graph.values[size_t(id)].index)].bytes.data());
  }
  // Better as an image than with the dimensions in order.
  bool prefers_image(ValueId id) const {
    auto found = forms_.find(id);
    return found != forms_.end() && found->second.image != kNone && found->second.plain == kNone;
  }

  // --- values and nodes ---

  // The value with its dimensions in order, or as an image (N, H, W, C).
  uint32_t plain(ValueId id);
  uint32_t image(ValueId id);
  void set(ValueId id, uint32_t value, bool as_image = false) {
    if (graph.type(id).tensor.dtype == DType::i8) set_scale(value, scale_of(id));
    (as_image ? forms_[id].image : forms_[id].plain) = value;
  }
  // A convolution's input whose padding waits for it.
  struct Padding {
    ValueId of;
    Dims before, after;  // of the two inner dimensions
  };
  void set_padded(ValueId id, Padding padding) { paddings_[id] = std::move(padding); }
  const Padding* find_padding(ValueId id) const {
    auto found = paddings_.find(id);
    return found == paddings_.end() ? nullptr : &found->second;
  }
  int uses_of(ValueId id) const { return trial ? 1 : uses_[size_t(id)]; }
  // By anything, in the region or not.
  bool is_used(ValueId id) const;
  const Node* user_of(ValueId id) const { return trial ? nullptr : users_[size_t(id)]; }

  uint32_t add_value(const Dims& d) {
    XnnValue value;
    value.id = uint32_t(region.graph.values.size());
    for (int64_t size : d) value.dims.push_back(uint32_t(size));
    region.graph.values.push_back(std::move(value));
    return uint32_t(region.graph.values.size() - 1);
  }
  Dims dims_of(uint32_t value) const {
    const auto& d = region.graph.values[value].dims;
    return Dims(d.begin(), d.end());
  }
  // The result has the type of the first operand.
  XnnNode& add(Kind kind, std::vector<uint32_t> inputs, const Dims& out);
  uint32_t reshaped(uint32_t from, const Dims& to) {
    if (dims_of(from) == to) return from;
    XnnNode& node = add(Kind::reshape, {from}, to);
    node.first.assign(to.begin(), to.end());
    return node.outputs[0];
  }
  uint32_t transposed(uint32_t from, const std::vector<uint32_t>& order);
  uint32_t binary(Kind kind, uint32_t a, uint32_t b);
  uint32_t linear(uint32_t x, uint32_t weight, uint32_t bias, int64_t outputs, uint32_t flags);
  // The mean of each channel: [N, 1, 1, C], or [N, C].
  XnnNode& mean_of_image(uint32_t image, bool keep_dims);
  uint32_t unary(Kind kind, uint32_t a) { return add(kind, {a}, dims_of(a)).outputs[0]; }

  // --- integers ---

  static constexpr XnnScale kNoScale = {1, 0};
  void set_scale(uint32_t value, XnnScale scale) {
    XnnValue& v = region.graph.values[value];
    v.dtype = XnnDType::qint8;
    v.quantization.kind = XnnQuantization::Kind::per_tensor;
    v.quantization.scale = scale.scale;
    v.quantization.zero_point = scale.zero;
  }
  XnnScale scale_of(ValueId id) const {
    auto found = scales_.find(id);
    return found == scales_.end() ? kNoScale : found->second;
  }
  // True when nothing else makes or reads these integers by another scale.
  bool agrees(ValueId id, XnnScale scale);
  // The value as numbers of another type: f32, or integers of a scale.
  uint32_t converted(uint32_t from, std::optional<XnnScale> to);
  // Quantised by their own range: rows, or what the `inner_dims` inner dimensions hold.
  uint32_t dynamic(uint32_t from, uint32_t inner_dims = 1);
  // Bytes under a name of their own; what number the payload knows them by.
  uint32_t named(Bytes bytes, std::shared_ptr<const std::vector<uint8_t>> owned);
  uint32_t named(std::vector<uint8_t> bytes) {
    auto owned = std::make_shared<const std::vector<uint8_t>>(std::move(bytes));
    return named(*owned, owned);
  }
  template <class T>
  static std::vector<uint8_t> bytes_of(const std::vector<T>& numbers) {
    std::vector<uint8_t> bytes(numbers.size() * sizeof(T));
    if (!bytes.empty()) memcpy(bytes.data(), numbers.data(), bytes.size());
    return bytes;
  }
  // A constant that XNNPACK packs, with a scale for all (as type `one`) or one for each place along
  // `channel_dim` (as type `each`).
  uint32_t integers(XnnDType one, XnnDType each, uint32_t constant, const Dims& d,
                    const std::vector<float>& scales, int32_t channel_dim);
  std::vector<float> scales_of(ValueId id) const {
    return std::vector<float>(floats(id), floats(id) + product(dims(id)));
  }
  const int8_t* bytes_at(ValueId id) const {
    return reinterpret_cast<const int8_t*>(
        program.constants[size_t(graph.values[size_t(id)].index)].bytes.data());
  }
  const ConstantData& data_of(ValueId id) const {
    return program.constants[size_t(graph.values[size_t(id)].index)];
  }

  // A constant of f32; equal bytes of equal sizes are one value. But for filters and biases:
  // XNNPACK packs them, and stock then lets their bytes go, so that no other node may read the same
  // value.
  enum class Use { read, packed };
  uint32_t constant(Bytes bytes, std::shared_ptr<const std::vector<uint8_t>> owned, Dims d,
                    Use use = Use::read);
  uint32_t constant(const std::vector<float>& numbers, Dims d, Use use = Use::read);
  uint32_t number(double x) { return constant(std::vector<float>{float(x)}, {1}); }
  uint32_t constant_of(ValueId id, Dims d, Use use = Use::read) {
    const ConstantData& data = program.constants[size_t(graph.values[size_t(id)].index)];
    return constant(data.bytes, data.owned, std::move(d), use);
  }
  // A filter, seen with the sizes `from`, with its dimensions in another order.
  uint32_t reordered(ValueId id, const Dims& from, const std::vector<size_t>& order);
  // The elements of a tensor of rank 4 with its dimensions in another order.
  template <class T>
  static std::vector<T> turned(const T* data, const Dims& from, const std::vector<size_t>& order) {
    Dims strides(4, 1);
    for (size_t i = 3; i-- > 0;) strides[i] = strides[i + 1] * from[i + 1];
    std::vector<T> numbers;
    numbers.reserve(size_t(product(from)));
    for (int64_t a = 0; a < from[order[0]]; a++)
      for (int64_t b = 0; b < from[order[1]]; b++)
        for (int64_t c = 0; c < from[order[2]]; c++)
          for (int64_t d = 0; d < from[order[3]]; d++)
            numbers.push_back(data[a * strides[order[0]] + b * strides[order[1]] +
                                   c * strides[order[2]] + d * strides[order[3]]]);
    return numbers;
  }
  // Limits of a result: in the node that makes it, when nobody else sees that node's result.
  uint32_t limited(ValueId of, uint32_t value, float min, float max);

  const Program& program;
  const Graph& graph;
  const bool trial;
  XnnRegion region;

 private:
  static constexpr uint32_t kNone = kXnnNoValue;
  struct Form {
    uint32_t plain = kNone, image = kNone;
  };

  static bool takes_limits(Kind kind);
  bool is_in_order(ValueId id) const;
  bool is_image(ValueId id) const {
    return graph.type(id).tensor.dim_order == std::vector<uint8_t>{0, 2, 3, 1};
  }
  Dims own_dims(ValueId id) const {
    Dims d = dims(id);
    if (d.empty()) return {1};
    return is_image(id) ? to_image(d) : d;
  }
  Form& form_of(ValueId id);

  void find_uses(Span<const NodeId> nodes);

  // The scale of a result, where the node says it.
  static std::optional<XnnScale> made_scale(const Node& node);
  // Scales of integers: who makes or reads them says so; what only moves them keeps them.
  void find_scales();

  void mark_output(ValueId id);

  std::map<ValueId, Form> forms_;
  std::map<ValueId, XnnScale> scales_;
  std::map<ValueId, Padding> paddings_;
  std::unordered_map<std::string, uint32_t> constants_;
  std::map<std::pair<uint32_t, Use>, std::vector<uint32_t>> constant_values_;
  std::vector<int> uses_;
  std::vector<const Node*> users_;
};

}  // namespace sconce::xnn_compile
