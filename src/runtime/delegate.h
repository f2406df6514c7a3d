// DelegateType: a backend that runs a piece of a method as one instruction. Freestanding.
//
// A backend links one constant of this type and the caller lists it when a method is loaded; hosts
// have all_delegates(). Delegates may allocate while they are loaded, if their platform lets them.
#pragma once

#include "formats/pte/tables.h"
#include "ops/kernel.h"

namespace sconce {

class Program;
class ThreadPool;      // platform/threads.h
struct TuningOptions;  // sconce/tuning.h

// What a delegate tells of its steps when asked to (MethodOptions::profile).
struct DelegateStep {
  const char* name;    // what ran
  const char* source;  // where the model's author wrote it; may be empty
  double seconds;
};

// What a delegate is made from. Views the program's file.
struct DelegateSource {
  const Program* program = nullptr;
  const char* method = "";
  uint32_t index = 0;  // among the method's delegates
  Bytes data;          // the payload
  pte::Vector specs;   // tables of pte::field::spec: key (text), value (bytes)
  // Named bytes that the caller holds outside the program; null = none. Set for load().
  Bytes (*find_external)(void* context, const char* name) = nullptr;
  void* context = nullptr;
  // Threads to work on, which outlive the delegate; null: the calling one alone.
  ThreadPool* threads = nullptr;
  // Where a delegate that can be tuned looks for what is known of this machine; null: nowhere.
  const TuningOptions* tuning = nullptr;

  // Bytes of that name, in the program or outside; false when there are none.
  bool find_data(const char* name, Bytes* found) const;
};

// Told after every step of a delegate that has any, while `on_step` is set.
struct DelegateProfile {
  void (*on_step)(void* context, const DelegateStep& step) = nullptr;
  void* context = nullptr;
};

struct DelegateType {
  const char* id;  // as the file has it: "XnnpackBackend"
  // Bytes of the method's arena that load() gets, aligned to 16; null = none.
  Status (*arena_bytes)(const DelegateSource& source, uint64_t* bytes, Diagnostic* diagnostic);
  // `state` starts as null and is handed to the calls below. The payload is untrusted.
  Status (*load)(const DelegateSource& source, Span<uint8_t> arena, void** state,
                 Diagnostic* diagnostic);
  // `args` in the order of the instruction: inputs, then outputs (by convention between compiler
  // and backend). Every tensor has data; outputs may be resized within their capacity. The delegate
  // checks kinds, dtypes and ranks itself.
  Status (*execute)(void* state, Span<const Value* const> args, KernelContext& context);
  void (*unload)(void* state);  // null = nothing to do
  // Null: it has nothing to tell. `profile` is read during execute() and outlives the state.
  void (*set_profile)(void* state, const DelegateProfile* profile) = nullptr;
};

// Those that are linked in (targets/delegates.cc; hosts only).
Span<const DelegateType* const> all_delegates();

}  // namespace sconce
