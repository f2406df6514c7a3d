// Writing: check indices, lay out segments (constants, initial values, delegates, named data, as
// stock does), build the tables, then put the extended header between their first 8 bytes and the
// rest. Nothing depends on addresses, so equal programs give equal bytes.
#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "base/equal_bytes.h"
#include "formats/pte/pte.h"
#include "program_generated.h"
#include "tensor/tensor.h"

namespace sconce {
namespace {

namespace fbs = pte_schema;
using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

constexpr uint32_t kHeaderBytes = 32;

// --- where bulk data goes -----------------------------------------------------------------------

struct Placed {
  uint64_t offset;
  Bytes bytes;
};

struct Segment {
  uint64_t offset = 0, bytes = 0;
  std::vector<Placed> parts;  // ascending offsets inside the segment
};

class Layout {
 public:
  explicit Layout(uint32_t alignment) : alignment_(alignment) {}

  // A segment that holds `pieces` once each; offsets by piece. Entry 0 is a placeholder.
  uint32_t add_pieces(const std::vector<Bytes>& pieces, uint32_t alignment,
                      std::vector<uint64_t>* offsets) {
    Segment segment;
    EqualBytes equal;
    offsets->assign(pieces.size(), 0);
    for (size_t i = 1; i < pieces.size(); i++) {
      if (pieces[i].empty()) continue;
      if (size_t earlier = equal.find_or_add(pieces[i], i); earlier != i) {
        (*offsets)[i] = (*offsets)[earlier];
        continue;
      }
      uint64_t offset = align_up(segment.bytes, alignment);
      segment.parts.push_back({offset, pieces[i]});
      segment.bytes = offset + pieces[i].size();
      (*offsets)[i] = offset;
    }
    return add(std::move(segment), alignment_);
  }

  // A segment with one blob, shared with an equal blob added before.
  uint32_t add_blob(Bytes blob, uint32_t alignment) {
    size_t index = segments_.size();
    if (!blob.empty())
      if (size_t earlier = blobs_.find_or_add(blob, index); earlier != index) {
        if (segments_[earlier].offset % alignment == 0) return uint32_t(earlier);
      }
    Segment segment;
    segment.bytes = blob.size();
    if (!blob.empty()) segment.parts.push_back({0, blob});
    return add(std::move(segment), std::max(alignment_, alignment));
  }

  const std::vector<Segment>& segments() const { return segments_; }
  uint64_t end() const { return end_; }

 private:
  uint32_t add(Segment segment, uint32_t alignment) {
    segment.offset = align_up(end_, alignment);
    end_ = segment.offset + segment.bytes;
    segments_.push_back(std::move(segment));
    return uint32_t(segments_.size() - 1);
  }

  uint32_t alignment_;
  uint64_t end_ = 0;
  std::vector<Segment> segments_;
  EqualBytes blobs_;
};

// --- checks: what no runtime could load is not written ----------------------------------------

struct Checker {
  const PteProgram& program;

