// SconceBackend for stock ExecuTorch: its delegate interface over ours. What an app must know is in
// sconce/executorch.h.
#include <executorch/runtime/backend/interface.h>
#include <executorch/runtime/core/event_tracer_hooks_delegate.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "platform/threads.h"
#include "sconce/executorch.h"
#include "targets/cpu/executorch/arguments.h"
#include "targets/cpu/executorch/kernels.h"
#include "targets/cpu/run/backend.h"

namespace sconce {
namespace {

using et::Error;

constexpr char kThreadsOption[] = "num_threads";

// The number that an option gives, if it is there.
Error read_threads(et::Span<const et::BackendOption> options, std::optional<int>* threads) {
  for (const et::BackendOption& option : options) {
    if (strcmp(option.key, kThreadsOption) != 0) {
      ET_LOG(Error, "SconceBackend: option \"%s\" is not known; there is %s", option.key,
             kThreadsOption);
      return Error::InvalidArgument;
    }
    const int* number = std::get_if<int>(&option.value);
    if (!number || *number < 0) {
      ET_LOG(Error, "SconceBackend: option %s wants an int of 0 or more", kThreadsOption);
      return Error::InvalidArgument;
    }
    *threads = *number;
  }
  return Error::Ok;
}

// The delegates of a method share a pool; methods do not. A method is known by the allocator that
// ExecuTorch gives its delegates.
class Pools {
 public:
  std::shared_ptr<ThreadPool> of(const void* method, int threads) {
    std::lock_guard lock(mutex_);
    std::erase_if(pools_, [](const Entry& entry) { return entry.pool.expired(); });
    for (const Entry& entry : pools_)
      if (entry.method == method && entry.threads == threads)
        if (auto pool = entry.pool.lock()) return pool;
    auto pool = std::make_shared<ThreadPool>(threads);
    pools_.push_back({method, threads, pool});
    return pool;
  }

 private:
  struct Entry {
    const void* method;
    int threads;
    std::weak_ptr<ThreadPool> pool;
  };
  std::mutex mutex_;
  std::vector<Entry> pools_;
};

// One delegate of a loaded method.
struct Handle {
  std::shared_ptr<ThreadPool> threads;
  const et::NamedDataMap* named = nullptr;
  std::vector<et::FreeableBuffer> constants;  // held as long as the delegate reads them
  void* state = nullptr;
  Arguments arguments;  // of a call
  // Set while a call is traced.
  et::EventTracer* tracer = nullptr;
  DelegateProfile profile;

  ~Handle() {
    if (state) kCpuBackend.unload(state);
    for (et::FreeableBuffer& constant : constants) constant.Free();
  }

  static Bytes find_external(void* self, const char* name) {
    Handle& handle = *static_cast<Handle*>(self);
    if (!handle.named) return {};
    auto found = handle.named->get_data(name);
    if (!found.ok()) return {};
    handle.constants.push_back(std::move(*found));
    const et::FreeableBuffer& constant = handle.constants.back();
    return {static_cast<const uint8_t*>(constant.data()), constant.size()};
  }

  static void on_step(void* self, const DelegateStep& step) {
    et::EventTracer* tracer = static_cast<Handle*>(self)->tracer;
    if (!tracer) return;
    // ExecuTorch counts in ticks of its platform; their length is a ratio to nanoseconds.
    et_timestamp_t end = et_pal_current_ticks();
    et_tick_ratio_t ratio = et_pal_ticks_to_ns_multiplier();
    auto ticks = et_timestamp_t(step.seconds * 1e9 * double(ratio.denominator) /
                                double(std::max<uint64_t>(ratio.numerator, 1)));
    et::event_tracer_log_profiling_delegate(tracer, step.name, et::kUnsetDelegateDebugIntId,
                                            end - std::min(ticks, end), end, step.source,
                                            strlen(step.source));
  }
};

class Backend final : public et::BackendInterface {
 public:
  bool is_available() const override { return true; }

