/* Sconce's C API: load a .pte, run its methods. Stable; usable from any language with a C
 * interface.
 *
 * Ownership. A module owns its file mapping, methods and memory. Inputs are borrowed during
 * sconce_execute(). Outputs, names and error texts are views into the module: outputs live until
 * the next sconce_execute() of the same method, texts until the next call on the module. Threads.
 * One module belongs to one thread at a time; distinct modules are independent.
 */
#ifndef SCONCE_SCONCE_H_
#define SCONCE_SCONCE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define SCONCE_API
#else
#define SCONCE_API __attribute__((visibility("default")))
#endif

/* Numbers are stable; the command line exits with the same. */
typedef enum sconce_code {
  SCONCE_OK = 0,
  SCONCE_INVALID_ARGUMENT = 3, /* what the caller passed does not fit */
  SCONCE_INVALID_FILE = 4,     /* the bytes break their format */
  SCONCE_UNSUPPORTED = 5,      /* well formed, but not something this build can do */
  SCONCE_NOT_FOUND = 6,        /* a method, file, operator or delegate does not exist */
  SCONCE_TOO_LARGE = 7,        /* a limit was met */
  SCONCE_IO = 8,               /* the operating system refused */
  SCONCE_INTERNAL = 9          /* a defect of Sconce */
} sconce_code;

/* Element types; the numbers are PyTorch's. */
typedef enum sconce_dtype {
  SCONCE_U8 = 0,
  SCONCE_I8 = 1,
  SCONCE_I16 = 2,
  SCONCE_I32 = 3,
  SCONCE_I64 = 4,
  SCONCE_F16 = 5,
  SCONCE_F32 = 6,
  SCONCE_F64 = 7,
  SCONCE_C64 = 9,
  SCONCE_C128 = 10,
  SCONCE_BOOL = 11,
  SCONCE_BF16 = 15,
  SCONCE_F8E5M2 = 23,
  SCONCE_F8E4M3FN = 24,
  SCONCE_U16 = 27,
  SCONCE_U32 = 28,
  SCONCE_U64 = 29
} sconce_dtype;

typedef enum sconce_kind {
  SCONCE_KIND_NONE = 0, /* as an input: the number seen at export */
  SCONCE_KIND_INT = 1,
  SCONCE_KIND_BOOL = 2,
  SCONCE_KIND_FLOAT = 3,
  SCONCE_KIND_STRING = 4,
  SCONCE_KIND_TENSOR = 5
} sconce_kind;

/* A dense tensor. dim_order lists the dimensions from outermost to innermost in memory; NULL means
 * 0, 1, 2, ... (row-major). */
typedef struct sconce_tensor {
  const void* data;
  const int32_t* sizes;
  const uint8_t* dim_order;
  uint64_t bytes;
  int32_t rank;
  sconce_dtype dtype;
} sconce_tensor;

typedef struct sconce_value {
  sconce_kind kind;
  int64_t integer; /* INT; BOOL as 0 or 1 */
  double floating;
  const char* string;
  sconce_tensor tensor;
} sconce_value;

/* What a method wants or gives at one position. Sizes are upper bounds when `dynamic`. */
typedef struct sconce_slot {
  sconce_value value; /* kind, and for tensors dtype, rank, sizes, dim_order; data is NULL */
  int dynamic;
  const char* name; /* "" when the file keeps none; inputs only */
} sconce_slot;

typedef struct sconce_module sconce_module;

/* Version of the library, "major.minor.patch". */
SCONCE_API const char* sconce_version(void);

/* Maps and verifies a file. On failure *module is NULL and `error` (may be NULL) gets the text, cut
 * to error_bytes with its ending zero. */
SCONCE_API sconce_code sconce_load_file(const char* path, sconce_module** module, char* error,
                                        size_t error_bytes);
/* The same over bytes in memory, which must outlive the module. */
SCONCE_API sconce_code sconce_load_bytes(const void* data, size_t bytes, sconce_module** module,
                                         char* error, size_t error_bytes);
/* How many threads tile programs run on, the caller's included; 0 = one for each processor. 1 unless
 * set. Before any method is loaded, else SCONCE_INVALID_ARGUMENT. */
SCONCE_API sconce_code sconce_set_threads(sconce_module* module, int threads);
/* NULL is allowed. */
SCONCE_API void sconce_free(sconce_module* module);

SCONCE_API size_t sconce_method_count(const sconce_module* module);
/* NULL past the end. */
SCONCE_API const char* sconce_method_name(const sconce_module* module, size_t index);

/* Gives the method its memory and looks up every operator; sconce_execute() does it when needed.
 * Fails with SCONCE_NOT_FOUND and all missing operators in the text. */
SCONCE_API sconce_code sconce_load_method(sconce_module* module, const char* method);
SCONCE_API sconce_code sconce_counts(sconce_module* module, const char* method, size_t* inputs,
                                     size_t* outputs);
SCONCE_API sconce_code sconce_input(sconce_module* module, const char* method, size_t index,
                                    sconce_slot* slot);
SCONCE_API sconce_code sconce_output(sconce_module* module, const char* method, size_t index,
                                     sconce_slot* slot);

/* Runs a method. Inputs by position; numbers at the end may be left out. `outputs` has room for
 * `output_room` values and gets as many as the method has, at most that. */
SCONCE_API sconce_code sconce_execute(sconce_module* module, const char* method,
                                      const sconce_value* inputs, size_t input_count,
                                      sconce_value* outputs, size_t output_room);
/* Mutable state of a method as after load. */
SCONCE_API sconce_code sconce_reset(sconce_module* module, const char* method);
/* Text of the last failure on this module; "" when there was none. */
SCONCE_API const char* sconce_error(const sconce_module* module);

#ifdef __cplusplus
}
#endif

#endif /* SCONCE_SCONCE_H_ */
