// The block kernels' functions, run over expressions: a Simd of one lane whose numbers are nodes.
#include "tile/c/functions.h"

#include <cmath>
#include <functional>
#include <map>
#include <vector>

#include "tile/c/scalar_math_text.h"
#include "tile/kernels/simd_round.h"

namespace sconce::tile {
namespace {

// An operation: its C with {} for the operands, in order.
struct Node {
  char type;  // f: float, i: int32_t, m: int
  std::string format;
  std::vector<int> operands;
  bool operator<(const Node& other) const {
    return std::tie(type, format, operands) < std::tie(other.type, other.format, other.operands);
  }
};

// What one function does, each operation once.
struct Recorder {
  std::vector<Node> nodes;
  std::map<Node, int> known;
  int add(Node node) {
    auto [at, is_new] = known.emplace(node, int(nodes.size()));
    if (is_new) nodes.push_back(std::move(node));
    return at->second;
  }
};
thread_local Recorder* recorder = nullptr;

template <char kType>
struct Traced {
  int node = 0;
};

struct Simd {
  static constexpr int kLanes = 1;
  typedef Traced<'f'> F;
  typedef Traced<'i'> I;
  typedef Traced<'m'> M;
  template <class T>
  static constexpr char type_of(T) {
    return std::is_same_v<T, F> ? 'f' : std::is_same_v<T, I> ? 'i' : 'm';
  }
  template <class Out, class... In>
  static Out make(std::string format, In... in) {
    return {recorder->add({type_of(Out()), std::move(format), {in.node...}})};
  }

  static F set(float x) {
    if (std::isnan(x)) return make<F>("sc_f32_of(0x7fc00000)");
    if (std::isinf(x)) return make<F>(x < 0 ? "sc_f32_of(0xff800000)" : "sc_f32_of(0x7f800000)");
    return make<F>(x == float(int(x)) ? fmt::format("{:.1f}f", x) : fmt::format("{:a}f", x));
  }
  static I seti(int32_t x) {
    if (x == INT32_MIN) return make<I>("INT32_MIN");
    return make<I>(x > 4096 ? fmt::format("{:#x}", x) : std::to_string(x));
  }
  static F add(F a, F b) { return make<F>("{} + {}", a, b); }
  static F sub(F a, F b) { return make<F>("{} - {}", a, b); }
  static F mul(F a, F b) { return make<F>("{} * {}", a, b); }
  static F div(F a, F b) { return make<F>("{} / {}", a, b); }
  static F neg(F a) { return make<F>("-{}", a); }
  static F fma(F a, F b, F c) { return make<F>("sc_fma({}, {}, {})", a, b, c); }
  static F fnma(F a, F b, F c) { return make<F>("sc_fma(-{}, {}, {})", a, b, c); }
  static F sqrt(F a) { return make<F>("sqrtf({})", a); }
  static F at_least(F x, F low) { return make<F>("{1} > {0} ? {1} : {0}", x, low); }
  static F at_most(F x, F high) { return make<F>("{1} < {0} ? {1} : {0}", x, high); }
  static M lt(F a, F b) { return make<M>("{} < {}", a, b); }
  static M le(F a, F b) { return make<M>("{} <= {}", a, b); }
  static M eq(F a, F b) { return make<M>("{} == {}", a, b); }
  static M isnan(F a) { return make<M>("{0} != {0}", a); }
  static M ieq(I a, I b) { return make<M>("{} == {}", a, b); }
  static M igt(I a, I b) { return make<M>("{} > {}", a, b); }
  static M none_of(M a) { return make<M>("!{}", a); }
  static F select(M m, F a, F b) { return make<F>("{} ? {} : {}", m, a, b); }
  static I selecti(M m, I a, I b) { return make<I>("{} ? {} : {}", m, a, b); }
  static I as_i(F a) { return make<I>("(int32_t)sc_bits_of({})", a); }
  static F as_f(I a) { return make<F>("sc_f32_of((uint32_t){})", a); }
  static I iadd(I a, I b) { return make<I>("(int32_t)((uint32_t){} + (uint32_t){})", a, b); }
  static I isub(I a, I b) { return make<I>("(int32_t)((uint32_t){} - (uint32_t){})", a, b); }
  static I iand(I a, I b) { return make<I>("{} & {}", a, b); }
  static I ior(I a, I b) { return make<I>("{} | {}", a, b); }
  static I ixor(I a, I b) { return make<I>("{} ^ {}", a, b); }
  template <int k>
  static I shl(I a) {
    return make<I>(fmt::format("(int32_t)((uint32_t){{}} << {})", k), a);
  }
  template <int k>
  static I shr(I a) {
    return make<I>(fmt::format("(int32_t)((uint32_t){{}} >> {})", k), a);
  }
  template <int k>
  static I sar(I a) {
    return make<I>(fmt::format("{{}} >> {}", k), a);
  }
  static I trunc_i(F a) { return make<I>("sc_to_i32({})", a); }
  static I to_i(F a) { return make<I>("sc_to_i32(sc_nearest({}))", a); }
  static F to_f(I a) { return make<F>("(float){}", a); }
  static F rint(F a) { return make<F>("sc_nearest({})", a); }
  static F floor(F a) { return Rounding<Simd>::floor(a); }
  static F ceil(F a) { return Rounding<Simd>::ceil(a); }
  static F trunc(F a) { return Rounding<Simd>::trunc(a); }

