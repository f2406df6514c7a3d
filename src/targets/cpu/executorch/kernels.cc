#include "targets/cpu/executorch/kernels.h"

#include <executorch/runtime/kernel/kernel_includes.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "ops/kernel.h"
#include "targets/cpu/executorch/arguments.h"
#include "targets/portable/stock_kernels.h"

namespace sconce {
namespace {

using et::Error;
using et::EValue;
using Context = et::KernelRuntimeContext;

// A kernel of ExecuTorch's is a bare function, so that each of ours needs one of its own.
constexpr size_t kKernelsMax = 1024;
const Kernel* g_kernels[kKernelsMax];

// Tells ExecuTorch the sizes that our outs have.
Error resize_outs(const Args& args, et::Span<EValue*> values) {
  const EValue& first = *values[size_t(args.input_count)];
  for (int k = 0; k < args.out_count(); k++) {
    const executorch::aten::Tensor& to = first.isTensorList()
                                             ? first.toTensorList()[size_t(k)]
                                             : values[size_t(args.input_count + k)]->toTensor();
    if (Error error = resize_as(to, args.out(k)); error != Error::Ok) return error;
  }
  return Error::Ok;
}

Error call(const Kernel& kernel, Context& context, et::Span<EValue*> values) {
  static thread_local Arguments arguments;
  static thread_local uint64_t random_state = 0;
  // Behind the outs stands what is returned, which is they again.
  const char* arrow = strchr(kernel.signature, '>');
  size_t count = strlen(kernel.signature) - 1;
  Diagnostic diagnostic;
  if (values.size() < count) {
    Status few = SCONCE_FAIL(Code::invalid_file, &diagnostic, "%zu arguments, want %zu",
                             values.size(), count);
    return failure(kernel.name, few, diagnostic);
  }
  if (Error error = arguments.view({values.data(), count}); error != Error::Ok) return error;
  Args args{arguments.values(), int(arrow - kernel.signature)};
  Status status = match_signature(kernel, args.values, &args.input_count, &diagnostic);
  if (status.ok()) {
    // ExecuTorch knows what its outs may hold.
    for (int k = 0; k < args.out_count(); k++) args.out(k).capacity_bytes = UINT64_MAX;
    status = prepare_outs(kernel, args, &diagnostic);
  }
  if (!status.ok()) return failure(kernel.name, status, diagnostic);
  if (Error error = resize_outs(args, values); error != Error::Ok) {
    ET_LOG(Error, "SconceBackend: %s: a result is larger than was planned", kernel.name);
    return error;
  }
  KernelContext ours{.diagnostic = &diagnostic, .random_state = &random_state};
  if (uint64_t bytes = kernel.scratch_bytes ? kernel.scratch_bytes(args) : 0) {
    auto scratch = context.allocate_temp(size_t(bytes), 16);
    if (!scratch.ok()) return scratch.error();
    ours.scratch = {static_cast<uint8_t*>(*scratch), size_t(bytes)};
  }
  status = kernel.run(args, ours);
  if (!status.ok()) return failure(kernel.name, status, diagnostic);
  return kernel.data_dependent ? resize_outs(args, values) : Error::Ok;
}

template <size_t index>
void call_numbered(Context& context, et::Span<EValue*> values) {
  if (Error error = call(*g_kernels[index], context, values); error != Error::Ok)
    context.fail(error);
}

template <size_t... index>
constexpr auto functions(std::index_sequence<index...>) {
  return std::array<et::OpFunction, sizeof...(index)>{call_numbered<index>...};
}

}  // namespace

bool register_our_kernels() {
  static constexpr auto kFunctions = functions(std::make_index_sequence<kKernelsMax>());
  std::vector<et::Kernel> chosen;
  for (const KernelRow& row : all_kernels()) {
    std::string_view name = row.kernel->name;
    // Other namespaces belong to libraries that may be loaded later.
    bool ours = name.starts_with("aten::") || name.starts_with("sconce::");
    if (!ours || stock_has_kernel(name)) continue;
    CHECK(chosen.size() < kKernelsMax);
    g_kernels[chosen.size()] = row.kernel;
    chosen.emplace_back(row.kernel->name, kFunctions[chosen.size()]);
  }
  return et::register_kernels({chosen.data(), chosen.size()}) == Error::Ok;
}

}  // namespace sconce
