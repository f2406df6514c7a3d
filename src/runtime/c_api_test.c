/* A C compiler reads the header, and the API runs a program from C. Called by c_api_test.cc. */
#include "sconce/sconce.h"

/* 0 when everything held, else the line that did not. */
int run_from_c(const char* path) {
#define HOLDS(condition) \
  if (!(condition)) return __LINE__
  sconce_module* module = 0;
  char text[200];
  HOLDS(sconce_load_file("/no/such/file.pte", &module, text, sizeof(text)) == SCONCE_NOT_FOUND);
  HOLDS(module == 0 && text[0] != 0);
  HOLDS(sconce_load_bytes("short", 5, &module, text, 8) == SCONCE_INVALID_FILE);
  HOLDS(text[7] == 0);
  HOLDS(sconce_load_file(path, &module, text, sizeof(text)) == SCONCE_OK);
  HOLDS(sconce_method_count(module) == 1);
  HOLDS(sconce_method_name(module, 1) == 0);
  size_t inputs = 0, outputs = 0;
  HOLDS(sconce_counts(module, "forward", &inputs, &outputs) == SCONCE_OK);
  HOLDS(inputs == 2 && outputs == 1);
  sconce_slot slot;
  HOLDS(sconce_input(module, "forward", 1, &slot) == SCONCE_OK);
  HOLDS(slot.value.kind == SCONCE_KIND_TENSOR && slot.value.tensor.dtype == SCONCE_F32);
  HOLDS(slot.value.tensor.rank == 2 && slot.value.tensor.sizes[1] == 3 && !slot.dynamic);
  HOLDS(sconce_input(module, "forward", 2, &slot) == SCONCE_INVALID_ARGUMENT);
  float data[6] = {1, 2, 3, 4, 5, 6};
  int32_t sizes[2] = {2, 3}, wrong[2] = {3, 2};
  sconce_value in[2] = {
      {SCONCE_KIND_TENSOR, 0, 0, 0, {data, sizes, 0, sizeof(data), 2, SCONCE_F32}},
      {SCONCE_KIND_TENSOR, 0, 0, 0, {data, sizes, 0, sizeof(data), 2, SCONCE_F32}}};
  sconce_value out;
  HOLDS(sconce_execute(module, "forward", in, 2, &out, 1) == SCONCE_OK);
  HOLDS(out.kind == SCONCE_KIND_TENSOR && out.tensor.bytes == 24);
  HOLDS(((const float*)out.tensor.data)[5] == 12);
  in[1].tensor.sizes = wrong;
  HOLDS(sconce_execute(module, "forward", in, 2, &out, 1) == SCONCE_INVALID_ARGUMENT);
  HOLDS(sconce_error(module)[0] != 0);
  in[1].tensor.rank = 400;
  HOLDS(sconce_execute(module, "forward", in, 2, &out, 1) == SCONCE_INVALID_ARGUMENT);
  HOLDS(sconce_execute(module, "backward", 0, 0, 0, 0) == SCONCE_NOT_FOUND);
  HOLDS(sconce_reset(module, "forward") == SCONCE_OK);
  sconce_free(module);
  sconce_free(0);
  return 0;
}
