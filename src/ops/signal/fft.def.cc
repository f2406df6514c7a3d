// Fourier transforms, short-time transforms and complex numbers in terms of three core transforms.
#include <cmath>

#include "ops/elementwise.h"
#include "ops/reduce/decompose.h"
#include "ops/shape/decompose.h"

namespace sconce {
namespace {

const Argument kNone = None{};

bool is_complex(DType dtype) { return dtype_category(dtype) == DTypeCategory::complex; }

// --- complex numbers ----------------------------------------------------------------------------

ValueId join(Build& build, ValueId re, ValueId im) {
  ValueId pairs = build.call1("aten::stack", {std::vector<ValueRef>{{re}, {im}}, int64_t{-1}});
  return build.call1("aten::view_as_complex", {Build::v(pairs)});
}
ValueId part(Build& build, ValueId x, int64_t which) {
  ValueId pairs = build.call1("aten::view_as_real", {Build::v(x)});
  return build.call1("aten::select.int", {Build::v(pairs), int64_t{-1}, which});
}
ValueId to_real(Build& build, ValueId x) {  // integers become f32
  return is_integral(build.dtype(x)) ? build.cast(x, DType::f32) : x;
}
ValueId to_complex(Build& build, ValueId x) {
  if (is_complex(build.dtype(x))) return x;
  x = to_real(build, x);
  return join(build, x, build.mul(x, 0.0));
}
ValueId conjugate(Build& build, ValueId x) {
  if (!is_complex(build.dtype(x))) return x;
  return build.call1("aten::_conj_physical", {Build::v(x)});
}

Results real_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  return one(is_complex(build.dtype(x)) ? part(build, x, 0) : x);
}
Results imag_parts(Build& build, const Node& node) { return one(part(build, value(node, 0), 1)); }
Results conj_parts(Build& build, const Node& node) { return one(conjugate(build, value(node, 0))); }

// Both operands broadcast against each other.
std::pair<ValueId, ValueId> broadcast(Build& build, ValueId a, ValueId b) {
  std::vector<SymInt> sizes = build.tensor(build.add(a, b)).sizes;
  auto expand = [&](ValueId x) {
    if (build.tensor(x).sizes == sizes) return x;
    return build.call1("aten::expand", {Build::v(x), build.ints(sizes)});
  };
  return {expand(a), expand(b)};
}
Results complex_parts(Build& build, const Node& node) {
  auto [re, im] = broadcast(build, value(node, 0), value(node, 1));
  return one(join(build, re, im));
}
Results polar_parts(Build& build, const Node& node) {
  auto [length, angle] = broadcast(build, value(node, 0), value(node, 1));
  ValueId cosine = build.call1("aten::cos", {Build::v(angle)});
  ValueId sine = build.call1("aten::sin", {Build::v(angle)});
  return one(join(build, build.mul(length, cosine), build.mul(length, sine)));
}

// re + i im is the second of the frequencies of the real signal (re, -im, 0, 0).
Results view_as_complex_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  if (build.dtype(x) != DType::f32 && build.dtype(x) != DType::f64) return std::nullopt;
  auto of = [&](int64_t which) {
    return build.call1("aten::select.int", {Build::v(x), int64_t{-1}, which});
  };
  ValueId re = of(0), im = build.call1("aten::neg", {Build::v(of(1))});
  ValueId zero = build.call1("aten::full_like", {Build::v(re), 0.0});
  std::vector<ValueRef> signal = {{re}, {im}, {zero}, {zero}};
  ValueId stacked = build.call1("aten::stack", {signal, int64_t{-1}});
  std::vector<int64_t> last = {build.rank(stacked) - 1};
  ValueId spectrum = build.call1("aten::_fft_r2c", {Build::v(stacked), Build::ints(last), int64_t{0}, true});
  return build.call("aten::select.int", {Build::v(spectrum), int64_t{-1}, int64_t{1}});
}

// Real and imaginary part as two real tensors.
struct Complex { ValueId re, im; };

