// An image that runs the .pte it carries: the same runtime sources, the kernels of its table, no
// heap. Prints every output of SCONCE_MCU_CALLS calls as hexadecimal bytes; check.cc reads them.
#include <cstring>

#include "pattern.h"
#include "runtime/method.h"
#include "semihost.h"

using namespace sconce;

extern "C" const uint8_t sconce_model[], sconce_model_end[];

namespace {

// All RAM that model and runtime use: the method's tables, planned memory, inputs, scratch.
alignas(16) uint8_t pool[SCONCE_MCU_POOL];
size_t pool_used = 0;

Span<uint8_t> take(uint64_t bytes) {
  uint64_t rounded = (bytes + 15) / 16 * 16;
  if (rounded > sizeof(pool) - pool_used) {
    semihost_write("pool is too small\n");
    semihost_exit(2);
  }
  Span<uint8_t> taken(pool + pool_used, size_t(bytes));
  pool_used += size_t(rounded);
  return taken;
}

void write_number(const char* name, uint64_t value) {
  char text[24];
  char* at = text + sizeof(text) - 1;
  *at = 0;
  do {
    *--at = char('0' + value % 10);
    value /= 10;
  } while (value);
  semihost_write(name);
  semihost_write(at);
}

void write_bytes(const uint8_t* data, uint64_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  char line[65];
  while (count) {
    uint64_t part = count < 32 ? count : 32;
    for (uint64_t i = 0; i < part; i++) {
      line[2 * i] = kDigits[data[i] >> 4];
      line[2 * i + 1] = kDigits[data[i] & 15];
    }
    line[2 * part] = 0;
    semihost_write(line);
    data += part, count -= part;
  }
}

[[noreturn]] void fail(const char* what, Status status, const Diagnostic& diagnostic) {
  semihost_write(what);
  write_number(" failed: code ", uint64_t(status.code));
#if SCONCE_TEXT
  semihost_write(" ");
  semihost_write(diagnostic.text);
#else
  (void)diagnostic;
#endif
  semihost_write("\n");
  semihost_exit(1);
}

}  // namespace

int main() {
  static Program program;
  static Method method;
  static Diagnostic diagnostic;
  const char* name = "forward";
  Bytes file(sconce_model, size_t(sconce_model_end - sconce_model));
  if (Status s = Program::load(file, &program, &diagnostic); !s.ok()) fail("load", s, diagnostic);
  MethodMeta meta;
  uint64_t arena_bytes = 0;
  if (Status s = program.find_method(name, &meta, &diagnostic); !s.ok())
    fail("method", s, diagnostic);
  if (Status s = Method::arena_bytes(program, name, {}, &arena_bytes, &diagnostic); !s.ok())
    fail("arena", s, diagnostic);
  MethodOptions options;
  options.arena = take(arena_bytes);
  static PlannedMemory planned[4];
  if (meta.memory_count() > 4) fail("memories", {Code::too_large}, diagnostic);
  uint64_t planned_bytes = 0;
  for (uint32_t i = 0; i < meta.memory_count(); i++) {
    planned[i].bytes = take(meta.memory_bytes(i));
    planned_bytes += meta.memory_bytes(i);
  }
  options.planned = {planned, meta.memory_count()};
  options.kernels = all_kernels();
  if (Status s = method.load(program, name, options, &diagnostic); !s.ok())
    fail("method load", s, diagnostic);
  method.set_scratch(take(method.scratch_bytes()));
  write_number("file ", file.size());
  write_number(" tables ", arena_bytes);
  write_number(" planned ", planned_bytes);
  write_number(" scratch ", method.scratch_bytes());
  semihost_write("\n");

  for (int call = 0; call < SCONCE_MCU_CALLS; call++) {
    size_t before = pool_used;
    for (uint32_t i = 0; i < meta.input_count(); i++) {
      SlotMeta slot = meta.input(i);
      if (slot.kind != Value::Kind::tensor) continue;
      Tensor input;
      input.data = take(slot.bytes).data();
      input.sizes = const_cast<int32_t*>(slot.sizes);
      input.dim_order = slot.dim_order;
      input.capacity_bytes = slot.bytes;
      input.dtype = slot.dtype;
      input.rank = slot.rank;
      if (!fill_pattern(slot.dtype, i + 100 * uint32_t(call), element_count(input), input.data))
        fail("pattern", {Code::unsupported}, diagnostic);
      if (Status s = method.set_input(i, Value::of(&input), &diagnostic); !s.ok())
        fail("input", s, diagnostic);
    }
    for (uint32_t i = 0; i < meta.output_count(); i++) {
      SlotMeta slot = meta.output(i);
      if (slot.kind != Value::Kind::tensor || slot.planned || slot.constant) continue;
      if (Status s = method.set_output(i, take(slot.bytes), &diagnostic); !s.ok())
        fail("output", s, diagnostic);
    }
    if (Status s = method.execute({}, &diagnostic); !s.ok()) fail("execute", s, diagnostic);
    for (uint32_t i = 0; i < meta.output_count(); i++) {
      const Value& value = method.output(i);
      write_number("output ", i);
      semihost_write(" ");
      if (value.is_tensor())
        write_bytes(value.tensor->as<uint8_t>(), tensor_bytes(*value.tensor));
      else
        write_bytes(reinterpret_cast<const uint8_t*>(&value.integer), 8);
      semihost_write("\n");
    }
    pool_used = before;
  }
  semihost_write("done\n");
  return 0;
}
