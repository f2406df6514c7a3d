// The smallest program that uses the whole core: load, verify, run. Built with -Os for the size
// gate (size_test.cmake); links no kernel.
#include "runtime/method.h"

using namespace sconce;

alignas(16) static uint8_t file[4096], arena[4096], planned[4096];

int main(int argc, char**) {
  Program program;
  Diagnostic diagnostic;
  if (!Program::load({file, size_t(argc)}, &program, &diagnostic).ok()) return 1;
  PlannedMemory memory{planned};
  Method method;
  MethodOptions options;
  options.arena = arena;
  options.planned = {&memory, 1};
  uint64_t bytes;
  if (!Method::arena_bytes(program, "forward", {}, &bytes, &diagnostic).ok()) return 1;
  if (!method.load(program, "forward", options, &diagnostic).ok()) return 1;
  Tensor tensor;
  if (!method.set_input(0, Value::of(&tensor), &diagnostic).ok()) return 1;
  if (!method.set_output(0, planned, &diagnostic).ok()) return 1;
  if (!method.execute({}, &diagnostic).ok() || !method.reset(&diagnostic).ok()) return 1;
  return method.find_buffer("state") ? int(method.output(0).kind) : 0;
}
