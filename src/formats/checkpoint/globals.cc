#include "formats/checkpoint/globals.h"

#include <string>
#include <unordered_map>

namespace sconce {
namespace {

using Kind = GlobalKind;

constexpr GlobalRow kRows[] = {
    {"collections", "OrderedDict", Kind::dict_type},
    {"collections", "defaultdict", Kind::dict_type},
    {"collections", "Counter", Kind::dict_type},
    {"collections", "deque", Kind::list_type},
    {"_codecs", "encode", Kind::encode},
    {"copyreg", "_reconstructor", Kind::reconstructor},
    {"copy_reg", "_reconstructor", Kind::reconstructor},

    {"torch", "Size", Kind::tuple_type},
    {"torch", "device", Kind::device},
    {"torch.serialization", "_get_layout", Kind::layout},
    {"torch", "per_tensor_affine", Kind::text_like},
    {"torch", "per_tensor_symmetric", Kind::text_like},
    {"torch", "per_channel_affine", Kind::text_like},
    {"torch", "per_channel_symmetric", Kind::text_like},
    {"torch", "per_channel_affine_float_qparams", Kind::text_like},
    {"torch", "strided", Kind::text_like},
    {"torch", "sparse_coo", Kind::text_like},
    {"torch", "Tensor", Kind::tensor_type},
    {"torch._tensor", "Tensor", Kind::tensor_type},
    {"torch.tensor", "Tensor", Kind::tensor_type},
    {"torch.nn.parameter", "Parameter", Kind::tensor_type},
    {"torch.nn.parameter", "Buffer", Kind::tensor_type},
    {"torch.autograd.variable", "Variable", Kind::tensor_type},
    {"torch.storage", "UntypedStorage", Kind::storage_type, find_torch_type("uint8"), "untyped"},
    {"torch.storage", "_UntypedStorage", Kind::storage_type, find_torch_type("uint8"), "untyped"},
    {"torch", "UntypedStorage", Kind::storage_type, find_torch_type("uint8"), "untyped"},

    {"torch._utils", "_rebuild_tensor", Kind::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v2", Kind::rebuild_tensor},
    {"torch._utils", "_rebuild_tensor_v3", Kind::rebuild_tensor_v3},
    {"torch._utils", "_rebuild_parameter", Kind::rebuild_parameter},
    {"torch._utils", "_rebuild_parameter_with_state", Kind::rebuild_parameter},
    {"torch._tensor", "_rebuild_from_type", Kind::rebuild_from_type},
    {"torch._tensor", "_rebuild_from_type_v2", Kind::rebuild_from_type},
    {"torch.tensor", "_rebuild_from_type", Kind::rebuild_from_type},
    {"torch.tensor", "_rebuild_from_type_v2", Kind::rebuild_from_type},
    {"torch._utils", "_rebuild_device_tensor_from_cpu_tensor", Kind::rebuild_from_cpu_tensor},
    {"torch._utils", "_rebuild_device_tensor_from_numpy", Kind::rebuild_from_array},
    {"torch._utils", "_rebuild_xla_tensor", Kind::rebuild_from_array},
    {"torch._utils", "_rebuild_qtensor", Kind::rebuild_unsupported, nullptr, "quantised"},
    {"torch._utils", "_rebuild_sparse_tensor", Kind::rebuild_unsupported, nullptr, "sparse"},
    {"torch._utils", "_rebuild_sparse_csr_tensor", Kind::rebuild_unsupported, nullptr, "sparse"},
    {"torch._utils", "_rebuild_nested_tensor", Kind::rebuild_unsupported, nullptr, "nested"},
    {"torch._utils", "_rebuild_meta_tensor_no_storage", Kind::rebuild_unsupported, nullptr,
     "on the meta device, without elements"},
    {"torch._utils", "_rebuild_wrapper_subclass", Kind::rebuild_unsupported, nullptr,
     "a wrapper subclass, without elements of its own"},

    {"torch.jit._pickle", "build_intlist", Kind::build_list},
    {"torch.jit._pickle", "build_tensorlist", Kind::build_list},
    {"torch.jit._pickle", "build_doublelist", Kind::build_list},
    {"torch.jit._pickle", "build_boollist", Kind::build_list},
    {"torch.jit._pickle", "restore_type_tag", Kind::restore_type_tag},

    {"numpy", "ndarray", Kind::array_type},
    {"numpy", "dtype", Kind::array_dtype},
};

// Python 2 and 3 call the module differently; pickles of protocol 2 and below keep the old name.
constexpr std::string_view kBuiltinModules[] = {"__builtin__", "builtins"};
constexpr struct {
  std::string_view name;
  Kind kind;
} kBuiltins[] = {
    {"set", Kind::set_type},     {"frozenset", Kind::set_type},   {"bytearray", Kind::bytes_type},
    {"bytes", Kind::bytes_type}, {"complex", Kind::complex_type}, {"list", Kind::list_type},
    {"dict", Kind::dict_type},   {"tuple", Kind::tuple_type},     {"int", Kind::plain_type},
    {"long", Kind::plain_type},  {"float", Kind::plain_type},     {"bool", Kind::plain_type},
    {"str", Kind::plain_type},   {"unicode", Kind::plain_type},   {"object", Kind::plain_type},
};

// numpy moved its core in 2.0.
constexpr std::string_view kArrayModules[] = {"numpy.core", "numpy._core"};
constexpr struct {
  std::string_view module, name;
  Kind kind;
} kArrayGlobals[] = {
    {".multiarray", "_reconstruct", Kind::array_reconstruct},
    {".multiarray", "scalar", Kind::array_scalar},
    {".numeric", "_frombuffer", Kind::array_from_buffer},
};

// Types of tensors and storages by device, as old files name them.
constexpr std::string_view kDeviceModules[] = {"torch", "torch.cuda"};

class Table {
 public:
  Table() {
    for (const GlobalRow& row : kRows) add(row);
    for (std::string_view module : kBuiltinModules)
      for (const auto& builtin : kBuiltins) add({module, builtin.name, builtin.kind});
    for (std::string_view module : kArrayModules)
      for (const auto& row : kArrayGlobals)
        add({keep(std::string(module) + std::string(row.module)), row.name, row.kind});
    for (const TorchType& type : kTorchTypes) {
      add({"torch", type.name, Kind::dtype, &type});
      if (type.storage.empty()) continue;
      std::string tensor(
          type.storage.substr(0, type.storage.size() - std::string_view("Storage").size()));
      std::string_view tensor_name = keep(tensor + "Tensor");
      for (std::string_view module : kDeviceModules) {
        add({module, type.storage, Kind::storage_type, &type});
        add({module, tensor_name, Kind::tensor_type, &type});
      }
      add({"torch.storage", type.storage, Kind::storage_type, &type});
    }
  }

  const GlobalRow* find(std::string_view module, std::string_view name) const {
    auto found = rows_.find(key(module, name));
    return found == rows_.end() ? nullptr : &found->second;
  }

 private:
  // Neither part of a row has a NUL, and a name that has one must not match by it.
  static std::string key(std::string_view module, std::string_view name) {
    return std::to_string(module.size()) + ":" + std::string(module) + std::string(name);
  }
  void add(const GlobalRow& row) { rows_.emplace(key(row.module, row.name), row); }
  std::string_view keep(std::string text) {
    auto [at, added] = texts_.emplace(std::move(text), 0);
    return at->first;
  }
  std::unordered_map<std::string, GlobalRow> rows_;
  std::unordered_map<std::string, int> texts_;
};

}  // namespace

const GlobalRow* find_global(std::string_view module, std::string_view name) {
  static const auto* table = new Table();
  return table->find(module, name);
}

}  // namespace sconce
