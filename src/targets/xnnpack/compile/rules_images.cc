// Rules for operators on images: convolutions, pools, padding, resizing.
#include <algorithm>

#include "targets/xnnpack/compile/convolution.h"

namespace sconce::xnn_compile {

std::optional<XnnConvolution> read_convolution(const Lowering& l, const Node& node, ValueId x,
                                               ValueId weight, size_t at) {
  XnnConvolution c;
  Dims in = l.dims(x);
  c.filter = l.dims(weight);
  if (!can_be_image(in) || c.filter.size() != in.size()) return std::nullopt;
  size_t spatial = in.size() - 2;
  auto stride = ints_argument(node, at, spatial), padding = ints_argument(node, at + 1, spatial);
  auto dilation = ints_argument(node, at + 2, spatial);
  auto adjustment = ints_argument(node, at + 4, spatial);
  auto groups = int_argument(node, at + 5);
  bool is_transposed = bool_argument(node, at + 3);
  if (!stride || !padding || !dilation || !adjustment || !groups || *groups < 1 ||
      (is_transposed && *groups != 1))
    return std::nullopt;
  if (spatial == 1) {  // rows: one step of height 1
    c.filter.insert(c.filter.begin() + 2, 1);
    stride->insert(stride->begin(), 1), dilation->insert(dilation->begin(), 1);
    padding->insert(padding->begin(), 0), adjustment->insert(adjustment->begin(), 0);
  }
  if ((*padding)[0] < 0 || (*padding)[1] < 0) return std::nullopt;
  XnnWindow& window = c.window;
  window.padding_top = window.padding_bottom = uint32_t((*padding)[0]);
  window.padding_left = window.padding_right = uint32_t((*padding)[1]);
  for (size_t d = 0; d < 2; d++) {
    window.kernel[d] = uint32_t(c.filter[2 + d]);
    window.stride[d] = uint32_t((*stride)[d]);
    window.dilation[d] = uint32_t((*dilation)[d]);
    if (is_transposed) window.adjustment[d] = uint32_t((*adjustment)[d]);
  }
  int64_t outputs = is_transposed ? c.filter[1] * *groups : c.filter[0];
  window.groups = uint32_t(*groups);
  window.group_inputs = uint32_t(in[1] / *groups);
  window.group_outputs = uint32_t(outputs / *groups);
  if (is_transposed)
    c.kind = Kind::conv_transpose2d;
  else if (*groups == in[1] && *groups > 1)
    c.kind = Kind::depthwise_conv2d;
  // To [outputs, height, width, inputs]; depthwise: [1, height, width, outputs].
  if (c.kind == Kind::conv2d)
    c.order = {0, 2, 3, 1};
  else
    c.order = {1, 2, 3, 0};
  c.channel_dim = c.is_depthwise() ? 3 : 0;
  return c;
}

bool is_over_image(const Dims& dims, std::optional<Dims> over) {
  if (!over || !can_be_image(dims)) return false;
  Dims all;
  for (int64_t d = 2; d < int64_t(dims.size()); d++) all.push_back(d);
  for (int64_t& d : *over) d = d < 0 ? d + int64_t(dims.size()) : d;
  std::sort(over->begin(), over->end());
  return *over == all;
}

namespace {

bool convolution_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0), w = value_argument(node, 1), b = value_argument(node, 2);
  if (!x || !w || !l.is_constant(*w) || (b && !l.is_constant(*b)) || l.is_constant(*x))
    return false;
  auto c = read_convolution(l, node, *x, *w, 3);
  if (!c) return false;
  ValueId from = *x;
  if (const Lowering::Padding* waiting = l.find_padding(*x); waiting && !c->is_transposed()) {
    from = waiting->of;
    c->window.padding_top += uint32_t(waiting->before[0]);
    c->window.padding_left += uint32_t(waiting->before[1]);
    c->window.padding_bottom += uint32_t(waiting->after[0]);
    c->window.padding_right += uint32_t(waiting->after[1]);
  }
  uint32_t weight = l.reordered(*w, c->filter, c->order);
  uint32_t bias = b ? l.constant_of(*b, l.dims(*b), Lowering::Use::packed) : kXnnNoValue;
  uint32_t source = l.image(from);
  XnnNode& made = l.add(c->kind, {source, weight, bias}, to_image(l.dims(node.results[0])));
  made.window = c->window;
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

bool pad_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto amounts = ints_argument(node, 1, 0);
  auto value = number_argument(node, 2);
  if (!x || !amounts || !value || amounts->size() % 2) return false;
  Dims in = l.dims(*x);
  std::vector<uint32_t> before(in.size(), 0), after(in.size(), 0);
  for (size_t i = 0; i < amounts->size() / 2; i++) {
    int64_t low = (*amounts)[2 * i], high = (*amounts)[2 * i + 1];
    if (low < 0 || high < 0 || i >= in.size()) return false;
    before[in.size() - 1 - i] = uint32_t(low), after[in.size() - 1 - i] = uint32_t(high);
  }
  ValueId result = node.results[0];
  const Node* user = l.user_of(result);
  if (*value == 0 && in.size() == 4 && amounts->size() <= 4 && l.uses_of(result) == 1 && user &&
      user->op == "aten::convolution") {
    l.set_padded(result, {*x, {before[2], before[3]}, {after[2], after[3]}});
    return true;
  }
  uint32_t from = l.plain(*x);
  XnnNode& made = l.add(Kind::pad, {from}, l.dims(result));
  made.first = before, made.second = after, made.number = float(*value);
  l.set(result, made.outputs[0]);
  return true;
}

