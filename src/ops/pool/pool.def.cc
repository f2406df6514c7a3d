// Pooling. Windows over one dimension are windows over two with one row; portable kernels exist for
// two dimensions, so three are pooled as two steps.
#include <algorithm>
#include <cstring>

#include "ops/elementwise.h"
#include "ops/linear/decompose.h"

namespace sconce {
namespace {

using Items = std::vector<IntItem>;

// A list argument of one dimension as the list of two dimensions; empty stays empty.
Items widened(const Node& node, int i, int64_t first) {
  Items items = list_items(node, i, 1);
  if (!items.empty()) items.insert(items.begin(), IntItem{first});
  return items;
}

// max_pool1d(self, kernel_size, stride, padding, dilation, ceil_mode), with and without indices.
Results max_pool1d_with_indices(Build& build, const Node& node) {
  ValueId x = unsqueeze(build, value(node, 0), -2);
  auto pooled = build.call("aten::max_pool2d_with_indices",
                           {Build::v(x), widened(node, 1, 1), widened(node, 2, 1),
                            widened(node, 3, 0), widened(node, 4, 1), node.arguments[5]});
  for (ValueId& id : pooled) id = squeeze(build, id, -2);
  return pooled;
}
Results max_pool1d(Build& build, const Node& node) {
  ValueId x = unsqueeze(build, value(node, 0), -2);
  ValueId pooled = build.call1("aten::max_pool2d_with_indices",
                               {Build::v(x), widened(node, 1, 1), widened(node, 2, 1),
                                widened(node, 3, 0), widened(node, 4, 1), node.arguments[5]});
  return one(squeeze(build, pooled, -2));
}
template <Text target>
Results without_indices(Build& build, const Node& node) {
  return one(build.call(target.text, node.arguments)[0]);
}

// avg_pool1d(self, kernel_size, stride, padding, ceil_mode, count_include_pad).
Results avg_pool1d(Build& build, const Node& node) {
  ValueId x = unsqueeze(build, value(node, 0), -2);
  ValueId pooled = build.call1("aten::avg_pool2d",
                               {Build::v(x), widened(node, 1, 1), widened(node, 2, 1),
                                widened(node, 3, 0), node.arguments[4], node.arguments[5], None{}});
  return one(squeeze(build, pooled, -2));
}
Results adaptive_avg_pool1d(Build& build, const Node& node) {
  ValueId x = unsqueeze(build, value(node, 0), -2);
  ValueId pooled = build.call1("aten::_adaptive_avg_pool2d", {Build::v(x), widened(node, 1, 1)});
  return one(squeeze(build, pooled, -2));
}
Results adaptive_max_pool1d(Build& build, const Node& node) {
  ValueId x = unsqueeze(build, value(node, 0), -2);
  auto pooled = build.call("aten::adaptive_max_pool2d", {Build::v(x), widened(node, 1, 1)});
  for (ValueId& id : pooled) id = squeeze(build, id, -2);
  return pooled;
}

// The planes [.., d, h, w] of a volume as one picture per channel and depth, and the other way about.
struct Volume {
  std::vector<SymInt> leading;  // batch and channel, or channel
  SymInt d, h, w;
};
Volume volume_of(Build& build, ValueId x) {
  std::vector<SymInt> sizes = sizes_of(build, x);
  size_t rank = sizes.size();
  return {{sizes.begin(), sizes.end() - 3}, sizes[rank - 3], sizes[rank - 2], sizes[rank - 1]};
}
ValueId as_planes(Build& build, ValueId x, const Volume& v) {
  SymInt planes = build.program().symbols.multiply(size_product(build, v.leading, 0, v.leading.size()), v.d);
  return build.view(x, {planes, v.h, v.w});
}
// Pooled planes as one picture [d, h * w] per channel.
ValueId as_columns(Build& build, ValueId planes, const Volume& v) {
  SymInt area = build.program().symbols.multiply(build.size(planes, 1), build.size(planes, 2));
  return build.view(planes, {size_product(build, v.leading, 0, v.leading.size()), v.d, area});
}
ValueId as_volume(Build& build, ValueId columns, ValueId planes, const Volume& v) {
  std::vector<SymInt> sizes = v.leading;
  sizes.insert(sizes.end(), {build.size(columns, 1), build.size(planes, 1), build.size(planes, 2)});
  return build.view(columns, sizes);
}
// Entries 1 and 2 of a list of three; entry 0 beside a neutral one.
Items plane_entries(const Items& items) {
  return items.empty() ? items : Items{items[1], items[2]};
}
Items depth_entries(const Items& items, int64_t neutral) {
  return items.empty() ? items : Items{items[0], IntItem{neutral}};
}

// --- pooling as products with matrices of windows: for gradients and integers ----------------------

// Windows over one dimension of `in` elements: of each, the first element, the one behind the last,
// and what a mean divides by.
struct Window { int64_t begin, end, divisor; };
using Windows = std::vector<Window>;

Windows even_windows(int64_t in, int64_t count, int64_t kernel, int64_t stride, int64_t padding,
                     bool include_padding) {
  Windows windows;
  for (int64_t o = 0; o < count; o++) {
    int64_t begin = o * stride - padding, end = std::min(begin + kernel, in + padding);
    int64_t whole = end - begin;
    begin = std::max<int64_t>(begin, 0);
    end = std::min(end, in);
    windows.push_back({begin, end, include_padding ? whole : end - begin});
  }
  return windows;
}
Windows adaptive_windows(int64_t in, int64_t count) {
  Windows windows;
  for (int64_t o = 0; o < count; o++) {
    int64_t begin = o * in / count, end = ((o + 1) * in + count - 1) / count;
    windows.push_back({begin, end, end - begin});
  }
  return windows;
}
// [in, windows]: 1 (or 1 / divisor) where the window has the element.
ValueId window_matrix(Build& build, const Windows& windows, int64_t in, DType dtype, bool divided) {
  std::vector<uint8_t> bytes(windows.size() * size_t(in) * dtype_bytes(dtype), 0);
  for (size_t o = 0; o < windows.size(); o++)
    for (int64_t i = windows[o].begin; i < windows[o].end; i++) {
      void* to = bytes.data() + (size_t(i) * windows.size() + o) * dtype_bytes(dtype);
      double element = divided ? 1.0 / double(windows[o].divisor) : 1.0;
      int64_t one = 1;
      if (is_floating(dtype)) store_elements<double>(to, 1, &element, 1, dtype);
      else store_elements<int64_t>(to, 1, &one, 1, dtype);
    }
  return build.constant({dtype, {SymInt(in), SymInt(int64_t(windows.size()))}, {}}, std::move(bytes),
                        "windows");
}
// Sizes of the last `count` dimensions; nullopt when one is not known.
std::optional<std::vector<int64_t>> last_sizes(Build& build, ValueId x, int count) {
  std::vector<int64_t> sizes;
  for (int i = build.rank(x) - count; i < build.rank(x); i++) {
    if (i < 0 || !build.size(x, i).is_known()) return std::nullopt;
    sizes.push_back(build.size(x, i).value);
  }
  return sizes;
}
ValueId matmul(Build& build, ValueId a, ValueId b) {
  return build.call1("aten::matmul", {Build::v(a), Build::v(b)});
}
// The gradient of means over windows of rows and columns.
Results mean_backward(Build& build, ValueId grad, const Windows& rows, const Windows& columns,
                      int64_t height, int64_t width, double scale) {
  DType dtype = build.dtype(grad), wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  if (!is_floating(dtype)) return std::nullopt;
  bool divided = scale == 0;  // by the windows' own sizes
  ValueId over_columns = transposed(build, window_matrix(build, columns, width, wide, divided));
  ValueId y = matmul(build, build.cast(grad, wide), over_columns);
  y = matmul(build, window_matrix(build, rows, height, wide, divided), y);
  if (!divided) y = build.mul(y, scale);
  return one(build.cast(y, dtype));
}

// grad_output, self, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
Results avg_pool2d_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0);
  auto in = last_sizes(build, value(node, 1), 2), out = last_sizes(build, grad, 2);
  std::optional<std::vector<int64_t>> lists[3];
  for (int i = 0; i < 3; i++) {
    lists[i] = known_list(node, 2 + i);
    if (i == 1 && lists[i] && lists[i]->empty()) lists[i] = lists[0];
    if (!lists[i] || lists[i]->empty()) return std::nullopt;
    if (lists[i]->size() == 1) lists[i]->resize(2, (*lists[i])[0]);
  }
  if (!in || !out) return std::nullopt;
  bool include = number(node, 6).value_or(1) != 0;
  auto windows = [&](size_t i) {
    return even_windows((*in)[i], (*out)[i], (*lists[0])[i], (*lists[1])[i], (*lists[2])[i], include);
  };
  auto divisor = number(node, 7);
  if (divisor && *divisor == 0) return std::nullopt;
  return mean_backward(build, grad, windows(0), windows(1), (*in)[0], (*in)[1],
                       divisor ? 1 / *divisor : 0);
}
// grad_output, self
Results adaptive_avg_pool2d_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0);
  auto in = last_sizes(build, value(node, 1), 2), out = last_sizes(build, grad, 2);
  if (!in || !out || (*out)[0] < 1 || (*out)[1] < 1) return std::nullopt;
  return mean_backward(build, grad, adaptive_windows((*in)[0], (*out)[0]),
                       adaptive_windows((*in)[1], (*out)[1]), (*in)[0], (*in)[1], 0);
}

