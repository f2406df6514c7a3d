#include "ops/prim/prim.h"

#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "tensor/half.h"

namespace sconce {
namespace {

using Inputs = Span<const Value* const>;

bool is_float(const Value& v) { return v.kind == Value::Kind::floating; }
double number(const Value& v) {
  return is_float(v)                      ? v.floating
         : v.kind == Value::Kind::boolean ? double(v.boolean)
                                          : double(v.integer);
}
int64_t integer(const Value& v) {
  return v.kind == Value::Kind::boolean ? int64_t(v.boolean) : v.integer;
}

Status wrong_kind(Diagnostic* diagnostic) {
  return SCONCE_FAIL(Code::invalid_file, diagnostic, "a number is wanted");
}

enum class Binary {
  add,
  sub,
  mul,
  floordiv,
  mod,
  min,
  max,
  eq,
  ne,
  gt,
  lt,
  ge,
  le,
  truediv,
  pow,
  bit_and,
  bit_or,
  bit_xor
};

// One function for all: a copy per operator would be a tenth of the small runtime.
Status run_binary(Binary op, Inputs in, Value* out, Diagnostic* diagnostic) {
  const Value &a = *in[0], &b = *in[1];
  if (!a.is_number() || !b.is_number()) return wrong_kind(diagnostic);
  auto failed = [&](const char* what) {
    (void)what;
    return SCONCE_FAIL(Code::too_large, diagnostic, "%s", what);
  };
  bool floating = is_float(a) || is_float(b) || op == Binary::truediv;
  if (floating) {
    double x = number(a), y = number(b), result = 0;
    switch (op) {
      case Binary::eq: *out = Value::of(x == y); return kOk;
      case Binary::ne: *out = Value::of(x != y); return kOk;
      case Binary::gt: *out = Value::of(x > y); return kOk;
      case Binary::lt: *out = Value::of(x < y); return kOk;
      case Binary::ge: *out = Value::of(x >= y); return kOk;
      case Binary::le: *out = Value::of(x <= y); return kOk;
      case Binary::add: result = x + y; break;
      case Binary::sub: result = x - y; break;
      case Binary::mul: result = x * y; break;
      case Binary::min: result = x < y ? x : y; break;
      case Binary::max: result = x > y ? x : y; break;
      case Binary::pow: result = std::pow(x, y); break;
      case Binary::bit_and:
      case Binary::bit_or:
      case Binary::bit_xor: return wrong_kind(diagnostic);
      default:
        if (y == 0) return failed("division by zero");
        result = op == Binary::truediv ? x / y : std::floor(x / y);
        if (op == Binary::mod) result = x - result * y;
    }
    *out = Value::of(result);
    return kOk;
  }
  int64_t x = integer(a), y = integer(b), result = 0;
  bool fits = true;
  switch (op) {
    case Binary::eq: *out = Value::of(x == y); return kOk;
    case Binary::ne: *out = Value::of(x != y); return kOk;
    case Binary::gt: *out = Value::of(x > y); return kOk;
    case Binary::lt: *out = Value::of(x < y); return kOk;
    case Binary::ge: *out = Value::of(x >= y); return kOk;
    case Binary::le: *out = Value::of(x <= y); return kOk;
    case Binary::add: fits = checked_add(x, y, &result); break;
    case Binary::sub: fits = !__builtin_sub_overflow(x, y, &result); break;
    case Binary::mul: fits = checked_multiply(x, y, &result); break;
    case Binary::min: result = x < y ? x : y; break;
    case Binary::max: result = x > y ? x : y; break;
    case Binary::bit_and: result = x & y; break;
    case Binary::bit_or: result = x | y; break;
    case Binary::bit_xor: result = x ^ y; break;
    case Binary::pow:
      if (y < 0) {
        *out = Value::of(std::pow(double(x), double(y)));
        return kOk;
      }
      result = 1;
      // Squaring: at most 63 steps, however large the exponent.
      for (int64_t base = x; y; y >>= 1) {
        if (y & 1) fits = fits && checked_multiply(result, base, &result);
        if (y > 1 && !checked_multiply(base, base, &base)) {
          fits = false;
          break;
        }
      }
      break;
    default:
      if (y == 0) return failed("division by zero");
      if (x == INT64_MIN && y == -1) {
        fits = false;
        break;
      }
      result = x / y;
      if (x % y != 0 && (x < 0) != (y < 0)) result--;
      if (op == Binary::mod) result = x - result * y;
  }
  if (!fits) return failed("integer overflow");
  bool boolean =
      a.kind == Value::Kind::boolean && b.kind == Value::Kind::boolean && op >= Binary::bit_and;
  *out = boolean ? Value::of(result != 0) : Value::of(result);
  return kOk;
}

template <Binary op>
Status binary(Inputs in, Value* out, Diagnostic* diagnostic) {
  return run_binary(op, in, out, diagnostic);
}

enum class Unary {
  neg,
  ceil,
  floor,
  round,
  trunc,
  to_float,
  to_int,
  logical_not,
  identity,
  absolute,
  sqrt
};

Status run_unary(Unary op, Inputs in, Value* out, Diagnostic* diagnostic) {
  const Value& a = *in[0];
  if (!a.is_number()) return wrong_kind(diagnostic);
  auto to_integer = [&](double value) {
    if (!(value > -9.2e18 && value < 9.2e18))
      return SCONCE_FAIL(Code::too_large, diagnostic, "number does not fit an integer");
    *out = Value::of(int64_t(value));
    return kOk;
  };
  switch (op) {
    case Unary::identity: *out = a; return kOk;
    case Unary::logical_not: *out = Value::of(number(a) == 0); return kOk;
    case Unary::to_float: *out = Value::of(number(a)); return kOk;
    case Unary::sqrt: *out = Value::of(std::sqrt(number(a))); return kOk;
    case Unary::neg:
      if (is_float(a))
        *out = Value::of(-a.floating);
      else if (integer(a) == INT64_MIN)
        return SCONCE_FAIL(Code::too_large, diagnostic, "integer overflow");
      else
        *out = Value::of(-integer(a));
      return kOk;
    case Unary::absolute:
      if (is_float(a))
        *out = Value::of(std::fabs(a.floating));
      else if (integer(a) == INT64_MIN)
        return SCONCE_FAIL(Code::too_large, diagnostic, "integer overflow");
      else
        *out = Value::of(integer(a) < 0 ? -integer(a) : integer(a));
      return kOk;
    default: break;
  }
  if (!is_float(a)) {
    *out = Value::of(integer(a));
    return kOk;
  }
  switch (op) {
    case Unary::ceil: return to_integer(std::ceil(a.floating));
    case Unary::floor: return to_integer(std::floor(a.floating));
    case Unary::round: return to_integer(std::nearbyint(a.floating));
    default: return to_integer(std::trunc(a.floating));
  }
}

template <Unary op>
Status unary(Inputs in, Value* out, Diagnostic* diagnostic) {
  return run_unary(op, in, out, diagnostic);
}

Status sym_size(Inputs in, Value* out, Diagnostic* diagnostic) {
  if (!in[0]->is_tensor() || in[1]->kind != Value::Kind::integer)
    return SCONCE_FAIL(Code::invalid_file, diagnostic,
                       "sym_size: a tensor and a dimension are wanted");
  const Tensor& tensor = *in[0]->tensor;
  int64_t dim = in[1]->integer < 0 ? in[1]->integer + tensor.rank : in[1]->integer;
  if (dim < 0 || dim >= tensor.rank)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "sym_size: dimension %lld of rank %d",
                       (long long)in[1]->integer, tensor.rank);
  *out = Value::of(int64_t(tensor.sizes[dim]));
  return kOk;
}

Status sym_numel(Inputs in, Value* out, Diagnostic* diagnostic) {
  if (!in[0]->is_tensor())
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "sym_numel: a tensor is wanted");
  *out = Value::of(element_count(*in[0]->tensor));
  return kOk;
}

