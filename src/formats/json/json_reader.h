// Typed access to a parsed JSON document, with the place of an error in its text.
//
// Functions return false after the first failure and keep its error; callers put the place in front
// with `in`. Results are views into the document's strings and into the Arena.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include <simdjson.h>

#include "base/result.h"
#include "base/span.h"
#include "formats/json/arena.h"

namespace sconce::json {

using Element = simdjson::dom::element;

// A member of an object. Null counts as absent when the member is optional.
struct Field {
  std::string_view name;
  bool required = true;
  bool found = false;
  Element value{};
};
inline Field optional_field(std::string_view name) { return {name, false}; }

class JsonReader {
 public:
  explicit JsonReader(Arena& arena) : arena_(arena) {}
  Error& error() { return error_; }

 protected:
  template <class... Arguments>
  bool fail(Code code, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    error_ = Error{code, fmt::format(format, std::forward<Arguments>(arguments)...)};
    return false;
  }
  // Puts a place in front of the error; false, so that it can be returned.
  template <class... Arguments>
  bool in(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    error_ =
        std::move(error_).with_context(fmt::format(format, std::forward<Arguments>(arguments)...));
    return false;
  }

  bool text(Element element, std::string_view* out);
  bool boolean(Element element, bool* out);
  bool integer(Element element, int64_t* out);
  bool integer_within(Element element, int64_t min, int64_t max, int64_t* out);
  bool floating(Element element, double* out);  // also "Infinity", "-Infinity", "NaN"
  bool object(Element element, simdjson::dom::object* out);
  bool array(Element element, simdjson::dom::array* out);
  // Fills `fields`; members of other names are ignored, as they may come from later versions.
  bool members(Element element, Span<Field> fields);
  // The only member of an object that stands for one of several kinds.
  bool only_member(Element element, std::string_view* name, Element* value);

  // read(Element, T*) for each entry.
  template <class T, class Read>
  bool list(Element element, Span<const T>* out, Read read) {
    simdjson::dom::array items;
    if (!array(element, &items)) return false;
    size_t count = items.size(), i = 0;
    if (count >= kCountMax) return fail(Code::too_large, "a list of {} or more entries", count);
    Span<T> result = arena_.allocate<T>(count);
    for (Element item : items) {
      if (!read(item, &result[i])) return in("[{}]", i);
      i++;
    }
    *out = result;
    return true;
  }
  // The same for an object used as a table; sorted by name, names are unique. Entry: {name, value}.
  template <class Entry, class Read>
  bool table(Element element, Span<const Entry>* out, Read read) {
    simdjson::dom::object items;
    if (!object(element, &items)) return false;
    size_t count = items.size(), i = 0;
    if (count >= kCountMax) return fail(Code::too_large, "a table of {} or more entries", count);
    Span<Entry> result = arena_.allocate<Entry>(count);
    for (auto [name, value] : items) {
      result[i].name = name;
      if (!read(value, &result[i].value)) return in("\"{}\"", name);
      i++;
    }
    std::sort(result.begin(), result.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    for (i = 1; i < count; i++)
      if (result[i].name == result[i - 1].name)
        return fail(Code::invalid_file, "\"{}\" stands there twice", result[i].name);
    *out = result;
    return true;
  }

  Arena& arena_;
  Error error_;

 private:
  static constexpr size_t kCountMax = 0xffffff;  // simdjson counts no further
};

}  // namespace sconce::json
