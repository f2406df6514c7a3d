#include "tile/program_bytes.h"

#include <algorithm>
#include <cstring>

#include "tile_generated.h"

namespace sconce::tile {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

// 2: has panels of i8, which lie otherwise than readers of 1 think. 3: has nibbles. 4: sizes differ
// from call to call. 5: outputs update inputs, stores go to computed indices, loops run backward,
// axes are renamed.
constexpr uint32_t kVersion = 5;

// What version 4 does not have.
bool is_of_version_5(const Instruction& i) {
  return i.op == Op::rename ||
         (i.op == Op::store &&
          (i.strict || std::any_of(i.index.begin(), i.index.end(),
                                   [](const Index& index) { return index.value != kNone; })));
}

// The least version whose readers understand a program.
uint32_t version_of(const Program& program) {
  uint32_t version = program.symbols.empty() ? 1 : 4;
  for (const Kernel& kernel : program.kernels) {
    for (const Buffer& buffer : kernel.buffers)
      if (buffer.is_packed() && buffer.dtype == DType::i8)
        version = std::max(version, buffer.layout == Layout::nibbles ? 3u : 2u);
    for (const Axis& axis : kernel.axes)
      version = std::max(version, axis.backward ? 5u : axis.whole != 0 ? 4u : 1u);
    if (std::any_of(kernel.body.begin(), kernel.body.end(), is_of_version_5)) version = 5;
  }
  for (const Argument& output : program.outputs)
    if (output.updates != kNone) version = 5;
  return version;
}

constexpr size_t kSourceBytesMax = 4096, kConstantNameBytesMax = 256, kArgumentsMax = 4096;

// ---- writing ----

fb::Extent written(const Extent& extent) { return {extent.known, extent.dim}; }

class Writer {
 public:
  std::vector<uint8_t> write(const Program& program) {
    auto kernels = tables(program.kernels, [&](const Kernel& k) { return kernel(k); });
    auto storages = tables(program.storages, [&](const Storage& s) {
      auto name = s.name.empty() ? Offset<flatbuffers::String>() : b_.CreateSharedString(s.name);
      return fb::CreateStorage(b_, uint8_t(s.kind), s.bytes, s.index, s.offset, name);
    });
    auto steps = tables(program.steps, [&](const Step& s) {
      auto operands = tables(s.operands, [&](const Operand& o) {
        auto sizes = b_.CreateVector(o.sizes), strides = b_.CreateVector(o.strides);
        return fb::CreateOperand(b_, o.storage, o.offset, sizes, strides);
      });
      std::string text = s.source.substr(0, kSourceBytesMax);
      auto source = text.empty() ? Offset<flatbuffers::String>() : b_.CreateSharedString(text);
      return fb::CreateStep(b_, s.kernel, operands, source);
    });
    auto argument = [&](const Argument& a) {
      auto sizes = b_.CreateVector(a.sizes);
      auto order = a.dim_order.empty() ? Offset<flatbuffers::Vector<uint8_t>>()
                                       : b_.CreateVector(a.dim_order);
      return fb::CreateArgument(b_, int8_t(a.dtype), sizes, order, a.updates);
    };
    auto inputs = tables(program.inputs, argument), outputs = tables(program.outputs, argument);
    Offset<flatbuffers::Vector<const fb::Symbol*>> symbols;
    Offset<flatbuffers::Vector<Offset<fb::Formula>>> formulas;
    Offset<flatbuffers::Vector<const fb::Varying*>> varying;
    if (!program.symbols.empty()) {
      std::vector<fb::Symbol> all;
      for (const Symbol& s : program.symbols)
        all.push_back({s.factor, s.offset, s.min, s.max, s.input, s.dim});
      symbols = b_.CreateVectorOfStructs(all);
      formulas = tables(program.formulas, [&](const Formula& f) { return formula(f); });
      std::vector<fb::Varying> places;
      for (const Varying& v : program.varying)
        places.push_back({uint32_t(v.what), v.index, v.operand, v.dim, v.formula});
      varying = b_.CreateVectorOfStructs(places);
    }
    b_.Finish(fb::CreateProgram(b_, version_of(program), kernels, storages, steps, inputs, outputs,
                                program.arena_bytes, symbols, formulas, varying),
              fb::ProgramIdentifier());
    return {b_.GetBufferPointer(), b_.GetBufferPointer() + b_.GetSize()};
  }

 private:
  template <class T, class F, class Made = std::invoke_result_t<F, const T&>>
  Offset<flatbuffers::Vector<Made>> tables(const std::vector<T>& items, F make) {
    std::vector<Made> made;
    made.reserve(items.size());
    for (const T& item : items) made.push_back(make(item));
    return b_.CreateVector(made);
  }
  Offset<flatbuffers::Vector<int32_t>> ids(const std::vector<int32_t>& items) {
    if (items.empty()) return {};
    return b_.CreateVector(items);
  }

