// Names of constants by what they hold, so that equal bytes are stored once.
#pragma once

#include <string>

#include "base/span.h"

namespace sconce {

std::string content_name(Bytes bytes);

}  // namespace sconce