  Result<void> method(const PteMethod& method) {
    size_t count = method.values.size();
    auto value_index = [&](int64_t found, const char* what) -> Result<void> {
      if (found >= 0 && uint64_t(found) < count) return {};
      return error(Code::invalid_argument, "{} is value {}, the method has {}", what, found, count);
    };
    for (size_t i = 0; i < count; i++)
      TRY_VOID(value(method, i).with_context(fmt::format("value {}", i)));
    for (int32_t i : method.inputs) TRY_VOID(value_index(i, "an input"));
    for (int32_t i : method.outputs) TRY_VOID(value_index(i, "an output"));
    for (size_t c = 0; c < method.chains.size(); c++) {
      const PteChain& chain = method.chains[c];
      if (!chain.stacks.empty() && chain.stacks.size() != chain.instructions.size())
        return error(Code::invalid_argument, "chain {}: {} stacks for {} instructions", c,
                     chain.stacks.size(), chain.instructions.size());
      for (size_t i = 0; i < chain.instructions.size(); i++) {
        auto checked = std::visit(
            [&](const auto& x) -> Result<void> {
              using T = std::decay_t<decltype(x)>;
              if constexpr (std::is_same_v<T, PteKernelCall>) {
                if (uint32_t(x.operator_index) >= method.operators.size())
                  return error(Code::invalid_argument, "operator {}, the method has {}",
                               x.operator_index, method.operators.size());
                for (int32_t a : x.args) TRY_VOID(value_index(a, "an argument"));
              } else if constexpr (std::is_same_v<T, PteDelegateCall>) {
                if (uint32_t(x.delegate_index) >= method.delegates.size())
                  return error(Code::invalid_argument, "delegate {}, the method has {}",
                               x.delegate_index, method.delegates.size());
                for (int32_t a : x.args) TRY_VOID(value_index(a, "an argument"));
              } else if constexpr (std::is_same_v<T, PteMove>) {
                TRY_VOID(value_index(x.from, "the moved value"));
                TRY_VOID(value_index(x.to, "the target of a move"));
              } else if constexpr (std::is_same_v<T, PteJumpFalse>) {
                TRY_VOID(value_index(x.condition, "the condition"));
                if (x.destination < 0 || size_t(x.destination) > chain.instructions.size())
                  return error(Code::invalid_argument, "jumps to {}, the chain has {} instructions",
                               x.destination, chain.instructions.size());
              } else {
                TRY_VOID(value_index(x.value, "the freed value"));
              }
              return {};
            },
            chain.instructions[i]);
        TRY_VOID(std::move(checked).with_context(fmt::format("chain {}: instruction {}", c, i)));
      }
    }
    return {};
  }

  Result<void> value(const PteMethod& method, size_t at) {
    size_t count = method.values.size();
    auto items = [&](const auto& list, bool optional, size_t want) -> Result<void> {
      for (int64_t i : list) {
        if (optional && i == -1) continue;
        if (i < 0 || uint64_t(i) >= count || method.values[size_t(i)].index() != want)
          return error(Code::invalid_argument, "list item is value {}: out of {} or of wrong kind",
                       i, count);
      }
      return {};
    };
    const PteValue& value = method.values[at];
    if (auto* list = std::get_if<PteIntList>(&value)) return items(list->items, false, 1);
    if (auto* list = std::get_if<PteTensorList>(&value)) return items(list->items, false, 4);
    if (auto* list = std::get_if<PteOptionalTensorList>(&value)) return items(list->items, true, 4);
    if (auto* tensor = std::get_if<PteTensor>(&value)) return this->tensor(method, *tensor);
    return {};
  }

  Result<void> tensor(const PteMethod& method, const PteTensor& tensor) {
    int rank = int(tensor.sizes.size());
    int64_t elements;
    if (!is_dtype(tensor.scalar_type))
      return error(Code::invalid_argument, "element type code {} is not known", tensor.scalar_type);
    if (rank > kRankMax) return error(Code::too_large, "rank {} exceeds {}", rank, kRankMax);
    if (!checked_element_count(tensor.sizes.data(), rank, &elements))
      return error(Code::invalid_argument, "a size is negative or the sizes overflow");
    if (!tensor.dim_order.empty() && (int(tensor.dim_order.size()) != rank ||
                                      !is_valid_dim_order(tensor.dim_order.data(), rank)))
      return error(Code::invalid_argument, "dim order is no order of {} dimensions", rank);
    uint64_t bytes = uint64_t(elements) * dtype_bytes(DType(tensor.scalar_type));
    if (tensor.placement) {
      uint32_t id = tensor.placement->memory_id;
      if (id == 0 || id > method.memories.size())
        return error(Code::invalid_argument, "planned memory {}: want 1 to {}", id,
                     method.memories.size());
      if (!range_inside(tensor.placement->offset, bytes, method.memories[id - 1]))
        return error(Code::invalid_argument, "offset {} + {} bytes exceed planned memory {} of {}",
                     tensor.placement->offset, bytes, id, method.memories[id - 1]);
    }
    if (tensor.external || tensor.data_index == 0) return {};
    const auto& pool = tensor.placement ? program.initial_values : program.constants;
    const char* what = tensor.placement ? "initial value" : "constant";
    if (tensor.data_index >= pool.size())
      return error(Code::invalid_argument, "{} {}, the program has {}", what, tensor.data_index,
                   pool.size());
    if (pool[tensor.data_index].size() < bytes)
      return error(Code::invalid_argument, "{} {} has {} bytes, its tensor {}", what,
                   tensor.data_index, pool[tensor.data_index].size(), bytes);
    return {};
  }
};

// --- tables -------------------------------------------------------------------------------------

struct TableWriter {
  FlatBufferBuilder& b;
  Layout& layout;
  std::vector<Bytes> inline_delegates = {};

