#include "formats/pte/constraints.h"

#include <cstring>

#include "base/checked.h"
#include "formats/pte/tables.h"

namespace sconce::pte {
namespace {

// Walks the bytes; `left` never exceeds what is there.
struct Cursor {
  const uint8_t* at;
  size_t left;

  bool u32(uint32_t* value) {
    if (left < 4) return false;
    *value = load<uint32_t>(at);
    at += 4, left -= 4;
    return true;
  }
  bool skip(uint64_t bytes) {
    if (bytes > left) return false;
    at += bytes, left -= size_t(bytes);
    return true;
  }
  // A length, the text, then 1 to 4 zero bytes up to a multiple of 4.
  bool text(const char** found) {
    uint32_t length;
    if (!u32(&length)) return false;
    *found = reinterpret_cast<const char*>(at);
    const uint8_t* begin = at;
    return skip(align_up(uint64_t(length) + 1, 4)) && begin[length] == 0;
  }
};

PteDimRule decode_rule(const uint8_t* at) {
  PteDimRule rule;
  uint32_t own = load<uint32_t>(at), other = load<uint32_t>(at + 20);
  rule.input = uint16_t(own), rule.dim = uint16_t(own >> 16);
  rule.min = load<int32_t>(at + 4), rule.max = load<int32_t>(at + 8);
  rule.divisor = load<int32_t>(at + 12), rule.remainder = load<int32_t>(at + 16);
  rule.related = other != kNoRelation;
  if (rule.related) rule.other_input = uint16_t(other), rule.other_dim = uint16_t(other >> 16);
  rule.own_scale = load<int32_t>(at + 24), rule.other_scale = load<int32_t>(at + 28);
  rule.offset = load<int32_t>(at + 32);
  return rule;
}

// One method's part; leaves the cursor behind it.
bool read_method(Cursor& cursor, const char** name, MethodConstraints* method) {
  const char* text;
  if (!cursor.text(name) || !cursor.u32(&method->name_count)) return false;
  method->names = cursor.at;
  for (uint32_t i = 0; i < method->name_count; i++)
    if (!cursor.text(&text)) return false;
  if (!cursor.u32(&method->rule_count)) return false;
  method->rules = cursor.at;
  return cursor.skip(uint64_t(method->rule_count) * kDimRuleBytes);
}

}  // namespace

const char* MethodConstraints::input_name(uint32_t i) const {
  if (i >= name_count) return "";
  Cursor cursor{names, SIZE_MAX};
  const char* name = "";
  for (uint32_t k = 0; k <= i; k++) cursor.text(&name);
  return name;
}

PteDimRule MethodConstraints::rule(uint32_t i) const {
  return decode_rule(rules + size_t(i) * kDimRuleBytes);
}

Status verify_constraints(Bytes bytes, Diagnostic* diagnostic) {
  Cursor cursor{bytes.data(), bytes.size()};
  uint32_t magic, method_count;
  if (!cursor.u32(&magic) || magic != kConstraintsMagic || !cursor.u32(&method_count))
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s does not start with SCC1",
                       kConstraintsKey);
  for (uint32_t m = 0; m < method_count; m++) {
    const char* name;
    MethodConstraints method;
    if (!read_method(cursor, &name, &method))
      return SCONCE_FAIL(Code::invalid_file, diagnostic, "%s: method %u of %u is cut",
                         kConstraintsKey, m, method_count);
    for (uint32_t i = 0; i < method.rule_count; i++) {
      PteDimRule rule = method.rule(i);
      if (rule.divisor < 1 || rule.remainder < 0 || rule.remainder >= rule.divisor)
        return SCONCE_FAIL(Code::invalid_file, diagnostic,
                           "%s: method %s: rule %u: divisor %d, remainder %d", kConstraintsKey,
                           name, i, int(rule.divisor), int(rule.remainder));
    }
  }
  return kOk;
}

bool find_constraints(Bytes bytes, const char* method, MethodConstraints* found) {
  Cursor cursor{bytes.data(), bytes.size()};
  uint32_t magic, method_count = 0;
  cursor.u32(&magic);
  cursor.u32(&method_count);
  for (uint32_t m = 0; m < method_count; m++) {
    const char* name;
    if (!read_method(cursor, &name, found)) return false;
    if (strcmp(name, method) == 0) return true;
  }
  return false;
}

}  // namespace sconce::pte
