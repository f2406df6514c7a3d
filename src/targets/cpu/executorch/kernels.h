// Our kernels in ExecuTorch's table of operators, under the names that stock has no kernel for: a
// file of `--target cpu` may hold them beside its tile programs.
#pragma once

namespace sconce {

// Once in a process. False when the table has no room, or another library took one of the names.
bool register_our_kernels();

}  // namespace sconce