  Offset<fb::Formula> formula(const Formula& f) {
    std::vector<uint8_t> ops;
    std::vector<int64_t> numbers;
    for (const Formula::Step& step : f.steps) {
      ops.push_back(uint8_t(step.op));
      if (step.op <= Formula::Op::symbol) numbers.push_back(step.value);
    }
    auto list = b_.CreateVector(ops);
    return fb::CreateFormula(b_, list, b_.CreateVector(numbers));
  }

  Offset<fb::Kernel> kernel(const Kernel& k) {
    auto name = b_.CreateSharedString(k.name);
    auto dims = tables(k.dims, [&](const std::string& d) { return b_.CreateSharedString(d); });
    auto axes = tables(k.axes, [&](const Axis& a) {
      auto axis = b_.CreateSharedString(a.name);
      fb::Extent extent = written(a.extent);
      return fb::CreateAxis(b_, axis, uint8_t(a.kind), &extent, a.block, a.each, a.whole,
                            a.backward);
    });
    auto buffers = tables(k.buffers, [&](const Buffer& x) {
      auto buffer = b_.CreateSharedString(x.name);
      std::vector<fb::Extent> extents;
      for (const Extent& extent : x.dims) extents.push_back(written(extent));
      auto sizes = b_.CreateVectorOfStructs(extents);
      return fb::CreateBuffer(b_, buffer, int8_t(x.dtype), sizes, x.output, uint8_t(x.layout),
                              x.panel_lead);
    });
    auto body = tables(k.body, [&](const Instruction& i) { return instruction(i); });
    return fb::CreateKernel(b_, name, dims, axes, buffers, body);
  }

  Offset<fb::Instruction> instruction(const Instruction& i) {
    Offset<flatbuffers::Vector<Offset<fb::Index>>> index;
    if (!i.index.empty())
      index = tables(i.index, [&](const Index& x) {
        Offset<flatbuffers::Vector<const fb::Term*>> terms;
        if (!x.terms.empty()) {
          std::vector<fb::Term> all;
          for (const Term& term : x.terms) all.push_back({term.factor, term.axis});
          terms = b_.CreateVectorOfStructs(all);
        }
        return fb::CreateIndex(b_, terms, x.offset, x.value);
      });
    auto axes = ids(i.axes), operands = ids(i.operands), results = ids(i.results);
    return fb::CreateInstruction(b_, uint8_t(i.op), i.function, int8_t(i.dtype), i.strict, i.lanes,
                                 i.buffer, i.number, axes, operands, results, index);
  }

