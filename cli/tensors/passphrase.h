// Passphrases of the command line: from a file or from the terminal, never from an argument, which
// other users of the machine could see.
#pragma once

#include <string>

#include "base/result.h"

namespace sconce::cli {

// The first line of `file` (a pipe such as /dev/fd/3 will do, "-" is standard input). Without a
// file asks on the terminal, `prompt` in front and without echo; twice when `confirm`. Empty ones
// are refused. Wipe after use.
Result<std::string> read_passphrase(const std::string& file, const std::string& prompt,
                                    bool confirm = false);

}  // namespace sconce::cli