// The whole spectrum of a real tensor along `dim`: the second half mirrors the first.
Complex real_spectrum(Build& build, ValueId x, int64_t dim) {
  int64_t n = build.size(x, int(dim)).value;
  ValueId half = build.call1("aten::_fft_r2c", {Build::v(x), Build::ints(std::vector{dim}), int64_t{0}, true});
  auto whole = [&](ValueId y, bool negate) {
    if (n < 3) return y;
    ValueId tail = build.call1("aten::slice.Tensor", {Build::v(y), dim, int64_t{1}, (n + 1) / 2, int64_t{1}});
    tail = build.call1("aten::flip", {Build::v(tail), Build::ints(std::vector{dim})});
    if (negate) tail = build.call1("aten::neg", {Build::v(tail)});
    return build.call1("aten::cat", {std::vector<ValueRef>{{y}, {tail}}, dim});
  };
  return {whole(part(build, half, 0), false), whole(part(build, half, 1), true)};
}
Complex spectrum(Build& build, Complex x, int64_t dim) {
  Complex re = real_spectrum(build, x.re, dim), im = real_spectrum(build, x.im, dim);
  return {build.sub(re.re, im.im), build.add(re.im, im.re)};
}
// Known dimensions in [0, rank) whose sizes are known.
std::optional<std::vector<int64_t>> static_dims(Build& build, const Node& node, size_t i) {
  auto dims = dims_at(node, i, build.rank(value(node, 0)));
  if (!dims) return std::nullopt;
  for (int64_t dim : *dims)
    if (dim < 0 || dim >= build.rank(value(node, 0)) || !build.size(value(node, 0), int(dim)).is_known() ||
        build.size(value(node, 0), int(dim)).value < 1)
      return std::nullopt;
  return dims;
}
// ATen's codes for the scale, applied to the whole.
Complex scaled(Build& build, Complex x, const std::vector<int64_t>& dims, int64_t code) {
  double count = 1;
  for (int64_t dim : dims) count *= double(build.size(x.re, int(dim)).value);
  if (code == 0) return x;
  double scale = code == 1 ? 1 / std::sqrt(count) : 1 / count;
  return {build.mul(x.re, scale), build.mul(x.im, scale)};
}

// self, dim, normalization, forward. Backwards is forwards with real and imaginary part exchanged.
Results fft_c2c_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dims = static_dims(build, node, 1);
  auto code = integer_at(node, 2);
  if (!dims || !code || !is_complex(build.dtype(x))) return std::nullopt;
  bool forward = boolean_at(node, 3);
  Complex y{part(build, x, 0), part(build, x, 1)};
  if (!forward) std::swap(y.re, y.im);
  for (int64_t dim : *dims) y = spectrum(build, y, dim);
  y = scaled(build, y, *dims, *code);
  if (!forward) std::swap(y.re, y.im);
  return one(join(build, y.re, y.im));
}
// self, dim, normalization, onesided: only the two-sided form is taken apart.
Results fft_r2c_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto dims = static_dims(build, node, 1);
  auto code = integer_at(node, 2);
  if (!dims || !code || boolean_at(node, 3) || dims->empty()) return std::nullopt;
  Complex y = real_spectrum(build, x, dims->back());
  for (size_t i = 0; i + 1 < dims->size(); i++) y = spectrum(build, y, (*dims)[i]);
  y = scaled(build, y, *dims, *code);
  return one(join(build, y.re, y.im));
}

// --- transforms of one or more dimensions -------------------------------------------------------

// ATen's codes for the scale: 0 none, 1 by the root of the length, 2 by the length.
std::optional<int64_t> scale_of(const Argument& norm, bool forward) {
  auto* text = std::get_if<std::string>(&norm);
  if (!text || *text == "backward") return forward ? 0 : 2;
  if (*text == "ortho") return 1;
  if (*text == "forward") return forward ? 2 : 0;
  return std::nullopt;
}

// Cuts or fills with zeros to `length` along `dim`.
ValueId resize(Build& build, ValueId x, int64_t dim, const IntItem& length) {
  const SymInt& size = build.size(x, int(dim));
  if (!length.is_known()) {
    if (build.type(length.value).number == size) return x;
    return kNoValue;
  }
  if (size.is_known() && size.value == length.known) return x;
  if (!size.is_known()) return kNoValue;
  if (size.value > length.known)
    return build.call1("aten::slice.Tensor",
                       {Build::v(x), dim, int64_t{0}, length.known, int64_t{1}});
  std::vector<int64_t> pads(size_t(2 * (build.rank(x) - dim)), 0);
  pads.back() = length.known - size.value;
  auto fill = [&](ValueId real) {
    return build.call1("aten::constant_pad_nd", {Build::v(real), Build::ints(pads), int64_t{0}});
  };
  if (!is_complex(build.dtype(x))) return fill(x);
  return join(build, fill(part(build, x, 0)), fill(part(build, x, 1)));
}

