// Window functions of known length: constants of the compiled program.
#include <algorithm>
#include <cmath>

#include "ops/elementwise.h"
#include "ops/reduce/decompose.h"

namespace sconce {
namespace {

// Modified Bessel function of the first kind and order 0, by its power series.
double bessel_i0(double x) {
  double sum = 1, term = 1;
  for (int k = 1; k < 500 && term > sum * 1e-17; k++) {
    term *= x / (2 * k) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

enum class Window { hann, hamming, blackman, bartlett, kaiser };

struct Shape { Window window; double a, b; };  // hamming: alpha, beta; kaiser: beta

// Value at `at` in [0, 1], from one end of the window to the other.
double window_at(const Shape& shape, double at) {
  double cosine = std::cos(2 * M_PI * at);
  switch (shape.window) {
    case Window::hann: return 0.5 - 0.5 * cosine;
    case Window::hamming: return shape.a - shape.b * cosine;
    case Window::blackman: return 0.42 - 0.5 * cosine + 0.08 * std::cos(4 * M_PI * at);
    case Window::bartlett: return 1 - std::abs(2 * at - 1);
    case Window::kaiser: {
      double x = 2 * at - 1;
      return bessel_i0(shape.a * std::sqrt(std::max(0.0, 1 - x * x))) / bessel_i0(shape.a);
    }
  }
  return 0;
}

// window_length, (periodic, (alpha or beta, (beta,))) dtype, layout, device, pin_memory. A periodic
// window lacks its last element, so that its repetition has no double ends.
template <Window window>
Results window_parts(Build& build, const Node& node) {
  constexpr int64_t kLengthMax = int64_t(1) << 24;
  auto length = integer_at(node, 0);
  size_t own = node.arguments.size() - 4;
  if (!length || *length < 0 || *length > kLengthMax) return std::nullopt;
  bool periodic = own > 1 ? boolean_at(node, 1) : true;
  Shape shape{window, 0, 0};
  if (window == Window::hamming) shape = {window, 0.54, 0.46};
  if (window == Window::kaiser) shape = {window, 12, 0};
  if (own > 2) shape.a = number(node, 2).value_or(shape.a);
  if (own > 3) shape.b = number(node, 3).value_or(shape.b);
  DType dtype = DType(integer_at(node, own).value_or(int64_t(DType::f32)));
  if (!is_floating(dtype) || dtype_bytes(dtype) < 2) return std::nullopt;
  std::vector<uint8_t> bytes(size_t(*length) * dtype_bytes(dtype));
  double steps = double(periodic ? *length : *length - 1);
  for (int64_t k = 0; k < *length; k++) {
    double y = *length == 1 ? 1 : window_at(shape, double(k) / steps);
    store_elements<double>(bytes.data() + size_t(k) * dtype_bytes(dtype), 1, &y, 1, dtype);
  }
  return one(build.constant({dtype, {SymInt(*length)}, {}}, std::move(bytes), "window"));
}

#define OPTIONS ", *, ScalarType? dtype=None, Layout? layout=None, Device? device=None, bool? pin_memory=None) -> Tensor"

}  // namespace

#define OP_WINDOW(name, text)                                                    \
  OP(name) = {.schema = "aten::" #name "(int window_length" OPTIONS,                \
              .decompose = window_parts<Window::text>};
#define OP_PERIODIC(name, text)                                                     \
  OP(name) = {                                                                      \
      .schema = "aten::" #text "_window.periodic(int window_length, bool periodic" OPTIONS, \
      .decompose = window_parts<Window::text>};
OP_WINDOW(hann_window, hann)
OP_PERIODIC(hann_window_periodic, hann)
OP_WINDOW(hamming_window, hamming)
OP_PERIODIC(hamming_window_periodic, hamming)
OP_WINDOW(blackman_window, blackman)
OP_PERIODIC(blackman_window_periodic, blackman)
OP_WINDOW(bartlett_window, bartlett)
OP_PERIODIC(bartlett_window_periodic, bartlett)
OP_WINDOW(kaiser_window, kaiser)
OP_PERIODIC(kaiser_window_periodic, kaiser)
OP(hamming_window_alpha) = {
    .schema = "aten::hamming_window.periodic_alpha(int window_length, bool periodic, float alpha" OPTIONS,
    .decompose = window_parts<Window::hamming>};
OP(hamming_window_alpha_beta) = {
    .schema = "aten::hamming_window.periodic_alpha_beta(int window_length, bool periodic, float alpha, float beta" OPTIONS,
    .decompose = window_parts<Window::hamming>};
OP(kaiser_window_beta) = {
    .schema = "aten::kaiser_window.beta(int window_length, bool periodic, float beta" OPTIONS,
    .decompose = window_parts<Window::kaiser>};

}  // namespace sconce