// avg_pool3d of integers: exact sums, one division that rounds towards zero.
Results integer_avg_pool3d(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto in = last_sizes(build, x, 3);
  std::optional<std::vector<int64_t>> lists[3];
  for (int i = 0; i < 3; i++) {
    lists[i] = known_list(node, 1 + i);
    if (i == 1 && lists[i] && lists[i]->empty()) lists[i] = lists[0];
    if (!lists[i] || lists[i]->empty()) return std::nullopt;
    if (lists[i]->size() == 1) lists[i]->resize(3, (*lists[i])[0]);
  }
  if (!in) return std::nullopt;
  bool ceil = number(node, 4).value_or(0) != 0, include = number(node, 5).value_or(1) != 0;
  auto override_by = number(node, 6);
  DType dtype = build.dtype(x);
  std::vector<SymInt> leading = sizes_of(build, x);
  leading.resize(leading.size() - 3);
  ValueId y = build.cast(x, DType::i64), divisor = kNoValue;
  std::vector<int64_t> sizes = *in;
  for (size_t i = 3; i-- > 0;) {
    int64_t kernel = (*lists[0])[i], stride = (*lists[1])[i], padding = (*lists[2])[i];
    int64_t room = (*in)[i] + 2 * padding - kernel;
    if (room < 0 || stride < 1) return std::nullopt;
    int64_t count = (ceil ? room + stride - 1 : room) / stride + 1;
    if (ceil && (count - 1) * stride >= (*in)[i] + padding) count--;
    Windows windows = even_windows((*in)[i], count, kernel, stride, padding, include);
    ValueId matrix = window_matrix(build, windows, (*in)[i], DType::i64, false);
    // Each dimension in turn is the last one.
    int64_t dim = int64_t(leading.size() + i);
    y = build.call1("aten::transpose.int", {Build::v(y), dim, int64_t{-1}});
    y = matmul(build, y, matrix);
    y = build.call1("aten::transpose.int", {Build::v(y), dim, int64_t{-1}});
    std::vector<uint8_t> bytes(windows.size() * 8);
    for (size_t o = 0; o < windows.size(); o++) memcpy(bytes.data() + o * 8, &windows[o].divisor, 8);
    std::vector<SymInt> shape(3, SymInt(1));
    shape[i] = count;
    ValueId divisors = build.constant({DType::i64, shape, {}}, std::move(bytes), "divisors");
    divisor = divisor == kNoValue ? divisors : build.mul(divisor, divisors);
  }
  if (override_by) divisor = build.scalar(*override_by, DType::i64);
  y = build.call1("aten::div.Tensor_mode", {Build::v(y), Build::v(divisor), std::string("trunc")});
  return one(build.cast(y, dtype));
}

