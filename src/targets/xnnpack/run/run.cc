// One call: inputs are bound, then node after node gets its shape, its memory and its numbers.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>

#include <fmt/ranges.h>

#include "targets/xnnpack/run/images.h"
#include "targets/xnnpack/run/runner.h"

namespace sconce {
extern const Kernel kernel_add_Tensor, kernel_sub_Tensor, kernel_mul_Tensor, kernel_div_Tensor,
    kernel_minimum, kernel_maximum, kernel_softmax, kernel_sigmoid, kernel_floor, kernel_sqrt,
    kernel_ceil, kernel_hardswish, kernel_leaky_relu, kernel_neg, kernel_square, kernel_elu,
    kernel_abs, kernel_rsqrt, kernel_log, kernel_gelu, kernel_tanh, kernel_exp, kernel_sin,
    kernel_cos, kernel_mean_dim, kernel_bmm, kernel_linear, kernel_convolution;
}

namespace sconce::xnn {
namespace {

constexpr uint32_t kTransposeWeights = 1, kTransposeA = 2, kLegacy = 4, kAlignCorners = 8,
                   kKeepDims = 0x40;

// A tensor over a value's data, or over other numbers of its shape.
struct View {
  int32_t sizes[kRankMax];
  uint8_t order[kRankMax];
  Tensor tensor;

  View(void* data, DType dtype, Span<const int32_t> shape, Span<const uint8_t> dim_order = {}) {
    std::copy(shape.begin(), shape.end(), sizes);
    std::copy(dim_order.begin(), dim_order.end(), order);
    tensor.data = data;
    tensor.dtype = dtype;
    tensor.sizes = sizes;
    tensor.rank = uint8_t(shape.size());
    tensor.dim_order = dim_order.empty() ? nullptr : order;
    tensor.fixed_sizes = true;
    tensor.capacity_bytes = tensor_bytes(tensor);
  }
  View(const View&) = delete;
};

Span<const int32_t> sizes_of(const RunValue& value) { return {value.sizes, size_t(value.rank)}; }

// Elements between neighbours along each dimension.
std::array<int64_t, kXnnRankMax> strides_of(const RunValue& value) {
  std::array<int64_t, kXnnRankMax> strides{};
  int64_t stride = 1;
  for (int i = value.rank - 1; i >= 0; i--) strides[size_t(i)] = stride, stride *= value.sizes[i];
  return strides;
}

const Kernel* kernel_of(XnnNodeKind kind) {
  switch (kind) {
    case XnnNodeKind::add: return &kernel_add_Tensor;
    case XnnNodeKind::subtract: return &kernel_sub_Tensor;
    case XnnNodeKind::multiply: return &kernel_mul_Tensor;
    case XnnNodeKind::divide: return &kernel_div_Tensor;
    case XnnNodeKind::minimum: return &kernel_minimum;
    case XnnNodeKind::maximum: return &kernel_maximum;
    case XnnNodeKind::softmax: return &kernel_softmax;
    case XnnNodeKind::sigmoid: return &kernel_sigmoid;
    case XnnNodeKind::floor: return &kernel_floor;
    case XnnNodeKind::sqrt: return &kernel_sqrt;
    case XnnNodeKind::ceil: return &kernel_ceil;
    case XnnNodeKind::hardswish: return &kernel_hardswish;
    case XnnNodeKind::leaky_relu: return &kernel_leaky_relu;
    case XnnNodeKind::negate: return &kernel_neg;
    case XnnNodeKind::square: return &kernel_square;
    case XnnNodeKind::elu: return &kernel_elu;
    case XnnNodeKind::abs: return &kernel_abs;
    case XnnNodeKind::rsqrt: return &kernel_rsqrt;
    case XnnNodeKind::log: return &kernel_log;
    case XnnNodeKind::gelu: return &kernel_gelu;
    case XnnNodeKind::tanh: return &kernel_tanh;
    case XnnNodeKind::exp: return &kernel_exp;
    case XnnNodeKind::sin: return &kernel_sin;
    case XnnNodeKind::cos: return &kernel_cos;
    case XnnNodeKind::global_avg_pool: return &kernel_mean_dim;
    default: return nullptr;
  }
}

}  // namespace

// Arguments of a kernel, in order.
struct XnnRunner::Call {
  std::deque<Value> values, items;
  std::deque<std::vector<const Value*>> lists;