  template <class T>
  auto vector(const std::vector<T>& items) {
    return b.CreateVector(items.data(), items.size());
  }
  auto string(const std::string& text) { return b.CreateString(text); }

  Offset<fbs::Tensor> tensor(const PteTensor& t) {
    std::vector<uint8_t> order = t.dim_order;
    if (order.empty()) {
      order.resize(t.sizes.size());
      std::iota(order.begin(), order.end(), uint8_t(0));
    }
    auto sizes = vector(t.sizes);
    auto dim_order = vector(order);
    Offset<fbs::AllocationDetails> placement;
    if (t.placement)
      placement =
          fbs::CreateAllocationDetails(b, t.placement->memory_id, uint32_t(t.placement->offset),
                                       uint32_t(t.placement->offset >> 32));
    Offset<fbs::ExtraTensorInfo> extra;
    if (!t.name.empty() || t.external || t.device_type) {
      auto name = string(t.name);
      extra = fbs::CreateExtraTensorInfo(b, 0, name, t.external ? 1 : 0, int8_t(t.device_type),
                                         t.device_index);
    }
    return fbs::CreateTensor(b, t.scalar_type, 0, sizes, dim_order, t.requires_grad, t.data_index,
                             placement, 0, int8_t(t.dynamism), extra);
  }

  Offset<fbs::EValue> value(const PteValue& value) {
    Offset<void> content = std::visit(
        [&](const auto& x) -> Offset<void> {
          using T = std::decay_t<decltype(x)>;
          if constexpr (std::is_same_v<T, std::monostate>)
            return fbs::CreateNull(b).Union();
          else if constexpr (std::is_same_v<T, int64_t>)
            return fbs::CreateInt(b, x).Union();
          else if constexpr (std::is_same_v<T, bool>)
            return fbs::CreateBool(b, x).Union();
          else if constexpr (std::is_same_v<T, double>)
            return fbs::CreateDouble(b, x).Union();
          else if constexpr (std::is_same_v<T, PteTensor>)
            return tensor(x).Union();
          else if constexpr (std::is_same_v<T, std::string>)
            return fbs::CreateString(b, string(x)).Union();
          else if constexpr (std::is_same_v<T, PteIntList>)
            return fbs::CreateIntList(b, vector(x.items)).Union();
          else if constexpr (std::is_same_v<T, PteDoubleList>)
            return fbs::CreateDoubleList(b, vector(x.items)).Union();
          else if constexpr (std::is_same_v<T, PteBoolList>)
            return fbs::CreateBoolList(b, vector(x.items)).Union();
          else if constexpr (std::is_same_v<T, PteTensorList>)
            return fbs::CreateTensorList(b, vector(x.items)).Union();
          else
            return fbs::CreateOptionalTensorList(b, vector(x.items)).Union();
        },
        value);
    return fbs::CreateEValue(b, fbs::KernelTypes(value.index() + 1), content);
  }

