// Random tensors. The generator is a counter put through a mixing function (SplitMix64), so a result
// depends on the counter alone; KernelContext carries it from call to call.
#include <cmath>

#include "ops/convert/copy.h"
#include "ops/elementwise.h"
#include "ops/pointwise/run.h"
#include "ops/promote.h"

namespace sconce {
namespace {

class Random {
 public:
  explicit Random(KernelContext& context) : state_(context.random_state ? context.random_state : &own_) {}
  uint64_t next() {
    uint64_t z = (*state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return double(next() >> 11) * 0x1p-53; }  // [0, 1)
  double normal() {  // Box-Muller; 1 - u is in (0, 1]
    double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  uint64_t own_ = 0;
  uint64_t* state_;
};

// Stores value() to every element in memory order; types of any kind.
template <class F>
void store_values(Tensor& out, F value) {
  int64_t count = element_count(out);
  size_t bytes = dtype_bytes(out.dtype);
  for (int64_t i = 0; i < count; i++) {
    auto v = value();
    store_elements(out.as<char>() + i * int64_t(bytes), 1, &v, 1, out.dtype);
  }
}

Status sizes_shape(const Args& args, int at, DType dtype, OutMeta& out, Diagnostic* diagnostic) {
  if (args.list_count(at) > kRankMax)
    return SCONCE_FAIL(Code::too_large, diagnostic, "%d sizes: at most %d are possible",
                       args.list_count(at), kRankMax);
  out = OutMeta{};
  out.dtype = dtype;
  out.rank = args.list_count(at);
  for (int k = 0; k < out.rank; k++) {
    out.sizes[k] = args.list_integer(at, k);
    if (out.sizes[k] < 0)
      return SCONCE_FAIL(Code::invalid_argument, diagnostic, "size %lld of dimension %d is negative",
                         (long long)out.sizes[k], k);
  }
  return kOk;
}
Status floats_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return sizes_shape(args, 0, DType::f32, outs[0], diagnostic);
}
Status like_shape(const Args& args, Span<OutMeta> outs, Diagnostic*) {
  set_like(outs[0], args.tensor(0));
  return kOk;
}
// A uniform number rounded to the out's type must stay below 1: its 24 (f16: 11, bf16: 8) leading bits.
double unit(Random& random, DType dtype) {
  int bits = dtype == DType::f64 ? 53 : dtype == DType::f16 ? 11 : dtype == DType::bf16 ? 8 : 24;
  return std::ldexp(double(random.next() >> (64 - bits)), -bits);
}
Status wants_floating(const Tensor& out, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(check_plain_type(out.dtype, diagnostic));
  if (is_floating(out.dtype)) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "random numbers of type %s: floating wanted",
                     dtype_name(out.dtype));
}
Status run_rand(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(wants_floating(args.out(), context.diagnostic));
  Random random(context);
  store_values(args.out(), [&] { return unit(random, args.out().dtype); });
  return kOk;
}
Status run_randn(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(wants_floating(args.out(), context.diagnostic));
  Random random(context);
  store_values(args.out(), [&] { return random.normal(); });
  return kOk;
}

// randint(low, high, ...): integers of [low, high).
Status range_status(int64_t low, int64_t high, Diagnostic* diagnostic) {
  if (low < high) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "low %lld is not below high %lld",
                     (long long)low, (long long)high);
}
void store_integers(Tensor& out, Random& random, int64_t low, int64_t high) {
  uint64_t range = uint64_t(high) - uint64_t(low);
  store_values(out, [&] { return int64_t(uint64_t(low) + random.next() % range); });
}
Status randint_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(range_status(args.integer(0), args.integer(1), diagnostic));
  return sizes_shape(args, 2, DType::i64, outs[0], diagnostic);
}
Status run_randint(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Random random(context);
  store_integers(args.out(), random, args.integer(0), args.integer(1));
  return kOk;
}
Status randint_like_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(range_status(args.integer(1), args.integer(2), diagnostic));
  return like_shape(args, outs, diagnostic);
}
Status run_randint_like(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Random random(context);
  store_integers(args.out(), random, args.integer(1), args.integer(2));
  return kOk;
}

