#include "formats/json/json_reader.h"

#include <cmath>
#include <limits>

namespace sconce::json {
namespace {

// What stands there, for messages.
std::string describe(Element element) {
  switch (element.type()) {
    case simdjson::dom::element_type::ARRAY: return "a list";
    case simdjson::dom::element_type::OBJECT: return "an object";
    case simdjson::dom::element_type::INT64:
      return fmt::format("integer {}", int64_t(element.get_int64().value_unsafe()));
    case simdjson::dom::element_type::UINT64:
      return fmt::format("integer {}", uint64_t(element.get_uint64().value_unsafe()));
    case simdjson::dom::element_type::DOUBLE:
      return fmt::format("number {}", element.get_double().value_unsafe());
    case simdjson::dom::element_type::STRING:
      return fmt::format("string \"{:.80}\"",
                         std::string_view(element.get_string().value_unsafe()));
    case simdjson::dom::element_type::BOOL:
      return element.get_bool().value_unsafe() ? "true" : "false";
    case simdjson::dom::element_type::NULL_VALUE: return "null";
  }
  return "?";
}

}  // namespace

bool JsonReader::text(Element element, std::string_view* out) {
  if (element.get_string().get(*out) == simdjson::SUCCESS) return true;
  return fail(Code::invalid_file, "found {}, wanted a string", describe(element));
}

bool JsonReader::boolean(Element element, bool* out) {
  if (element.get_bool().get(*out) == simdjson::SUCCESS) return true;
  return fail(Code::invalid_file, "found {}, wanted true or false", describe(element));
}

bool JsonReader::integer(Element element, int64_t* out) {
  if (element.is_int64() && element.get_int64().get(*out) == simdjson::SUCCESS) return true;
  return fail(Code::invalid_file, "found {}, wanted a 64-bit integer", describe(element));
}

bool JsonReader::integer_within(Element element, int64_t min, int64_t max, int64_t* out) {
  if (!integer(element, out)) return false;
  if (*out >= min && *out <= max) return true;
  return fail(Code::invalid_file, "found {}, wanted {} to {}", *out, min, max);
}

bool JsonReader::floating(Element element, double* out) {
  std::string_view name;
  if (element.is_number() && element.get_double().get(*out) == simdjson::SUCCESS) return true;
  if (element.get_string().get(name) == simdjson::SUCCESS) {
    if (name == "Infinity") return *out = INFINITY, true;
    if (name == "-Infinity") return *out = -INFINITY, true;
    if (name == "NaN") return *out = std::numeric_limits<double>::quiet_NaN(), true;
  }
  return fail(Code::invalid_file, "found {}, wanted a number", describe(element));
}

bool JsonReader::object(Element element, simdjson::dom::object* out) {
  if (element.get_object().get(*out) == simdjson::SUCCESS) return true;
  return fail(Code::invalid_file, "found {}, wanted an object", describe(element));
}

bool JsonReader::array(Element element, simdjson::dom::array* out) {
  if (element.get_array().get(*out) == simdjson::SUCCESS) return true;
  return fail(Code::invalid_file, "found {}, wanted a list", describe(element));
}

bool JsonReader::members(Element element, Span<Field> fields) {
  simdjson::dom::object members;
  if (!object(element, &members)) return false;
  size_t expected = 0;  // members mostly come in the order of `fields`
  for (auto [name, value] : members) {
    size_t index = expected;
    if (index >= fields.size() || fields[index].name != name)
      for (index = 0; index < fields.size() && fields[index].name != name; index++) {
      }
    if (index == fields.size()) continue;
    Field& field = fields[index];
    if (field.found) return fail(Code::invalid_file, "member \"{}\" stands there twice", name);
    expected = index + 1;
    field.found = field.required || !value.is_null();
    field.value = value;
  }
  for (const Field& field : fields)
    if (field.required && !field.found)
      return fail(Code::invalid_file, "member \"{}\" is missing", field.name);
  return true;
}

bool JsonReader::only_member(Element element, std::string_view* name, Element* value) {
  simdjson::dom::object members;
  if (!object(element, &members)) return false;
  if (members.size() != 1)
    return fail(Code::invalid_file, "found an object of {} members, wanted one that names the kind",
                members.size());
  for (auto [key, content] : members) {
    *name = key;
    *value = content;
  }
  return true;
}

}  // namespace sconce::json
