// Shapes of what a node gives, from the shapes of this call.
#include <algorithm>

#include <fmt/ranges.h>

#include "base/checked.h"
#include "targets/xnnpack/run/runner.h"

namespace sconce::xnn {
namespace {

constexpr uint32_t kTransposeWeights = 1, kTransposeA = 2, kSamePadding = 4, kKeepDims = 0x40;

int64_t zero_or_more(int64_t x) { return x > 0 ? x : 0; }

Span<const int32_t> sizes_of(const RunValue& value) { return {value.sizes, size_t(value.rank)}; }

}  // namespace

Result<void> XnnRunner::set_sizes(uint32_t index, Span<const int64_t> sizes) {
  RunValue& value = values_[index];
  if (sizes.size() > size_t(kXnnRankMax))
    return error(Code::too_large, "rank {} of the output exceeds {}", sizes.size(), kXnnRankMax);
  uint64_t bytes = 4;  // of the widest element
  for (int64_t size : sizes)
    if (size < 0 || size > INT32_MAX ||
        !checked_multiply<uint64_t>(bytes, size ? uint64_t(size) : 1, &bytes) || bytes > bytes_max_)
      return error(Code::too_large, "an output of [{}] is too large", fmt::join(sizes, ", "));
  value.rank = int(sizes.size());
  for (size_t i = 0; i < sizes.size(); i++) value.sizes[i] = int32_t(sizes[i]);
  if (is_dynamic_int8(value.dtype) && value.inner_dims > value.rank)
    return error(Code::invalid_argument, "{} dimensions share a scale, the rank is {}",
                 value.inner_dims, value.rank);
  return {};
}

Result<void> XnnRunner::set_sizes(uint32_t value, std::initializer_list<int64_t> sizes) {
  return set_sizes(value, Span<const int64_t>(sizes.begin(), sizes.size()));
}

Result<Taps> XnnRunner::taps_of(const XnnNode& node) const {
  const RunValue& input = in(node, 0);
  const XnnWindow& w = node.window;
  Taps t;
  if (node.kind == XnnNodeKind::fully_connected) {
    const RunValue& filter = in(node, 1);
    if (input.rank < 1 || filter.rank < 2)
      return error(Code::invalid_argument, "input of rank {}, filter of rank {}; want 1 and 2",
                   input.rank, filter.rank);
    t.outputs_innermost = node.flags & kTransposeWeights;
    int64_t first = filter.sizes[0], last = filter.sizes[filter.rank - 1];
    t.group_outputs = t.outputs_innermost ? last : first;
    t.group_inputs = t.outputs_innermost ? first : last;
    if (t.group_inputs < 1 || input.sizes[input.rank - 1] != t.group_inputs ||
        t.group_inputs * t.group_outputs != count_of(filter))
      return error(Code::invalid_argument, "input [{}] by filter [{}]",
                   fmt::join(sizes_of(input), ", "), fmt::join(sizes_of(filter), ", "));
    t.batch = count_of(input) / t.group_inputs;
  } else {
    if (input.rank != 4)
      return error(Code::invalid_argument, "input of rank {}, want 4", input.rank);
    t.batch = input.sizes[0], t.in[0] = input.sizes[1], t.in[1] = input.sizes[2];
    t.groups = 1, t.group_inputs = t.group_outputs = input.sizes[3];
    bool conv = node.inputs.size() == 3;
    bool depthwise = node.kind == XnnNodeKind::depthwise_conv2d;
    t.transposed = node.kind == XnnNodeKind::conv_transpose2d;
    if (conv) {
      t.groups = w.groups, t.group_inputs = w.group_inputs, t.group_outputs = w.group_outputs;
      if (depthwise && t.group_inputs > 0) t.group_outputs /= t.group_inputs, t.group_inputs = 1;
      t.outputs_innermost = depthwise;
    }
    int64_t end_padding[2] = {w.padding_bottom, w.padding_right};
    t.padding[0] = w.padding_top, t.padding[1] = w.padding_left;
    for (int d = 0; d < 2; d++) {
      t.kernel[d] = w.kernel[d], t.stride[d] = w.stride[d];
      // An average has none, whatever the table says.
      t.dilation[d] = node.kind == XnnNodeKind::avg_pool ? 1 : w.dilation[d];
      int64_t extent = 0;  // of the window
      if (t.kernel[d] < 1 || t.stride[d] < 1 || t.dilation[d] < 1 ||
          !checked_multiply<int64_t>(t.kernel[d] - 1, t.dilation[d], &extent) ||
          extent > INT32_MAX || t.stride[d] > INT32_MAX || t.padding[d] > INT32_MAX ||
          end_padding[d] > INT32_MAX)
        return error(Code::invalid_file, "window of kernel {}, stride {}, dilation {}, padding {}",
                     t.kernel[d], t.stride[d], t.dilation[d], t.padding[d]);
      extent++;
      if (t.transposed) {
        t.out[d] = zero_or_more(t.stride[d] * zero_or_more(t.in[d] - 1) + w.adjustment[d] + extent -
                                t.padding[d] - end_padding[d]);
      } else if (node.flags & kSamePadding) {
        t.out[d] = (t.in[d] + t.stride[d] - 1) / t.stride[d];
        t.padding[d] = zero_or_more((t.out[d] - 1) * t.stride[d] + extent - t.in[d]) / 2;
      } else {
        t.out[d] = zero_or_more(t.in[d] + t.padding[d] + end_padding[d] - extent) / t.stride[d] + 1;
      }
    }
    if (conv) {
      const RunValue& filter = in(node, 1);
      int64_t inputs = 0, outputs = 0;
      bool sound = t.groups > 0 && t.group_inputs > 0 && t.group_outputs > 0 &&
                   checked_multiply(t.groups, t.group_inputs, &inputs) &&
                   checked_multiply(t.groups, t.group_outputs, &outputs) && outputs <= INT32_MAX;
      if (!sound || inputs != input.sizes[3])
        return error(Code::invalid_argument, "{} groups of {} to {} channels, the input has {}",
                     t.groups, t.group_inputs, t.group_outputs, input.sizes[3]);
      int64_t wanted[4] = {outputs, t.kernel[0], t.kernel[1], t.group_inputs};
      if (depthwise) wanted[0] = 1, wanted[3] = outputs;
      if (filter.rank != 4 || !std::equal(wanted, wanted + 4, filter.sizes))
        return error(Code::invalid_argument, "filter [{}], want [{}]",
                     fmt::join(sizes_of(filter), ", "), fmt::join(wanted, ", "));
    }
  }
  if (node.inputs.size() == 3) {
    const RunValue* bias = find_in(node, 2);
    if (bias && count_of(*bias) != t.outputs())
      return error(Code::invalid_argument, "bias of {} numbers for {} channels", count_of(*bias),
                   t.outputs());
    const RunValue& filter = in(node, 1);
    bool grouped = filter.dtype == XnnDType::qbint4;
    if (is_channelwise(filter.dtype) && !grouped && int64_t(filter.scales.size()) != t.outputs())
      return error(Code::invalid_argument, "{} scales for {} channels", filter.scales.size(),
                   t.outputs());
    // One scale for all that goes into an output.
    if (is_dynamic_int8(input.dtype) && count_of(input) && row_width(input) % t.image() != 0)
      return error(Code::unsupported, "rows of {} numbers with a scale, the node reads {} at once",
                   row_width(input), t.image());
  }
  return t;
}

Result<void> XnnRunner::infer_sizes(const XnnNode& node) {
  const RunValue& a = in(node, 0);
  uint32_t to = node.outputs[0];
  std::vector<int64_t> sizes(a.sizes, a.sizes + a.rank);
  auto wants_rank = [&](size_t rank) -> Result<void> {
    if (size_t(a.rank) == rank) return {};
    return error(Code::invalid_argument, "input of rank {}, want {}", a.rank, rank);
  };
  switch (node.kind) {
    case XnnNodeKind::add:
    case XnnNodeKind::subtract:
    case XnnNodeKind::multiply:
    case XnnNodeKind::divide:
    case XnnNodeKind::minimum:
    case XnnNodeKind::maximum:
    case XnnNodeKind::prelu: {
      const RunValue& b = in(node, 1);
      int rank = std::max(a.rank, b.rank);
      sizes.assign(size_t(rank), 1);
      for (int i = 1; i <= rank; i++) {
        int64_t x = i <= a.rank ? a.sizes[a.rank - i] : 1,
                y = i <= b.rank ? b.sizes[b.rank - i] : 1;
        if (x != y && x != 1 && y != 1)
          return error(Code::invalid_argument, "[{}] and [{}] do not go together",
                       fmt::join(sizes_of(a), ", "), fmt::join(sizes_of(b), ", "));
        sizes[size_t(rank - i)] = x == 1 ? y : x;
      }
      break;
    }
    case XnnNodeKind::fully_connected: {
      TRY(Taps t, taps_of(node));
      sizes.back() = t.outputs();
      break;
    }
    case XnnNodeKind::conv2d:
    case XnnNodeKind::depthwise_conv2d:
    case XnnNodeKind::conv_transpose2d:
    case XnnNodeKind::avg_pool:
    case XnnNodeKind::max_pool:
    case XnnNodeKind::argmax_pool: {
      TRY(Taps t, taps_of(node));
      sizes = {t.batch, t.out[0], t.out[1], t.outputs()};
      if (node.outputs.size() > 1) TRY_VOID(set_sizes(node.outputs[1], sizes));
      break;
    }
    case XnnNodeKind::resize_bilinear:
      TRY_VOID(wants_rank(4));
      if (a.sizes[1] < 1 || a.sizes[2] < 1 || node.first[0] < 1 || node.first[1] < 1)
        return error(Code::invalid_argument, "image of {}x{} to {}x{}", a.sizes[1], a.sizes[2],
                     node.first[0], node.first[1]);
      sizes[1] = node.first[0], sizes[2] = node.first[1];
      break;
    case XnnNodeKind::global_avg_pool:
      TRY_VOID(wants_rank(4));
      if (node.flags & kKeepDims)
        sizes[1] = sizes[2] = 1;
      else
        sizes = {sizes[0], sizes[3]};
      break;
    case XnnNodeKind::softmax:
      if (a.rank < 1) return wants_rank(1);
      break;
    case XnnNodeKind::transpose:
      TRY_VOID(wants_rank(node.first.size()));
      for (size_t i = 0; i < sizes.size(); i++) sizes[i] = a.sizes[node.first[i]];
      break;
    case XnnNodeKind::reshape: {
      int64_t count = count_of(a), known = 1;
      int open = -1;
      sizes.assign(node.first.begin(), node.first.end());
      for (size_t i = 0; i < sizes.size(); i++) {
        if (sizes[i] == 0) {
          if (open >= 0)
            return error(Code::invalid_file, "dimensions {} and {} are both to be found", open, i);
          open = int(i);
        } else if (!checked_multiply<int64_t>(known, sizes[i], &known)) {
          return error(Code::too_large, "[{}] is too large", fmt::join(sizes, ", "));
        }
      }
      if (open >= 0 && count % known == 0)
        sizes[size_t(open)] = count / known;
      else if (open >= 0 || known != count)
        return error(Code::invalid_argument, "[{}] cannot become [{}]",
                     fmt::join(sizes_of(a), ", "), fmt::join(node.first, ", "));
      break;
    }
    case XnnNodeKind::pad:
      TRY_VOID(wants_rank(node.first.size()));
      for (size_t i = 0; i < sizes.size(); i++)
        sizes[i] += int64_t(node.first[i]) + int64_t(node.second[i]);
      break;
    case XnnNodeKind::slice:
      TRY_VOID(wants_rank(node.first.size()));
      for (size_t i = 0; i < sizes.size(); i++) {  // what lies outside is left out; 0 = all
        int64_t left = sizes[i] - std::min<int64_t>(node.first[i], sizes[i]);
        sizes[i] = node.second[i] ? std::min<int64_t>(node.second[i], left) : left;
      }
      break;
    case XnnNodeKind::concatenate2:
    case XnnNodeKind::concatenate3:
    case XnnNodeKind::concatenate4:
    case XnnNodeKind::concatenate5: {
      // Stock's exporter wraps negative axes; XNNPACK takes them from the end.
      int64_t axis = int32_t(node.axis) < 0 ? a.rank + int32_t(node.axis) : int64_t(node.axis);
      if (axis < 0 || axis >= a.rank)
        return error(Code::invalid_file, "axis {} of rank {}", int32_t(node.axis), a.rank);
      for (size_t k = 1; k < node.inputs.size(); k++) {
        const RunValue& b = in(node, k);
        bool fits = b.rank == a.rank;
        for (int i = 0; fits && i < a.rank; i++) fits = i == axis || a.sizes[i] == b.sizes[i];
        if (!fits)
          return error(Code::invalid_argument, "[{}] and [{}] do not go together",
                       fmt::join(sizes_of(a), ", "), fmt::join(sizes_of(b), ", "));
        sizes[size_t(axis)] += b.sizes[axis];
      }
      break;
    }
    case XnnNodeKind::batch_matmul: {
      const RunValue& b = in(node, 1);
      int rank = std::max(a.rank, b.rank);
      if (a.rank < 2 || b.rank < 2)
        return error(Code::invalid_argument, "ranks {} and {}, want 2 and more", a.rank, b.rank);
      const int32_t *ax = a.sizes + a.rank - 2, *bx = b.sizes + b.rank - 2;
      bool turn_a = node.flags & kTransposeA, turn_b = node.flags & kTransposeWeights;
      bool fits = ax[turn_a ? 0 : 1] == bx[turn_b ? 1 : 0];
      sizes.assign(size_t(rank), 1);
      for (int i = 3; fits && i <= rank; i++) {
        int64_t x = i <= a.rank ? a.sizes[a.rank - i] : 1,
                y = i <= b.rank ? b.sizes[b.rank - i] : 1;
        fits = x == y || x == 1 || y == 1;
        sizes[size_t(rank - i)] = x == 1 ? y : x;
      }
      if (!fits)
        return error(Code::invalid_argument, "[{}] by [{}]", fmt::join(sizes_of(a), ", "),
                     fmt::join(sizes_of(b), ", "));
      sizes[size_t(rank - 2)] = ax[turn_a ? 1 : 0], sizes[size_t(rank - 1)] = bx[turn_b ? 0 : 1];
      break;
    }
    case XnnNodeKind::attention: {
      const RunValue &k = in(node, 1), &v = in(node, 2), &scale = in(node, 3);
      const RunValue* mask = find_in(node, 4);
      bool fits = a.rank == 4 && k.rank == 4 && v.rank == 4 && a.sizes[3] == k.sizes[3] &&
                  k.sizes[2] == v.sizes[2] && count_of(scale) == a.sizes[3];
      for (int i = 0; fits && i < 2; i++)
        fits = a.sizes[i] == k.sizes[i] && k.sizes[i] == v.sizes[i];
      if (fits && mask)
        fits = mask->rank == 2 && mask->sizes[0] == a.sizes[2] && mask->sizes[1] == k.sizes[2];
      if (!fits)
        return error(Code::invalid_argument, "query [{}], key [{}], value [{}] and their mask",
                     fmt::join(sizes_of(a), ", "), fmt::join(sizes_of(k), ", "),
                     fmt::join(sizes_of(v), ", "));
      sizes[3] = v.sizes[3];
      break;
    }
    default: break;  // as the input
  }
  return set_sizes(to, sizes);
}

}  // namespace sconce::xnn