Status randperm_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  if (args.integer(0) < 0)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic, "%lld elements: at least 0 wanted",
                       (long long)args.integer(0));
  outs[0] = OutMeta{};
  outs[0].dtype = DType::i64;
  outs[0].rank = 1;
  outs[0].sizes[0] = args.integer(0);
  return kOk;
}
Status run_randperm(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Tensor& out = args.out();
  int64_t count = element_count(out), next = 0;
  size_t bytes = dtype_bytes(out.dtype);
  store_values(out, [&] { return next++; });
  Random random(context);
  for (int64_t i = count - 1; i > 0; i--) {  // Fisher-Yates on elements as bytes
    int64_t j = int64_t(random.next() % uint64_t(i + 1));
    char *a = out.as<char>() + i * int64_t(bytes), *b = out.as<char>() + j * int64_t(bytes);
    for (size_t k = 0; k < bytes; k++) {
      char byte = a[k];
      a[k] = b[k];
      b[k] = byte;
    }
  }
  return kOk;
}

// Walks the elements of `out` with the matching ones of `a` and `b` (broadcast; either may be null).
template <class F>
void with_operands(Tensor& out, const Tensor* a, const Tensor* b, F value) {
  Strides out_strides = strides_of(out);
  const Tensor* operands[2] = {a, b};
  int64_t index[kRankMax] = {}, count = element_count(out);
  for (int64_t n = 0; n < count; n++) {
    double in[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
      if (!operands[k]) continue;
      const Tensor& operand = *operands[k];
      Strides strides = strides_of(operand);
      int64_t offset = 0;
      for (int i = 0; i < operand.rank; i++)
        if (operand.sizes[i] != 1) offset += index[i + out.rank - operand.rank] * strides[i];
      load_elements<double>(&in[k], operand.as<char>() + offset * int64_t(dtype_bytes(operand.dtype)),
                            1, 1, operand.dtype);
    }
    int64_t offset = 0;
    for (int i = 0; i < out.rank; i++) offset += index[i] * out_strides[i];
    double result = value(in[0], in[1]);
    store_elements<double>(out.as<char>() + offset * int64_t(dtype_bytes(out.dtype)), 1, &result, 1,
                           out.dtype);
    for (int i = out.rank - 1; i >= 0; i--) {
      if (++index[i] < out.sizes[i]) break;
      index[i] = 0;
    }
  }
}

Status probability_status(double p, Diagnostic* diagnostic) {
  if (p >= 0 && p <= 1) return kOk;
  return SCONCE_FAIL(Code::invalid_argument, diagnostic, "a probability is not in [0, 1]");
}
// bernoulli(self, generator), bernoulli.p(self, p, generator), bernoulli.Tensor(self, p, generator)
Status bernoulli_p_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(probability_status(args.floating(1), diagnostic));
  return like_shape(args, outs, diagnostic);
}
Status bernoulli_tensor_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(like_shape(args, outs, diagnostic));
  OutMeta all;
  set_like(all, args.tensor(0));
  SCONCE_TRY_STATUS(broadcast_into(args.tensor(1), all, diagnostic));
  bool same = all.rank == outs[0].rank;
  for (int i = 0; same && i < all.rank; i++) same = all.sizes[i] == outs[0].sizes[i];
  if (!same)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "probabilities do not broadcast to the shape of self");
  return kOk;
}
template <bool from_self>
Status run_bernoulli(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Random random(context);
  const Tensor* p = from_self ? &args.tensor(0) : args.find_tensor(1);
  double fixed = p ? 0 : args.floating(1);
  Status status = kOk;
  with_operands(args.out(), p, nullptr, [&](double own, double) {
    double chance = p ? own : fixed;
    if (status.ok()) status = probability_status(chance, context.diagnostic);
    return double(random.uniform() < chance);
  });
  return status;
}