// Half precision is averaged in f32 between the two steps.
DType wide_type(DType dtype) { return dtype_bytes(dtype) == 2 ? DType::f32 : dtype; }

Results avg_pool3d(Build& build, const Node& node) {
  DType dtype = build.dtype(value(node, 0));
  if (!is_floating(dtype)) return integer_avg_pool3d(build, node);
  ValueId x = build.cast(value(node, 0), wide_type(dtype));
  Volume v = volume_of(build, x);
  Items kernel = list_items(node, 1, 3), stride = list_items(node, 2, 3);
  Items padding = list_items(node, 3, 3);
  if (stride.empty()) stride = kernel;
  // The divisor is a product over dimensions, so two steps divide by the same.
  bool fixed = !is_none(node, 6);
  ValueId planes = build.call1(
      "aten::avg_pool2d",
      {Build::v(as_planes(build, x, v)), plane_entries(kernel), plane_entries(stride),
       plane_entries(padding), node.arguments[4], node.arguments[5],
       fixed ? Argument(int64_t{1}) : Argument(None{})});
  ValueId columns = build.call1(
      "aten::avg_pool2d",
      {Build::v(as_columns(build, planes, v)), depth_entries(kernel, 1), depth_entries(stride, 1),
       depth_entries(padding, 0), node.arguments[4], node.arguments[5], node.arguments[6]});
  return one(build.cast(as_volume(build, columns, planes, v), dtype));
}

