// What compiling prefers where speed costs bytes of the file.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sconce {

enum class Prefer : uint8_t { size, balance, speed };

struct PreferName {
  Prefer prefer;
  const char* name;         // as given to --prefer
  const char* description;  // one line for --help
};
inline constexpr PreferName kPreferNames[] = {
    {Prefer::size, "size", "no weight takes more bytes than in the model"},
    {Prefer::balance, "balance", "weights may grow where that is a fifth faster and more"},
    {Prefer::speed, "speed", "weights may grow wherever that is faster"},
};

inline std::optional<Prefer> find_prefer(std::string_view name) {
  for (const PreferName& known : kPreferNames)
    if (name == known.name) return known.prefer;
  return std::nullopt;
}

}  // namespace sconce