// normal with mean and standard deviation, each a tensor or a number.
Status normal_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return pointwise::pointwise_shape(args, 2, pointwise::Rule::floating, outs, diagnostic);
}
Status run_normal(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Random random(context);
  const Tensor *mean = args.find_tensor(0), *deviation = args.find_tensor(1);
  with_operands(args.out(), mean, deviation, [&](double m, double s) {
    return random.normal() * (deviation ? s : args.floating(1)) + (mean ? m : args.floating(0));
  });
  return kOk;
}
Status normal_sizes_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  return sizes_shape(args, 2, DType::f32, outs[0], diagnostic);
}
Status run_normal_sizes(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Random random(context);
  store_values(args.out(), [&] { return random.normal() * args.floating(1) + args.floating(0); });
  return kOk;
}
// x(self, a, b, generator) filled with a distribution that ignores the values of self.
enum class Distribution { uniform, normal, exponential };
template <Distribution distribution>
Status run_distribution(const Args& args, KernelContext& context) {
  SCONCE_TRY_STATUS(check_plain_type(args.out().dtype, context.diagnostic));
  Random random(context);
  double a = args.floating(1), b = distribution == Distribution::exponential ? 0 : args.floating(2);
  store_values(args.out(), [&] {
    if (distribution == Distribution::normal) return random.normal() * b + a;
    if (distribution == Distribution::exponential) return -std::log(1 - random.uniform()) / a;
    return a + (b - a) * unit(random, args.out().dtype);
  });
  return kOk;
}

// native_dropout(input, p, train): values and the mask of those kept.
Status dropout_shape(const Args& args, Span<OutMeta> outs, Diagnostic* diagnostic) {
  SCONCE_TRY_STATUS(probability_status(args.floating(1), diagnostic));
  set_like(outs[0], args.tensor(0));
  set_like(outs[1], args.tensor(0), DType::b8);
  return kOk;
}
Status run_dropout(const Args& args, KernelContext& context) {
  Tensor &out = args.out(0), &mask = args.out(1);
  SCONCE_TRY_STATUS(check_plain_type(out.dtype, context.diagnostic));
  SCONCE_TRY_STATUS(check_plain_type(mask.dtype, context.diagnostic));
  double p = args.floating(1);
  bool train = args.integer_or(2, 1) != 0;
  if (!train || p == 0) {
    SCONCE_TRY_STATUS(fill_tensor(Value::of(true), mask, context.diagnostic));
    return copy_tensor(args.tensor(0), out, context.diagnostic);
  }
  Random random(context);
  store_values(mask, [&] { return int64_t(random.uniform() >= p); });
  with_operands(out, &args.tensor(0), &mask,
                [&](double x, double kept) { return kept == 0 ? 0 : x / (1 - p); });
  return kOk;
}

}  // namespace

KERNEL(rand) = {"aten::rand.out", "l>t", floats_shape, run_rand};
KERNEL(randn) = {"aten::randn.out", "l>t", floats_shape, run_randn};
KERNEL(rand_like) = {"aten::rand_like.out", "tI>t", like_shape, run_rand};
KERNEL(randn_like) = {"aten::randn_like.out", "tI>t", like_shape, run_randn};
KERNEL(randint_low) = {"aten::randint.low_out", "iil>t", randint_shape, run_randint};
KERNEL(randint_like_low) = {"aten::randint_like.low_dtype_out", "tiiI>t", randint_like_shape,
                            run_randint_like};
KERNEL(randperm) = {"aten::randperm.out", "i>t", randperm_shape, run_randperm};
KERNEL(bernoulli) = {"aten::bernoulli.out", "tI>t", like_shape, run_bernoulli<true>};
KERNEL(bernoulli_p) = {"aten::bernoulli.float_out", "tfI>t", bernoulli_p_shape, run_bernoulli<false>};
KERNEL(bernoulli_Tensor) = {"aten::bernoulli.Tensor_out", "ttI>t", bernoulli_tensor_shape, run_bernoulli<false>};
KERNEL(normal_Tensor_float) = {"aten::normal.Tensor_float_out", "tfI>t", normal_shape, run_normal};
KERNEL(normal_float_Tensor) = {"aten::normal.float_Tensor_out", "ftI>t", normal_shape, run_normal};
KERNEL(normal_Tensor_Tensor) = {"aten::normal.Tensor_Tensor_out", "ttI>t", normal_shape, run_normal};
KERNEL(normal_float_float) = {"aten::normal.float_float_out", "fflI>t", normal_sizes_shape,
                              run_normal_sizes};
KERNEL(normal_functional) = {"aten::normal.out", "tffI>t", like_shape,
                             run_distribution<Distribution::normal>};
KERNEL(uniform) = {"aten::uniform.out", "tffI>t", like_shape, run_distribution<Distribution::uniform>};
KERNEL(exponential) = {"aten::exponential.out", "tfI>t", like_shape,
                       run_distribution<Distribution::exponential>};
KERNEL(native_dropout) = {"aten::native_dropout.out", "tfB>tt", dropout_shape, run_dropout};

}  // namespace sconce