Results adaptive_avg_pool3d(Build& build, const Node& node) {
  DType dtype = build.dtype(value(node, 0));
  ValueId x = build.cast(value(node, 0), wide_type(dtype));
  Volume v = volume_of(build, x);
  Items out = list_items(node, 1, 3);
  if (out.size() != 3) return std::nullopt;
  ValueId planes = build.call1("aten::_adaptive_avg_pool2d",
                               {Build::v(as_planes(build, x, v)), Items{out[1], out[2]}});
  ValueId folded = as_columns(build, planes, v);
  IntItem area = build.int_item(build.size(folded, 2));
  ValueId columns = build.call1("aten::_adaptive_avg_pool2d", {Build::v(folded), Items{out[0], area}});
  return one(build.cast(as_volume(build, columns, planes, v), dtype));
}

// Values by two steps; an index in the volume is the depth's plane, then the index in that plane of
// the picture that won.
Results max_pool3d_with_indices(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  Volume v = volume_of(build, x);
  if (!v.h.is_known() || !v.w.is_known()) return std::nullopt;
  Items kernel = list_items(node, 1, 3), stride = list_items(node, 2, 3);
  Items padding = list_items(node, 3, 3), dilation = list_items(node, 4, 3);
  if (stride.empty()) stride = kernel;
  auto planes = build.call("aten::max_pool2d_with_indices",
                           {Build::v(as_planes(build, x, v)), plane_entries(kernel),
                            plane_entries(stride), plane_entries(padding), plane_entries(dilation),
                            node.arguments[5]});
  ValueId values = as_columns(build, planes[0], v), inner = as_columns(build, planes[1], v);
  auto columns = build.call("aten::max_pool2d_with_indices",
                            {Build::v(values), depth_entries(kernel, 1), depth_entries(stride, 1),
                             depth_entries(padding, 0), depth_entries(dilation, 1),
                             node.arguments[5]});
  SymbolTable& symbols = build.program().symbols;
  SymInt channels = build.size(values, 0), area = build.size(values, 2);
  if (!area.is_known()) return std::nullopt;
  SymInt depth = build.size(columns[0], 1);
  ValueId flat = build.view(columns[1], {channels, symbols.multiply(depth, area)});
  ValueId source = build.view(inner, {channels, symbols.multiply(v.d, area)});
  ValueId in_plane = build.call1("aten::gather", {Build::v(source), int64_t{1}, Build::v(flat), false});
  ValueId plane = build.call1("aten::floor_divide",
                              {Build::v(flat), Build::v(build.scalar(double(area.value), DType::i64))});
  ValueId start = build.call1("aten::mul.Scalar", {Build::v(plane), int64_t(v.h.value * v.w.value)});
  ValueId index = build.view(build.add(start, in_plane), {channels, depth, area});
  return std::vector<ValueId>{as_volume(build, columns[0], planes[0], v),
                              as_volume(build, index, planes[1], v)};
}