enum class Transform { c2c, r2c, c2r };

struct Request {
  std::vector<int64_t> dims;
  std::vector<IntItem> lengths;  // empty, or one per dimension (-1: as it is)
};

// Dimensions and lengths from (s, dim); both may be none.
std::optional<Request> read_request(Build& build, ValueId x, const Argument& lengths,
                                    const Argument& dims) {
  Request request;
  int64_t rank = build.rank(x);
  auto add = [&](const Argument& argument, std::vector<IntItem>* to) {
    if (auto* items = std::get_if<std::vector<IntItem>>(&argument)) *to = *items;
    else if (auto* item = std::get_if<int64_t>(&argument)) to->push_back({*item});
    else if (auto* ref = std::get_if<ValueRef>(&argument)) to->push_back({0, ref->id});
  };
  std::vector<IntItem> listed;
  add(lengths, &request.lengths);
  add(dims, &listed);
  for (const IntItem& item : listed) {
    int64_t dim = item.known < 0 ? item.known + rank : item.known;
    if (!item.is_known() || dim < 0 || dim >= rank) return std::nullopt;
    request.dims.push_back(dim);
  }
  if (std::holds_alternative<None>(dims)) {
    int64_t count = request.lengths.empty() ? rank : int64_t(request.lengths.size());
    for (int64_t k = rank - count; k < rank; k++) request.dims.push_back(k);
  }
  if (request.dims.empty() || request.dims[0] < 0) return std::nullopt;
  if (!request.lengths.empty() && request.lengths.size() != request.dims.size())
    return std::nullopt;
  return request;
}

// `forward` is the sign of the transform, `scale_forward` the direction that its scale is of.
Results transform(Build& build, ValueId x, Transform kind, Request request, const Argument& norm,
                  bool forward, bool scale_forward) {
  auto scale = scale_of(norm, scale_forward);
  if (!scale) return std::nullopt;
  size_t last = request.dims.size() - 1;
  SymbolTable& symbols = build.program().symbols;
  x = kind == Transform::r2c ? to_real(build, x) : to_complex(build, x);
  SymInt signal = symbols.multiply(symbols.add(build.size(x, int(request.dims[last])), -1), 2);
  for (size_t k = 0; k < request.lengths.size(); k++) {
    IntItem length = request.lengths[k];
    if (length.is_known() && length.known == -1) continue;
    if (kind == Transform::c2r && k == last) {
      signal = length.is_known() ? SymInt(length.known) : build.type(length.value).number;
      if (length.is_known()) length.known = length.known / 2 + 1;
      else length = build.int_item(symbols.add(symbols.floor_divide(signal, 2), 1));
    }
    x = resize(build, x, request.dims[k], length);
    if (x == kNoValue) return std::nullopt;
  }
  Argument dims = Build::ints(request.dims);
  if (kind == Transform::c2c)
    return one(build.call1("aten::_fft_c2c", {Build::v(x), dims, *scale, forward}));
  if (kind == Transform::r2c)
    return one(build.call1("aten::_fft_r2c", {Build::v(x), dims, *scale, true}));
  return one(build.call1("aten::_fft_c2r", {Build::v(x), dims, *scale, integer_argument(build, signal)}));
}

// self, n or s, dim, norm.
template <Transform kind, bool forward>
Results fft_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto request = read_request(build, x, node.arguments[1], node.arguments[2]);
  if (!request) return std::nullopt;
  return transform(build, x, kind, *request, node.arguments[3], forward, forward);
}
// The spectrum of a signal whose own spectrum is real, and back.
Results hfft_parts(Build& build, const Node& node) {
  ValueId x = conjugate(build, to_complex(build, value(node, 0)));
  auto request = read_request(build, x, node.arguments[1], node.arguments[2]);
  if (!request) return std::nullopt;
  return transform(build, x, Transform::c2r, *request, node.arguments[3], false, true);
}
Results ihfft_parts(Build& build, const Node& node) {
  ValueId x = value(node, 0);
  auto request = read_request(build, x, node.arguments[1], node.arguments[2]);
  if (!request) return std::nullopt;
  auto y = transform(build, x, Transform::r2c, *request, node.arguments[3], true, false);
  if (y) (*y)[0] = conjugate(build, (*y)[0]);
  return y;
}

