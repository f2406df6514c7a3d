#include "import/pte/payload.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/ranges.h>

#include "base/checked.h"
#include "tensor/half.h"

namespace sconce {
namespace {

using Kind = XnnNodeKind;
using Dims = std::vector<int64_t>;

constexpr uint32_t kTransposeWeights = 1, kTransposeA = 2, kLegacy = 4, kSamePadding = 4,
                   kAlignCorners = 8, kKeepDims = 0x40;

// Of one constant.
constexpr uint64_t kBytesMax = uint64_t(1) << 36;

int64_t zero_or_more(int64_t x) { return x > 0 ? x : 0; }

std::optional<DType> plain_dtype(XnnDType type) {
  switch (type) {
    case XnnDType::f32: return DType::f32;
    case XnnDType::f16: return DType::f16;
    case XnnDType::bf16: return DType::bf16;
    case XnnDType::int32: return DType::i32;
    default: return std::nullopt;
  }
}

// Integers that stand for numbers, by one scale and zero point.
bool is_integer(XnnDType type) { return type == XnnDType::qint8 || type == XnnDType::quint8; }

// What a value is in the graph: integers that nodes compute, and weights of 8 and 4 bits, stay
// integers; numbers are made of them where they are read.
std::optional<DType> graph_dtype(XnnDType type) {
  switch (type) {
    case XnnDType::qint8:
    case XnnDType::qcint8:
    case XnnDType::qcint4:
    case XnnDType::qbint4: return DType::i8;
    case XnnDType::quint8: return DType::u8;
    case XnnDType::qdint8:  // numbers, rounded by the range of their row
    case XnnDType::qint32:  // constants, made numbers at once
    case XnnDType::qcint32: return DType::f32;
    default: return plain_dtype(type);
  }
}

// The operator of nodes that take their inputs and nothing else.
const char* plain_operator(Kind kind) {
  switch (kind) {
    case Kind::add: return "aten::add.Tensor";
    case Kind::subtract: return "aten::sub.Tensor";
    case Kind::multiply: return "aten::mul.Tensor";
    case Kind::divide: return "aten::div.Tensor";
    case Kind::minimum: return "aten::minimum";
    case Kind::maximum: return "aten::maximum";
    case Kind::sigmoid: return "aten::sigmoid";
    case Kind::floor: return "aten::floor";
    case Kind::sqrt: return "aten::sqrt";
    case Kind::ceil: return "aten::ceil";
    case Kind::hardswish: return "aten::hardswish";
    case Kind::negate: return "aten::neg";
    case Kind::square: return "aten::square";
    case Kind::abs: return "aten::abs";
    case Kind::rsqrt: return "aten::rsqrt";
    case Kind::log: return "aten::log";
    case Kind::tanh: return "aten::tanh";
    case Kind::exp: return "aten::exp";
    case Kind::sin: return "aten::sin";
    case Kind::cos: return "aten::cos";
    default: return nullptr;
  }
}

// XNNPACK makes a clamp that alone reads a product a limit of that: the integers in between, which
// may have another scale, are never made.
XnnGraph with_limits_joined(XnnGraph graph) {
  std::vector<int> readers(graph.values.size(), 0);
  std::vector<size_t> maker(graph.values.size(), graph.nodes.size());
  for (size_t n = 0; n < graph.nodes.size(); n++) {
    for (uint32_t value : graph.nodes[n].inputs)
      if (value < readers.size()) readers[value]++;
    for (uint32_t value : graph.nodes[n].outputs)
      if (value < maker.size()) maker[value] = n;
  }
  std::vector<bool> is_joined(graph.nodes.size(), false);
  for (size_t n = 0; n < graph.nodes.size(); n++) {
    const XnnNode& clamp = graph.nodes[n];
    if (clamp.kind != Kind::clamp || !clamp.limited || clamp.inputs.size() != 1 ||
        clamp.outputs.size() != 1 || clamp.inputs[0] >= readers.size())
      continue;
    const uint32_t between = clamp.inputs[0];
    const size_t product = maker[between];
    const XnnValue& value = graph.values[between];
    if (product >= n || readers[between] != 1 || value.is_output() || !is_integer(value.dtype))
      continue;
    XnnNode& made = graph.nodes[product];
    if ((made.kind != Kind::conv2d && made.kind != Kind::depthwise_conv2d &&
         made.kind != Kind::fully_connected) ||
        made.outputs.size() != 1)
      continue;
    made.min = made.limited ? std::max(made.min, clamp.min) : clamp.min;
    made.max = made.limited ? std::min(made.max, clamp.max) : clamp.max;
    made.limited = true;
    made.outputs = clamp.outputs;
    is_joined[n] = true;
  }
  std::vector<XnnNode> nodes;
  for (size_t n = 0; n < graph.nodes.size(); n++)
    if (!is_joined[n]) nodes.push_back(std::move(graph.nodes[n]));
  graph.nodes = std::move(nodes);
  return graph;
}

class PayloadImporter {
 public:
  PayloadImporter(Build& build, const XnnGraph& payload, const PayloadData& data)
      : build_(build), payload_(payload), data_(data), values_(payload.values.size(), kNoValue) {}

  Result<void> run(std::vector<ValueId>* external);

