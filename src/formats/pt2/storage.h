// What an Archive owns: an arena for the structs, and the strings of the parsed JSON.
#pragma once

#include "formats/json/arena.h"

namespace sconce::pt2 {

struct Storage : json::Arena {
  std::vector<std::unique_ptr<uint8_t[]>> strings;  // referred to by string_views
};

}  // namespace sconce::pt2
