// Method: one entry point of a program, loaded into memory that the caller gives. Freestanding.
//
// All memory comes from the caller at load; afterwards nothing is allocated. A Method belongs to
// one thread at a time; distinct methods of one program may run at the same time. Use: load, then
// per call set_input for each tensor input, execute, read output.
#pragma once

#include "ops/kernel.h"
#include "runtime/delegate.h"
#include "runtime/program.h"

namespace sconce {

struct Prim;

// One of the memories that the compiler planned: activations, mutable buffers.
struct PlannedMemory {
  Span<uint8_t> bytes;  // at least MethodMeta::memory_bytes(i), aligned to 16
  // True: keep the contents (another method shares them and has set them up). False: they are
  // zeroed at load, then mutable buffers get their initial values.
  bool keep = false;
};

struct MethodOptions {
  Span<uint8_t> arena;                // Method::arena_bytes(), aligned to 16
  Span<const PlannedMemory> planned;  // one per planned memory
  bool planned_is_zero = false;       // fresh pages: load() need not clear them
  Span<uint8_t> scratch;              // for kernels; scratch_bytes() is known after load
  Span<const KernelRow> kernels;      // what the operators of the file are looked up in
  Span<const DelegateType* const> delegates;
  ThreadPool* threads = nullptr;               // for delegates; null: the calling thread alone
  const TuningOptions* tuning = nullptr;       // for delegates
  const DelegateProfile* profile = nullptr;    // told of the steps of delegates
  // Optional: asked for more scratch when a call needs it (hosts); returns what it has.
  Span<uint8_t> (*grow_scratch)(void* context, uint64_t bytes) = nullptr;
  // Optional: bytes of tensors that the file keeps elsewhere (.ptd), by name; empty = unknown.
  Bytes (*find_external)(void* context, const char* name) = nullptr;
  void* context = nullptr;
};

// An instruction as the hooks of ExecuteOptions see it.
struct Step {
  uint32_t chain = 0, instruction = 0;
  pte::InstructionKind kind = pte::InstructionKind::absent;
  const char *name = "", *overload = "";  // operator, or delegate id
  Span<const Value* const> args;          // of kernel and delegate calls
};

struct ExecuteOptions {
  // Called around every instruction; the clock is the caller's.
  void (*before)(void* context, const Step& step) = nullptr;
  void (*after)(void* context, const Step& step) = nullptr;
  void* context = nullptr;
  // Stops endless loops; 0 = no limit. The default is that of stock ExecuTorch.
  uint64_t instruction_budget = 10'000'000;
};

class Method {
 public:
  Method() = default;
  Method(const Method&) = delete;
  Method& operator=(const Method&) = delete;
  ~Method() { unload(); }

  // Size of MethodOptions::arena for a method; asks the delegates.
  static Status arena_bytes(const Program& program, const char* name,
                            Span<const DelegateType* const> delegates, uint64_t* bytes,
                            Diagnostic* diagnostic);
  // Checks every instruction against its kernel. All missing operators and delegates are listed in
  // one text. `program` and all memory in `options` must outlive the method, its destructor included.
  Status load(const Program& program, const char* name, const MethodOptions& options,
              Diagnostic* diagnostic);
  void unload();

  const MethodMeta& meta() const { return meta_; }
  // What kernels asked for at upper bounds, as far as it can be known before running.
  uint64_t scratch_bytes() const { return scratch_wanted_; }
  void set_scratch(Span<uint8_t> scratch) { options_.scratch = scratch; }

  // Checks kind, dtype, rank, dim order, sizes and constraints; the text names the input and what
  // is wanted. A planned input is copied; else the method reads `value`'s data during execute(),
  // and writes to it where the model changes that input in place.
  // A number that no instruction reads was fixed at export and must be the same as then.
  Status set_input(uint32_t i, const Value& value, Diagnostic* diagnostic);
  // Memory for an output that is not planned. Refused for others.
  Status set_output(uint32_t i, Span<uint8_t> memory, Diagnostic* diagnostic);
  // After a failure, mutable buffers hold whatever the instructions before it wrote.
  Status execute(const ExecuteOptions& options, Diagnostic* diagnostic);
  // Valid until the next execute(), set_input() or unload().
  const Value& output(uint32_t i) const;

