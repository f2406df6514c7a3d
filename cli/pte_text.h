// Parts of a .pte as text for people, one way for all commands.
#pragma once

#include <string>

#include "formats/pte/pte.h"

namespace sconce::cli {

// "f32[<= 8, 3] dim order 1,0".
std::string tensor_text(const PteTensor& tensor);
// A tensor as above; "int 3", "true", "float 0.5", "\"text\"", "none", "ints", ...
std::string value_text(const PteValue& value);
// "aten::add.out".
std::string operator_text(const PteOperator& op);
// Bytes of a tensor at its upper bounds; an element type that we do not have counts one byte.
uint64_t tensor_size(const PteTensor& tensor);

}  // namespace sconce::cli