  // What is done one element at a time, where some lane wants it: the condition of the last any(),
  // then store(), the function itself, and load() of its results.
  static bool any(M m) {
    asked = m;
    return true;
  }
  static void store(float* p, F x) {
    *p = 0;
    (stored.node < 0 ? stored : second) = x;
  }
  static F load(const float*) {
    if (second.node >= 0) return make<F>("sc_power({}, {})", stored, second);
    return make<F>("{} ? sc_reduced_large({}) : 0.0f", asked, stored);
  }
  static I load_i32(const int32_t*) {
    return make<I>("{} ? sc_quadrant_large({}) : 0", asked, stored);
  }
  static inline thread_local M asked;
  static inline thread_local F stored{-1}, second{-1};
};

}  // namespace
}  // namespace sconce::tile

#include "tile/kernels/apply.h"

namespace sconce::tile {
namespace {

constexpr const char* kTypes[] = {"float", "int32_t", "int"};
const char* type_text(char type) { return kTypes[type == 'f' ? 0 : type == 'i' ? 1 : 2]; }

// Operands that need no parentheses: names, numbers and calls.
bool is_primary(const std::string& text) {
  int depth = 0;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (c == '(') depth++;
    if (c == ')') depth--;
    bool in_number = i > 0 && (c == '-' || c == '+') && text[i - 1] == 'p';
    if (depth == 0 && !isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != ')' &&
        !in_number)
      return false;
  }
  return !text.empty() && text[0] != '(';
}

std::string filled(const std::string& format, const std::vector<std::string>& operands) {
  std::string text;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); i++) {
    if (format[i] != '{') {
      text += format[i];
      continue;
    }
    size_t which = format[i + 1] == '}' ? next++ : size_t(format[i + 1] - '0');
    i += format[i + 1] == '}' ? 1 : 2;
    // Between the parentheses of a call, and as a whole, nothing can come apart.
    bool alone = (text.empty() || text.back() == '(' || text.ends_with(", ")) &&
                 (i + 1 == format.size() || format[i + 1] == ')' || format[i + 1] == ',');
    text += alone || is_primary(operands[which]) ? operands[which] : "(" + operands[which] + ")";
  }
  return text;
}

// A function of up to two arguments as C.
std::string traced(const std::string& name, char result_type, const std::vector<char>& arguments,
                   const std::function<int(Recorder&)>& function) {
  Recorder nodes;
  recorder = &nodes;
  Simd::stored = Simd::second = {-1};
  for (size_t a = 0; a < arguments.size(); a++)
    nodes.add({arguments[a], arguments.size() == 1 ? "x" : a == 0 ? "a" : "b", {}});
  int result = function(nodes);
  recorder = nullptr;
  std::vector<int> uses(nodes.nodes.size(), 0);
  std::vector<bool> wanted(nodes.nodes.size(), false);
  wanted[size_t(result)] = true;
  for (size_t n = nodes.nodes.size(); n-- > 0;)
    if (wanted[n]) {
      bool twice = nodes.nodes[n].format.find("{0}") != std::string::npos ||
                   nodes.nodes[n].format.find("{1}") != std::string::npos;
      for (int operand : nodes.nodes[n].operands) {
        wanted[size_t(operand)] = true;
        uses[size_t(operand)] += twice ? 2 : 1;
      }
    }
  std::string parameters, body;
  std::vector<std::string> texts(nodes.nodes.size());
  for (size_t n = 0; n < nodes.nodes.size(); n++) {
    const Node& node = nodes.nodes[n];
    if (n < arguments.size()) {
      parameters += fmt::format("{}{} {}", n ? ", " : "", type_text(node.type), node.format);
      texts[n] = node.format;
    }
    if (n < arguments.size() || !wanted[n]) continue;
    std::vector<std::string> operands;
    for (int operand : node.operands) operands.push_back(texts[size_t(operand)]);
    texts[n] = filled(node.format, operands);
    bool short_enough = texts[n].size() < 60 && texts[n].find('?') == std::string::npos;
    if (node.operands.empty() || int(n) == result || (uses[n] == 1 && short_enough)) continue;
    body += fmt::format("  const {} t{} = {};\n", type_text(node.type), n, texts[n]);
    texts[n] = fmt::format("t{}", n);
  }
  return fmt::format("static inline {} {}({}) {{\n{}  return {};\n}}\n", type_text(result_type),
                     name, parameters, body, texts[size_t(result)]);
}