  et::Result<et::DelegateHandle*> init(et::BackendInitContext& context,
                                       et::FreeableBuffer* processed,
                                       et::ArrayRef<et::CompileSpec>) const override {
    std::optional<int> threads;
    if (Error error = read_threads(context.runtime_specs(), &threads); error != Error::Ok)
      return error;
    std::unique_ptr<Handle> handle(new (std::nothrow) Handle);
    if (!handle) return Error::MemoryAllocationFailed;
    handle->threads = pools_.of(context.get_runtime_allocator(), threads.value_or(threads_.load()));
    handle->named = context.get_named_data_map();
    handle->profile = {Handle::on_step, handle.get()};
    DelegateSource source;
    source.method = context.get_method_name() ? context.get_method_name() : "";
    source.data = {static_cast<const uint8_t*>(processed->data()), processed->size()};
    source.find_external = Handle::find_external;
    source.context = handle.get();
    source.threads = handle->threads.get();
    Diagnostic diagnostic;
    if (Status status = kCpuBackend.load(source, {}, &handle->state, &diagnostic); !status.ok())
      return failure(source.method, status, diagnostic);
    processed->Free();  // loading copied what it needs
    return handle.release();
  }

  Error execute(et::BackendExecutionContext& context, et::DelegateHandle* opaque,
                et::Span<et::EValue*> args) const override {
    Handle& handle = *static_cast<Handle*>(opaque);
    if (Error error = handle.arguments.view(args); error != Error::Ok) return error;
    handle.tracer = context.event_tracer();
    kCpuBackend.set_profile(handle.state, handle.tracer ? &handle.profile : nullptr);
    Diagnostic diagnostic;
    const char* method = context.get_method_name();
    if (CpuOutputs outputs = cpu_outputs(handle.state);
        outputs.vary && outputs.first + outputs.count <= args.size()) {
      // ExecuTorch knows what its outputs may hold.
      for (size_t o = 0; o < outputs.count; o++)
        if (Tensor* tensor = handle.arguments.tensor(outputs.first + o))
          tensor->capacity_bytes = UINT64_MAX;
      if (Status status = prepare_cpu_call(handle.state, handle.arguments.values(), &diagnostic);
          !status.ok())
        return failure(method ? method : "", status, diagnostic);
      for (size_t o = outputs.first; o < outputs.first + outputs.count; o++)
        if (Error error = resize_as(args[o]->toTensor(), *handle.arguments.tensor(o));
            error != Error::Ok) {
          ET_LOG(Error, "SconceBackend: output %zu is larger than was planned", o - outputs.first);
          return error;
        }
    }
    KernelContext kernel{.diagnostic = &diagnostic};
    Status status = kCpuBackend.execute(handle.state, handle.arguments.values(), kernel);
    return status.ok() ? Error::Ok : failure(method ? method : "", status, diagnostic);
  }

  Error set_option(et::BackendOptionContext&, const et::Span<et::BackendOption>& options) override {
    std::optional<int> threads;
    Error error = read_threads({options.data(), options.size()}, &threads);
    if (error == Error::Ok && threads) threads_ = *threads;
    return error;
  }

  Error get_option(et::BackendOptionContext&, et::Span<et::BackendOption>& options) override {
    for (et::BackendOption& option : options) {
      if (strcmp(option.key, kThreadsOption) != 0) return Error::NotFound;
      option.value = threads_.load();
    }
    return Error::Ok;
  }

  void destroy(et::DelegateHandle* handle) const override { delete static_cast<Handle*>(handle); }

 private:
  mutable Pools pools_;
  std::atomic<int> threads_{0};  // of what is loaded without an option of its own
};

bool register_backend() {
  // Never destroyed: programs of static storage may outlive this library's statics.
  static Backend& backend = *new Backend;
  static const bool registered =
      register_our_kernels() && et::register_backend({kCpuBackend.id, &backend}) == Error::Ok;
  return registered;
}

[[maybe_unused]] const bool g_registered = register_backend();

}  // namespace
}  // namespace sconce

__attribute__((visibility("default"))) int sconce_register_executorch_backend(void) {
  return sconce::register_backend();
}