 private:
  Result<void> add_constant(size_t index);
  Result<Bytes> bytes_of(uint32_t constant, uint64_t wanted) const;
  Result<std::vector<float>> scales_of(const XnnValue& value) const;
  Result<ValueId> constant_of_numbers(const XnnValue& value, Bytes bytes, uint64_t count);
  Result<ValueId> constant_of_nibbles(const XnnValue& value, const std::vector<SymInt>& sizes);
  // The numbers of a value; `id` is the value itself or has its elements in another order, with the
  // dimension of its channels at `axis`. `moved`, here and below: is added to a zero point.
  Result<ValueId> numbers(uint32_t index, ValueId id, int64_t axis, int moved = 0);
  Result<ValueId> numbers(uint32_t index) {
    TRY(ValueId id, value(index));
    return numbers(index, id, payload_.values[index].quantization.channel_dim);
  }
  // A result as the integers that the payload keeps of it, limited before.
  Result<ValueId> as_kept(const XnnNode& node, ValueId numbers, int moved = 0);
  ValueId rounded_by_rows(ValueId x, int inner_dims);
  // What works on images: numbers channels first, from integers that were moved there; and back.
  Result<ValueId> image(const XnnNode& node, size_t i, int moved = 0);
  int moved_for_halves(const XnnNode& mean) const;
  Result<ValueId> from_image(const XnnNode& node, ValueId first);
  Result<ValueId> value(uint32_t index) const {
    if (index == kXnnNoValue || values_[index] == kNoValue)
      return error(Code::invalid_file, "a value is read before it is written");
    return values_[index];
  }
  // An input of a node; f32 when its floating inputs differ in type.
  Result<ValueId> in(const XnnNode& node, size_t i) {
    if (node.inputs[i] == kXnnNoValue) return value(kXnnNoValue);
    TRY(ValueId x, numbers(node.inputs[i]));
    DType dtype = build_.dtype(x);
    if (!is_floating(dtype) || dtype == DType::f32) return x;
    bool mixed = false;
    for (uint32_t other : node.inputs) {
      if (other == kXnnNoValue || values_[other] == kNoValue) continue;
      DType found = build_.dtype(values_[other]);
      mixed |= (is_floating(found) && found != dtype) || !plain_dtype(payload_.values[other].dtype);
    }
    return mixed ? build_.cast(x, DType::f32) : x;
  }
  Result<ValueId> import_node(const XnnNode& node);
  Result<ValueId> import_product(const XnnNode& node);
  Result<ValueId> import_pool(const XnnNode& node);
  Result<ValueId> import_attention(const XnnNode& node);
  Result<ValueId> limited(const XnnNode& node, ValueId x);

  Dims dims(ValueId id) const {
    Dims all;
    for (const SymInt& size : build_.tensor(id).sizes) all.push_back(size.value);
    return all;
  }
  ValueId to_channels_first(ValueId id) { return build_.permute(id, {0, 3, 1, 2}); }
  ValueId to_channels_last(ValueId id) { return build_.permute(id, {0, 2, 3, 1}); }
  // Padding and its output: what a window does along height and width.
  struct Window {
    Dims kernel, stride, dilation, before, after;
    bool even() const { return before == after; }
  };
  Result<Window> window_of(const XnnNode& node, const Dims& image) const;
  // The image with its outer rows and columns, channels first.
  ValueId padded(ValueId image, const Window& w, double number) {
    return build_.call1(
        "aten::constant_pad_nd",
        {ValueRef{image}, Build::ints(Dims{w.before[1], w.after[1], w.before[0], w.after[0]}),
         number});
  }