  // State of the model by fully qualified name, if the file keeps names; null otherwise.
  Tensor* find_buffer(const char* name);
  // Mutable buffers as after load, in memories that are not shared.
  Status reset(Diagnostic* diagnostic);

 private:
  struct Operator;
  struct LoadedDelegate;
  struct Input;
  struct Counts;
  struct Cursor;

  static Status count(const Program& program, pte::Table plan, const char* name,
                      Span<const DelegateType* const> delegates, Counts* counts,
                      Diagnostic* diagnostic);
  Status load_parts(Diagnostic* diagnostic);
  Status make_values(Diagnostic* diagnostic);
  Status make_tensor(pte::Table table, Tensor* tensor, Diagnostic* diagnostic);
  Status place_tensor(pte::Table table, Tensor* tensor, Diagnostic* diagnostic);
  Status find_external(pte::Table table, uint64_t bytes, const uint8_t** data,
                       Diagnostic* diagnostic) const;
  Status initialise(bool clear, Diagnostic* diagnostic);
  void restore_values();
  Status restore_views(Diagnostic* diagnostic);
  Status find_operators(Diagnostic* diagnostic);
  Status load_delegates(uint8_t* memory, Diagnostic* diagnostic);
  Status check_instructions(Diagnostic* diagnostic);
  Status check_args(const Operator& op, Span<const Value* const> args, Diagnostic* diagnostic);
  void add_step_context(uint32_t chain, uint32_t index, pte::Table instruction,
                        Diagnostic* diagnostic) const;

  Status check_constraints(Diagnostic* diagnostic);
  Status check_size(uint32_t input, uint32_t dim, int64_t size, Diagnostic* diagnostic) const;
  Status check_relations(Diagnostic* diagnostic) const;
  Status set_tensor(uint32_t i, const Tensor& given, Diagnostic* diagnostic);
  Status set_number(uint32_t i, const Value& given, Diagnostic* diagnostic);
  Status input_failed(Status status, uint32_t input, Diagnostic* diagnostic) const;
  int64_t size_of_input(uint32_t input, uint32_t dim) const;
  bool reads_value(uint32_t index) const;
  pte::Table input_table(uint32_t i) const;

  Span<const Value* const> gather_args(pte::Table call);
  Status run_chain(uint32_t chain, const ExecuteOptions& options, uint64_t* budget,
                   Diagnostic* diagnostic);
  Status step(pte::Table instruction, uint32_t* next, Diagnostic* diagnostic);
  Status call_operator(pte::Table call, Diagnostic* diagnostic);
  Status call_delegate(pte::Table call, Diagnostic* diagnostic);
  Status call_kernel(const Kernel& kernel, const Args& args, Diagnostic* diagnostic);
  Status view_tensor(Span<const Value* const> args, Diagnostic* diagnostic);
  Status copy_into_row(Span<const Value* const> args, Diagnostic* diagnostic);

  const Program* program_ = nullptr;
  MethodMeta meta_;
  MethodOptions options_;
  Value* values_ = nullptr;
  Tensor* tensors_ = nullptr;      // of the tensor values, in order
  uint8_t* is_view_ = nullptr;     // per tensor: et_view pointed it elsewhere
  int32_t* sizes_ = nullptr;       // of tensors with dynamic shapes
  const Value** items_ = nullptr;  // of lists
  const Value** args_ = nullptr;   // of the call in progress
  Operator* operators_ = nullptr;
  LoadedDelegate* delegates_ = nullptr;
  Input* inputs_ = nullptr;
  uint32_t value_count_ = 0;
  uint64_t scratch_wanted_ = 0;
  uint64_t random_state_ = 0;
  bool views_used_ = false;
};

}  // namespace sconce
