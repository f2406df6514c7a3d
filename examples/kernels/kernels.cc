#include "kernels.h"

#include <cmath>

namespace sconce::examples {
namespace {

using namespace kernels;

// --- SwiGLU: silu(x W + b) * (x V)

Result<Kernel> swiglu() {
  return define("swiglu", [](Trace& t) {
    Extent M = t.dim("M"), K = t.dim("K"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, K});
    In w = t.weights("w", DType::f32, {K, N}), v = t.weights("v", DType::f32, {K, N});
    In b = t.input("b", DType::f32, {N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N), k = t.span("k", K);
    t.stands_for("examples::swiglu", {"x", "w", "v", "b"});
    Tile gate = silu(dot(x(m, k), w(k, n), {k}, b(n)));
    y(m, n) = gate * dot(x(m, k), v(k, n), {k});
  });
}

Result<Kernel> linear(bool bias) {
  return define(bias ? "linear_bias" : "linear", [&](Trace& t) {
    Extent M = t.dim("M"), K = t.dim("K"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, K}), w = t.weights("w", DType::f32, {K, N}), b;
    if (bias) b = t.input("b", DType::f32, {N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N), k = t.span("k", K);
    y(m, n) = bias ? dot(x(m, k), w(k, n), {k}, b(n)) : dot(x(m, k), w(k, n), {k});
  });
}

// One function of one or two arrays of equal sizes.
Result<Kernel> pointwise(const char* name, int arrays, Tile (*function)(const Tile*)) {
  return define(name, [&](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In in[2];
    for (int i = 0; i < arrays; i++) in[i] = t.input(i ? "b" : "a", DType::f32, {M, N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N);
    Tile tiles[2];
    for (int i = 0; i < arrays; i++) tiles[i] = in[i](m, n);
    y(m, n) = function(tiles);
  });
}
Result<Kernel> multiply() {
  return pointwise("multiply", 2, [](const Tile* x) { return x[0] * x[1]; });
}

// --- rows

Result<Kernel> softmax() {
  return define("softmax", [](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.span("n", N);
    Tile e = exp(x(m, n) - reduce_max(x(m, n), {n}));
    y(m, n) = e / sum(e, {n});
  });
}
Result<Kernel> rms_norm() {
  return define("rms_norm", [](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, N}), w = t.input("w", DType::f32, {N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.span("n", N);
    Tile mean = sum(x(m, n) * x(m, n), {n}) / cast(n.extent(), DType::f32);
    y(m, n) = x(m, n) * rsqrt(mean + 1e-6) * w(n);
  });
}
// A number for each row, and a row by numbers.
Result<Kernel> row_reduction(const char* name, Tile (*function)(const Tile&, const Axis&)) {
  return define(name, [&](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, N});
    Out y = t.output("y", DType::f32, {M});
    Axis m = t.parallel("m", M), n = t.span("n", N);
    y(m) = function(x(m, n), n);
  });
}
Result<Kernel> with_rows(const char* name, Tile (*function)(const Tile&, const Tile&)) {
  return define(name, [&](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, N}), r = t.input("r", DType::f32, {M});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N);
    y(m, n) = function(x(m, n), r(m));
  });
}
Result<Kernel> with_columns() {
  return define("multiply_columns", [](Trace& t) {
    Extent M = t.dim("M"), N = t.dim("N");
    In x = t.input("x", DType::f32, {M, N}), w = t.input("w", DType::f32, {N});
    Out y = t.output("y", DType::f32, {M, N});
    Axis m = t.parallel("m", M), n = t.parallel("n", N);
    y(m, n) = x(m, n) * w(n);
  });
}

// --- attention: scores never leave the cache