// adaptive_max_pool: every window is made as long as the longest by repeating its last input, which
// changes no maximum; then windows are even, and a table tells where an index was before.
template <int spatial>
Results adaptive_max_pool(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto out = known_list(node, 1);
  if (!out) return std::nullopt;
  if (out->size() == 1) out->resize(spatial, (*out)[0]);
  if (int(out->size()) != spatial) return std::nullopt;
  int rank = build.rank(x);
  std::vector<int64_t> in(spatial), kernel(spatial);
  std::vector<std::vector<int64_t>> picks(spatial);
  for (int i = 0; i < spatial; i++) {
    SymInt size = build.size(x, rank - spatial + i);
    if (!size.is_known() || size.value < 1 || (*out)[size_t(i)] < 1) return std::nullopt;
    int64_t n = in[size_t(i)] = size.value, count = (*out)[size_t(i)], longest = 1;
    auto begin = [&](int64_t o) { return o * n / count; };
    auto end = [&](int64_t o) { return ((o + 1) * n + count - 1) / count; };
    for (int64_t o = 0; o < count; o++) longest = std::max(longest, end(o) - begin(o));
    kernel[size_t(i)] = longest;
    for (int64_t o = 0; o < count; o++)
      for (int64_t k = 0; k < longest; k++)
        picks[size_t(i)].push_back(std::min(begin(o) + k, end(o) - 1));
  }
  auto indices = [&](const std::vector<int64_t>& values, const char* name) {
    std::vector<uint8_t> bytes(values.size() * 8);
    memcpy(bytes.data(), values.data(), bytes.size());
    return build.constant({DType::i64, {int64_t(values.size())}, {}}, std::move(bytes), name);
  };
  bool even = true;
  for (int i = 0; i < spatial; i++) {
    auto& pick = picks[size_t(i)];
    bool same = int64_t(pick.size()) == in[size_t(i)];
    even &= same;
    if (!same)
      x = build.call1("aten::index_select",
                      {Build::v(x), int64_t(rank - spatial + i), Build::v(indices(pick, "windows"))});
  }
  auto pooled = build.call(
      spatial == 2 ? "aten::max_pool2d_with_indices" : "aten::max_pool3d_with_indices",
      {Build::v(x), Build::ints(kernel), Build::ints(kernel)});
  if (even) return pooled;
  std::vector<int64_t> table{0};
  for (int i = 0; i < spatial; i++) {
    std::vector<int64_t> next;
    for (int64_t before : table)
      for (int64_t pick : picks[size_t(i)]) next.push_back(before * in[size_t(i)] + pick);
    table = std::move(next);
    if (table.size() > (size_t(1) << 24)) return std::nullopt;
  }
  std::vector<SymInt> sizes = sizes_of(build, pooled[1]);
  ValueId flat = build.view(pooled[1], {size_product(build, sizes, 0, sizes.size())});
  ValueId mapped = build.call1(
      "aten::index_select", {Build::v(indices(table, "positions")), int64_t{0}, Build::v(flat)});
  return std::vector<ValueId>{pooled[0], build.view(mapped, sizes)};
}

}  // namespace

OP(max_pool1d) = {.schema = "aten::max_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> Tensor",
                  .decompose = max_pool1d};
