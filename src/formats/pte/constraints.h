// Constraints on the inputs of methods: the named data "sconce.constraints". Freestanding.
//
// What dtype, rank and upper bound of an input tensor cannot say: lower bounds, divisibility, sizes
// that depend on each other, ranges of integer inputs. Stock ExecuTorch ignores the entry. Layout
// in format.md; the structs of writers are in pte.h.
#pragma once

#include <cstdint>

#include "base/span.h"
#include "base/status.h"

namespace sconce {

// Name of the entry in the program's named data.
inline constexpr const char* kConstraintsKey = "sconce.constraints";
// As `dim`: the rule is about the value of an integer input.
inline constexpr uint16_t kIntegerInput = 0xffff;

struct PteDimRule {
  uint16_t input = 0, dim = 0;  // position among the method's inputs
  int32_t min = 0, max = INT32_MAX;
  int32_t divisor = 1, remainder = 0;  // size % divisor == remainder
  // When `related`: own_scale * size == other_scale * other + offset.
  bool related = false;
  uint16_t other_input = 0, other_dim = 0;
  int32_t own_scale = 1, other_scale = 1, offset = 0;
};

namespace pte {

inline constexpr uint32_t kConstraintsMagic = 0x31434353;  // "SCC1"
inline constexpr uint32_t kDimRuleBytes = 36;
inline constexpr uint32_t kNoRelation = 0xffffffff;

// Rules of one method; views verified bytes.
struct MethodConstraints {
  const uint8_t* names = nullptr;  // of the inputs
  uint32_t name_count = 0;
  const uint8_t* rules = nullptr;
  uint32_t rule_count = 0;

  const char* input_name(uint32_t i) const;  // "" when unknown
  PteDimRule rule(uint32_t i) const;
};

// Structure and ranges. That inputs and dims exist is known only beside the method (the runtime
// checks it when a method is loaded).
Status verify_constraints(Bytes bytes, Diagnostic* diagnostic);
// False when there is nothing about `method`. Bytes must have been verified.
bool find_constraints(Bytes bytes, const char* method, MethodConstraints* found);

}  // namespace pte
}  // namespace sconce