  FlatBufferBuilder b_{16 * 1024};
};

// ---- reading ----

// Lists are shorter than what any sound program has, before anything is made of them: tables of a
// flatbuffer may share their lists, so a small file could claim much memory.
template <class Vector>
Result<void> check_count(const char* what, const Vector* items, size_t most) {
  if (items && items->size() > most)
    return error(Code::too_large, "{} {}; at most {}", items->size(), what, most);
  return {};
}

Result<std::string> read_text(const char* what, const flatbuffers::String* text, size_t most) {
  if (!text) return std::string();
  if (text->size() > most)
    return error(Code::too_large, "{} of {} bytes; at most {}", what, text->size(), most);
  return text->str();
}

Result<DType> read_dtype(int8_t code) {
  if (!is_dtype(code)) return error(Code::invalid_file, "dtype {} is none", int(code));
  return DType(code);
}

// Items of a list, wherever they lie: the verifier looks at the alignment of its length alone.
template <class T>
std::vector<T> items_of(const uint8_t* data, size_t count) {
  std::vector<T> items(count);
  if (count > 0) memcpy(items.data(), data, count * sizeof(T));
  return items;
}

template <class T>
Result<std::vector<T>> read_numbers(const char* what, const flatbuffers::Vector<T>* items,
                                    size_t most) {
  TRY_VOID(check_count(what, items, most));
  if (!items) return std::vector<T>();
  return items_of<T>(items->Data(), items->size());
}

// Calls f(item) for each table of a list that was not left out.
template <class T, class F>
Result<void> each(const char* what, const flatbuffers::Vector<Offset<T>>* items, size_t most, F f) {
  TRY_VOID(check_count(what, items, most));
  if (!items) return {};
  for (uint32_t n = 0; n < items->size(); n++) {
    Result<void> done = f(*items->Get(n));
    if (!done.ok()) return std::move(done.error()).with_context(fmt::format("{} {}", what, n));
  }
  return {};
}

Result<Index> read_index(const fb::Index& from) {
  Index index;
  TRY_VOID(check_count("terms", from.terms(), kAxesMax));
  if (from.terms())
    for (const fb::Term& term : items_of<fb::Term>(from.terms()->Data(), from.terms()->size()))
      index.terms.push_back({term.axis(), term.factor()});
  index.offset = from.offset();
  index.value = from.value();
  return index;
}

Result<Instruction> read_instruction(const fb::Instruction& from) {
  Instruction i;
  i.op = Op(from.op());
  i.function = from.function();
  TRY(i.dtype, read_dtype(from.dtype()));
  i.strict = from.strict();
  i.lanes = from.lanes();
  i.buffer = from.buffer();
  i.number = from.number();
  TRY(i.axes, read_numbers("axes", from.axes(), kAxesMax));
  TRY(i.operands, read_numbers("operands", from.operands(), kBuffersMax));
  TRY(i.results, read_numbers("results", from.results(), kBuffersMax));
  TRY_VOID(each("index", from.index(), kRankMax, [&](const fb::Index& x) -> Result<void> {
    TRY(Index index, read_index(x));
    i.index.push_back(std::move(index));
    return {};
  }));
  return i;
}

Result<Kernel> read_kernel(const fb::Kernel& from) {
  Kernel kernel;
  TRY(kernel.name, read_text("name", from.name(), kNameBytesMax));
  TRY_VOID(check_count("dims", from.dims(), kDimsMax));
  if (from.dims())
    for (const flatbuffers::String* dim : *from.dims()) {
      TRY(std::string name, read_text("name", dim, kNameBytesMax));
      kernel.dims.push_back(std::move(name));
    }
  TRY_VOID(each("axis", from.axes(), kAxesMax, [&](const fb::Axis& x) -> Result<void> {
    Axis axis;
    TRY(axis.name, read_text("name", x.name(), kNameBytesMax));
    axis.kind = AxisKind(x.kind());
    axis.extent = {x.extent()->dim(), x.extent()->known()};
    axis.block = x.block();
    axis.each = x.each();
    axis.whole = x.whole();
    axis.backward = x.backward();
    kernel.axes.push_back(std::move(axis));
    return {};
  }));
  TRY_VOID(each("buffer", from.buffers(), kBuffersMax, [&](const fb::Buffer& x) -> Result<void> {
    Buffer buffer;
    TRY(buffer.name, read_text("name", x.name(), kNameBytesMax));
    TRY(buffer.dtype, read_dtype(x.dtype()));
    TRY_VOID(check_count("dims", x.dims(), kRankMax));
    if (x.dims())
      for (const fb::Extent& dim : items_of<fb::Extent>(x.dims()->Data(), x.dims()->size()))
        buffer.dims.push_back({dim.dim(), dim.known()});
    buffer.output = x.output();
    buffer.layout = Layout(x.layout());
    buffer.panel_lead = x.panel_lead();
    kernel.buffers.push_back(std::move(buffer));
    return {};
  }));
  TRY_VOID(each("instruction", from.body(), kInstructionsMax,
                [&](const fb::Instruction& x) -> Result<void> {
                  TRY(Instruction instruction, read_instruction(x));
                  kernel.body.push_back(std::move(instruction));
                  return {};
                }));
  return kernel;
}

Result<Step> read_step(const fb::Step& from) {
  Step step;
  step.kernel = from.kernel();
  TRY_VOID(each("operand", from.operands(), kBuffersMax, [&](const fb::Operand& x) -> Result<void> {
    Operand operand;
    operand.storage = x.storage();
    operand.offset = x.offset();
    TRY(operand.sizes, read_numbers("sizes", x.sizes(), kRankMax));
    TRY(operand.strides, read_numbers("strides", x.strides(), kRankMax));
    step.operands.push_back(std::move(operand));
    return {};
  }));
  TRY(step.source, read_text("source", from.source(), kSourceBytesMax));
  return step;
}

Result<void> read_arguments(const char* what, const flatbuffers::Vector<Offset<fb::Argument>>* from,
                            std::vector<Argument>* to) {
  return each(what, from, kArgumentsMax, [&](const fb::Argument& x) -> Result<void> {
    Argument argument;
    TRY(argument.dtype, read_dtype(x.dtype()));
    TRY(argument.sizes, read_numbers("sizes", x.sizes(), kRankMax));
    TRY(argument.dim_order, read_numbers("dim order entries", x.dim_order(), kRankMax));
    argument.updates = x.updates();
    to->push_back(std::move(argument));
    return {};
  });
}

Result<Formula> read_formula(const fb::Formula& from) {
  TRY(std::vector<uint8_t> ops, read_numbers("operations", from.ops(), kFormulaStepsMax));
  TRY(std::vector<int64_t> numbers, read_numbers("numbers", from.numbers(), kFormulaStepsMax));
  Formula formula;
  size_t next = 0;
  for (uint8_t op : ops) {
    bool pushes = op <= uint8_t(Formula::Op::symbol);
    if (pushes && next == numbers.size())
      return error(Code::invalid_file, "{} numbers, and operations that push more", next);
    formula.steps.push_back({Formula::Op(op), pushes ? numbers[next++] : 0});
  }
  if (next != numbers.size())
    return error(Code::invalid_file, "{} numbers, of which {} are used", numbers.size(), next);
  return formula;
}

// What the sizes of calls are made of.
Result<void> read_symbols(const fb::Program& root, Program* program) {
  TRY_VOID(check_count("symbols", root.symbols(), kSymbolsMax));
  if (root.symbols())
    for (const fb::Symbol& x : items_of<fb::Symbol>(root.symbols()->Data(), root.symbols()->size()))
      program->symbols.push_back({x.input(), x.dim(), x.factor(), x.offset(), x.min(), x.max()});
  TRY_VOID(
      each("formula", root.formulas(), kFormulasMax, [&](const fb::Formula& x) -> Result<void> {
        TRY(Formula formula, read_formula(x));
        program->formulas.push_back(std::move(formula));
        return {};
      }));
  if (root.varying())
    for (const fb::Varying& x :
         items_of<fb::Varying>(root.varying()->Data(), root.varying()->size())) {
      if (x.what() > uint32_t(Varying::What::operand_offset))
        return error(Code::invalid_file, "a varying number of kind {}", x.what());
      program->varying.push_back(
          {Varying::What(x.what()), x.index(), x.operand(), x.dim(), x.formula()});
    }
  return {};
}

Result<Program> read(Bytes bytes) {
  // Fields are read where they lie, so they must lie as the writer aligned them.
  std::vector<uint64_t> aligned;
  if (reinterpret_cast<uintptr_t>(bytes.data()) % 8) {
    aligned.resize(bytes.size() / 8 + 1);
    memcpy(aligned.data(), bytes.data(), bytes.size());
    bytes = {reinterpret_cast<const uint8_t*>(aligned.data()), bytes.size()};
  }
  if (bytes.size() < 8 || bytes.size() > FLATBUFFERS_MAX_BUFFER_SIZE)
    return error(Code::invalid_file, "{} bytes; from 8 to {} are wanted", bytes.size(),
                 size_t(FLATBUFFERS_MAX_BUFFER_SIZE));
  if (memcmp(bytes.data() + 4, fb::ProgramIdentifier(), 4) != 0)
    return error(Code::invalid_file, "it is no tile program: {} is wanted at byte 4",
                 fb::ProgramIdentifier());
  // No more tables than bytes to hold them: lists that share tables cannot make the walk long.
  flatbuffers::Verifier verifier(bytes.data(), bytes.size(), 16, uint32_t(bytes.size() / 4));
  if (!fb::VerifyProgramBuffer(verifier))
    return error(Code::invalid_file, "its tables leave its {} bytes", bytes.size());
  const fb::Program& root = *fb::GetProgram(bytes.data());
  if (root.version() < 1 || root.version() > kVersion)
    return error(Code::unsupported, "version {}; we read 1 to {}", root.version(), kVersion);

  Program program;
  size_t most = bytes.size();  // the walk above has bounded them
  TRY_VOID(each("kernel", root.kernels(), most, [&](const fb::Kernel& x) -> Result<void> {
    TRY(Kernel kernel, read_kernel(x));
    program.kernels.push_back(std::move(kernel));
    return {};
  }));
  TRY_VOID(each("storage", root.storages(), most, [&](const fb::Storage& x) -> Result<void> {
    Storage storage{Storage::Kind(x.kind()), x.bytes(), x.index(), x.offset(), {}};
    TRY(storage.name, read_text("name", x.name(), kConstantNameBytesMax));
    program.storages.push_back(std::move(storage));
    return {};
  }));
  TRY_VOID(each("step", root.steps(), most, [&](const fb::Step& x) -> Result<void> {
    TRY(Step step, read_step(x));
    program.steps.push_back(std::move(step));
    return {};
  }));
  TRY_VOID(read_arguments("input", root.inputs(), &program.inputs));
  TRY_VOID(read_arguments("output", root.outputs(), &program.outputs));
  program.arena_bytes = root.arena_bytes();
  TRY_VOID(read_symbols(root, &program));
  if (root.version() < version_of(program))
    return error(Code::invalid_file, "version {}, and what only version {} has", root.version(),
                 version_of(program));
  TRY_VOID(verify(program));
  return program;
}

}  // namespace

std::vector<uint8_t> write_program(const Program& program) { return Writer().write(program); }

Result<Program> read_program(Bytes bytes) { return read(bytes).with_context("tile program"); }

}  // namespace sconce::tile