// self, dim: rolls by half, rounded down (shift) or up (its inverse).
template <bool inverse>
Results fftshift_parts(Build& build, const Node& node) {
  auto dims = dims_at(node, 1, build.rank(value(node, 0)));
  if (!dims) return std::nullopt;
  std::vector<SymInt> shifts;
  SymbolTable& symbols = build.program().symbols;
  for (int64_t dim : *dims) {
    SymInt size = build.size(value(node, 0), int(dim));
    shifts.push_back(symbols.floor_divide(inverse ? symbols.add(size, 1) : size, 2));
  }
  return one(build.call1("aten::roll", {node.arguments[0], build.ints(shifts), Build::ints(*dims)}));
}

// n, d, dtype, ...: the frequencies of a transform of length n with steps of d.
template <bool real>
Results frequencies(Build& build, const Node& node) {
  auto n = integer_at(node, 0);
  auto step = number(node, 1);
  if (!n || !step || *n < 0) return std::nullopt;
  DType dtype = DType(integer_at(node, 2).value_or(int64_t(DType::f32)));
  if (!is_floating(dtype)) return std::nullopt;
  int64_t count = real ? *n / 2 + 1 : *n;
  // As torch: whole numbers times a factor, in the type itself, f32 for 16-bit ones.
  double factor = 1 / (double(*n) * *step);
  std::vector<double> values;
  for (int64_t k = 0; k < count; k++) {
    auto position = double(real || k < (*n + 1) / 2 ? k : k - *n);
    values.push_back(dtype == DType::f64 ? position * factor
                                         : double(float(position) * float(factor)));
  }
  std::vector<uint8_t> bytes(size_t(count) * dtype_bytes(dtype));
  for (size_t k = 0; k < values.size(); k++)
    store_elements<double>(bytes.data() + k * dtype_bytes(dtype), 1, &values[k], 1, dtype);
  return one(build.constant({dtype, {SymInt(count)}, {}}, std::move(bytes), "frequencies"));
}

// --- short-time transforms ----------------------------------------------------------------------

// [n, 2 * bins]: cosine and negative sine of each frequency side by side, so that frames times this
// is the spectrum as pairs.
ValueId fourier_matrix(Build& build, int64_t n, int64_t bins, double scale, DType dtype) {
  std::vector<uint8_t> bytes(size_t(n * bins * 2) * dtype_bytes(dtype));
  for (int64_t t = 0; t < n; t++)
    for (int64_t k = 0; k < bins; k++) {
      double angle = 2 * M_PI * double(t * k % n) / double(n);
      double pair[2] = {std::cos(angle) * scale, -std::sin(angle) * scale};
      store_elements<double>(bytes.data() + size_t((t * bins + k) * 2) * dtype_bytes(dtype), 1, pair,
                             2, dtype);
    }
  return build.constant({dtype, {SymInt(n), SymInt(bins * 2)}, {}}, std::move(bytes),
                        "fourier_matrix_" + std::to_string(n) + (scale == 1 ? "" : "_scaled"));
}

// The window at full length: a shorter one stands in the middle, an absent one is all ones.
ValueId full_window(Build& build, ValueId window, int64_t win_length, int64_t n_fft, DType dtype) {
  if (window == kNoValue) {
    if (win_length == n_fft) return kNoValue;
    window = build.full({SymInt(win_length)}, 1, dtype);
  }
  if (win_length == n_fft) return window;
  int64_t left = (n_fft - win_length) / 2;
  return build.call1("aten::constant_pad_nd",
                     {Build::v(window), Build::ints(std::vector{left, n_fft - win_length - left}),
                      int64_t{0}});
}

struct ShortTime { int64_t n_fft, hop, win_length; };
std::optional<ShortTime> read_short_time(const Node& node) {  // n_fft, hop_length, win_length at 1
  auto n_fft = integer_at(node, 1);
  if (!n_fft || *n_fft < 1) return std::nullopt;
  ShortTime s{*n_fft, integer_at(node, 2).value_or(*n_fft / 4),
              integer_at(node, 3).value_or(*n_fft)};
  bool fits = s.hop > 0 && s.win_length > 0 && s.win_length <= s.n_fft;
  return fits ? std::optional(s) : std::nullopt;
}

