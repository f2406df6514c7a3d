// Caches of keys and values as ExecuTorch's operators for language models lay them out: [batch,
// positions, heads, features], dense and in order. Rows of new positions are written over old ones.
#pragma once

#include "ops/kernel.h"

namespace sconce {

// Checks that `rows` [batch, count, heads, features] can be written into `cache`: types and sizes.
// Reads no data.
Status check_cache_rows(const char* op, const Tensor& rows, const Tensor& cache,
                        Diagnostic* diagnostic);
// Checks that the positions [start, start + count) lie in the cache.
Status check_cache_span(const char* op, int64_t start, int64_t count, const Tensor& cache,
                        Diagnostic* diagnostic);
// Writes the rows at positions [start, start + count). Both were checked.
void write_cache_rows(const Tensor& rows, const Tensor& cache, int64_t start);
// A cache that an instruction writes though it is an argument: fails when it is a constant.
Status check_cache_writable(const char* op, const Tensor& cache, Diagnostic* diagnostic);

}  // namespace sconce