  Offset<fbs::Instruction> instruction(const PteInstruction& instruction) {
    Offset<void> content = std::visit(
        [&](const auto& x) -> Offset<void> {
          using T = std::decay_t<decltype(x)>;
          if constexpr (std::is_same_v<T, PteKernelCall>)
            return fbs::CreateKernelCall(b, x.operator_index, vector(x.args)).Union();
          else if constexpr (std::is_same_v<T, PteDelegateCall>)
            return fbs::CreateDelegateCall(b, x.delegate_index, vector(x.args)).Union();
          else if constexpr (std::is_same_v<T, PteMove>)
            return fbs::CreateMoveCall(b, x.from, x.to).Union();
          else if constexpr (std::is_same_v<T, PteJumpFalse>)
            return fbs::CreateJumpFalseCall(b, x.condition, x.destination).Union();
          else
            return fbs::CreateFreeCall(b, x.value).Union();
        },
        instruction);
    return fbs::CreateInstruction(b, fbs::InstructionArguments(instruction.index() + 1), content);
  }

  Offset<fbs::Chain> chain(const PteChain& chain) {
    auto inputs = vector(chain.inputs);
    auto outputs = vector(chain.outputs);
    std::vector<Offset<fbs::Instruction>> instructions;
    instructions.reserve(chain.instructions.size());
    for (const PteInstruction& x : chain.instructions) instructions.push_back(instruction(x));
    auto all = vector(instructions);
    Offset<flatbuffers::Vector<Offset<fbs::FrameList>>> stacks;
    if (!chain.stacks.empty()) {
      std::vector<Offset<fbs::FrameList>> lists;
      for (const auto& stack : chain.stacks) {
        std::vector<Offset<fbs::Frame>> frames;
        for (const PteFrame& f : stack) {
          auto file = b.CreateSharedString(f.file), function = b.CreateSharedString(f.function);
          auto code = b.CreateSharedString(f.code);
          frames.push_back(fbs::CreateFrame(b, file, f.line, function, code));
        }
        lists.push_back(fbs::CreateFrameList(b, vector(frames)));
      }
      stacks = vector(lists);
    }
    return fbs::CreateChain(b, inputs, outputs, all, stacks);
  }

  Offset<fbs::BackendDelegate> delegate(const PteDelegate& delegate) {
    Offset<fbs::BackendDelegateDataReference> processed;
    // An empty payload stays inline, as stock has it.
    if (delegate.stored_inline || delegate.data.empty()) {
      processed = fbs::CreateBackendDelegateDataReference(b, 0, uint32_t(inline_delegates.size()));
      inline_delegates.push_back(delegate.data);
    } else {
      processed = fbs::CreateBackendDelegateDataReference(b, 1, layout.add_blob(delegate.data, 1));
    }
    std::vector<Offset<fbs::CompileSpec>> specs;
    for (const auto& spec : delegate.specs) {
      auto key = string(spec.key);
      specs.push_back(fbs::CreateCompileSpec(b, key, vector(spec.value)));
    }
    auto id = string(delegate.id);
    return fbs::CreateBackendDelegate(b, id, processed, vector(specs));
  }

