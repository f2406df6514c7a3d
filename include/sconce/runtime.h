// Module: runs .pte programs on a host. Maps the file, gives methods their memory, checks inputs.
//
// The allocation-free core beneath is src/runtime (Program, Method): use that on small targets.
//
// Ownership. A Module owns the mapping of its file, its methods and their memory. Tensors given as
// inputs are borrowed until execute() returns, and written to where the model changes them in
// place, as torch does (unless the file plans memory for its inputs); outputs that come back are
// views into the Module, valid until the next execute() of the same method, reset() or the Module's
// end: copy what must live longer.
//
// Threads. Distinct Modules are independent. One Module may be used by one thread at a time; to run
// the same file on several threads, make one Module per thread (the mapped bytes are shared).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "runtime/method.h"
#include "sconce/tuning.h"
#include "tensor/value.h"

namespace sconce {

struct ModuleOptions {
  // What operators are looked up in; empty = every kernel linked in.
  Span<const KernelRow> kernels;
  // Backends that delegate calls may name; empty = every one linked in.
  std::vector<const DelegateType*> delegates;
  // How many threads tile programs run on, the caller's included; 0 = one for each processor.
  // Results do not depend on it.
  int threads = 1;
  TuningOptions tuning;  // tile sizes that are known to be fast on this machine
  // Memories 2, 3, ... hold the same state for all methods (stock's share_memory_arenas).
  bool share_memories = false;
  // .ptd files with the weights that the program names and does not hold.
  std::vector<std::string> data_files;
  uint64_t instruction_budget = 10'000'000;  // per execute(); 0 = no limit
};

// An input or output by value: what a Value is, without the list kinds.
struct Argument {
  Value value;    // kind none, integer, boolean, floating, string or tensor
  Tensor tensor;  // when value.kind is tensor
  std::vector<int32_t> sizes;
  std::vector<uint8_t> dim_order;  // empty = contiguous

  Argument() = default;
  Argument(int64_t number) : value(Value::of(number)) {}
  Argument(double number) : value(Value::of(number)) {}
  Argument(bool flag) : value(Value::of(flag)) {}
  // A dense tensor over `data`, which is borrowed.
  static Argument of(const void* data, DType dtype, std::vector<int32_t> sizes,
                     std::vector<uint8_t> dim_order = {});
  bool is_tensor() const { return value.is_tensor(); }
  Bytes bytes() const;  // of a tensor
};

class Module {
 public:
  // Maps `path` and verifies the whole file: a .pte, or a .bpte, of which it takes the program.
  static Result<Module> load(const std::string& path, const ModuleOptions& options = {});
  // The same over bytes that live as long as the Module (copied when not aligned to 16); `keep`
  // lives as long too.
  static Result<Module> load(Bytes file, const ModuleOptions& options = {},
                             std::shared_ptr<const void> keep = nullptr);

  Module(Module&&) noexcept;
  Module& operator=(Module&&) noexcept;
  ~Module();

  const Program& program() const;
  std::vector<std::string> method_names() const;
  Result<MethodMeta> method_meta(const std::string& method) const;

  // Gives the method its memory and checks it against the kernels; execute() does it when needed.
  Result<void> load_method(const std::string& method);
  // Inputs by position. Numbers may be left out at the end, and an Argument of kind none at the
  // place of a number means the value seen at export.
  Result<std::vector<Argument>> execute(const std::string& method, Span<const Argument> inputs);
  // Before or after every instruction; see ExecuteOptions. Stays until replaced.
  void set_observer(void (*before)(void*, const Step&), void (*after)(void*, const Step&),
                    void* context);
  // Another module that gives the same answers to these inputs, faster: asked before every call of
  // a method; null when there is none. What it returns lives as long as this Module.
  using FindFaster = std::function<Module*(const std::string& method, Span<const Argument> inputs,
                                           const ModuleOptions& options)>;
  void set_find_faster(FindFaster find);
  // ModuleOptions::threads, while no method is loaded yet.
  Result<void> set_threads(int threads);
  // After every step of a backend that tells of them; see DelegateStep. Stays until replaced.
  void set_step_observer(void (*on_step)(void*, const DelegateStep&), void* context);
  // Mutable state of a method as after load.
  Result<void> reset(const std::string& method);
  // State by its name in the model, e.g. a cache; null when unknown or the file keeps no names.
  Tensor* find_buffer(const std::string& method, const std::string& name);
  // Bytes that the method uses: planned memories, its tables, scratch.
  struct MemoryUse {
    uint64_t planned = 0, tables = 0, scratch = 0, outputs = 0;
  };
  Result<MemoryUse> memory_use(const std::string& method);

 private:
  struct State;
  explicit Module(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace sconce
