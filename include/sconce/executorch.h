/* Sconce's `--target cpu` files on stock ExecuTorch: libsconce_executorch.so.
 *
 * The library is a delegate named "SconceBackend" for ExecuTorch 1.5. Loading it registers the
 * delegate, so an app needs one of: link it (with --no-as-needed, since nothing else is called), call
 * the function below, dlopen() it, or from Python
 *
 *     import executorch.runtime, ctypes
 *     ctypes.CDLL("libsconce_executorch.so")
 *
 * Options, by ExecuTorch's names and types, of a load (LoadBackendOptionsMap) or of the backend
 * (executorch::runtime::set_option), which counts for what is loaded later:
 *   num_threads (int)   threads of a method's tile programs, the caller's included; 0 = one for each
 *                       processor. Default 0. Results do not depend on it.
 * The environment's SCONCE_ISA chooses an instruction set, as everywhere.
 *
 * Memory: weights are used where ExecuTorch's data loader has them (mapped, with MmapDataLoader);
 * values between the steps lie in the method's planned memory. Nothing is allocated after the first
 * call. Threads: methods are independent; one method runs on one thread at a time, as ExecuTorch
 * wants it. Errors: ExecuTorch's codes, and their text in its log.
 */
#ifndef SCONCE_EXECUTORCH_H
#define SCONCE_EXECUTORCH_H

#ifdef __cplusplus
extern "C" {
#endif

/* Registers the delegate if that has not happened yet. Returns 1 when ExecuTorch has it, 0 when
 * ExecuTorch refused (its table of backends is full). */
int sconce_register_executorch_backend(void);

#ifdef __cplusplus
}
#endif

#endif
