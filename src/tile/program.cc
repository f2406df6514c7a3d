#include "tile/program.h"

#include <algorithm>

#include "tensor/tensor.h"

namespace sconce::tile {
namespace {

// The sizes of a call are known, and with them the work of a step: a file may not ask for more than
// its buffers are worth. Stores stay inside, or leave by one index (squares of results at an edge),
// which bounds parallel axes, and the others are not longer than what there is to read.
Result<void> check_work(const Kernel& kernel, Span<const int64_t> dims,
                        Span<const BufferView> views) {
  constexpr int64_t kWindowMax = 4096, kIterationsMax = int64_t(1) << 46;
  int64_t longest = kWindowMax;
  for (const BufferView& view : views)
    for (int64_t size : view.sizes) longest = std::max(longest, size);
  std::vector<int64_t> extents;
  AxisSet around = 0;  // what is done: parallel axes, the loops that are open
  for (const Axis& axis : kernel.axes) {
    extents.push_back(std::max<int64_t>(size_of(axis.extent, dims), 1));
    if (axis.kind != AxisKind::parallel && extents.back() > longest)
      return error(Code::invalid_file, "axis {} has {} indices; no buffer is longer than {}",
                   axis.name, extents.back(), longest);
    if (axis.kind == AxisKind::parallel) around |= AxisSet(1) << (extents.size() - 1);
  }
  int64_t iterations = 0;  // of all instructions, and of none
  auto count = [&](AxisSet axes) {
    int64_t product = 1;
    bool overflow = false;
    for (size_t a = 0; a < extents.size(); a++)
      if (axes >> a & 1) overflow |= __builtin_mul_overflow(product, extents[a], &product);
    return !overflow && !__builtin_add_overflow(iterations, product, &iterations) &&
           iterations <= kIterationsMax;
  };
  bool is_bounded = count(around);
  for (const Instruction& i : kernel.body) {
    if (i.op == Op::serial) around |= AxisSet(1) << i.axes[0];
    AxisSet axes = around;
    for (const std::vector<ValueId>* values : {&i.operands, &i.results})
      for (ValueId v : *values) axes |= kernel.values[size_t(v)].axes;
    for (const Index& index : i.index)
      for (const Term& term : index.terms) axes |= AxisSet(1) << term.axis;
    is_bounded = is_bounded && count(axes);
    if (i.op == Op::yield) around &= ~(AxisSet(1) << i.axes[0]);
  }
  if (!is_bounded) return error(Code::too_large, "more than {} iterations", kIterationsMax);
  for (const Instruction& i : kernel.body) {
    if (i.op != Op::store) continue;
    for (size_t d = 0; d < i.index.size(); d++) {
      int64_t low = i.index[d].offset, high = low;
      bool empty = false, overflow = false;
      for (const Term& term : i.index[d].terms) {
        int64_t extent = size_of(kernel.axes[size_t(term.axis)].extent, dims);
        empty |= extent == 0;
        int64_t reach = 0;
        overflow |= __builtin_mul_overflow(term.factor, extent - 1, &reach);
        int64_t& side = reach < 0 ? low : high;
        overflow |= __builtin_add_overflow(side, reach, &side);
      }
      // Cells that are not whole have an element outside, at either end.
      if (!empty && (overflow || low < -1 || high > views[size_t(i.buffer)].sizes[d]))
        return error(Code::invalid_file, "stores to {} to {} of a dimension of size {}", low, high,
                     views[size_t(i.buffer)].sizes[d]);
    }
  }
  return {};
}

// What an output holds at first is an input of its type.
Result<void> verify_update(const Program& program, const Argument& argument, bool is_output) {
  if (argument.updates == kNone) return {};
  if (!is_output || argument.updates < 0 || size_t(argument.updates) >= program.inputs.size())
    return error(Code::invalid_file, "an {} updates input {} of {}", is_output ? "output" : "input",
                 argument.updates, program.inputs.size());
  Argument input = program.inputs[size_t(argument.updates)];
  input.updates = argument.updates;
  if (!(input == argument))
    return error(Code::invalid_file, "an output updates input {}, which has another type",
                 argument.updates);
  return {};
}

// All that depends on sizes.
Result<void> verify_sizes(const Program& program) {
  if (program.arena_bytes > uint64_t(1) << 46)
    return error(Code::too_large, "an arena of {} bytes", program.arena_bytes);
  for (const std::vector<Argument>* arguments : {&program.inputs, &program.outputs})
    for (const Argument& argument : *arguments) {
      const std::vector<uint8_t>& order = argument.dim_order;
      if (argument.sizes.size() > size_t(sconce::kRankMax) ||
          (!order.empty() && (order.size() != argument.sizes.size() ||
                              !is_valid_dim_order(order.data(), int(order.size())))))
        return error(Code::invalid_file, "argument of rank {} with a dim order of {}",
                     argument.sizes.size(), order.size());
      TRY_VOID(verify_update(program, argument, arguments == &program.outputs));
    }
  for (size_t s = 0; s < program.storages.size(); s++) {
    const Storage& storage = program.storages[s];
    bool is_input = storage.kind == Storage::Kind::input,
         is_output = storage.kind == Storage::Kind::output;
    if (storage.kind > Storage::Kind::temporary)
      return error(Code::invalid_file, "storage {}: kind {}", s, int(storage.kind));
    if (is_input || is_output) {
      const std::vector<Argument>& arguments = is_input ? program.inputs : program.outputs;
      if (storage.index >= arguments.size())
        return error(Code::invalid_file, "storage {}: argument {} of {}", s, storage.index,
                     arguments.size());
      const Argument& argument = arguments[storage.index];
      uint64_t bytes = dtype_bytes(argument.dtype);
      for (int64_t size : argument.sizes)
        if (size < 0 || __builtin_mul_overflow(bytes, uint64_t(size), &bytes))
          return error(Code::invalid_file, "storage {}: argument {} has size {}", s, storage.index,
                       size);
      if (bytes != storage.bytes)
        return error(Code::invalid_file, "storage {}: {} bytes for an argument of {}", s,
                     storage.bytes, bytes);
    }
    if (storage.kind == Storage::Kind::constant && storage.name.empty())
      return error(Code::invalid_file, "storage {}: a constant without a name", s);
    if (storage.kind == Storage::Kind::temporary) {
      uint64_t end = 0;
      if (storage.offset % 64 || __builtin_add_overflow(storage.offset, storage.bytes, &end) ||
          (storage.bytes > 0 && end > program.arena_bytes))
        return error(Code::invalid_file, "storage {}: {} bytes at {} of an arena of {}", s,
                     storage.bytes, storage.offset, program.arena_bytes);
    }
  }
  for (size_t i = 0; i < program.steps.size(); i++) {
    const Step& step = program.steps[i];
    if (step.kernel >= program.kernels.size())
      return error(Code::invalid_file, "step {}: kernel {} of {}", i, step.kernel,
                   program.kernels.size());
    const Kernel& kernel = program.kernels[step.kernel];
    if (step.operands.size() != kernel.buffers.size())
      return error(Code::invalid_file, "step {}: {} operands for {} buffers", i,
                   step.operands.size(), kernel.buffers.size());
    std::vector<BufferView> views;
    for (size_t b = 0; b < step.operands.size(); b++) {
      const Operand& operand = step.operands[b];
      if (operand.storage >= program.storages.size())
        return error(Code::invalid_file, "step {}: storage {} of {}", i, operand.storage,
                     program.storages.size());
      const Storage& storage = program.storages[operand.storage];
      if (operand.offset > storage.bytes || operand.offset % dtype_bytes(kernel.buffers[b].dtype))
        return error(Code::invalid_file, "step {}: offset {} into a storage of {} bytes", i,
                     operand.offset, storage.bytes);
      if (kernel.buffers[b].output &&
          (storage.kind == Storage::Kind::input || storage.kind == Storage::Kind::constant))
        return error(Code::invalid_file, "step {}: writes to an input or a constant", i);
      views.push_back(
          {nullptr, operand.sizes, operand.strides, int64_t(storage.bytes - operand.offset)});
    }
    Result<std::vector<int64_t>> bound = tile::bind(kernel, views);
    if (!bound.ok()) return std::move(bound.error()).with_context(fmt::format("step {}", i));
    TRY_VOID(check_work(kernel, *bound, views).with_context(fmt::format("step {}", i)));
  }
  return {};
}

constexpr int kStackMax = 16;

Result<void> verify_formula(const Formula& formula, size_t symbols) {
  if (formula.steps.empty() || formula.steps.size() > kFormulaStepsMax)
    return error(Code::invalid_file, "{} steps; from 1 to {} are wanted", formula.steps.size(),
                 kFormulaStepsMax);
  int depth = 0;
  for (const Formula::Step& step : formula.steps) {
    if (step.op > Formula::Op::maximum)
      return error(Code::invalid_file, "operation {}", int(step.op));
    if (step.op == Formula::Op::symbol && (step.value < 0 || uint64_t(step.value) >= symbols))
      return error(Code::invalid_file, "symbol {} of {}", step.value, symbols);
    bool pushes = step.op <= Formula::Op::symbol;
    if (!pushes && depth < 2) return error(Code::invalid_file, "an operation on {} numbers", depth);
    depth += pushes ? 1 : -1;
    if (depth > kStackMax) return error(Code::too_large, "more than {} numbers at once", kStackMax);
  }
  if (depth != 1) return error(Code::invalid_file, "{} results", depth);
  return {};
}

// Nothing on overflow and division by zero.
std::optional<int64_t> evaluate(const Formula& formula, Span<const int64_t> symbols) {
  int64_t stack[kStackMax];
  int depth = 0;
  for (const Formula::Step& step : formula.steps) {
    if (step.op <= Formula::Op::symbol) {
      stack[depth++] = step.op == Formula::Op::number ? step.value : symbols[size_t(step.value)];
      continue;
    }
    int64_t b = stack[--depth], &a = stack[depth - 1];
    switch (step.op) {
      case Formula::Op::number:
      case Formula::Op::symbol: break;
      case Formula::Op::add:
        if (__builtin_add_overflow(a, b, &a)) return std::nullopt;
        break;
      case Formula::Op::multiply:
        if (__builtin_mul_overflow(a, b, &a)) return std::nullopt;
        break;
      case Formula::Op::floor_divide:
      case Formula::Op::modulo: {
        if (b == 0 || (a == INT64_MIN && b == -1)) return std::nullopt;
        int64_t quotient = a / b, rest = a % b;
        bool down = rest != 0 && (rest < 0) != (b < 0);
        a = step.op == Formula::Op::modulo ? rest + (down ? b : 0) : quotient - down;
        break;
      }
      case Formula::Op::minimum: a = std::min(a, b); break;
      case Formula::Op::maximum: a = std::max(a, b); break;
    }
  }
  return stack[0];
}

// The number that varies; null when there is none at that place. Offsets are apart.
int64_t* find_number(Program& program, const Varying& varying) {
  auto at = [&](std::vector<int64_t>& numbers) {
    return varying.dim < numbers.size() ? &numbers[varying.dim] : nullptr;
  };
  switch (varying.what) {
    case Varying::What::input_size:
    case Varying::What::output_size: {
      bool is_input = varying.what == Varying::What::input_size;
      std::vector<Argument>& arguments = is_input ? program.inputs : program.outputs;
      return varying.index < arguments.size() ? at(arguments[varying.index].sizes) : nullptr;
    }
    case Varying::What::operand_size:
    case Varying::What::operand_stride:
    case Varying::What::operand_offset: {
      if (varying.index >= program.steps.size()) return nullptr;
      std::vector<Operand>& operands = program.steps[varying.index].operands;
      if (varying.operand >= operands.size()) return nullptr;
      Operand& operand = operands[varying.operand];
      if (varying.what == Varying::What::operand_size) return at(operand.sizes);
      if (varying.what == Varying::What::operand_stride) return at(operand.strides);
      return reinterpret_cast<int64_t*>(&operand.offset);
    }
  }
  return nullptr;
}

Result<void> verify_symbols(Program& program) {
  if (program.symbols.size() > kSymbolsMax || program.formulas.size() > kFormulasMax)
    return error(Code::too_large, "{} symbols and {} formulas; at most {} and {}",
                 program.symbols.size(), program.formulas.size(), kSymbolsMax, kFormulasMax);
  for (size_t s = 0; s < program.symbols.size(); s++) {
    const Symbol& symbol = program.symbols[s];
    if (symbol.input >= program.inputs.size() ||
        symbol.dim >= program.inputs[symbol.input].sizes.size())
      return error(Code::invalid_file, "symbol {}: dimension {} of input {}, which is not there", s,
                   symbol.dim, symbol.input);
    if (symbol.factor < 1 || symbol.min < 0 || symbol.min > symbol.max || symbol.max > INT32_MAX)
      return error(Code::invalid_file, "symbol {}: factor {}, bounds {} to {}", s, symbol.factor,
                   symbol.min, symbol.max);
  }
  for (size_t f = 0; f < program.formulas.size(); f++)
    TRY_VOID(verify_formula(program.formulas[f], program.symbols.size())
                 .with_context(fmt::format("formula {}", f)));
  for (size_t v = 0; v < program.varying.size(); v++) {
    const Varying& varying = program.varying[v];
    if (varying.formula >= program.formulas.size() || !find_number(program, varying))
      return error(Code::invalid_file,
                   "varying number {}: kind {}, dimension {} of {} of {} by formula {} of {}", v,
                   int(varying.what), varying.dim, varying.operand, varying.index, varying.formula,
                   program.formulas.size());
  }
  return {};
}

}  // namespace

Result<void> verify(Program& program) {
  for (Kernel& kernel : program.kernels) TRY_VOID(verify(kernel));
  TRY_VOID(verify_symbols(program));
  return verify_sizes(program);
}

Result<int64_t> value_of(const Symbol& symbol, int64_t size) {
  int64_t rest = 0;
  bool fits = !__builtin_sub_overflow(size, symbol.offset, &rest) && rest % symbol.factor == 0;
  int64_t value = fits ? rest / symbol.factor : 0;
  if (!fits || value < symbol.min || value > symbol.max) {
    std::string wanted = symbol.factor == 1 && symbol.offset == 0
                             ? std::string()
                             : fmt::format("{} * n + {} with an n ", symbol.factor, symbol.offset);
    return error(Code::invalid_argument,
                 "input {}: dimension {} has size {}; {}from {} to {} is wanted", symbol.input,
                 symbol.dim, size, wanted, symbol.min, symbol.max);
  }
  return value;
}

Result<void> set_sizes(Program& program, Span<const int64_t> symbols) {
  std::vector<int64_t> numbers;
  numbers.reserve(program.formulas.size());
  for (size_t f = 0; f < program.formulas.size(); f++) {
    auto number = evaluate(program.formulas[f], symbols);
    if (!number) return error(Code::invalid_file, "formula {} has no value in 64 bits", f);
    numbers.push_back(*number);
  }
  for (const Varying& varying : program.varying) {
    int64_t number = numbers[varying.formula];
    if (number < 0 && varying.what != Varying::What::operand_stride)
      return error(Code::invalid_file, "formula {} gives {} for a size or an offset",
                   varying.formula, number);
    *find_number(program, varying) = number;
  }
  for (Storage& storage : program.storages) {
    if (storage.kind > Storage::Kind::output) continue;
    const Argument& argument =
        (storage.kind == Storage::Kind::input ? program.inputs : program.outputs)[storage.index];
    uint64_t bytes = dtype_bytes(argument.dtype);
    for (int64_t size : argument.sizes)
      if (__builtin_mul_overflow(bytes, uint64_t(size), &bytes))
        return error(Code::too_large, "argument {} of more than 64 bits of bytes", storage.index);
    storage.bytes = bytes;
  }
  return verify_sizes(program);
}

}  // namespace sconce::tile
