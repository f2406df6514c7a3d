// Scheme: what a quantised layer is made of, by name.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace sconce {

// What a layer's input is while its weights are integers.
enum class Activations : uint8_t {
  numbers,  // f32
  fixed,    // int8 by one range, found on samples
  dynamic,  // int8, each row by its own range
};

inline constexpr int kFloatBits = 32;

struct Scheme {
  Activations activations = Activations::fixed;
  int bits = 8;       // of weights, symmetric; kFloatBits: they stay as they are
  int64_t group = 0;  // columns that share a scale; 0: a scale for each output channel
  // Fixed ranges also for linears that numbers feed and numbers follow; else those have dynamic
  // ones.
  bool everywhere = false;
  bool operator==(const Scheme&) const = default;
};

struct NamedScheme {
  const char* name;
  Scheme scheme;
  const char* about;
};
const std::vector<NamedScheme>& all_schemes();
Result<Scheme> find_scheme(const std::string& name);

}  // namespace sconce