  Call& add(const Value& value) {
    values.push_back(value);
    return *this;
  }
  Call& tensor(View& view) { return add(Value::of(&view.tensor)); }
  Call& none() { return add(Value()); }
  Call& optional(View* view) { return view ? tensor(*view) : none(); }
  Call& number(double x) { return add(Value::of(x)); }
  Call& integer(int64_t x) { return add(Value::of(x)); }
  Call& boolean(bool x) { return add(Value::of(x)); }
  Call& string(const char* text) {
    Value value;
    value.kind = Value::Kind::string;
    value.string = text;
    value.count = uint32_t(strlen(text));
    return add(value);
  }
  Call& integers(std::initializer_list<int64_t> numbers) {
    auto& list = lists.emplace_back();
    for (int64_t x : numbers) list.push_back(&items.emplace_back(Value::of(x)));
    Value value;
    value.kind = Value::Kind::integers;
    value.count = uint32_t(list.size());
    value.items = list.data();
    return add(value);
  }
};

Result<void> XnnRunner::grow(Block& block, uint64_t bytes) {
  constexpr size_t kAlignment = 64;
  if (block.at && block.bytes.size() >= bytes + kAlignment) return {};
  if (bytes > bytes_max_) return error(Code::too_large, "{} bytes exceed {}", bytes, bytes_max_);
  block.bytes = std::vector<uint8_t>(size_t(bytes) + kAlignment);
  block.at = block.bytes.data();
  block.at += (kAlignment - reinterpret_cast<uintptr_t>(block.at) % kAlignment) % kAlignment;
  return {};
}

Result<void> XnnRunner::call(const Kernel& kernel, Call& call, Tensor& out) {
  std::vector<const Value*> pointers;
  for (const Value& value : call.values) pointers.push_back(&value);
  Value result = Value::of(&out);
  pointers.push_back(&result);
  Args args{pointers, int(pointers.size()) - 1};
  Diagnostic diagnostic;
  KernelContext context{&diagnostic, {}, nullptr};
  Status status = prepare_outs(kernel, args, &diagnostic);
  if (status.ok() && kernel.scratch_bytes) {
    uint64_t bytes = kernel.scratch_bytes(args);
    TRY_VOID(grow(scratch_, bytes));
    context.scratch = {scratch_.at, size_t(bytes)};
  }
  if (status.ok()) status = kernel.run(args, context);
  if (!status.ok()) return to_error(status, diagnostic);
  return {};
}

Result<void> XnnRunner::bind_inputs(Span<const Value* const> args) {
  for (size_t v = 0; v < values_.size(); v++) {
    const XnnValue& declared = graph_.values[v];
    if (!declared.flags) continue;
    uint32_t id = declared.external_id;
    auto problem = [&](Error found) {
      return std::move(found).with_context(fmt::format("argument {}", id));
    };
    if (id >= args.size())
      return problem(error(Code::invalid_argument, "there are {} arguments", args.size()));
    if (!args[id]->is_tensor()) return problem(error(Code::invalid_argument, "is no tensor"));
    const Tensor& tensor = *args[id]->tensor;
    RunValue& value = values_[v];
    DType wanted = plain_dtype(value.dtype);
    bool widened = declared.is_output() && wanted == DType::i32 && tensor.dtype == DType::i64;
    if (tensor.dtype != wanted && !widened)
      return problem(error(Code::invalid_argument, "is {}, the payload wants {}",
                           dtype_name(tensor.dtype), dtype_name(wanted)));
    if (declared.is_output() && tensor.read_only)
      return problem(error(Code::invalid_argument, "is a constant, the payload writes it"));
    if (!declared.is_input()) continue;
    if (tensor.rank > kXnnRankMax)
      return problem(error(Code::too_large, "rank {} exceeds {}", tensor.rank, kXnnRankMax));
    // Sizes in the order in which they lie in memory. The rank may differ from the payload's too:
    // stock declares numbers as [1].
    value.rank = tensor.rank;
    for (int i = 0; i < value.rank; i++)
      value.sizes[i] = tensor.sizes[tensor.dim_order ? tensor.dim_order[i] : i];
    value.data = tensor.as<uint8_t>();
  }
  return {};
}

// Memory for what a node gives: the caller's tensor where it fits, else a block.
Result<void> XnnRunner::place(uint32_t index, Span<const Value* const> args) {
  RunValue& value = values_[index];
  const XnnValue& declared = graph_.values[index];
  if (declared.is_output()) {
    Tensor& tensor = *args[declared.external_id]->tensor;
    if (tensor.rank != value.rank)
      return error(Code::invalid_argument, "argument {} has rank {}, its value [{}]",
                   declared.external_id, tensor.rank, fmt::join(sizes_of(value), ", "));
    int32_t sizes[kRankMax];
    for (int i = 0; i < value.rank; i++)
      sizes[tensor.dim_order ? tensor.dim_order[i] : i] = value.sizes[i];
    Diagnostic diagnostic;
    if (Status status = resize(tensor, sizes, &diagnostic); !status.ok())
      return to_error(status, diagnostic)
          .with_context(fmt::format("argument {}", declared.external_id));
    if (tensor.dtype == plain_dtype(value.dtype)) {
      value.data = tensor.as<uint8_t>();
      return {};
    }
  }
  Block& block = blocks_[size_t(block_of_[index])];
  TRY_VOID(grow(block, bytes_of(value)));
  value.data = block.at;
  return {};
}

Result<void> XnnRunner::execute(Span<const Value* const> args) {
  TRY_VOID(bind_inputs(args));
  const DelegateProfile* profile = profile_ && profile_->on_step ? profile_ : nullptr;
  for (size_t n = 0; n < graph_.nodes.size(); n++) {
    const XnnNode& node = graph_.nodes[n];
    auto step = [&]() -> Result<void> {
      TRY_VOID(infer_sizes(node));
      for (uint32_t v : node.outputs) TRY_VOID(place(v, args));
      TRY_VOID(run_node(node));
      apply_limits(node, out(node));
      return {};
    };
    std::chrono::steady_clock::time_point start;
    if (profile) start = std::chrono::steady_clock::now();
    TRY_VOID(step().with_context(fmt::format("node {} ({})", n, xnn_node_name(node.kind))));
    if (profile) {
      std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      profile->on_step(profile->context, {xnn_node_name(node.kind), "", time.count()});
    }
  }
  for (size_t v = 0; v < values_.size(); v++) {
    const XnnValue& declared = graph_.values[v];
    if (!declared.is_output()) continue;
    const Tensor& tensor = *args[declared.external_id]->tensor;
    if (tensor.dtype != DType::i64) continue;
    for (int64_t i = 0, count = count_of(values_[v]); i < count; i++) {
      int32_t number;
      memcpy(&number, values_[v].data + 4 * i, 4);
      tensor.as<int64_t>()[i] = number;
    }
  }
  return {};
}

void XnnRunner::apply_limits(const XnnNode& node, RunValue& value) const {
  if (!node.limited) return;
  int64_t count = count_of(value);
  if (is_static_int8(value.dtype)) {
    int32_t low = quantize(node.min, value), high = quantize(node.max, value);
    bool is_signed = value.dtype == XnnDType::qint8;
    for (int64_t i = 0; i < count; i++) {
      int32_t q = is_signed ? int32_t(int8_t(value.data[i])) : int32_t(value.data[i]);
      value.data[i] = uint8_t(std::clamp(q, low, high));
    }
    return;
  }
  if (!is_float(value.dtype)) return;
  std::vector<float> numbers(static_cast<size_t>(count));
  to_floats(value, numbers.data());
  for (float& x : numbers) {  // NaN stays
    x = x < node.min ? node.min : x;
    x = x > node.max ? node.max : x;
  }
  from_floats(numbers.data(), value);
}

Result<void> XnnRunner::run_node(const XnnNode& node) {
  switch (node.kind) {
    case XnnNodeKind::fully_connected:
    case XnnNodeKind::conv2d:
    case XnnNodeKind::depthwise_conv2d:
    case XnnNodeKind::conv_transpose2d: return run_product(node);
    case XnnNodeKind::attention: return run_attention(node);
    case XnnNodeKind::clamp:
    case XnnNodeKind::convert: {
      std::vector<float> numbers(size_t(count_of(in(node, 0))));
      to_floats(in(node, 0), numbers.data());
      from_floats(numbers.data(), out(node), in(node, 0).dtype == XnnDType::f16);
      return {};
    }
    case XnnNodeKind::reshape:
    case XnnNodeKind::copy:
    case XnnNodeKind::transpose:
    case XnnNodeKind::slice:
    case XnnNodeKind::pad:
    case XnnNodeKind::concatenate2:
    case XnnNodeKind::concatenate3:
    case XnnNodeKind::concatenate4:
    case XnnNodeKind::concatenate5: run_move(node); return {};
    case XnnNodeKind::avg_pool:
    case XnnNodeKind::max_pool:
    case XnnNodeKind::argmax_pool:
    case XnnNodeKind::resize_bilinear: run_images(node); return {};
    case XnnNodeKind::prelu: run_prelu(node); return {};
    default: return run_floats(node);
  }
}

// Nodes that a kernel of ours computes in floats; quantised values go through the numbers that they
// stand for.
Result<void> XnnRunner::run_floats(const XnnNode& node) {
  bool direct = is_float(out(node).dtype);
  for (uint32_t v : node.inputs) direct &= values_[v].dtype == out(node).dtype;
  std::deque<std::vector<float>> numbers;
  auto view_of = [&](const RunValue& value, bool fill) {
    if (direct)
      return std::make_unique<View>(value.data, plain_dtype(value.dtype), sizes_of(value));
    auto& floats = numbers.emplace_back(size_t(count_of(value)));
    if (fill) to_floats(value, floats.data());
    return std::make_unique<View>(floats.data(), DType::f32, sizes_of(value));
  };
  std::vector<std::unique_ptr<View>> inputs;
  for (size_t i = 0; i < node.inputs.size(); i++) inputs.push_back(view_of(in(node, i), true));
  RunValue& output = out(node);
  auto result = view_of(output, false);

  if (node.kind == XnnNodeKind::batch_matmul) {
    // Matrix by matrix, since the outer dimensions may be broadcast.
    const RunValue &a = in(node, 0), &b = in(node, 1);
    int rank = output.rank;
    int64_t rows = output.sizes[rank - 2], columns = output.sizes[rank - 1];
    bool turn_a = node.flags & kTransposeA, turn_b = node.flags & kTransposeWeights;
    int64_t inner = a.sizes[a.rank - (turn_a ? 2 : 1)];
    int64_t matrix = rows * columns, count = matrix ? count_of(output) / matrix : 0;
    size_t bytes = dtype_bytes(result->tensor.dtype);
    constexpr uint8_t kTurned[3] = {0, 2, 1};
    for (int64_t m = 0; m < count; m++) {
      // The matrix of an operand that stands at outer index m.
      auto part = [&](const RunValue& value, View& view, int64_t height, int64_t width,
                      bool turned) {
        int64_t left = m, at = 0, stride = height * width;
        for (int i = 3; i <= rank; i++) {
          int64_t size = i <= value.rank ? value.sizes[value.rank - i] : 1;
          int64_t index = left % output.sizes[rank - i];
          left /= output.sizes[rank - i];
          if (size > 1) at += index * stride;
          stride *= size;
        }
        int32_t sizes[3] = {1, int32_t(height), int32_t(width)};
        return std::make_unique<View>(
            view.tensor.as<uint8_t>() + size_t(at) * bytes, view.tensor.dtype, sizes,
            turned ? Span<const uint8_t>(kTurned) : Span<const uint8_t>());
      };
      auto left = part(a, *inputs[0], rows, inner, turn_a);
      auto right = part(b, *inputs[1], inner, columns, turn_b);
      auto to = part(output, *result, rows, columns, false);
      Call arguments;
      arguments.tensor(*left).tensor(*right);
      TRY_VOID(call(kernel_bmm, arguments, to->tensor));
    }
  } else {
    Call arguments;
    for (auto& input : inputs) arguments.tensor(*input);
    switch (node.kind) {
      case XnnNodeKind::add:
      case XnnNodeKind::subtract: arguments.integer(1); break;
      case XnnNodeKind::softmax: arguments.integer(-1).boolean(false); break;
      case XnnNodeKind::leaky_relu: arguments.number(node.number); break;
      case XnnNodeKind::elu: arguments.number(node.number).integer(1).integer(1); break;
      case XnnNodeKind::gelu: arguments.string("none"); break;
      case XnnNodeKind::global_avg_pool:
        arguments.integers({1, 2}).boolean(node.flags & kKeepDims).none();
        break;
      default: break;
    }
    TRY_VOID(call(*kernel_of(node.kind), arguments, result->tensor));
  }
  if (!direct) from_floats(result->tensor.as<float>(), output);
  return {};
}

Result<void> XnnRunner::run_product(const XnnNode& node) {
  TRY(Taps t, taps_of(node));
  RunValue &input = in(node, 0), &filter = in(node, 1), &output = out(node);
  const RunValue* bias = find_in(node, 2);
  if (!is_float(input.dtype)) {
    multiply_integers(t, input, filter, bias, output);
    return {};
  }
  bool same = filter.dtype == input.dtype && output.dtype == input.dtype &&
              (!bias || bias->dtype == input.dtype);
  DType dtype = plain_dtype(input.dtype);
  if (same && node.kind == XnnNodeKind::fully_connected) {
    constexpr uint8_t kTurned[2] = {1, 0};
    int32_t sizes[2] = {int32_t(t.group_outputs), int32_t(t.group_inputs)};
    View x(input.data, dtype, sizes_of(input)), y(output.data, dtype, sizes_of(output));
    View w(filter.data, dtype, sizes,
           t.outputs_innermost ? Span<const uint8_t>(kTurned) : Span<const uint8_t>());
    int32_t channels[1] = {sizes[0]};
    View b(bias ? bias->data : nullptr, dtype, channels);
    Call arguments;
    arguments.tensor(x).tensor(w).optional(bias ? &b : nullptr);
    return call(kernel_linear, arguments, y.tensor);
  }
  // Our kernel pads both ends alike and wants the window to fit once.
  bool even = true;
  for (int d = 0; d < 2; d++) {
    int64_t extent = (t.kernel[d] - 1) * t.dilation[d] + 1;
    int64_t covered = (t.out[d] - 1) * t.stride[d] + extent, padded = t.in[d] + 2 * t.padding[d];
    even &= covered <= padded && covered + t.stride[d] > padded && t.in[d] > 0;
  }
  if (!same || t.transposed || !even) {
    multiply_floats(t, input, filter, bias, output);
    return {};
  }
  constexpr uint8_t kChannelsLast[4] = {0, 2, 3, 1}, kOutputsLast[4] = {1, 2, 3, 0};
  auto image = [](const RunValue& v) {
    return std::array<int32_t, 4>{v.sizes[0], v.sizes[3], v.sizes[1], v.sizes[2]};
  };
  auto x_sizes = image(input), y_sizes = image(output);
  int32_t w_sizes[4] = {int32_t(t.outputs()), int32_t(t.group_inputs), int32_t(t.kernel[0]),
                        int32_t(t.kernel[1])};
  View x(input.data, dtype, x_sizes, kChannelsLast), y(output.data, dtype, y_sizes, kChannelsLast);
  View w(filter.data, dtype, w_sizes, t.outputs_innermost ? kOutputsLast : kChannelsLast);
  int32_t channels[1] = {w_sizes[0]};
  View b(bias ? bias->data : nullptr, dtype, channels);
  Call arguments;
  arguments.tensor(x).tensor(w).optional(bias ? &b : nullptr);
  arguments.integers({t.stride[0], t.stride[1]})
      .integers({t.padding[0], t.padding[1]})
      .integers({t.dilation[0], t.dilation[1]})
      .boolean(false)
      .integers({0, 0})
      .integer(t.groups);
  return call(kernel_convolution, arguments, y.tensor);
}

// softmax(query * scale . key^T + mask) . value, the scale a number for each channel.
Result<void> XnnRunner::run_attention(const XnnNode& node) {
  std::vector<std::vector<float>> x;
  for (size_t i = 0; i < node.inputs.size(); i++) {
    const RunValue* value = find_in(node, i);
    x.emplace_back(value ? size_t(count_of(*value)) : 0);
    if (value) to_floats(*value, x[i].data());
  }
  const RunValue &q = in(node, 0), &k = in(node, 1), &v = in(node, 2);
  int64_t heads = int64_t(q.sizes[0]) * q.sizes[1], queries = q.sizes[2], keys = k.sizes[2];
  int64_t width = q.sizes[3], out_width = v.sizes[3];
  std::vector<float> y(size_t(count_of(out(node)))), scores(static_cast<size_t>(keys));
  for (int64_t h = 0; h < heads; h++)
    for (int64_t i = 0; i < queries; i++) {
      const float* query = x[0].data() + (h * queries + i) * width;
      float largest = -INFINITY, sum = 0;
      for (int64_t j = 0; j < keys; j++) {
        const float* key = x[1].data() + (h * keys + j) * width;
        float score = find_in(node, 4) ? x[4][size_t(i * keys + j)] : 0;
        for (int64_t c = 0; c < width; c++) score += query[c] * x[3][size_t(c)] * key[c];
        scores[size_t(j)] = score;
        largest = std::fmax(largest, score);
      }
      for (float& score : scores) score = std::exp(score - largest), sum += score;
      float* to = y.data() + (h * queries + i) * out_width;
      for (int64_t j = 0; j < keys; j++)
        for (int64_t c = 0; c < out_width; c++)
          to[c] += scores[size_t(j)] / sum * x[2][size_t((h * keys + j) * out_width + c)];
    }
  from_floats(y.data(), out(node));
  return {};
}

void XnnRunner::run_move(const XnnNode& node) {
  RunValue &a = in(node, 0), &o = out(node);
  size_t bytes = element_bytes(o.dtype);
  if (count_of(o) == 0) return;
  std::array<int64_t, kXnnRankMax> from = strides_of(a), to = strides_of(o), sizes{};
  std::copy(o.sizes, o.sizes + o.rank, sizes.begin());
  switch (node.kind) {
    case XnnNodeKind::transpose: {
      auto turned = from;
      for (size_t i = 0; i < node.first.size(); i++) turned[i] = from[node.first[i]];
      copy_box(o.rank, sizes.data(), bytes, a.data, turned.data(), o.data, to.data());
      return;
    }
    case XnnNodeKind::slice: {
      int64_t start = 0;
      for (size_t i = 0; i < node.first.size(); i++) start += int64_t(node.first[i]) * from[i];
      copy_box(o.rank, sizes.data(), bytes, a.data + size_t(start) * bytes, from.data(), o.data,
               to.data());
      return;
    }
    case XnnNodeKind::pad: {
      RunValue one = o;
      one.rank = 0;
      uint8_t element[4];
      one.data = element;
      from_floats(&node.number, one);
      for (int64_t i = 0, count = count_of(o); i < count; i++)
        memcpy(o.data + size_t(i) * bytes, element, bytes);
      int64_t start = 0;
      for (size_t i = 0; i < node.first.size(); i++) start += int64_t(node.first[i]) * to[i];
      std::copy(a.sizes, a.sizes + a.rank, sizes.begin());
      if (count_of(a))
        copy_box(o.rank, sizes.data(), bytes, a.data, from.data(), o.data + size_t(start) * bytes,
                 to.data());
      return;
    }
    case XnnNodeKind::concatenate2:
    case XnnNodeKind::concatenate3:
    case XnnNodeKind::concatenate4:
    case XnnNodeKind::concatenate5: {
      size_t axis =
          size_t(int32_t(node.axis) < 0 ? o.rank + int32_t(node.axis) : int32_t(node.axis));
      uint8_t* at = o.data;
      for (size_t k = 0; k < node.inputs.size(); k++) {
        const RunValue& part = in(node, k);
        if (count_of(part) == 0) continue;
        sizes[axis] = part.sizes[axis];
        copy_box(o.rank, sizes.data(), bytes, part.data, strides_of(part).data(), at, to.data());
        at += size_t(part.sizes[axis] * to[axis]) * bytes;
      }
      return;
    }
    default: memmove(o.data, a.data, bytes_of(o));  // reshape, copy
  }
}

void XnnRunner::run_images(const XnnNode& node) {
  const RunValue& a = in(node, 0);
  RunValue& o = out(node);
  std::vector<float> x(size_t(count_of(a))), y(size_t(count_of(o)));
  to_floats(a, x.data());
  if (node.kind == XnnNodeKind::resize_bilinear) {
    Taps t;
    t.batch = a.sizes[0], t.group_inputs = a.sizes[3];
    for (int d = 0; d < 2; d++) t.in[d] = a.sizes[d + 1], t.out[d] = o.sizes[d + 1];
    ResizeMode mode = node.flags & kAlignCorners ? ResizeMode::align_corners
                      : node.flags & kLegacy     ? ResizeMode::legacy
                                                 : ResizeMode::half_pixel;
    resize_bilinear(t, mode, x.data(), y.data());
  } else {
    Taps t = *taps_of(node);  // infer_sizes() has seen that it works
    if (node.kind == XnnNodeKind::avg_pool)
      avg_pool(t, x.data(), y.data());
    else if (node.outputs.size() == 1)
      max_pool(t, x.data(), y.data(), nullptr);
    else {
      std::vector<int32_t> index(y.size());
      max_pool(t, x.data(), y.data(), index.data());
      if (!index.empty()) memcpy(out(node, 1).data, index.data(), index.size() * 4);
    }
  }
  from_floats(y.data(), o);
}

void XnnRunner::run_prelu(const XnnNode& node) {
  const RunValue &a = in(node, 0), &slope = in(node, 1);
  RunValue& o = out(node);
  std::vector<float> x(size_t(count_of(a))), s(size_t(count_of(slope))), y(size_t(count_of(o)));
  to_floats(a, x.data());
  to_floats(slope, s.data());
  auto position = [&](const RunValue& value, int64_t i) {
    int64_t at = 0, stride = 1;
    for (int d = 1; d <= o.rank; d++) {
      int64_t index = i % o.sizes[o.rank - d];
      i /= o.sizes[o.rank - d];
      int64_t size = d <= value.rank ? value.sizes[value.rank - d] : 1;
      if (size > 1) at += index * stride;
      stride *= size;
    }
    return size_t(at);
  };
  for (size_t i = 0; i < y.size(); i++) {
    float value = x[position(a, int64_t(i))];
    y[i] = value < 0 ? value * s[position(slope, int64_t(i))] : value;
  }
  from_floats(y.data(), o);
}

}  // namespace sconce::xnn