OP(max_pool1d_with_indices) = {.schema = "aten::max_pool1d_with_indices(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], int[1] dilation=[1], bool ceil_mode=False) -> (Tensor, Tensor)",
                               .decompose = max_pool1d_with_indices};
OP(max_pool2d) = {.schema = "aten::max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> Tensor",
                  .decompose = without_indices<"aten::max_pool2d_with_indices">};
OP(max_pool2d_with_indices) = {.schema = "aten::max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
                               .out = "aten::max_pool2d_with_indices.out"};
OP(max_pool3d) = {.schema = "aten::max_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> Tensor",
                  .decompose = without_indices<"aten::max_pool3d_with_indices">};
OP(max_pool3d_with_indices) = {.schema = "aten::max_pool3d_with_indices(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, int[3] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)",
                               .out = "aten::max_pool3d_with_indices.out", .decompose = max_pool3d_with_indices};
OP(avg_pool1d) = {.schema = "aten::avg_pool1d(Tensor self, int[1] kernel_size, int[1] stride=[], int[1] padding=[0], bool ceil_mode=False, bool count_include_pad=True) -> Tensor",
                  .decompose = avg_pool1d};
OP(avg_pool2d) = {.schema = "aten::avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
                  .out = "aten::avg_pool2d.out"};
OP(avg_pool3d) = {.schema = "aten::avg_pool3d(Tensor self, int[3] kernel_size, int[3] stride=[], int[3] padding=0, bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor",
                  .out = "aten::avg_pool3d.out", .decompose = avg_pool3d};
OP(avg_pool2d_backward) = {.schema = "aten::avg_pool2d_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] stride, int[2] padding, bool ceil_mode, bool count_include_pad, int? divisor_override) -> Tensor",
                           .out = "aten::avg_pool2d_backward.grad_input", .decompose = avg_pool2d_backward};
OP(max_pool2d_with_indices_backward) = {.schema = "aten::max_pool2d_with_indices_backward(Tensor grad_output, Tensor self, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, bool ceil_mode, Tensor indices) -> Tensor",
                                        .out = "aten::max_pool2d_with_indices_backward.grad_input"};
OP(adaptive_avg_pool1d) = {.schema = "aten::adaptive_avg_pool1d(Tensor self, int[1] output_size) -> Tensor",
                           .decompose = adaptive_avg_pool1d};
OP(adaptive_avg_pool2d) = {.schema = "aten::adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
                           .decompose = forward<"aten::_adaptive_avg_pool2d">};
OP(adaptive_avg_pool3d) = {.schema = "aten::adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
                           .decompose = forward<"aten::_adaptive_avg_pool3d">};
OP(_adaptive_avg_pool2d) = {.schema = "aten::_adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor",
                            .out = "aten::_adaptive_avg_pool2d.out"};
OP(_adaptive_avg_pool3d) = {.schema = "aten::_adaptive_avg_pool3d(Tensor self, SymInt[3] output_size) -> Tensor",
                            .out = "aten::_adaptive_avg_pool3d.out", .decompose = adaptive_avg_pool3d};
OP(_adaptive_avg_pool2d_backward) = {.schema = "aten::_adaptive_avg_pool2d_backward(Tensor grad_output, Tensor self) -> Tensor",
                                     .out = "aten::_adaptive_avg_pool2d_backward.out", .decompose = adaptive_avg_pool2d_backward};
OP(adaptive_max_pool1d) = {.schema = "aten::adaptive_max_pool1d(Tensor self, int[1] output_size) -> (Tensor, Tensor)",
                           .decompose = adaptive_max_pool1d};
OP(adaptive_max_pool2d) = {.schema = "aten::adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)",
                           .out = "aten::adaptive_max_pool2d.out", .decompose = adaptive_max_pool<2>};
OP(adaptive_max_pool3d) = {.schema = "aten::adaptive_max_pool3d(Tensor self, int[3] output_size) -> (Tensor, Tensor)",
                           .out = "aten::adaptive_max_pool3d.out", .decompose = adaptive_max_pool<3>};

}  // namespace sconce