bool pool_rule(Lowering& l, const Node& node) {
  bool average = node.op == "aten::avg_pool2d";
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).size() != 4) return false;
  auto kernel = ints_argument(node, 1, 2), stride = ints_argument(node, 2, 2);
  auto padding = ints_argument(node, 3, 2);
  auto dilation = average ? std::optional(Dims{1, 1}) : ints_argument(node, 4, 2);
  if (!kernel || !stride || !padding || !dilation) return false;
  if (stride->empty()) stride = kernel;
  bool padded = (*padding)[0] || (*padding)[1];
  if (bool_argument(node, average ? 4 : 5)) return false;  // ceil_mode
  if (average && ((padded && bool_argument(node, 5)) || !is_none(node, 6))) return false;
  if ((*kernel)[0] * (*kernel)[1] == 1) return false;  // XNNPACK refuses windows of one
  if (!average && l.is_used(node.results[1])) return false;
  uint32_t from = l.image(*x);
  XnnNode& made =
      l.add(average ? Kind::avg_pool : Kind::max_pool, {from}, to_image(l.dims(node.results[0])));
  made.window.padding_top = made.window.padding_bottom = uint32_t((*padding)[0]);
  made.window.padding_left = made.window.padding_right = uint32_t((*padding)[1]);
  for (size_t d = 0; d < 2; d++) {
    made.window.kernel[d] = uint32_t((*kernel)[d]);
    made.window.stride[d] = uint32_t((*stride)[d]);
    made.window.dilation[d] = uint32_t((*dilation)[d]);
  }
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

bool adaptive_pool_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  auto size = ints_argument(node, 1, 2);
  if (!x || l.dims(*x).size() != 4 || !size || *size != Dims{1, 1}) return false;
  uint32_t from = l.image(*x);
  l.set(node.results[0], l.mean_of_image(from, true).outputs[0], true);
  return true;
}

bool mean_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || !is_none(node, 3) || !is_over_image(l.dims(*x), ints_argument(node, 1, 1)))
    return false;
  bool keep = bool_argument(node, 2);
  uint32_t from = l.image(*x);
  l.set(node.results[0], l.mean_of_image(from, keep).outputs[0], keep);
  return true;
}

bool resize_rule(Lowering& l, const Node& node) {
  auto x = value_argument(node, 0);
  if (!x || l.dims(*x).size() != 4) return false;
  // With a scale of its own the positions are not those of the sizes alone.
  if (node.op == "aten::upsample_bilinear2d") {
    if (!is_none(node, 3) || !is_none(node, 4)) return false;
  } else if (!is_none(node, 3)) {
    return false;
  }
  Dims out = l.dims(node.results[0]);
  uint32_t from = l.image(*x);
  XnnNode& made = l.add(Kind::resize_bilinear, {from}, to_image(out));
  made.first = {uint32_t(out[2]), uint32_t(out[3])};
  if (bool_argument(node, 2)) made.flags = kAlignCorners;
  l.set(node.results[0], made.outputs[0], true);
  return true;
}

constexpr Row kRules[] = {
    {"aten::_adaptive_avg_pool2d", adaptive_pool_rule},
    {"aten::adaptive_avg_pool2d", adaptive_pool_rule},
    {"aten::avg_pool2d", pool_rule},
    {"aten::constant_pad_nd", pad_rule},
    {"aten::convolution", convolution_rule},
    {"aten::max_pool2d_with_indices", pool_rule, true},
    {"aten::mean.dim", mean_rule},
    {"aten::upsample_bilinear2d", resize_rule},
    {"aten::upsample_bilinear2d.vec", resize_rule},
};

}  // namespace

Span<const Row> image_rules() { return kRules; }

}  // namespace sconce::xnn_compile
