#include "quantize/scheme.h"

namespace sconce {

const std::vector<NamedScheme>& all_schemes() {
  using A = Activations;
  static const std::vector<NamedScheme> schemes = {
      {"int8",
       {A::fixed, 8, 0},
       "int8 with ranges from samples; linears among float operators by rows"},
      {"int8-fixed", {A::fixed, 8, 0, true}, "int8, ranges of all layers from samples"},
      {"int8-dynamic", {A::dynamic, 8, 0}, "int8, each row by its own range: transformers"},
      {"int8w", {A::numbers, 8, 0}, "weights int8, activations float: small files, little error"},
      {"int4-dynamic-g32", {A::dynamic, 4, 32}, "int4 weights in groups of 32, int8 rows"},
      {"int4-dynamic-g64", {A::dynamic, 4, 64}, "the same, groups of 64"},
      {"int4-dynamic-g128", {A::dynamic, 4, 128}, "the same, groups of 128"},
      {"int4w-g32", {A::numbers, 4, 32}, "weights int4 in groups of 32, activations float"},
      {"int4w-g64", {A::numbers, 4, 64}, "the same, groups of 64"},
      {"int4w-g128", {A::numbers, 4, 128}, "the same, groups of 128"},
      {"float", {A::numbers, kFloatBits, 0}, "no layer: for int8 caches alone"},
  };
  return schemes;
}

Result<Scheme> find_scheme(const std::string& name) {
  std::string known;
  for (const NamedScheme& s : all_schemes()) {
    if (name == s.name) return s.scheme;
    known += std::string(known.empty() ? "" : ", ") + s.name;
  }
  return error(Code::invalid_argument, "scheme \"{}\" is not known; there are {}", name, known);
}

}  // namespace sconce
