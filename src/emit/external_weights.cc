#include "emit/external_weights.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "tensor/tensor.h"

namespace sconce {
namespace {

bool is_same(const PtdEntry& a, const PtdEntry& b) {
  return a.dtype == b.dtype && a.sizes == b.sizes && a.dim_order == b.dim_order &&
         a.bytes.size() == b.bytes.size() &&
         (a.bytes.data() == b.bytes.data() ||
          memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0);
}

}  // namespace

std::vector<PtdEntry> take_weights_out(PteProgram& program) {
  std::vector<PtdEntry> entries;
  std::map<std::string, size_t> by_key;
  // Names that the program asks for already, and those of what stays in it.
  std::set<std::string> taken;
  for (const PteMethod& method : program.methods)
    for (const PteValue& value : method.values)
      if (auto* tensor = std::get_if<PteTensor>(&value); tensor && tensor->external)
        taken.insert(tensor->name);
  for (const PteNamedData& data : program.named_data) taken.insert(data.key);

  bool empty = false;
  for (PteMethod& method : program.methods)
    for (PteValue& value : method.values) {
      auto* tensor = std::get_if<PteTensor>(&value);
      if (!tensor || tensor->external || tensor->placement || tensor->data_index == 0) continue;
      int64_t count = 0;
      CHECK(checked_element_count(tensor->sizes.data(), int(tensor->sizes.size()), &count));
      uint64_t bytes = uint64_t(count) * dtype_bytes(DType(tensor->scalar_type));
      if (bytes == 0) {  // nothing to bring
        empty = true;
        continue;
      }
      PtdEntry entry;
      entry.is_tensor = true;
      entry.dtype = DType(tensor->scalar_type);
      entry.sizes = tensor->sizes;
      entry.dim_order = tensor->dim_order;
      if (entry.dim_order.empty()) {
        entry.dim_order.resize(entry.sizes.size());
        std::iota(entry.dim_order.begin(), entry.dim_order.end(), uint8_t(0));
      }
      entry.bytes = program.constants[tensor->data_index].first(size_t(bytes));
      std::string name =
          tensor->name.empty() ? fmt::format("constant.{}", tensor->data_index) : tensor->name;
      entry.key = name;
      for (int number = 2;; number++) {
        auto there = by_key.find(entry.key);
        if (there != by_key.end() && is_same(entries[there->second], entry)) break;
        if (there == by_key.end() && !taken.contains(entry.key)) {
          by_key.emplace(entry.key, entries.size());
          entries.push_back(entry);
          break;
        }
        entry.key = fmt::format("{}.{}", name, number);
      }
      tensor->name = entry.key;
      tensor->external = true;
      tensor->data_index = 0;
    }
  // Tensors without elements still have an index.
  std::fill(program.constants.begin(), program.constants.end(), Bytes());
  if (!empty) program.constants.resize(1);

  std::erase_if(program.named_data, [&](const PteNamedData& data) {
    if (data.key == kConstraintsKey) return false;
    PtdEntry entry;
    entry.key = data.key;
    entry.bytes = data.data;
    entries.push_back(std::move(entry));
    return true;
  });
  return entries;
}

}  // namespace sconce