  Offset<fbs::ExecutionPlan> method(const PteMethod& method) {
    auto name = string(method.name);
    auto input_spec = string(method.input_spec), output_spec = string(method.output_spec);
    auto container = fbs::CreateContainerMetadata(b, input_spec, output_spec);
    std::vector<Offset<fbs::EValue>> values;
    values.reserve(method.values.size());
    for (const PteValue& x : method.values) values.push_back(value(x));
    auto all_values = vector(values);
    auto inputs = vector(method.inputs), outputs = vector(method.outputs);
    std::vector<Offset<fbs::Chain>> chains;
    for (const PteChain& x : method.chains) chains.push_back(chain(x));
    auto all_chains = vector(chains);
    std::vector<Offset<fbs::Operator>> operators;
    for (const PteOperator& x : method.operators) {
      auto base = string(x.name), overload = string(x.overload);
      operators.push_back(fbs::CreateOperator(b, base, overload));
    }
    auto all_operators = vector(operators);
    std::vector<Offset<fbs::BackendDelegate>> delegates;
    for (const PteDelegate& x : method.delegates) delegates.push_back(delegate(x));
    auto all_delegates = vector(delegates);
    std::vector<int64_t> memories = {0};
    for (uint64_t bytes : method.memories) memories.push_back(int64_t(bytes));
    auto all_memories = vector(memories);
    Offset<flatbuffers::Vector<Offset<fbs::NonConstBufferDevice>>> all_devices;
    if (!method.devices.empty()) {
      std::vector<Offset<fbs::NonConstBufferDevice>> devices;
      for (const PteMemoryDevice& d : method.devices)
        devices.push_back(fbs::CreateNonConstBufferDevice(b, d.memory_id, int8_t(d.type), d.index));
      all_devices = vector(devices);
    }
    return fbs::CreateExecutionPlan(b, name, container, all_values, inputs, outputs, all_chains,
                                    all_operators, all_delegates, all_memories, all_devices);
  }
};

bool is_power_of_two(uint64_t value) { return value && (value & (value - 1)) == 0; }

const uint8_t kZeros[4096] = {};

void pad_to(PteFile& file, uint64_t offset) {
  while (file.bytes < offset) {
    uint64_t size = std::min<uint64_t>(offset - file.bytes, sizeof(kZeros));
    file.pieces.push_back(Bytes(kZeros, size_t(size)));
    file.bytes += size;
  }
}

}  // namespace

Result<PteFile> write_pte(const PteProgram& program, const PteWriteOptions& options) {
  if (!is_power_of_two(options.segment_alignment) || options.segment_alignment < 16 ||
      !is_power_of_two(options.constant_alignment) || options.constant_alignment < 16)
    return error(Code::invalid_argument, "alignments {} and {}: want powers of two, at least 16",
                 options.segment_alignment, options.constant_alignment);
  if (program.methods.empty()) return error(Code::invalid_argument, "a program without methods");
  for (size_t i = 0; i < program.methods.size(); i++) {
    const PteMethod& method = program.methods[i];
    if (method.name.empty()) return error(Code::invalid_argument, "method {} has no name", i);
    for (size_t k = 0; k < i; k++)
      if (program.methods[k].name == method.name)
        return error(Code::invalid_argument, "two methods are called {}", method.name);
    if (options.unchecked) continue;
    TRY_VOID(Checker{program}.method(method).with_context("method " + method.name));
  }
  for (size_t i = 0; i < program.named_data.size(); i++) {
    const PteNamedData& entry = program.named_data[i];
    if (entry.key.empty() || !is_power_of_two(entry.alignment))
      return error(Code::invalid_argument,
                   "named data \"{}\": no key, or alignment {} no power of two", entry.key,
                   entry.alignment);
    for (size_t k = 0; k < i; k++)
      if (program.named_data[k].key == entry.key)
        return error(Code::invalid_argument, "two entries of named data are called {}", entry.key);
  }

  // Segments in stock's order: constants, initial values, delegates, named data.
  uint32_t segment_alignment = std::max(options.segment_alignment, options.constant_alignment);
  Layout layout(segment_alignment);
  std::vector<uint64_t> constant_offsets, initial_offsets;
  uint32_t constant_segment =
      layout.add_pieces(program.constants, options.constant_alignment, &constant_offsets);
  if (constant_offsets.empty()) constant_offsets = {0};
  bool has_initial = program.initial_values.size() > 1;
  uint32_t initial_segment = 0;
  if (has_initial)
    initial_segment = layout.add_pieces(program.initial_values, 16, &initial_offsets);

  FlatBufferBuilder b(64 * 1024);
  TableWriter writer{b, layout};
  std::vector<Offset<fbs::ExecutionPlan>> plans;
  for (const PteMethod& method : program.methods) plans.push_back(writer.method(method));
  auto all_plans = writer.vector(plans);

  std::vector<Offset<fbs::BackendDelegateInlineData>> inline_data;
  uint64_t inline_bytes = 0;
  for (Bytes data : writer.inline_delegates) {
    inline_bytes += data.size();
    if (inline_bytes > 1u << 30)
      return error(Code::too_large, "inline delegate data of {} bytes: store it in a segment",
                   inline_bytes);
    b.ForceVectorAlignment(data.size(), 1, 16);
    inline_data.push_back(
        fbs::CreateBackendDelegateInlineData(b, b.CreateVector(data.data(), data.size())));
  }
  auto all_inline = writer.vector(inline_data);
  auto no_buffers = b.CreateVector(std::vector<Offset<fbs::Buffer>>());

  std::vector<Offset<fbs::NamedData>> named;
  for (const PteNamedData& entry : program.named_data) {
    auto key = b.CreateString(entry.key);
    named.push_back(fbs::CreateNamedData(b, key, layout.add_blob(entry.data, entry.alignment)));
  }
  auto all_named = writer.vector(named);

  std::vector<Offset<fbs::DataSegment>> segments;
  uint64_t file_alignment = segment_alignment;
  for (const Segment& s : layout.segments()) {
    segments.push_back(fbs::CreateDataSegment(b, s.offset, s.bytes));
  }
  for (const PteNamedData& entry : program.named_data)
    file_alignment = std::max<uint64_t>(file_alignment, entry.alignment);
  auto all_segments = writer.vector(segments);
  auto constants =
      fbs::CreateSubsegmentOffsets(b, constant_segment, writer.vector(constant_offsets));
  Offset<flatbuffers::Vector<Offset<fbs::SubsegmentOffsets>>> all_initial;
  if (has_initial) {
    std::vector<Offset<fbs::SubsegmentOffsets>> lists = {
        fbs::CreateSubsegmentOffsets(b, initial_segment, writer.vector(initial_offsets))};
    all_initial = writer.vector(lists);
  }
  auto root = fbs::CreateProgram(b, program.version, all_plans, no_buffers, all_inline,
                                 all_segments, constants, all_initial, all_named);
  // The header adds 32 bytes, so offsets keep every alignment up to 16.
  b.Finish(root, fbs::ProgramIdentifier());
  if (b.GetSize() > uint32_t(INT32_MAX) - 4096)
    return error(Code::too_large, "program tables of {} bytes exceed 2 GiB", b.GetSize());

  PteFile file;
  file.program.resize(b.GetSize() + kHeaderBytes);
  uint8_t* to = file.program.data();
  const uint8_t* from = b.GetBufferPointer();
  auto put = [&](size_t at, auto value) { memcpy(to + at, &value, sizeof(value)); };
  uint64_t program_bytes = file.program.size();
  uint64_t segment_base = align_up(program_bytes, file_alignment);
  uint32_t root_at;
  memcpy(&root_at, from, 4);
  put(0, uint32_t(root_at + kHeaderBytes));
  memcpy(to + 4, from + 4, 4);
  memcpy(to + 8, "eh00", 4);
  put(12, kHeaderBytes);
  put(16, program_bytes);
  put(24, segment_base);
  put(32, layout.end());
  memcpy(to + 8 + kHeaderBytes, from + 8, b.GetSize() - 8);

  file.pieces.push_back(file.program);
  file.bytes = program_bytes;
  for (const Segment& segment : layout.segments())
    for (const Placed& part : segment.parts) {
      pad_to(file, segment_base + segment.offset + part.offset);
      file.pieces.push_back(part.bytes);
      file.bytes += part.bytes.size();
    }
  // A reader wants the file to reach the base even when every segment is empty.
  pad_to(file, segment_base + layout.end());
  return file;
}

std::vector<uint8_t> PteFile::joined() const {
  std::vector<uint8_t> all;
  all.reserve(size_t(bytes));
  for (Bytes piece : pieces) all.insert(all.end(), piece.begin(), piece.end());
  return all;
}

}  // namespace sconce
