// Any bytes as a .pte end in an error with a text or in a program that is compiled anew and sound.
// The mutator changes what a program says and writes it again, so that most of them are read.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "emit/emit.h"
#include "formats/pte/pte.h"
#include "import/pte/import_pte.h"
#include "passes/pipeline.h"
#include "targets/target.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t size_max);

namespace {

using namespace sconce;

struct Random {
  uint64_t state;
  uint64_t next() {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
  }
  size_t below(size_t limit) { return limit ? size_t(next() % limit) : 0; }
};

int64_t odd_number(Random& random) {
  constexpr int64_t kNumbers[] = {0, 1,  -1,   2,         3,         4,        7,
                                  8, 16, 1000, INT32_MAX, INT64_MIN, INT64_MAX};
  return kNumbers[random.below(std::size(kNumbers))];
}

void change_tensor(PteTensor& tensor, Random& random) {
  switch (random.below(6)) {
    case 0:
      if (!tensor.sizes.empty())
        tensor.sizes[random.below(tensor.sizes.size())] = int32_t(random.below(9));
      break;
    case 1: tensor.scalar_type = int8_t(random.below(16)); break;
    case 2:
      if (tensor.placement) tensor.placement->offset = random.below(64) * 16;
      break;
    case 3:
      tensor.dim_order.resize(tensor.sizes.size());
      for (size_t i = 0; i < tensor.dim_order.size(); i++) tensor.dim_order[i] = uint8_t(i);
      if (tensor.dim_order.size() > 1)
        std::swap(tensor.dim_order[random.below(tensor.dim_order.size())], tensor.dim_order[0]);
      break;
    case 4: tensor.dynamism = PteDynamism(random.below(3)); break;
    default: tensor.data_index = uint32_t(random.below(4)); break;
  }
}

void change_method(PteMethod& method, std::vector<std::vector<uint8_t>>& kept, Random& random) {
  auto& instructions = method.chains.empty() ? method.chains.emplace_back().instructions
                                             : method.chains[0].instructions;
  if (method.values.empty() || instructions.empty()) return;
  size_t any = random.below(method.values.size());
  PteInstruction& instruction = instructions[random.below(instructions.size())];
  switch (random.below(8)) {
    case 0:
    case 1:
      if (auto* tensor = std::get_if<PteTensor>(&method.values[any]))
        change_tensor(*tensor, random);
      break;
    case 2:
      if (auto* number = std::get_if<int64_t>(&method.values[any])) *number = odd_number(random);
      break;
    case 3:
      if (auto* call = std::get_if<PteKernelCall>(&instruction); call && !call->args.empty())
        call->args[random.below(call->args.size())] = int32_t(any);
      if (auto* call = std::get_if<PteDelegateCall>(&instruction); call && !call->args.empty())
        call->args[random.below(call->args.size())] = int32_t(any);
      break;
    case 4: std::swap(instruction, instructions[random.below(instructions.size())]); break;
    case 5: instructions.insert(instructions.begin(), instruction); break;
    case 6:
      if (random.below(2))
        instructions.push_back(PteMove{int32_t(any), int32_t(random.below(method.values.size()))});
      else if (!method.outputs.empty())
        method.outputs[random.below(method.outputs.size())] = int32_t(any);
      break;
    default:
      if (!method.delegates.empty()) {
        PteDelegate& delegate = method.delegates[random.below(method.delegates.size())];
        auto& bytes = kept.emplace_back(delegate.data.begin(), delegate.data.end());
        // Small numbers: ids, kinds, flags, sizes.
        for (int i = 0; i < 2 && bytes.size() > 64; i++)
          bytes[32 + random.below(bytes.size() - 32)] = uint8_t(random.below(60));
        delegate.data = bytes;
      } else if (method.operators.size() > 1) {
        std::swap(method.operators[0], method.operators[random.below(method.operators.size())]);
      }
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t size_max,
                                          unsigned seed) {
  Random random{seed};
  std::vector<uint8_t> copy(data, data + size);  // aligned
  auto file = read_pte(copy);
  if (!file.ok() || file->methods.empty() || seed % 16 == 0)
    return LLVMFuzzerMutate(data, size, size_max);
  std::vector<std::vector<uint8_t>> kept;
  kept.reserve(8);
  for (size_t i = 0, count = 1 + random.below(4); i < count; i++)
    change_method(file->methods[random.below(file->methods.size())], kept, random);
  PteWriteOptions options;
  options.unchecked = true;
  auto written = write_pte(*file, options);
  std::vector<uint8_t> bytes;
  if (written.ok()) bytes = written->joined();
  if (bytes.empty() || bytes.size() > size_max) return LLVMFuzzerMutate(data, size, size_max);
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<uint8_t> copy(data, data + size);  // aligned
  auto file = read_pte(copy);
  if (!file.ok()) return 0;
  const Target* target = find_target(size & 1 ? "cpu" : "portable");
  PteImportOptions options;
  options.nodes_max = 2000;
  options.bytes_max = 1 << 20;
  for (const PteMethod& method : file->methods) {
    options.input_sizes.clear();
    for (size_t i = 0; size & 2 && i < method.inputs.size(); i++) {
      const auto* tensor = std::get_if<PteTensor>(&method.values[size_t(method.inputs[i])]);
      options.input_sizes.push_back(tensor ? tensor->sizes : std::vector<int32_t>());
      for (int32_t& s : options.input_sizes.back()) s -= s > 1;
    }
    auto program = import_pte_method(*file, method, options);
    if (!program.ok()) {
      if (program.error().text.empty()) __builtin_trap();
      continue;
    }
    PassContext context{target->has_node};
    Result<void> done = run_pipeline(**program, context, {});
    // Passes keep graphs sound, whatever they were given.
    if (!done.ok() && done.error().code == Code::internal) __builtin_trap();
    if (done.ok() && target->partition)
      done = target->partition(**program, (*program)->methods[0].graph, Prefer::balance);
    if (!done.ok()) continue;
    auto emitted = emit(**program);
    if (!emitted.ok()) continue;
    auto written = write_pte(emitted->program);
    if (!written.ok()) continue;
    auto bytes = written->joined();
    if (auto again = read_pte(bytes); !again.ok()) __builtin_trap();
  }
  return 0;
}
