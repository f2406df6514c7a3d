// Files that must not exist yet: keys are never overwritten.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace sconce::cli {

// Fails when `path` is there. A file that cannot be written whole is removed.
Result<void> write_new_file(const std::string& path, std::string_view text, mode_t mode);

}  // namespace sconce::cli