Status local_scalar_dense(Inputs in, Value* out, Diagnostic* diagnostic) {
  if (!in[0]->is_tensor() || element_count(*in[0]->tensor) != 1)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "_local_scalar_dense: a tensor of one element is wanted");
  const Tensor& tensor = *in[0]->tensor;
  auto load = [&](auto value) {
    memcpy(&value, tensor.data, sizeof(value));
    return value;
  };
  switch (tensor.dtype) {
    case DType::b8: *out = Value::of(load(uint8_t()) != 0); break;
    case DType::u8: *out = Value::of(int64_t(load(uint8_t()))); break;
    case DType::i8: *out = Value::of(int64_t(load(int8_t()))); break;
    case DType::i16: *out = Value::of(int64_t(load(int16_t()))); break;
    case DType::u16: *out = Value::of(int64_t(load(uint16_t()))); break;
    case DType::i32: *out = Value::of(int64_t(load(int32_t()))); break;
    case DType::u32: *out = Value::of(int64_t(load(uint32_t()))); break;
    case DType::i64:
    case DType::u64: *out = Value::of(load(int64_t())); break;
    case DType::f16: *out = Value::of(double(to_float(load(f16_t())))); break;
    case DType::bf16: *out = Value::of(double(to_float(load(bf16_t())))); break;
    case DType::f32: *out = Value::of(double(load(float()))); break;
    case DType::f64: *out = Value::of(load(double())); break;
    default:
      return SCONCE_FAIL(Code::unsupported, diagnostic, "_local_scalar_dense of %s",
                         dtype_name(tensor.dtype));
  }
  return kOk;
}

