// Stock kernels: what ExecuTorch 1.5.1 registers for plain instructions, and so what
// `--target portable` may use.
#pragma once

#include <string_view>

namespace sconce {

// `name` as in a .pte: "aten::add.out". Operators on symbolic numbers are not in the list.
bool stock_has_kernel(std::string_view name);

}  // namespace sconce
