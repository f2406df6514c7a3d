// Kernels of one's own: tile kernels that stand for operators of a model.
//
// The importer makes a node "kernel" of each call of such an operator: its arguments are an index
// in Program::own_kernels and the operands. What the operator computes is known to the kernel
// alone, so that passes leave such nodes as they are, and targets that run tile programs take them.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "tile/ir.h"

namespace sconce {

using OwnKernels = std::vector<std::shared_ptr<const tile::Kernel>>;

inline constexpr char kOwnKernel[] = "kernel";  // Node::op

// The kernel that stands for an operator ("mylib::swiglu", "aten::add.Tensor"); null: none.
std::shared_ptr<const tile::Kernel> find_own_kernel(const OwnKernels& kernels, std::string_view op);
// The kernel of a node; null for other nodes.
const tile::Kernel* own_kernel_of(const Program& program, const Node& node);
// The buffer that an argument of the operator is, and that a result is.
size_t buffer_of_argument(const tile::Kernel& kernel, size_t argument);
size_t buffer_of_result(const tile::Kernel& kernel, size_t result);

// That a kernel takes these operands and gives these results: their numbers, dtypes, ranks, and
// sizes as far as they are known. Errors name the kernel, its buffer, what it wants and what is
// there.
Result<void> check_own_kernel(const tile::Kernel& kernel, const std::vector<TensorType>& operands,
                              const std::vector<TensorType>& results);

}  // namespace sconce
