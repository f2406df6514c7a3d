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
                 .out = "aten::rand_like.out",
                 .random = true};
OP(randn_like) = {.schema = "aten::randn_like(Tensor self, *, ScalarType? dtype=None, " OPTIONS
                            ", MemoryFormat? memory_format=None) -> Tensor",
                  .out = "aten::randn_like.out",
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
                   .out = "aten::randint.low_out",
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
                        .out = "aten::randint_like.low_dtype_out",
                        .random = true};
OP(randperm) = {.schema = "aten::randperm(SymInt n, *, ScalarType? dtype=4, " OPTIONS ") -> Tensor",
                .out = "aten::randperm.out",
                .random = true};
OP(randperm_generator) = {.schema = "aten::randperm.generator(SymInt n, *, Generator? generator, "
                                    "ScalarType? dtype=4, " OPTIONS ") -> Tensor",
                          .decompose = without_generator<"aten::randperm", 1>,
                          .random = true};
OP(bernoulli) = {.schema = "aten::bernoulli(Tensor self, *, Generator? generator=None) -> Tensor",
                 .out = "aten::bernoulli.out",
                 .random = true};
OP(bernoulli_p) = {.schema = "aten::bernoulli.p(Tensor self, float p, *, Generator? generator=None) -> "
                             "Tensor",
                   .out = "aten::bernoulli.float_out",
                   .random = true};
OP(bernoulli_Tensor) = {.schema = "aten::bernoulli.Tensor(Tensor self, Tensor p, *, Generator? "
                                  "generator=None) -> Tensor",
                        .out = "aten::bernoulli.Tensor_out",
                        .random = true};
OP(normal_Tensor_float) = {.schema = "aten::normal.Tensor_float(Tensor mean, float std=1., *, Generator? "
                                     "generator=None) -> Tensor",
                           .out = "aten::normal.Tensor_float_out",
                           .random = true};
OP(normal_float_Tensor) = {.schema = "aten::normal.float_Tensor(float mean, Tensor std, *, Generator? "
                                     "generator=None) -> Tensor",
                           .out = "aten::normal.float_Tensor_out",
                           .random = true};
OP(normal_Tensor_Tensor) = {.schema = "aten::normal.Tensor_Tensor(Tensor mean, Tensor std, *, Generator? "
                                      "generator=None) -> Tensor",
                            .out = "aten::normal.Tensor_Tensor_out",
                            .random = true};
OP(normal_float_float) = {
    .schema = "aten::normal.float_float(float mean, float std, SymInt[] size, *, Generator? "
              "generator=None, ScalarType? dtype=None, " OPTIONS ") -> Tensor",
    .out = "aten::normal.float_float_out",
    .random = true};
OP(normal_functional) = {.schema = "aten::normal_functional(Tensor self, float mean=0., float std=1., *, "
                                   "Generator? generator=None) -> Tensor",
                         .out = "aten::normal.out",
                         .random = true};
OP(uniform) = {.schema = "aten::uniform(Tensor self, float from=0., float to=1., *, Generator? "
                         "generator=None) -> Tensor",
               .out = "aten::uniform.out",
               .random = true};
OP(exponential) = {.schema = "aten::exponential(Tensor self, float lambd=1., *, Generator? "
                             "generator=None) -> Tensor",
                   .out = "aten::exponential.out",
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