Result<Kernel> flash_attention() {
  return define("flash_attention", [](Trace& t) {
    Extent H = t.dim("H"), Q = t.dim("Q"), T = t.dim("T"), D = t.dim("D");
    In q = t.input("q", DType::f32, {H, Q, D}), k = t.input("k", DType::f32, {H, T, D}),
       v = t.input("v", DType::f32, {H, T, D});
    Out y = t.output("y", DType::f32, {H, Q, D});
    Axis h = t.each("h", H), i = t.parallel("i", Q), d = t.span("d", D), e = t.span("e", D);
    Axis j = t.serial("j", T, 256);
    Tile query = q(h, i, d) * rsqrt(cast(d.extent(), DType::f32));
    auto [top, weight, mixed] =
        t.loop(j, std::array{t.filled(-INFINITY, {i}), t.filled(0, {i}), t.filled(0, {i, e})},
               [&](Tile top, Tile weight, Tile mixed) {
                 Tile scores = dot(query, k(h, j, d), {d});
                 Tile now = max(top, reduce_max(scores, {j}));
                 Tile w = exp(scores - now), old = exp(top - now);
                 return std::array{now, fma(weight, old, sum(w, {j})),
                                   dot(w, v(h, j, e), {j}, mixed * old)};
               });
    (void)top;
    y(h, i, e) = mixed / weight;
  });
}
Result<Kernel> scores() {
  return define("scores", [](Trace& t) {
    Extent H = t.dim("H"), Q = t.dim("Q"), T = t.dim("T"), D = t.dim("D");
    In q = t.input("q", DType::f32, {H, Q, D}), k = t.input("k", DType::f32, {H, T, D});
    Out s = t.output("s", DType::f32, {H, Q, T});
    Axis h = t.each("h", H), i = t.parallel("i", Q), j = t.parallel("j", T), d = t.span("d", D);
    s(h, i, j) = dot(q(h, i, d), k(h, j, d), {d}) * rsqrt(cast(d.extent(), DType::f32));
  });
}
Result<Kernel> softmax_of_heads() {
  return define("softmax_of_heads", [](Trace& t) {
    Extent H = t.dim("H"), Q = t.dim("Q"), T = t.dim("T");
    In x = t.input("x", DType::f32, {H, Q, T});
    Out y = t.output("y", DType::f32, {H, Q, T});
    Axis h = t.each("h", H), i = t.parallel("i", Q), j = t.span("j", T);
    Tile e = exp(x(h, i, j) - reduce_max(x(h, i, j), {j}));
    y(h, i, j) = e / sum(e, {j});
  });
}
Result<Kernel> mixed() {
  return define("mixed", [](Trace& t) {
    Extent H = t.dim("H"), Q = t.dim("Q"), T = t.dim("T"), D = t.dim("D");
    In w = t.input("w", DType::f32, {H, Q, T}), v = t.input("v", DType::f32, {H, T, D});
    Out y = t.output("y", DType::f32, {H, Q, D});
    Axis h = t.each("h", H), i = t.parallel("i", Q), e = t.parallel("e", D), j = t.span("j", T);
    y(h, i, e) = dot(w(h, i, j), v(h, j, e), {j});
  });
}

// --- convolution of 3 x 3 with bias, sum and relu, over images with channels innermost

Result<Kernel> convolution(bool fused) {
  return define(fused ? "convolution_add_relu" : "convolution", [&](Trace& t) {
    Extent H = t.dim("H"), W = t.dim("W"), C = t.dim("C"), N = t.dim("N");
    In x = t.input("x", DType::f32, {H, W, C});
    In w = t.weights("w", DType::f32, {known(3), known(3), C, N});
    In b = t.input("b", DType::f32, {N}), r;
    if (fused) r = t.input("r", DType::f32, {H, W, N});
    Out y = t.output("y", DType::f32, {H, W, N});
    Axis oy = t.parallel("oy", H), ox = t.parallel("ox", W), n = t.parallel("n", N);
    Axis ky = t.span("ky", known(3)), kx = t.span("kx", known(3)), c = t.span("c", C);
    Tile sum = dot(x(oy + ky - 1, ox + kx - 1, c), w(ky, kx, c, n), {ky, kx, c}, b(n));
    y(oy, ox, n) = fused ? relu(sum + r(oy, ox, n)) : sum;
  });
}
Result<Kernel> image_pointwise(const char* name, bool sum) {
  return define(name, [&](Trace& t) {
    Extent H = t.dim("H"), W = t.dim("W"), N = t.dim("N");
    In a = t.input("a", DType::f32, {H, W, N}), b;
    if (sum) b = t.input("b", DType::f32, {H, W, N});
    Out y = t.output("y", DType::f32, {H, W, N});
    Axis oy = t.parallel("oy", H), ox = t.parallel("ox", W), n = t.parallel("n", N);
    y(oy, ox, n) = sum ? a(oy, ox, n) + b(oy, ox, n) : relu(a(oy, ox, n));
  });
}