// x [L] or [B, L] -> [.., frequencies, frames] complex, or [.., 2] real.
Results short_time_transform(Build& build, ValueId x, const ShortTime& s, ValueId window,
                             bool normalized, std::optional<bool> onesided, bool return_complex) {
  x = to_real(build, x);
  bool batch = build.rank(x) == 2;
  if (!batch) x = build.call1("aten::unsqueeze", {Build::v(x), int64_t{0}});
  bool complex = is_complex(build.dtype(x)) || (window != kNoValue && is_complex(build.dtype(window)));
  DType real = is_complex(build.dtype(x)) ? (build.dtype(x) == DType::c128 ? DType::f64 : DType::f32)
                                          : build.dtype(x);
  ValueId frames = build.call1("aten::unfold", {Build::v(x), int64_t{-1}, s.n_fft, s.hop});
  window = full_window(build, window, s.win_length, s.n_fft, real);
  if (window != kNoValue) frames = build.mul(frames, window);
  bool half = onesided.value_or(!complex);
  if (half && complex) return std::nullopt;
  ValueId y;
  std::vector<int64_t> order = {0, 2, 1};
  if (!return_complex && !complex) {
    int64_t bins = half ? s.n_fft / 2 + 1 : s.n_fft;
    double scale = normalized ? 1 / std::sqrt(double(s.n_fft)) : 1;
    y = build.call1("aten::matmul",
                    {Build::v(frames),
                     Build::v(fourier_matrix(build, s.n_fft, bins, scale, build.dtype(frames)))});
    y = build.view(y, {build.size(y, 0), build.size(y, 1), SymInt(bins), SymInt(2)});
    order.push_back(3);
    y = build.permute(y, order);
  } else {
    Argument dims = Build::ints(std::vector<int64_t>{2});
    int64_t scale = normalized ? 1 : 0;
    y = complex ? build.call1("aten::_fft_c2c",
                              {Build::v(to_complex(build, frames)), dims, scale, true})
                : build.call1("aten::_fft_r2c", {Build::v(frames), dims, scale, half});
    y = build.permute(y, order);
    if (!return_complex) y = build.call1("aten::view_as_real", {Build::v(y)});
  }
  return one(batch ? y : build.call1("aten::squeeze.dim", {Build::v(y), int64_t{0}}));
}

std::optional<bool> flag_at(const Node& node, size_t i) {
  if (is_none(node, int(i))) return std::nullopt;
  return boolean_at(node, i);
}

// self, n_fft, hop_length, win_length, window, normalized, onesided, return_complex, align.
Results stft_parts(Build& build, const Node& node) {
  auto s = read_short_time(node);
  ValueId x = value(node, 0), window = value_at(node, 4);
  if (!s || flag_at(node, 8).value_or(false)) return std::nullopt;
  bool complex = is_complex(build.dtype(x)) || (window != kNoValue && is_complex(build.dtype(window)));
  return short_time_transform(build, x, *s, window, boolean_at(node, 5), flag_at(node, 6),
                              flag_at(node, 7).value_or(complex));
}
// self, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided,
// return_complex, align.
Results stft_center_parts(Build& build, const Node& node) {
  auto s = read_short_time(node);
  ValueId x = value(node, 0), window = value_at(node, 4);
  if (!s || flag_at(node, 10).value_or(false)) return std::nullopt;
  bool complex = is_complex(build.dtype(x)) || (window != kNoValue && is_complex(build.dtype(window)));
  if (boolean_at(node, 5)) {
    // Reflection wants a dimension of channels around the signal.
    Argument pads = Build::ints(std::vector{s->n_fft / 2, s->n_fft / 2});
    bool batch = build.rank(x) == 2;
    x = build.call1("aten::unsqueeze", {Build::v(x), int64_t{0}});
    if (!batch) x = build.call1("aten::unsqueeze", {Build::v(x), int64_t{0}});
    x = build.call1("aten::pad", {Build::v(x), pads, node.arguments[6]});
    x = build.call1("aten::squeeze.dim", {Build::v(x), int64_t{0}});
    if (!batch) x = build.call1("aten::squeeze.dim", {Build::v(x), int64_t{0}});
  }
  return short_time_transform(build, x, *s, window, boolean_at(node, 7), flag_at(node, 8),
                              flag_at(node, 9).value_or(complex));
}