struct Helper {
  std::string name, text;
};

// Every helper, each behind those that it calls.
const std::vector<Helper>& all_helpers() {
  static const std::vector<Helper> helpers = [] {
    std::vector<Helper> all = {
        {"sc_bits_of", R"(static inline uint32_t sc_bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
)"},
        {"sc_f32_of", R"(static inline float sc_f32_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
)"},
        {"sc_bits_of_f64", R"(static inline uint64_t sc_bits_of_f64(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
)"},
        {"sc_f64_of", R"(static inline double sc_f64_of(uint64_t bits) {
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
)"},
        {"sc_fma",
         R"(/* a * b + c, rounded once: the processor's own, or by doubles rounded to odd. */
#if defined(FP_FAST_FMAF) || defined(__FP_FAST_FMAF) || defined(__FMA__)
#define sc_fma(a, b, c) fmaf(a, b, c)
#else
static inline float sc_fma(float a, float b, float c) {
  const double product = (double)a * (double)b; /* exact */
  const double sum = product + (double)c;
  const double part = sum - product;
  const double lost = (product - (sum - part)) + ((double)c - part);
  uint64_t bits = sc_bits_of_f64(sum);
  const int finite = (bits >> 52 & 2047) != 2047;
  if (finite && lost != 0 && (bits & 1) == 0) bits += (lost > 0) == (sum > 0) ? 1 : (uint64_t)-1;
  return (float)sc_f64_of(bits);
}
#endif
)"},
        {"sc_nearest", R"(/* To nearest, ties to even. */
static inline float sc_nearest(float x) {
  const uint32_t sign = sc_bits_of(x) & 0x80000000u;
  const float size = sc_f32_of(sc_bits_of(x) & 0x7fffffffu);
  const float whole = (size + 0x1p23f) - 0x1p23f;
  return sc_f32_of(sc_bits_of(size < 0x1p23f ? whole : size) | sign);
}
)"},
        {"sc_to_i32", R"(/* Toward zero; what does not fit, and NaN, gives some number. */
static inline int32_t sc_to_i32(float x) {
  const float least = x >= -0x1p31f ? x : -0x1p31f;
  return (int32_t)(least < 0x1p31f ? least : 0x1.fffffep30f);
}
)"},
        {"sc_i32_of_f32", R"(/* Toward zero, saturating; NaN gives 0. */
static inline int32_t sc_i32_of_f32(float x) {
  return x != x ? 0 : x >= 0x1p31f ? INT32_MAX : x < -0x1p31f ? INT32_MIN : (int32_t)x;
}
)"},
        {"sc_i64_of_f32", R"(static inline int64_t sc_i64_of_f32(float x) {
  return x != x ? 0 : x >= 0x1p63f ? INT64_MAX : x < -0x1p63f ? INT64_MIN : (int64_t)x;
}
)"},
        {"sc_saturate", R"(static inline int32_t sc_saturate(int32_t x, int32_t low, int32_t high) {
  return x < low ? low : x > high ? high : x;
}
)"},
        {"sc_half", R"(/* Of two elements of 4 bits in a byte, the one at step k. */
static inline int32_t sc_half(int8_t byte, int64_t k) {
  return (int32_t)(k % 8 < 4 ? byte & 15 : (uint8_t)byte >> 4) - 8;
}
)"},
        {"sc_f32_of_bf16", R"(static inline float sc_f32_of_bf16(uint16_t bits) {
  return sc_f32_of((uint32_t)bits << 16);
}
)"},
        {"sc_bf16_of_f32", R"(static inline uint16_t sc_bf16_of_f32(float x) {
  const uint32_t bits = sc_bits_of(x);
  return (uint16_t)(x != x ? bits >> 16 | 0x40 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
)"},
    };
    // Functions of one element, whose names get the prefix that all have here.
    std::string scalar = kScalarMathText;
    for (const char* name :
         {"bits_of_f64(", "bits_of(", "f32_of(", "f64_of(", "power(", "reduce_large("}) {
      std::string word = name;
      for (size_t at = 0; (at = scalar.find(word, at)) != std::string::npos; at += word.size() + 3)
        if (at == 0 ||
            !(isalnum(static_cast<unsigned char>(scalar[at - 1])) || scalar[at - 1] == '_'))
          scalar.insert(at, "sc_");
    }
    for (size_t at = 0; (at = scalar.find("SCONCE_INLINE", at)) != std::string::npos;)
      scalar.replace(at, 13, "static inline");
    std::string block;
    for (size_t at = 0, end = 0; at < scalar.size(); at = end + 1) {
      end = std::min(scalar.find('\n', at), scalar.size());
      std::string line = scalar.substr(at, end - at);
      if (size_t comment = line.find("//"); comment != std::string::npos)
        line = line.substr(0, comment) + "/*" + line.substr(comment + 2) + " */";
      block += line + "\n";
      bool ends = line == "}";
      if (!ends) continue;
      all.push_back(
          {block.find(" sc_power(") != std::string::npos ? "sc_power" : "sc_reduce_large", block});
      block.clear();
    }
    all.push_back({"sc_reduced_large", R"(static inline float sc_reduced_large(float x) {
  int32_t quadrant;
  return sc_reduce_large(x, &quadrant);
}
)"});
    all.push_back({"sc_quadrant_large", R"(static inline int32_t sc_quadrant_large(float x) {
  int32_t quadrant;
  sc_reduce_large(x, &quadrant);
  return quadrant;
}
)"});
    all.push_back({"sc_f32_of_f16", traced("sc_f32_of_f16", 'f', {'i'}, [](Recorder&) {
                     return Rounding<Simd>::from_f16({0}).node;
                   })});
    all.push_back({"sc_f16_of_f32", traced("sc_f16_of_f32", 'i', {'f'}, [](Recorder&) {
                     return Rounding<Simd>::to_f16({0}).node;
                   })});