// Adds a step, or keeps the first error.
struct Maker {
  Example example;
  std::optional<Error> problem;
  void fused(Result<Kernel> kernel) {
    if (kernel.ok())
      example.fused = std::move(*kernel);
    else if (!problem)
      problem = kernel.error();
  }
  void step(Result<Kernel> kernel, std::vector<std::string> arrays) {
    if (kernel.ok())
      example.steps.push_back({std::move(*kernel), std::move(arrays)});
    else if (!problem)
      problem = kernel.error();
  }
};

}  // namespace

Result<std::vector<Example>> all_examples() {
  std::vector<Maker> all(5);
  Maker& gated = all[0];
  gated.fused(swiglu());
  gated.step(linear(true), {"x", "w", "b", "gate"});
  gated.step(pointwise("silu", 1, [](const Tile* x) { return silu(x[0]); }), {"gate", "active"});
  gated.step(linear(false), {"x", "v", "value"});
  gated.step(multiply(), {"active", "value", "y"});
  gated.example.check = {{"M", 5}, {"K", 7}, {"N", 20}};
  gated.example.bench = {{"M", 64}, {"K", 512}, {"N", 1024}};

  Maker& rows = all[1];
  rows.fused(softmax());
  rows.step(
      row_reduction("row_max", [](const Tile& x, const Axis& n) { return reduce_max(x, {n}); }),
      {"x", "most"});
  rows.step(with_rows("subtract", [](const Tile& x, const Tile& r) { return x - r; }),
            {"x", "most", "less"});
  rows.step(pointwise("exp", 1, [](const Tile* x) { return exp(x[0]); }), {"less", "e"});
  rows.step(row_reduction("row_sum", [](const Tile& x, const Axis& n) { return sum(x, {n}); }),
            {"e", "total"});
  rows.step(with_rows("divide", [](const Tile& x, const Tile& r) { return x / r; }),
            {"e", "total", "y"});
  rows.example.check = {{"M", 3}, {"N", 37}};
  rows.example.bench = {{"M", 1024}, {"N", 1024}};

  Maker& norm = all[2];
  norm.fused(rms_norm());
  norm.step(pointwise("square", 1, [](const Tile* x) { return x[0] * x[0]; }), {"x", "squares"});
  norm.step(row_reduction("factor",
                          [](const Tile& x, const Axis& n) {
                            return rsqrt(sum(x, {n}) / cast(n.extent(), DType::f32) + 1e-6);
                          }),
            {"squares", "factor"});
  norm.step(with_rows("scale", [](const Tile& x, const Tile& r) { return x * r; }),
            {"x", "factor", "scaled"});
  norm.step(with_columns(), {"scaled", "w", "y"});
  norm.example.check = {{"M", 3}, {"N", 37}};
  norm.example.bench = {{"M", 1024}, {"N", 1024}};

  Maker& attention = all[3];
  attention.fused(flash_attention());
  attention.step(scores(), {"q", "k", "s"});
  attention.step(softmax_of_heads(), {"s", "p"});
  attention.step(mixed(), {"p", "v", "y"});
  attention.example.check = {{"H", 2}, {"Q", 9}, {"T", 70}, {"D", 8}};
  attention.example.bench = {{"H", 12}, {"Q", 512}, {"T", 512}, {"D", 64}};

  Maker& image = all[4];
  image.fused(convolution(true));
  image.step(convolution(false), {"x", "w", "b", "c"});
  image.step(image_pointwise("add", true), {"c", "r", "s"});
  image.step(image_pointwise("relu", false), {"s", "y"});
  image.example.check = {{"H", 5}, {"W", 6}, {"C", 3}, {"N", 20}};
  image.example.bench = {{"H", 56}, {"W", 56}, {"C", 16}, {"N", 64}};

  std::vector<Example> made;
  for (Maker& maker : all) {
    if (maker.problem) return std::move(*maker.problem);
    made.push_back(std::move(maker.example));
  }
  return made;
}

}  // namespace sconce::examples