// self, n_fft, hop_length, win_length, window, center, normalized, onesided, length,
// return_complex. Frames are added up where they overlap by a transposed convolution with the
// identity, and divided by the windows' own sum of squares.
Results istft_parts(Build& build, const Node& node) {
  auto s = read_short_time(node);
  ValueId x = value(node, 0), window = value_at(node, 4);
  if (!s || boolean_at(node, 9)) return std::nullopt;
  if (!is_complex(build.dtype(x))) x = build.call1("aten::view_as_complex", {Build::v(x)});
  bool batch = build.rank(x) == 3;
  if (!batch) x = build.call1("aten::unsqueeze", {Build::v(x), int64_t{0}});
  if (build.rank(x) != 3) return std::nullopt;
  DType real = build.dtype(x) == DType::c128 ? DType::f64 : DType::f32;
  x = build.permute(x, {0, 2, 1});
  if (!flag_at(node, 7).value_or(true))  // the other half mirrors this one
    x = build.call1("aten::slice.Tensor", {Build::v(x), int64_t{2}, int64_t{0}, s->n_fft / 2 + 1,
                                           int64_t{1}});
  int64_t scale = boolean_at(node, 6) ? 1 : 2;
  ValueId frames = build.call1("aten::_fft_c2r", {Build::v(x), Build::ints(std::vector<int64_t>{2}),
                                                  scale, s->n_fft});
  window = full_window(build, window, s->win_length, s->n_fft, real);
  if (window == kNoValue) window = build.full({SymInt(s->n_fft)}, 1, real);
  frames = build.permute(build.mul(frames, window), {0, 2, 1});

  std::vector<uint8_t> bytes(size_t(s->n_fft * s->n_fft) * dtype_bytes(real));
  double unit = 1;
  for (int64_t k = 0; k < s->n_fft; k++)
    store_elements<double>(bytes.data() + size_t(k * s->n_fft + k) * dtype_bytes(real), 1, &unit, 1,
                           real);
  ValueId identity = build.constant({real, {SymInt(s->n_fft), SymInt(1), SymInt(s->n_fft)}, {}},
                                    std::move(bytes), "identity_" + std::to_string(s->n_fft));
  auto overlap_add = [&](ValueId y) {
    return build.call1("aten::conv_transpose1d", {Build::v(y), Build::v(identity), kNone,
                                                  Build::ints(std::vector{s->hop})});
  };
  ValueId squares = build.call1("aten::unsqueeze", {Build::v(build.mul(window, window)), int64_t{1}});
  squares = build.call1("aten::unsqueeze", {Build::v(squares), int64_t{0}});
  squares = build.call1("aten::expand", {Build::v(squares), build.ints({SymInt(1), SymInt(s->n_fft),
                                                                       build.size(frames, 2)})});
  ValueId y = overlap_add(frames), weight = overlap_add(squares);
  int64_t start = boolean_at(node, 5) ? s->n_fft / 2 : 0, end = INT64_MAX;
  if (!is_none(node, 8)) {
    auto length = integer_at(node, 8);
    SymInt whole = build.size(y, 2);
    if (!length || !whole.is_known() || start + *length > whole.value) return std::nullopt;
    end = start + *length;
  } else if (boolean_at(node, 5)) {
    end = -(s->n_fft / 2);
  }
  auto cut = [&](ValueId z) {
    return build.call1("aten::slice.Tensor", {Build::v(z), int64_t{2}, start, end, int64_t{1}});
  };
  y = build.div(cut(y), cut(weight));
  y = build.call1("aten::squeeze.dim", {Build::v(y), int64_t{1}});
  return one(batch ? y : build.call1("aten::squeeze.dim", {Build::v(y), int64_t{0}}));
}

constexpr auto kFft = fft_parts<Transform::c2c, true>, kIfft = fft_parts<Transform::c2c, false>,
               kRfft = fft_parts<Transform::r2c, true>, kIrfft = fft_parts<Transform::c2r, false>;

}  // namespace

OP(fft_c2c) = {.schema = "aten::_fft_c2c(Tensor self, SymInt[] dim, int normalization, bool forward) -> Tensor",
               .out = "aten::_fft_c2c.out", .decompose = fft_c2c_parts};
OP(fft_r2c) = {.schema = "aten::_fft_r2c(Tensor self, int[] dim, int normalization, bool onesided) -> Tensor",
               .out = "aten::_fft_r2c.out", .decompose = fft_r2c_parts};