  Build& build_;
  const XnnGraph& payload_;
  const PayloadData& data_;
  std::vector<ValueId> values_;  // by position in the payload
  bool kept_ = false;            // import_node gave what the payload keeps, limits and all
};

Result<Bytes> PayloadImporter::bytes_of(uint32_t index, uint64_t wanted) const {
  const XnnConstant& constant = payload_.constants[index];
  Bytes found = constant.named ? data_.find(constant.key) : constant.bytes;
  if (found.size() < wanted || (wanted && !found.data()))
    return error(Code::not_found, "constant \"{}\" has {} bytes, {} are wanted", constant.key,
                 found.size(), wanted);
  return found.first(size_t(wanted));
}

// Scales of channels or groups.
Result<std::vector<float>> PayloadImporter::scales_of(const XnnValue& value) const {
  const XnnQuantization& q = value.quantization;
  if (!q.scale_constant) return q.scales;
  bool groups = q.kind == XnnQuantization::Kind::per_channel_group;
  uint64_t each = groups ? sizeof(uint16_t) : sizeof(float);
  TRY(Bytes bytes, bytes_of(q.scale_constant, q.scale_count * each));
  std::vector<float> scales(q.scale_count);
  for (size_t i = 0; i < scales.size(); i++) {
    if (groups) {
      bf16_t bits;
      memcpy(&bits.bits, bytes.data() + i * each, each);
      scales[i] = to_float(bits);
    } else {
      memcpy(&scales[i], bytes.data() + i * each, each);
    }
  }
  return scales;
}

template <class T>
std::vector<uint8_t> bytes_of_vector(const std::vector<T>& items) {
  std::vector<uint8_t> bytes(items.size() * sizeof(T));
  if (!bytes.empty()) memcpy(bytes.data(), items.data(), bytes.size());
  return bytes;
}

// A bias of i32 as f32.
Result<ValueId> PayloadImporter::constant_of_numbers(const XnnValue& value, Bytes bytes,
                                                     uint64_t count) {
  const XnnQuantization& q = value.quantization;
  std::vector<float> scales = {q.scale};
  uint64_t inner = count;
  if (q.kind == XnnQuantization::Kind::per_channel) {
    TRY(scales, scales_of(value));
    inner = 1;
    for (size_t d = size_t(q.channel_dim) + 1; d < value.dims.size(); d++) inner *= value.dims[d];
  } else if (q.kind != XnnQuantization::Kind::per_tensor || q.zero_point != 0) {
    return error(Code::unsupported, "{} of another form", xnn_dtype_name(value.dtype));
  }
  std::vector<float> numbers(count);
  for (uint64_t i = 0; i < count; i++) {
    int32_t integer;
    memcpy(&integer, bytes.data() + i * sizeof(integer), sizeof(integer));
    numbers[i] = float(integer) * scales[i / std::max<uint64_t>(inner, 1) % scales.size()];
  }
  TensorType type;
  for (uint32_t size : value.dims) type.sizes.push_back(int64_t(size));
  return build_.constant(type, bytes_of_vector(numbers), "bias");
}

// Numbers of 4 bits in bytes of their own. They are stored plus 8, the even column in the low half.
Result<ValueId> PayloadImporter::constant_of_nibbles(const XnnValue& value,
                                                     const std::vector<SymInt>& sizes) {
  if (value.dims.empty() || value.dims.back() == 0)
    return error(Code::invalid_file, "weights of 4 bits without columns");
  uint64_t columns = value.dims.back(), rows = 1;
  for (size_t d = 0; d + 1 < value.dims.size(); d++) rows *= value.dims[d];
  TRY(Bytes bytes, bytes_of(value.constant, rows * ((columns + 1) / 2)));
  std::vector<int8_t> integers(rows * columns);
  for (uint64_t r = 0; r < rows; r++)
    for (uint64_t c = 0; c < columns; c++) {
      uint8_t pair = bytes[size_t(r * ((columns + 1) / 2) + c / 2)];
      integers[r * columns + c] = int8_t(int(c % 2 ? pair >> 4 : pair & 15) - 8);
    }
  return build_.constant({DType::i8, sizes, {}}, bytes_of_vector(integers), "weight");
}

Result<void> PayloadImporter::add_constant(size_t index) {
  const XnnValue& value = payload_.values[index];
  auto dtype = graph_dtype(value.dtype);
  if (!dtype || value.dtype == XnnDType::qdint8)
    return error(Code::unsupported, "{} values", xnn_dtype_name(value.dtype));
  std::vector<SymInt> sizes;
  uint64_t bytes = dtype_bytes(*dtype);
  for (uint32_t size : value.dims) {
    sizes.push_back(int64_t(size));
    if (size > INT32_MAX || !checked_multiply<uint64_t>(bytes, size, &bytes) || bytes > kBytesMax)
      return error(Code::too_large, "[{}] is too large", fmt::join(value.dims, ", "));
  }
  if (value.dtype == XnnDType::qcint4 || value.dtype == XnnDType::qbint4) {
    TRY(values_[index], constant_of_nibbles(value, sizes));
    return {};
  }
  TRY(Bytes found, bytes_of(value.constant, bytes));
  if (value.dtype == XnnDType::qint32 || value.dtype == XnnDType::qcint32) {
    TRY(values_[index], constant_of_numbers(value, found, bytes / sizeof(int32_t)));
    return {};
  }
  const XnnConstant& constant = payload_.constants[value.constant];
  std::string name = constant.named ? constant.key : "constant";
  values_[index] = add_constant_view(build_, *dtype, sizes, found, name, data_.constants);
  return {};
}

Result<ValueId> PayloadImporter::numbers(uint32_t index, ValueId id, int64_t axis, int moved) {
  const XnnValue& value = payload_.values[index];
  const XnnQuantization& q = value.quantization;
  auto scales = [&](std::vector<int64_t> sizes) -> Result<Argument> {
    TRY(std::vector<float> found, scales_of(value));
    TensorType type;
    int64_t count = 1;
    for (int64_t size : sizes) {
      type.sizes.push_back(size);
      count *= size;
    }
    if (count != int64_t(found.size()))
      return error(Code::invalid_file, "{} scales, {} are wanted", found.size(), count);
    return Argument(ValueRef{build_.constant(type, bytes_of_vector(found), "scales")});
  };
  constexpr int64_t kI8 = int64_t(DType::i8);
  switch (value.dtype) {
    case XnnDType::qint8:
    case XnnDType::quint8: {
      bool is_signed = value.dtype == XnnDType::qint8;
      return build_.call1("quantized_decomposed::dequantize_per_tensor",
                          {ValueRef{id}, double(q.scale), int64_t(q.zero_point) + moved,
                           int64_t(is_signed ? -128 : 0), int64_t(is_signed ? 127 : 255),
                           int64_t(is_signed ? DType::i8 : DType::u8), None{}});
    }
    case XnnDType::qcint8:
    case XnnDType::qcint4: {
      if (q.kind != XnnQuantization::Kind::per_channel)
        return error(Code::unsupported, "{} without scales of channels",
                     xnn_dtype_name(value.dtype));
      bool bytes = value.dtype == XnnDType::qcint8;
      TRY(Argument found, scales({int64_t(q.scale_count)}));
      return build_.call1("quantized_decomposed::dequantize_per_channel",
                          {ValueRef{id}, found, None{}, axis, int64_t(bytes ? -128 : -8),
                           int64_t(bytes ? 127 : 7), kI8, None{}});
    }
    case XnnDType::qbint4: {
      if (q.kind != XnnQuantization::Kind::per_channel_group || axis != 0 ||
          value.dims.size() != 2 || q.group_size < 1 || value.dims[1] % uint32_t(q.group_size))
        return error(Code::unsupported, "groups of weights that are no [outputs, inputs]");
      TRY(Argument found, scales({int64_t(value.dims[0]), int64_t(value.dims[1]) / q.group_size}));
      return build_.call1("quantized_decomposed::dequantize_per_channel_group",
                          {ValueRef{id}, found, None{}, int64_t{-8}, int64_t{7}, kI8,
                           int64_t(q.group_size), int64_t(DType::f32)});
    }
    default: return id;
  }
}

// Each row, which is what the last dimensions hold, as 8 bits keep it.
ValueId PayloadImporter::rounded_by_rows(ValueId x, int inner_dims) {
  constexpr int64_t kI8 = int64_t(DType::i8);
  x = build_.cast(x, DType::f32);
  std::vector<SymInt> sizes = build_.tensor(x).sizes;
  if (inner_dims != 1) {
    int64_t width = 1;
    for (size_t d = sizes.size() - size_t(inner_dims); d < sizes.size(); d++)
      width *= sizes[d].value;
    x = build_.view(x, {-1, width});
  }
  std::vector<ValueId> how =
      build_.call("quantized_decomposed::choose_qparams_per_token_asymmetric", {ValueRef{x}, kI8});
  if (how.size() != 2) return x;
  ValueId integers = build_.call1(
      "quantized_decomposed::quantize_per_token",
      {ValueRef{x}, ValueRef{how[0]}, ValueRef{how[1]}, int64_t{-128}, int64_t{127}, kI8});
  x = build_.call1("quantized_decomposed::dequantize_per_token",
                   {ValueRef{integers}, ValueRef{how[0]}, ValueRef{how[1]}, int64_t{-128},
                    int64_t{127}, kI8, int64_t(DType::f32)});
  return inner_dims == 1 ? x : build_.view(x, sizes);
}

Result<ValueId> PayloadImporter::as_kept(const XnnNode& node, ValueId made, int moved) {
  TRY(made, limited(node, made));
  const XnnValue& to = payload_.values[node.outputs[0]];
  if (is_integer(to.dtype)) {
    if (!is_floating(build_.dtype(made)))
      return error(Code::unsupported, "{} becomes {}", dtype_name(build_.dtype(made)),
                   xnn_dtype_name(to.dtype));
    bool is_signed = to.dtype == XnnDType::qint8;
    return build_.call1(
        "quantized_decomposed::quantize_per_tensor",
        {ValueRef{build_.cast(made, DType::f32)}, double(to.quantization.scale),
         int64_t(to.quantization.zero_point) + moved, int64_t(is_signed ? -128 : 0),
         int64_t(is_signed ? 127 : 255), int64_t(is_signed ? DType::i8 : DType::u8)});
  }
  if (to.dtype == XnnDType::qdint8) {
    int inner = to.quantization.inner_dims;
    if (!is_floating(build_.dtype(made)) || inner < 1 || inner > build_.rank(made))
      return error(Code::invalid_file, "rows of {} dimensions of {}", inner, build_.rank(made));
    return rounded_by_rows(made, inner);
  }
  DType wanted = *plain_dtype(to.dtype);
  if (is_floating(wanted) && is_floating(build_.dtype(made))) made = build_.cast(made, wanted);
  if (build_.dtype(made) != wanted)
    return error(Code::unsupported, "{} becomes {}", dtype_name(build_.dtype(made)),
                 dtype_name(wanted));
  return made;
}

Result<ValueId> PayloadImporter::image(const XnnNode& node, size_t i, int moved) {
  uint32_t index = node.inputs[i];
  if (index == kXnnNoValue || !is_integer(payload_.values[index].dtype)) {
    TRY(ValueId x, in(node, i));
    return to_channels_first(x);
  }
  TRY(ValueId integers, value(index));
  return numbers(index, to_channels_first(integers), 0, moved);
}

// XNNPACK adds the zero point to a mean before that is rounded, halves to even ones; torch and all
// else here after it. Where the zero point is odd, halves are the same when numbers are counted
// from the one before it: a step more of what goes in, and, at the same scale, of what comes out.
int PayloadImporter::moved_for_halves(const XnnNode& node) const {
  const bool is_limited = node.limited && (node.min > -INFINITY || node.max < INFINITY);
  if (node.inputs[0] == kXnnNoValue || is_limited) return 0;
  const XnnValue &from = payload_.values[node.inputs[0]], &to = payload_.values[node.outputs[0]];
  const XnnQuantization &of = from.quantization, &at = to.quantization;
  const bool applies = is_integer(from.dtype) && is_integer(to.dtype) && of.scale == at.scale &&
                       at.zero_point % 2 != 0;
  const int least = to.dtype == XnnDType::qint8 ? -128 : 0;
  return !applies ? 0 : of.zero_point > least ? -1 : 1;
}

Result<ValueId> PayloadImporter::from_image(const XnnNode& node, ValueId first) {
  if (is_integer(payload_.values[node.outputs[0]].dtype)) {
    TRY(first, as_kept(node, first));
    kept_ = true;
  }
  return to_channels_last(first);
}

Result<void> PayloadImporter::run(std::vector<ValueId>* external) {
  for (size_t i = 0; i < payload_.values.size(); i++) {
    const XnnValue& value = payload_.values[i];
    auto dtype = graph_dtype(value.dtype);
    if (!dtype || value.dynamic_dtype != XnnDType::invalid)
      return error(Code::unsupported, "quantised values ({})",
                   xnn_dtype_name(dtype ? value.dynamic_dtype : value.dtype));
    if (value.constant) {
      TRY_VOID(add_constant(i).with_context(fmt::format("value %{}", value.id)));
      continue;
    }
    if (!plain_dtype(value.dtype) && !is_integer(value.dtype) &&
        (value.dtype != XnnDType::qdint8 || value.is_input() || value.is_output()))
      return error(Code::unsupported, "value %{}: computed {}", value.id,
                   xnn_dtype_name(value.dtype));
    if (value.is_input()) {
      ValueId given = (*external)[value.external_id];
      if (build_.dtype(given) != *dtype)
        return error(Code::invalid_file, "argument {} is {}, the payload wants {}",
                     value.external_id, dtype_name(build_.dtype(given)), dtype_name(*dtype));
      if (build_.rank(given) > kXnnRankMax)
        return error(Code::too_large, "rank {} exceeds {}", build_.rank(given), kXnnRankMax);
      values_[i] = given;
    }
  }
  for (size_t n = 0; n < payload_.nodes.size(); n++) {
    const XnnNode& node = payload_.nodes[n];
    auto step = [&]() -> Result<void> {
      if (node.outputs.size() != 1) return error(Code::unsupported, "two results");
      uint32_t to = node.outputs[0];
      if (values_[to] != kNoValue) return error(Code::invalid_file, "a value is written twice");
      kept_ = false;
      TRY(ValueId made, import_node(node));
      if (!kept_) {
        TRY(made, as_kept(node, made));
      }
      TRY_VOID(build_.status());
      if (build_.rank(made) > kXnnRankMax)
        return error(Code::too_large, "rank {} exceeds {}", build_.rank(made), kXnnRankMax);
      values_[to] = made;
      return {};
    };
    TRY_VOID(step().with_context(fmt::format("node {} ({})", n, xnn_node_name(node.kind))));
  }
  for (size_t i = 0; i < payload_.values.size(); i++) {
    if (!payload_.values[i].is_output()) continue;
    TRY((*external)[payload_.values[i].external_id], value(uint32_t(i)));
  }
  return {};
}

Result<ValueId> PayloadImporter::limited(const XnnNode& node, ValueId x) {
  DType dtype = build_.dtype(x);
  if (!node.limited || !is_floating(dtype)) return x;
  if (node.min == 0 && node.max == INFINITY) return build_.call1("aten::relu", {ValueRef{x}});
  Argument low = None{}, high = None{};
  if (node.min != -INFINITY) low = double(node.min);
  if (node.max != INFINITY) high = double(node.max);
  if (std::holds_alternative<None>(low) && std::holds_alternative<None>(high)) return x;
  return build_.call1("aten::clamp", {ValueRef{x}, low, high});
}

Result<PayloadImporter::Window> PayloadImporter::window_of(const XnnNode& node,
                                                           const Dims& image) const {
  const XnnWindow& w = node.window;
  Window window{{w.kernel[0], w.kernel[1]},
                {w.stride[0], w.stride[1]},
                {w.dilation[0], w.dilation[1]},
                {w.padding_top, w.padding_left},
                {w.padding_bottom, w.padding_right}};
  if (node.kind == Kind::avg_pool) window.dilation = {1, 1};
  for (size_t d = 0; d < 2; d++) {
    int64_t extent = 0;
    if (window.kernel[d] < 1 || window.stride[d] < 1 || window.dilation[d] < 1 ||
        !checked_multiply(window.kernel[d] - 1, window.dilation[d], &extent) ||
        extent >= INT32_MAX || window.stride[d] > INT32_MAX || window.before[d] > INT32_MAX ||
        window.after[d] > INT32_MAX)
      return error(Code::invalid_file, "window of kernel {}, stride {}, dilation {}, padding {}",
                   window.kernel[d], window.stride[d], window.dilation[d], window.before[d]);
    extent++;
    int64_t size = image[d + 1];
    if (node.kind != Kind::conv_transpose2d && (node.flags & kSamePadding)) {
      int64_t out = (size + window.stride[d] - 1) / window.stride[d];
      int64_t all = zero_or_more((out - 1) * window.stride[d] + extent - size);
      window.before[d] = all / 2, window.after[d] = all - all / 2;
    } else if (node.kind != Kind::conv_transpose2d &&
               size + window.before[d] + window.after[d] < extent) {
      return error(Code::unsupported, "a window larger than the image");
    }
  }
  return window;
}

Result<ValueId> PayloadImporter::import_product(const XnnNode& node) {
  // Integers are put in order before they become numbers, so that weights stay integers.
  const uint32_t weight = node.inputs[1];
  TRY(ValueId x, value(node.inputs[0]));
  TRY(ValueId w, value(weight));
  const bool plain = plain_dtype(payload_.values[weight].dtype).has_value();
  if (plain) {
    TRY(w, in(node, 1));
  }
  const int channel_dim = payload_.values[weight].quantization.channel_dim;
  Argument bias = None{};
  if (node.inputs.size() > 2 && node.inputs[2] != kXnnNoValue) {
    TRY(ValueId b, in(node, 2));
    bias = ValueRef{build_.view(b, {-1})};
  }
  Dims image = dims(x), filter = dims(w);
  if (node.kind == Kind::fully_connected) {
    TRY(x, in(node, 0));
    if (image.empty() || filter.size() < 2)
      return error(Code::invalid_file, "input of rank {}, filter of rank {}", image.size(),
                   filter.size());
    bool turned = node.flags & kTransposeWeights;
    if (!plain && filter.size() != 2)
      return error(Code::unsupported, "quantised weights of rank {}", filter.size());
    if (filter.size() > 2)
      w = build_.view(
          w, turned ? std::vector<SymInt>{filter[0], -1} : std::vector<SymInt>{-1, filter.back()});
    if (turned) w = build_.permute(w, {1, 0});
    if (!plain) {
      TRY(w, numbers(weight, w, turned ? 1 - channel_dim : channel_dim));
    }
    return build_.call1("aten::linear", {ValueRef{x}, ValueRef{w}, bias});
  }
  if (image.size() != 4 || filter.size() != 4)
    return error(Code::invalid_file, "input of rank {}, filter of rank {}; want 4", image.size(),
                 filter.size());
  const XnnWindow& window = node.window;
  int64_t groups = window.groups, inputs = window.group_inputs, outputs = window.group_outputs;
  bool depthwise = node.kind == Kind::depthwise_conv2d;
  if (depthwise && inputs > 0) outputs /= inputs, inputs = 1;
  int64_t all_in = 0, all_out = 0;
  bool sound = groups > 0 && inputs > 0 && outputs > 0 &&
               checked_multiply(groups, inputs, &all_in) &&
               checked_multiply(groups, outputs, &all_out);
  Dims wanted = depthwise ? Dims{1, window.kernel[0], window.kernel[1], all_out}
                          : Dims{all_out, window.kernel[0], window.kernel[1], inputs};
  if (!sound || all_in != image[3] || filter != wanted)
    return error(Code::invalid_file, "{} groups of {} to {} channels: input [{}], filter [{}]",
                 groups, inputs, outputs, fmt::join(image, ", "), fmt::join(filter, ", "));
  TRY(Window taps, window_of(node, image));
  bool transposed = node.kind == Kind::conv_transpose2d;
  const XnnDType of_weight = payload_.values[weight].dtype;
  bool by_channels = of_weight == XnnDType::qcint8 || of_weight == XnnDType::qcint4;
  if (of_weight == XnnDType::qbint4 || (by_channels && channel_dim != (depthwise ? 3 : 0)) ||
      (by_channels && transposed && groups != 1))
    return error(Code::unsupported, "weights of {} with scales along {}", xnn_dtype_name(of_weight),
                 channel_dim);
  TRY(ValueId first, this->image(node, 0));
  // A filter of one point has its numbers in torch's order already.
  bool point = taps.kernel == Dims{1, 1};
  if (transposed) {
    w = build_.view(w, {groups, outputs, taps.kernel[0], taps.kernel[1], inputs});
    w = build_.permute(w, {0, 4, 1, 2, 3});
    w = build_.view(w, {all_in, outputs, taps.kernel[0], taps.kernel[1]});
  } else if (point) {
    w = build_.view(w, {all_out, inputs, 1, 1});
  } else {
    w = build_.permute(w, depthwise ? Dims{3, 0, 1, 2} : Dims{0, 3, 1, 2});
  }
  if (!plain) {
    TRY(w, numbers(weight, w, transposed ? 1 : 0));
  }
  Dims adjustment = {0, 0}, padding = taps.before;
  if (transposed) {
    // Less taken away below is the same as more added there.
    for (size_t d = 0; d < 2; d++) {
      adjustment[d] = int64_t(window.adjustment[d]) + taps.before[d] - taps.after[d];
      if (adjustment[d] < 0 ||
          (adjustment[d] >= taps.stride[d] && adjustment[d] >= taps.dilation[d]))
        return error(Code::unsupported, "padding of {} and {} in a transposed convolution",
                     taps.before[d], taps.after[d]);
    }
  } else if (!taps.even()) {
    first = padded(first, taps, 0);
    padding = {0, 0};
  }
  ValueId y = build_.call1(
      "aten::convolution",
      {ValueRef{first}, ValueRef{w}, bias, Build::ints(taps.stride), Build::ints(padding),
       Build::ints(taps.dilation), transposed, Build::ints(adjustment), groups});
  return from_image(node, y);
}

Result<ValueId> PayloadImporter::import_pool(const XnnNode& node) {
  TRY(ValueId x, value(node.inputs[0]));
  if (build_.rank(x) != 4)
    return error(Code::invalid_file, "input of rank {}, want 4", build_.rank(x));
  TRY(Window taps, window_of(node, dims(x)));
  TRY(ValueId first, image(node, 0));
  auto fits = [&] {  // torch pads by at most half a window
    return taps.even() && taps.before[0] * 2 <= taps.kernel[0] &&
           taps.before[1] * 2 <= taps.kernel[1];
  };
  if (node.kind == Kind::avg_pool) {
    if (!fits()) return error(Code::unsupported, "padding that differs from end to end");
    return from_image(
        node, build_.call1("aten::avg_pool2d",
                           {ValueRef{first}, Build::ints(taps.kernel), Build::ints(taps.stride),
                            Build::ints(taps.before), false, false, None{}}));
  }
  Dims padding = taps.before;
  if (!fits()) {
    first = padded(first, taps, -INFINITY);
    padding = {0, 0};
  }
  return from_image(
      node, build_.call("aten::max_pool2d_with_indices",
                        {ValueRef{first}, Build::ints(taps.kernel), Build::ints(taps.stride),
                         Build::ints(padding), Build::ints(taps.dilation), false})[0]);
}

Result<ValueId> PayloadImporter::import_attention(const XnnNode& node) {
  TRY(ValueId q, in(node, 0));
  TRY(ValueId k, in(node, 1));
  TRY(ValueId v, in(node, 2));
  TRY(ValueId scale, in(node, 3));
  Argument mask = None{};
  if (node.inputs.size() > 4 && node.inputs[4] != kXnnNoValue) {
    TRY(ValueId m, in(node, 4));
    if (build_.rank(m) != 2) return error(Code::invalid_file, "mask of rank {}", build_.rank(m));
    mask = ValueRef{m};
  }
  if (build_.rank(q) != 4 || build_.rank(k) != 4 || build_.rank(v) != 4)
    return error(Code::invalid_file, "query, key and value want rank 4");
  for (int d = 0; d < 2; d++)
    if (!(build_.size(q, d) == build_.size(k, d)) || !(build_.size(k, d) == build_.size(v, d)))
      return error(Code::invalid_file, "query, key and value have different heads");
  ValueId scaled = build_.mul(q, build_.view(scale, {-1}));
  return build_.call1("aten::scaled_dot_product_attention",
                      {ValueRef{scaled}, ValueRef{k}, ValueRef{v}, mask, 0.0, false, 1.0, false});
}

Result<ValueId> PayloadImporter::import_node(const XnnNode& node) {
  if (const char* op = plain_operator(node.kind)) {
    std::vector<Argument> arguments;
    for (size_t i = 0; i < node.inputs.size(); i++) {
      TRY(ValueId x, in(node, i));
      arguments.push_back(ValueRef{x});
    }
    return build_.call1(op, std::move(arguments));
  }
  switch (node.kind) {
    case Kind::fully_connected:
    case Kind::conv2d:
    case Kind::depthwise_conv2d:
    case Kind::conv_transpose2d: return import_product(node);
    case Kind::avg_pool:
    case Kind::max_pool: return import_pool(node);
    case Kind::attention: return import_attention(node);
    default: break;
  }
  TRY(ValueId x, in(node, 0));
  int rank = build_.rank(x);
  Dims sizes = dims(x);
  auto wants_rank = [&](size_t wanted) -> Result<void> {
    if (size_t(rank) == wanted) return {};
    return error(Code::invalid_file, "input of rank {}, want {}", rank, wanted);
  };
  switch (node.kind) {
    case Kind::clamp:
    case Kind::copy: return x;
    case Kind::convert: {  // to integers, or to rows of them: as all results
      auto to = plain_dtype(payload_.values[node.outputs[0]].dtype);
      return to ? build_.cast(x, *to) : x;
    }
    case Kind::softmax:
      if (rank < 1) return wants_rank(1).error();
      return build_.call1("aten::_softmax", {ValueRef{x}, int64_t{-1}, false});
    case Kind::gelu: return build_.call1("aten::gelu", {ValueRef{x}, std::string("none")});
    case Kind::leaky_relu:
      return build_.call1("aten::leaky_relu", {ValueRef{x}, double(node.number)});
    case Kind::elu: return build_.call1("aten::elu", {ValueRef{x}, double(node.number)});
    case Kind::prelu: {
      TRY(ValueId slope, in(node, 1));
      ValueId below = build_.call1("aten::lt.Scalar", {ValueRef{x}, 0.0});
      return build_.call1("aten::where.self",
                          {ValueRef{below}, ValueRef{build_.mul(x, slope)}, ValueRef{x}});
    }
    case Kind::transpose:
      TRY_VOID(wants_rank(node.first.size()));
      return build_.permute(x, {node.first.begin(), node.first.end()});
    case Kind::reshape: {
      std::vector<SymInt> to;
      for (uint32_t size : node.first) to.push_back(size == 0 ? int64_t{-1} : int64_t(size));
      return build_.view(x, to);
    }
    case Kind::slice: {
      TRY_VOID(wants_rank(node.first.size()));
      for (size_t d = 0; d < node.first.size(); d++) {  // what lies outside is left out; 0 = all
        int64_t from = std::min<int64_t>(node.first[d], sizes[d]);
        int64_t count = sizes[d] - from;
        if (node.second[d]) count = std::min<int64_t>(node.second[d], count);
        if (count == sizes[d]) continue;
        x = build_.call1("aten::slice.Tensor",
                         {ValueRef{x}, int64_t(d), from, from + count, int64_t{1}});
      }
      return x;
    }
    case Kind::pad: {
      TRY_VOID(wants_rank(node.first.size()));
      Dims pad;
      for (size_t d = node.first.size(); d-- > 0;)
        pad.insert(pad.end(), {int64_t(node.first[d]), int64_t(node.second[d])});
      return build_.call1("aten::constant_pad_nd",
                          {ValueRef{x}, Build::ints(pad), double(node.number)});
    }
    case Kind::concatenate2:
    case Kind::concatenate3:
    case Kind::concatenate4:
    case Kind::concatenate5: {
      std::vector<ValueRef> parts;
      for (size_t i = 0; i < node.inputs.size(); i++) {
        TRY(ValueId part, in(node, i));
        if (build_.rank(part) != rank)  // torch leaves out empty lists, XNNPACK knows none
          return error(Code::invalid_file, "ranks {} and {}", rank, build_.rank(part));
        parts.push_back({part});
      }
      return build_.call1("aten::cat", {parts, int64_t(int32_t(node.axis))});
    }
    case Kind::global_avg_pool: {  // over channels first, where the image has just been
      TRY_VOID(wants_rank(4));
      const int moved = moved_for_halves(node);
      TRY(ValueId first, image(node, 0, moved));
      ValueId y = build_.call1("aten::mean.dim", {ValueRef{first}, Build::ints(Dims{2, 3}), false});
      if (is_integer(payload_.values[node.outputs[0]].dtype)) {
        TRY(y, as_kept(node, y, moved));
        kept_ = true;
      }
      if (node.flags & kKeepDims) y = build_.view(y, {sizes[0], 1, 1, sizes[3]});
      return y;
    }
    case Kind::resize_bilinear: {
      TRY_VOID(wants_rank(4));
      if (node.flags & kLegacy)
        return error(Code::unsupported, "positions counted as in old versions");
      TRY(x, image(node, 0));
      return from_image(node,
                        build_.call1("aten::upsample_bilinear2d",
                                     {ValueRef{x}, Build::ints(Dims{node.first[0], node.first[1]}),
                                      bool(node.flags & kAlignCorners)}));
    }
    case Kind::batch_matmul: {
      TRY(ValueId y, in(node, 1));
      if (rank < 2 || build_.rank(y) < 2)
        return error(Code::invalid_file, "ranks {} and {}, want 2 and more", rank, build_.rank(y));
      auto turned = [&](ValueId m) {
        Dims order;
        for (int d = 0; d < build_.rank(m); d++) order.push_back(d);
        std::swap(order[order.size() - 1], order[order.size() - 2]);
        return build_.permute(m, order);
      };
      if (node.flags & kTransposeA) x = turned(x);
      if (node.flags & kTransposeWeights) y = turned(y);
      bool plain = rank == 3 && build_.rank(y) == 3 && build_.size(x, 0) == build_.size(y, 0);
      return build_.call1(plain ? "aten::bmm" : "aten::matmul", {ValueRef{x}, ValueRef{y}});
    }
    default: return error(Code::unsupported, "no operator says this node");
  }
}

}  // namespace

ValueId add_constant_view(Build& build, DType dtype, const std::vector<SymInt>& sizes, Bytes bytes,
                          const std::string& name, ConstantValues* known) {
  std::vector<int64_t> key{int64_t(dtype)};
  for (const SymInt& size : sizes) key.push_back(size.value);
  auto [found, is_new] = known->try_emplace({bytes.data(), std::move(key)}, kNoValue);
  if (!is_new) return found->second;
  Program& program = build.program();
  ConstantData data;
  data.type = TensorType{dtype, sizes, {}};
  data.bytes = bytes;
  data.name = name.empty() ? fmt::format("constant.{}", program.constants.size()) : name;
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 16 && !bytes.empty()) {
    data.owned = std::make_shared<const std::vector<uint8_t>>(bytes.begin(), bytes.end());
    data.bytes = *data.owned;
  }
  int32_t index = int32_t(program.constants.size());
  program.constants.push_back(std::move(data));
  found->second = build.graph().add_value(Type::of(program.constants.back().type),
                                          program.constants.back().name, Origin::constant, index);
  return found->second;
}

Result<void> import_payload(Build& build, const XnnGraph& payload, const PayloadData& data,
                            std::vector<ValueId>* values) {
  const XnnGraph joined = with_limits_joined(payload);
  return PayloadImporter(build, joined, data).run(values);
}

}  // namespace sconce
