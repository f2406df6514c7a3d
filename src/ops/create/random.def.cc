// Random tensors and dropout. A generator argument is ignored: the method has its own.
#include <cmath>

#include "ops/pointwise/decompose.h"

namespace sconce {
namespace {

#define OPTIONS "Layout? layout=None, Device? device=None, bool? pin_memory=None"

// Drops argument `generator` and calls `target` with the rest.
template <Text target, int generator>
Results without_generator(Build& build, const Node& node) {
  std::vector<Argument> arguments = node.arguments;
  arguments.erase(arguments.begin() + generator);
  return build.call(target.text, std::move(arguments));
}
// randint(high, size, ...) and randint_like(self, high, ...): low is 0.
template <Text target, int at>
Results from_zero(Build& build, const Node& node) {
  std::vector<Argument> arguments = node.arguments;
  arguments.insert(arguments.begin() + at, int64_t(0));
  return build.call(target.text, std::move(arguments));
}
// randint.generator(high, size, generator, ...)
Results randint_generator(Build& build, const Node& node) {
  std::vector<Argument> arguments = node.arguments;
  arguments.erase(arguments.begin() + 2);
  arguments.insert(arguments.begin(), int64_t(0));
  return build.call("aten::randint.low", std::move(arguments));
}

// --- every distribution from uniform and normal numbers, for targets that have these alone ---------

// The type of a result like `self`, unless argument `i` says another.
DType dtype_like(Build& build, const Node& node, int i) {
  auto code = i < 0 ? std::nullopt : number(node, i);
  return code && is_dtype(int64_t(*code)) ? DType(int64_t(*code)) : build.dtype(value(node, 0));
}
// Numbers are drawn in f32, or f64 when the result is.
DType drawn_in(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }
ValueId draw(Build& build, const char* op, const Argument& sizes, DType dtype) {
  return build.call1(op, {sizes, int64_t(drawn_in(dtype))});
}
Argument sizes_like(Build& build, ValueId x) { return build.ints(build.tensor(x).sizes); }

template <Text op>
Results random_like(Build& build, const Node& node) {
  DType dtype = dtype_like(build, node, 1);
  ValueId drawn = draw(build, op.text, sizes_like(build, value(node, 0)), dtype);
  return one(build.cast(drawn, dtype));
}
// low + floor(u * (high - low)); the last number may be lost to rounding, so it is clamped.
Results integers_between(Build& build, double low, double high, const Argument& sizes, DType dtype) {
  if (!(low < high)) return std::nullopt;
  ValueId scaled = build.mul(draw(build, "aten::rand", sizes, DType::f64), high - low);
  ValueId whole = build.call1("aten::floor", {Build::v(scaled)});
  whole = build.call1("aten::clamp", {Build::v(whole), None{}, high - low - 1});
  return one(build.cast(build.add(whole, low), dtype));
}
// low, high, size, dtype
Results randint_parts(Build& build, const Node& node) {
  auto low = number(node, 0), high = number(node, 1), code = number(node, 3);
  if (!low || !high) return std::nullopt;
  DType dtype = code && is_dtype(int64_t(*code)) ? DType(int64_t(*code)) : DType::i64;
  return integers_between(build, *low, *high, node.arguments[2], dtype);
}
// self, low, high, dtype
Results randint_like_parts(Build& build, const Node& node) {
  auto low = number(node, 1), high = number(node, 2);
  if (!low || !high) return std::nullopt;
  return integers_between(build, *low, *high, sizes_like(build, value(node, 0)), dtype_like(build, node, 3));
}
// The order that random numbers take when they are sorted. n, dtype
Results randperm_parts(Build& build, const Node& node) {
  auto code = number(node, 1);
  DType dtype = code && is_dtype(int64_t(*code)) ? DType(int64_t(*code)) : DType::i64;
  Argument count = node.arguments[0];
  std::vector<IntItem> sizes;
  if (auto* known = std::get_if<int64_t>(&count)) sizes.push_back({*known});
  else if (auto* ref = std::get_if<ValueRef>(&count)) sizes.push_back({0, ref->id});
  else return std::nullopt;
  ValueId drawn = draw(build, "aten::rand", sizes, DType::f64);
  ValueId order = build.call("aten::topk", {Build::v(drawn), count, int64_t(0), false, true})[1];
  return one(build.cast(order, dtype));
}
// 1 where a uniform number is below `chance` (a tensor or a number), in the type of self.
Results below(Build& build, const Node& node, const Argument& chance) {
  ValueId x = value(node, 0);
  ValueId drawn = draw(build, "aten::rand", sizes_like(build, x), DType::f32);
  ValueId hit;
  if (auto* ref = std::get_if<ValueRef>(&chance))
    hit = build.call1("aten::lt.Tensor", {Build::v(drawn), Build::v(build.cast(ref->id, DType::f32))});
  else hit = build.call1("aten::lt.Scalar", {Build::v(drawn), chance});
  return one(build.cast(hit, build.dtype(x)));
}
Results bernoulli_parts(Build& build, const Node& node) { return below(build, node, node.arguments[0]); }
Results bernoulli_of_parts(Build& build, const Node& node) { return below(build, node, node.arguments[1]); }

// mean + deviation * normal; each a tensor or a number, the sizes those of the tensors.
Results normal_parts(Build& build, const Node& node) {
  ValueId sized = kNoValue;
  for (int i = 0; i < 2; i++)
    if (auto* ref = std::get_if<ValueRef>(&node.arguments[size_t(i)]))
      sized = sized == kNoValue ? ref->id : build.add(sized, ref->id);
  if (sized == kNoValue) return std::nullopt;
  DType dtype = build.dtype(sized);
  ValueId y = draw(build, "aten::randn", sizes_like(build, sized), dtype);
  y = build.cast(y, dtype);
  auto apply = [&](const char* with_tensor, const char* with_number, const Argument& by) {
    if (std::holds_alternative<ValueRef>(by)) y = build.call1(with_tensor, {Build::v(y), by});
    else y = build.call1(with_number, {Build::v(y), by});
  };
  apply("aten::mul.Tensor", "aten::mul.Scalar", node.arguments[1]);
  apply("aten::add.Tensor", "aten::add.Scalar", node.arguments[0]);
  return one(y);
}
// mean, std, size, generator, dtype
Results normal_sized_parts(Build& build, const Node& node) {
  auto mean = number(node, 0), deviation = number(node, 1), code = number(node, 4);
  if (!mean || !deviation) return std::nullopt;
  DType dtype = code && is_dtype(int64_t(*code)) ? DType(int64_t(*code)) : DType::f32;
  ValueId y = draw(build, "aten::randn", node.arguments[2], dtype);
  return one(build.cast(build.add(build.mul(y, *deviation), *mean), dtype));
}
// self, mean, std: self says sizes and type only.
Results normal_functional_parts(Build& build, const Node& node) {
  auto mean = number(node, 1), deviation = number(node, 2);
  if (!mean || !deviation) return std::nullopt;
  DType dtype = build.dtype(value(node, 0));
  ValueId y = draw(build, "aten::randn", sizes_like(build, value(node, 0)), dtype);
  return one(build.cast(build.add(build.mul(y, *deviation), *mean), dtype));
}
// self, from, to
Results uniform_parts(Build& build, const Node& node) {
  auto from = number(node, 1), to = number(node, 2);
  if (!from || !to) return std::nullopt;
  DType dtype = build.dtype(value(node, 0));
  ValueId y = draw(build, "aten::rand", sizes_like(build, value(node, 0)), dtype);
  return one(build.cast(build.add(build.mul(y, *to - *from), *from), dtype));
}
// self, lambda: -log(1 - u) / lambda
Results exponential_parts(Build& build, const Node& node) {
  auto rate = number(node, 1);
  if (!rate || *rate == 0) return std::nullopt;
  DType dtype = build.dtype(value(node, 0));
  ValueId y = draw(build, "aten::rand", sizes_like(build, value(node, 0)), dtype);
  y = build.call1("aten::log1p", {Build::v(build.call1("aten::neg", {Build::v(y)}))});
  return one(build.cast(build.mul(y, -1 / *rate), dtype));
}

// dropout(input, p, train): nothing happens at inference.
Results dropout(Build& build, const Node& node) {
  if (number(node, 2).value_or(1) == 0 || number(node, 1).value_or(1) == 0)
    return one(value(node, 0));
  return one(build.call("aten::native_dropout", node.arguments)[0]);
}
// 1 with probability `keep`, else 0; for dropout of whole channels one number per channel.
ValueId kept(Build& build, ValueId x, double keep, bool channels) {
  std::vector<SymInt> sizes = build.tensor(x).sizes;
  for (size_t i = 2; channels && i < sizes.size(); i++) sizes[i] = 1;
  ValueId zeros = build.full(sizes, 0, build.dtype(x));
  return build.call1("aten::bernoulli.p", {Build::v(zeros), keep});
}
// feature_dropout(input, p, train)
Results feature_dropout(Build& build, const Node& node) {
  auto p = number(node, 1), train = number(node, 2);
  if (!p || !train) return std::nullopt;
  ValueId x = value(node, 0);
  if (*train == 0 || *p == 0) return one(x);
  if (*p == 1) return one(build.mul(x, 0.0));
  ValueId mask = kept(build, x, 1 - *p, true);
  return one(build.mul(x, build.call1("aten::div.Scalar", {Build::v(mask), 1 - *p})));
}
// alpha_dropout: what is dropped becomes -alpha', and mean and variance stay (Klambauer et al. 2017).
template <bool channels>
Results alpha_dropout(Build& build, const Node& node) {
  auto p = number(node, 1), train = number(node, 2);
  if (!p || !train) return std::nullopt;
  ValueId x = value(node, 0);
  if (*train == 0 || *p == 0) return one(x);
  if (*p == 1) return one(build.mul(x, 0.0));
  constexpr double kAlpha = 1.7580993408473766;
  double a = 1 / std::sqrt((kAlpha * kAlpha * *p + 1) * (1 - *p));
  ValueId mask = kept(build, x, 1 - *p, channels);
  ValueId shift = build.add(build.mul(build.add(mask, -1.0), kAlpha * a), kAlpha * a * *p);
  return one(build.add(build.mul(x, build.mul(mask, a)), shift));
}
Results native_dropout_backward(Build& build, const Node& node) {
  ValueId grad = value(node, 0);
  ValueId kept = build.mul(grad, build.cast(value(node, 1), build.dtype(grad)));
  return build.call("aten::mul.Scalar", {Build::v(kept), node.arguments[2]});
}

}  // namespace

OP(rand) = {.schema = "aten::rand(SymInt[] size, *, ScalarType? dtype=None, " OPTIONS ") -> Tensor",
            .out = "aten::rand.out",
            .random = true};
OP(rand_generator) = {.schema = "aten::rand.generator(SymInt[] size, *, Generator? generator, ScalarType? "
                                "dtype=None, " OPTIONS ") -> Tensor",
                      .decompose = without_generator<"aten::rand", 1>,
                      .random = true};
OP(randn) = {.schema = "aten::randn(SymInt[] size, *, ScalarType? dtype=None, " OPTIONS ") -> Tensor",
             .out = "aten::randn.out",
             .random = true};
OP(randn_generator) = {.schema = "aten::randn.generator(SymInt[] size, *, Generator? generator, "
                                 "ScalarType? dtype=None, " OPTIONS ") -> Tensor",
                       .decompose = without_generator<"aten::randn", 1>,
                       .random = true};
OP(rand_like) = {.schema = "aten::rand_like(Tensor self, *, ScalarType? dtype=None, " OPTIONS
                           ", MemoryFormat? memory_format=None) -> Tensor",
                 .out = "aten::rand_like.out", .decompose = random_like<"aten::rand">,
                 .random = true};
OP(randn_like) = {.schema = "aten::randn_like(Tensor self, *, ScalarType? dtype=None, " OPTIONS
                            ", MemoryFormat? memory_format=None) -> Tensor",
                  .out = "aten::randn_like.out", .decompose = random_like<"aten::randn">,
                  .random = true};
OP(randint) = {.schema = "aten::randint(SymInt high, SymInt[] size, *, ScalarType? dtype=4, " OPTIONS
                         ") -> Tensor",
               .decompose = from_zero<"aten::randint.low", 0>,
               .random = true};
OP(randint_generator) = {.schema = "aten::randint.generator(SymInt high, SymInt[] size, *, Generator? "
                                   "generator, ScalarType? dtype=4, " OPTIONS ") -> Tensor",
                         .decompose = randint_generator,
                         .random = true};
OP(randint_low) = {.schema = "aten::randint.low(SymInt low, SymInt high, SymInt[] size, *, ScalarType? "
                             "dtype=4, " OPTIONS ") -> Tensor",
                   .out = "aten::randint.low_out", .decompose = randint_parts,
                   .random = true};
OP(randint_low_generator) = {
    .schema = "aten::randint.low_generator(SymInt low, SymInt high, SymInt[] size, *, Generator? "
              "generator, ScalarType? dtype=4, " OPTIONS ") -> Tensor",
    .decompose = without_generator<"aten::randint.low", 3>,
    .random = true};
OP(randint_like) = {.schema = "aten::randint_like(Tensor self, SymInt high, *, ScalarType? dtype=None, " OPTIONS
                              ", MemoryFormat? memory_format=None) -> Tensor",
                    .decompose = from_zero<"aten::randint_like.low_dtype", 1>,
                    .random = true};
OP(randint_like_low) = {.schema = "aten::randint_like.low_dtype(Tensor self, SymInt low, SymInt high, *, "
                                  "ScalarType? dtype=None, " OPTIONS
                                  ", MemoryFormat? memory_format=None) -> Tensor",
                        .out = "aten::randint_like.low_dtype_out", .decompose = randint_like_parts,
                        .random = true};
OP(randperm) = {.schema = "aten::randperm(SymInt n, *, ScalarType? dtype=4, " OPTIONS ") -> Tensor",
                .out = "aten::randperm.out", .decompose = randperm_parts,
                .random = true};
OP(randperm_generator) = {.schema = "aten::randperm.generator(SymInt n, *, Generator? generator, "
                                    "ScalarType? dtype=4, " OPTIONS ") -> Tensor",
                          .decompose = without_generator<"aten::randperm", 1>,
                          .random = true};
OP(bernoulli) = {.schema = "aten::bernoulli(Tensor self, *, Generator? generator=None) -> Tensor",
                 .out = "aten::bernoulli.out", .decompose = bernoulli_parts,
                 .random = true};
OP(bernoulli_p) = {.schema = "aten::bernoulli.p(Tensor self, float p, *, Generator? generator=None) -> "
                             "Tensor",
                   .out = "aten::bernoulli.float_out", .decompose = bernoulli_of_parts,
                   .random = true};
OP(bernoulli_Tensor) = {.schema = "aten::bernoulli.Tensor(Tensor self, Tensor p, *, Generator? "
                                  "generator=None) -> Tensor",
                        .out = "aten::bernoulli.Tensor_out", .decompose = bernoulli_of_parts,
                        .random = true};
OP(normal_Tensor_float) = {.schema = "aten::normal.Tensor_float(Tensor mean, float std=1., *, Generator? "
                                     "generator=None) -> Tensor",
                           .out = "aten::normal.Tensor_float_out", .decompose = normal_parts,
                           .random = true};
OP(normal_float_Tensor) = {.schema = "aten::normal.float_Tensor(float mean, Tensor std, *, Generator? "
                                     "generator=None) -> Tensor",
                           .out = "aten::normal.float_Tensor_out", .decompose = normal_parts,
                           .random = true};
OP(normal_Tensor_Tensor) = {.schema = "aten::normal.Tensor_Tensor(Tensor mean, Tensor std, *, Generator? "
                                      "generator=None) -> Tensor",
                            .out = "aten::normal.Tensor_Tensor_out", .decompose = normal_parts,
                            .random = true};
OP(normal_float_float) = {
    .schema = "aten::normal.float_float(float mean, float std, SymInt[] size, *, Generator? "
              "generator=None, ScalarType? dtype=None, " OPTIONS ") -> Tensor",
    .out = "aten::normal.float_float_out", .decompose = normal_sized_parts,
    .random = true};
OP(normal_functional) = {.schema = "aten::normal_functional(Tensor self, float mean=0., float std=1., *, "
                                   "Generator? generator=None) -> Tensor",
                         .out = "aten::normal.out", .decompose = normal_functional_parts,
                         .random = true};
OP(uniform) = {.schema = "aten::uniform(Tensor self, float from=0., float to=1., *, Generator? "
                         "generator=None) -> Tensor",
               .out = "aten::uniform.out", .decompose = uniform_parts,
               .random = true};
OP(exponential) = {.schema = "aten::exponential(Tensor self, float lambd=1., *, Generator? "
                             "generator=None) -> Tensor",
                   .out = "aten::exponential.out", .decompose = exponential_parts,
                   .random = true};
OP(native_dropout) = {.schema = "aten::native_dropout(Tensor input, float p, bool? train) -> (Tensor, "
                                "Tensor)",
                      .out = "aten::native_dropout.out",
                      .random = true};
OP(dropout) = {.schema = "aten::dropout(Tensor input, float p, bool train) -> Tensor",
               .decompose = dropout,
               .random = true};
OP(feature_dropout) = {.schema = "aten::feature_dropout(Tensor input, float p, bool train) -> Tensor",
                       .decompose = feature_dropout,
                       .random = true};
OP(alpha_dropout) = {.schema = "aten::alpha_dropout(Tensor input, float p, bool train) -> Tensor",
                     .decompose = alpha_dropout<false>,
                     .random = true};
OP(feature_alpha_dropout) = {
    .schema = "aten::feature_alpha_dropout(Tensor input, float p, bool train) -> Tensor",
    .decompose = alpha_dropout<true>,
    .random = true};
OP(native_dropout_backward) = {
    .schema = "aten::native_dropout_backward(Tensor grad_output, Tensor mask, float scale) -> Tensor",
    .decompose = native_dropout_backward};

}  // namespace sconce