OP(fft_c2r) = {.schema = "aten::_fft_c2r(Tensor self, int[] dim, int normalization, SymInt last_dim_size) -> Tensor",
               .out = "aten::_fft_c2r.out"};
OP(view_as_complex) = {.schema = "aten::view_as_complex(Tensor(a) self) -> Tensor(a)",
                       .out = "aten::view_as_complex_copy.out",
                       .decompose = view_as_complex_parts};
OP(conj_physical_core) = {.schema = "aten::_conj_physical(Tensor self) -> Tensor",
                          .out = "aten::_conj_physical.out"};
OP(conj_view) = {.schema = "aten::_conj(Tensor(a) self) -> Tensor(a)", .decompose = conj_parts};
OP(conj_copy) = {.schema = "aten::_conj_copy(Tensor self) -> Tensor", .decompose = conj_parts};
OP(conj) = {.schema = "aten::conj(Tensor(a) self) -> Tensor(a)", .decompose = conj_parts};
OP(conj_physical) = {.schema = "aten::conj_physical(Tensor self) -> Tensor", .decompose = conj_parts};
OP(real) = {.schema = "aten::real(Tensor(a) self) -> Tensor(a)", .decompose = real_parts};
OP(imag) = {.schema = "aten::imag(Tensor(a) self) -> Tensor(a)", .decompose = imag_parts};
OP(complex) = {.schema = "aten::complex(Tensor real, Tensor imag) -> Tensor", .decompose = complex_parts};
OP(polar) = {.schema = "aten::polar(Tensor abs, Tensor angle) -> Tensor", .decompose = polar_parts};

#define OP_FFT(name, parts) \
  OP(name) = {.schema = "aten::" #name "(Tensor self, SymInt? n=None, int dim=-1, str? norm=None) -> Tensor", .decompose = parts};
#define OP_FFT2(name, parts) \
  OP(name) = {.schema = "aten::" #name "(Tensor self, SymInt[1]? s=None, int[1] dim=[-2, -1], str? norm=None) -> Tensor", .decompose = parts};
#define OP_FFTN(name, parts) \
  OP(name) = {.schema = "aten::" #name "(Tensor self, SymInt[1]? s=None, int[1]? dim=None, str? norm=None) -> Tensor", .decompose = parts};
OP_FFT(fft_fft, kFft)
OP_FFT(fft_ifft, kIfft)
OP_FFT(fft_rfft, kRfft)
OP_FFT(fft_irfft, kIrfft)
OP_FFT(fft_hfft, hfft_parts)
OP_FFT(fft_ihfft, ihfft_parts)
OP_FFT2(fft_fft2, kFft)
OP_FFT2(fft_ifft2, kIfft)
OP_FFT2(fft_rfft2, kRfft)
OP_FFT2(fft_irfft2, kIrfft)
OP_FFTN(fft_fftn, kFft)
OP_FFTN(fft_ifftn, kIfft)
OP_FFTN(fft_rfftn, kRfft)
OP_FFTN(fft_irfftn, kIrfft)
OP(fft_fftshift) = {.schema = "aten::fft_fftshift(Tensor self, int[1]? dim=None) -> Tensor",
                    .decompose = fftshift_parts<false>};
OP(fft_ifftshift) = {.schema = "aten::fft_ifftshift(Tensor self, int[1]? dim=None) -> Tensor",
                     .decompose = fftshift_parts<true>};
OP(fft_fftfreq) = {.schema = "aten::fft_fftfreq(int n, float d=1., *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
                   .decompose = frequencies<false>};
OP(fft_rfftfreq) = {.schema = "aten::fft_rfftfreq(int n, float d=1., *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor",
                    .decompose = frequencies<true>};

OP(stft) = {.schema = "aten::stft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, bool normalized=False, bool? onesided=None, bool? return_complex=None, bool? align_to_window=None) -> Tensor",
            .decompose = stft_parts};
OP(stft_center) = {.schema = "aten::stft.center(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, bool center=True, str pad_mode=\"reflect\", bool normalized=False, bool? onesided=None, bool? return_complex=None, bool? align_to_window=None) -> Tensor",
                   .decompose = stft_center_parts};
OP(istft) = {.schema = "aten::istft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None, Tensor? window=None, bool center=True, bool normalized=False, bool? onesided=None, int? length=None, bool return_complex=False) -> Tensor",
             .decompose = istft_parts};

}  // namespace sconce
