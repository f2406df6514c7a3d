// The globals that a checkpoint may name, and what each stands for. Nothing else has a meaning.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/span.h"
#include "formats/checkpoint/torch_type.h"

namespace sconce {

enum class GlobalKind : uint8_t {
  dtype,         // torch.float32: a value by itself
  text_like,     // torch.per_tensor_affine: a value by itself
  storage_type,  // first argument of a persistent id
  tensor_type,   // torch.Tensor, torch.nn.parameter.Parameter, ...
  plain_type,    // int, str, ...: a factory of a defaultdict, or a setting; never called
  dict_type,     // OrderedDict, defaultdict, Counter, dict
  list_type,     // deque, list
  tuple_type,    // torch.Size, tuple
  set_type,      // set, frozenset
  bytes_type,    // bytes, bytearray
  complex_type,
  encode,  // _codecs.encode: how protocol 2 writes bytes
  device,
  layout,
  reconstructor,  // copyreg._reconstructor: how protocols 0 and 1 make objects
  rebuild_tensor,
  rebuild_tensor_v3,
  rebuild_parameter,
  rebuild_from_type,
  rebuild_from_cpu_tensor,
  rebuild_from_array,
  rebuild_unsupported,  // quantised, sparse, ...: read, but not converted
  build_list,           // TorchScript's lists of one type
  restore_type_tag,     // TorchScript: gives its first argument
  array_type,
  array_dtype,
  array_reconstruct,
  array_from_buffer,
  array_scalar,
};

struct GlobalRow {
  std::string_view module, name;
  GlobalKind kind;
  const TorchType* type = nullptr;  // dtype, storage_type
  std::string_view note = {};       // rebuild_unsupported: what the tensor is
};

// Null when the list does not have it. Both names must be equal, letter by letter.
const GlobalRow* find_global(std::string_view module, std::string_view name);

}  // namespace sconce