#define SCONCE_ROW(name, meaning)                                                           \
  all.push_back(                                                                            \
      {"sc_" #name, "/* " meaning " */\n" + traced("sc_" #name, 'f', {'f'}, [](Recorder&) { \
                      return apply<UnaryKernel::name>(F{0}).node;                           \
                    })});
    SCONCE_UNARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
#define SCONCE_ROW(name, meaning)                                                                \
  all.push_back(                                                                                 \
      {"sc_" #name, "/* " meaning " */\n" + traced("sc_" #name, 'f', {'f', 'f'}, [](Recorder&) { \
                      return apply<BinaryKernel::name>(F{0}, F{1}).node;                         \
                    })});
    SCONCE_BINARY_KERNELS(SCONCE_ROW)
#undef SCONCE_ROW
    return all;
  }();
  return helpers;
}

bool calls(const std::string& text, const std::string& name) {
  for (size_t at = 0; (at = text.find(name + "(", at)) != std::string::npos; at++)
    if (at == 0 || !(isalnum(static_cast<unsigned char>(text[at - 1])) || text[at - 1] == '_'))
      return true;
  return false;
}

}  // namespace

const std::string& CHelpers::use(const std::string& name) { return *used_.insert(name).first; }

std::string CHelpers::text() const {
  const std::vector<Helper>& all = all_helpers();
  std::vector<bool> wanted(all.size(), false);
  std::string body;
  for (size_t h = all.size(); h-- > 0;) {
    wanted[h] = used_.contains(all[h].name);
    for (size_t later = h + 1; later < all.size() && !wanted[h]; later++)
      wanted[h] = wanted[later] && calls(all[later].text, all[h].name);
    if (wanted[h]) body = "\n" + all[h].text + body;
  }
  return R"c(#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "results are those of single precision: compile for a processor that computes in it"
#endif
#if defined(__FAST_MATH__)
#error "results depend on the order of operations: compile without -ffast-math"
#endif
#if defined(__clang__) || !defined(__GNUC__)
#pragma STDC FP_CONTRACT OFF
#endif
#if defined(__GNUC__)
#define SC_INLINE static inline __attribute__((always_inline))
#else
#define SC_INLINE static inline
#endif
#if defined(__clang__)
#define SC_UNROLL _Pragma("clang loop unroll_count(16)")
#elif defined(__GNUC__)
#define SC_UNROLL _Pragma("GCC unroll 16")
#else
#define SC_UNROLL
#endif
)c" + body;
}

std::string c_name_of(Unary function) { return std::string("sc_") + name_of(function); }
std::string c_name_of(Binary function) { return std::string("sc_") + name_of(function); }

}  // namespace sconce::tile