Status sym_ite(Inputs in, Value* out, Diagnostic* diagnostic) {
  if (!in[0]->is_number()) return wrong_kind(diagnostic);
  *out = number(*in[0]) != 0 ? *in[1] : *in[2];
  return kOk;
}

// The executorch_prim rows are those of ExecuTorch 1.5; sconce_prim rows are ours and appear only
// in files for our runtime.
constexpr Prim kPrims[] = {
    {"aten::sym_size.int", 2, sym_size},
    {"aten::sym_numel", 1, sym_numel},
    {"aten::_local_scalar_dense", 1, local_scalar_dense},
    {"executorch_prim::add.Scalar", 2, binary<Binary::add>},
    {"executorch_prim::sub.Scalar", 2, binary<Binary::sub>},
    {"executorch_prim::mul.Scalar", 2, binary<Binary::mul>},
    {"executorch_prim::floordiv.Scalar", 2, binary<Binary::floordiv>},
    {"executorch_prim::floordiv.int", 2, binary<Binary::floordiv>},
    {"executorch_prim::truediv.Scalar", 2, binary<Binary::truediv>},
    {"executorch_prim::mod.int", 2, binary<Binary::mod>},
    {"executorch_prim::mod.Scalar", 2, binary<Binary::mod>},
    {"executorch_prim::eq.Scalar", 2, binary<Binary::eq>},
    {"executorch_prim::gt.Scalar", 2, binary<Binary::gt>},
    {"executorch_prim::lt.Scalar", 2, binary<Binary::lt>},
    {"executorch_prim::ge.Scalar", 2, binary<Binary::ge>},
    {"executorch_prim::le.Scalar", 2, binary<Binary::le>},
    {"executorch_prim::neg.Scalar", 1, unary<Unary::neg>},
    {"executorch_prim::ceil.Scalar", 1, unary<Unary::ceil>},
    {"executorch_prim::round.Scalar", 1, unary<Unary::round>},
    {"executorch_prim::trunc.Scalar", 1, unary<Unary::trunc>},
    {"executorch_prim::sym_max.Scalar", 2, binary<Binary::max>},
    {"executorch_prim::sym_min.Scalar", 2, binary<Binary::min>},
    {"executorch_prim::sym_not.Scalar", 1, unary<Unary::logical_not>},
    {"executorch_prim::sym_ite.Scalar", 3, sym_ite},
    {"executorch_prim::sym_float.Scalar", 1, unary<Unary::to_float>},
    {"executorch_prim::sym_int.Scalar", 1, unary<Unary::trunc>},
    {"sconce_prim::ne.Scalar", 2, binary<Binary::ne>},
    {"sconce_prim::pow.Scalar", 2, binary<Binary::pow>},
    {"sconce_prim::and.Scalar", 2, binary<Binary::bit_and>},
    {"sconce_prim::or.Scalar", 2, binary<Binary::bit_or>},
    {"sconce_prim::xor.Scalar", 2, binary<Binary::bit_xor>},
    {"sconce_prim::floor.Scalar", 1, unary<Unary::floor>},
    {"sconce_prim::abs.Scalar", 1, unary<Unary::absolute>},
    {"sconce_prim::sqrt.Scalar", 1, unary<Unary::sqrt>},
    {"sconce_prim::constant", 1, unary<Unary::identity>},
};

}  // namespace

const Prim* find_prim(const char* name, size_t name_bytes) {
  for (const Prim& prim : kPrims)
    if (strlen(prim.name) == name_bytes && memcmp(prim.name, name, name_bytes) == 0) return &prim;
  return nullptr;
}

}  // namespace sconce
