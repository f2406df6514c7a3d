// Result<T>: a value or an Error with text. Host code only; freestanding code uses base/status.h.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/status.h"

namespace sconce {

// One sentence that names the thing, the value found and the value wanted; context is put in
// front, outermost first: "model.pte: method forward: tensor 17: offset 4200 exceeds 4096".
struct Error {
  Code code = Code::internal;
  std::string text;

  Error with_context(const std::string& context) && {
    return Error{code, context + ": " + std::move(text)};
  }
};

template <class... Arguments>
Error error(Code code, fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  return Error{code, fmt::format(format, std::forward<Arguments>(arguments)...)};
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  T& operator*() & {
    CHECK(ok());
    return *value_;
  }
  const T& operator*() const& {
    CHECK(ok());
    return *value_;
  }
  T&& operator*() && {
    CHECK(ok());
    return std::move(*value_);
  }
  T* operator->() {
    CHECK(ok());
    return &*value_;
  }
  const T* operator->() const {
    CHECK(ok());
    return &*value_;
  }
  Error& error() {
    CHECK(!ok());
    return error_;
  }
  const Error& error() const {
    CHECK(!ok());
    return error_;
  }
  Result with_context(const std::string& context) && {
    if (ok()) return std::move(*this);
    return std::move(error_).with_context(context);
  }

 private:
  std::optional<T> value_;
  Error error_;
};

// Result of something done for its effect.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  Error& error() {
    CHECK(!ok());
    return *error_;
  }
  const Error& error() const {
    CHECK(!ok());
    return *error_;
  }
  Result with_context(const std::string& context) && {
    if (ok()) return {};
    return std::move(*error_).with_context(context);
  }

 private:
  std::optional<Error> error_;
};

// Status of freestanding code as an Error.
inline Error to_error(Status status, const Diagnostic& diagnostic) {
#if SCONCE_TEXT
  return Error{status.code, diagnostic.text};
#else
  return Error{status.code, "code " + std::to_string(int(status.code))};
#endif
}

#define SCONCE_JOIN_(a, b) a##b
#define SCONCE_JOIN(a, b) SCONCE_JOIN_(a, b)
#define SCONCE_TRY_IMPL(result, target, ...)          \
  auto result = (__VA_ARGS__);                        \
  if (!result.ok()) return std::move(result.error()); \
  target = std::move(*result)

// TRY(auto header, decode_header(file)); passes an error up, or binds the value.
#define TRY(target, ...) SCONCE_TRY_IMPL(SCONCE_JOIN(sconce_result_, __LINE__), target, __VA_ARGS__)
// TRY_VOID(write(file)); passes an error up.
#define TRY_VOID(...)                                              \
  do {                                                             \
    if (auto sconce_result_ = (__VA_ARGS__); !sconce_result_.ok()) \
      return std::move(sconce_result_.error());                    \
  } while (0)

}  // namespace sconce
