#include <algorithm>
#include <cctype>
#include <cstring>

#include "tile/ir.h"

namespace sconce::tile {
namespace {

bool is_name(const std::string& text) {
  if (text.empty() || text.size() > kNameBytesMax || isdigit(static_cast<unsigned char>(text[0])))
    return false;
  for (char c : text)
    if (!isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  return true;
}

bool is_number(DType dtype) {
  return dtype == DType::f32 || dtype == DType::i32 || dtype == DType::i64;
}

bool is_stored(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::i8:
    case DType::u8:
    case DType::i16:
    case DType::i32:
    case DType::i64:
    case DType::b8: return true;
    default: return false;
  }
}

class Verifier {
 public:
  explicit Verifier(Kernel& kernel) : kernel_(kernel) {}

  Result<void> run() {
    TRY_VOID(check_declarations());
    kernel_.values.clear();
    for (size_t i = 0; i < kernel_.body.size(); i++) {
      Result<void> done = check(kernel_.body[i]);
      if (!done.ok()) return std::move(done.error()).with_context(fmt::format("instruction {}", i));
    }
    if (!loops_.empty())
      return error(Code::invalid_file, "the loop over {} is not closed",
                   axis(loops_.back()->axes[0]).name);
    return {};
  }

 private:
  const Axis& axis(AxisId id) const { return kernel_.axes[size_t(id)]; }

  Result<void> check_name(const char* what, const std::string& name) {
    if (!is_name(name))
      return error(Code::invalid_file, "{} \"{}\": not a name of up to {} letters, digits and _",
                   what, name.substr(0, kNameBytesMax), kNameBytesMax);
    for (const std::string& other : names_)
      if (other == name) return error(Code::invalid_file, "the name {} is used twice", name);
    names_.push_back(name);
    return {};
  }

  Result<void> check_extent(const Extent& extent, const std::string& of) {
    bool fits = extent.dim == kNone ? extent.known >= 0 && extent.known <= INT32_MAX
                                    : extent.dim >= 0 && size_t(extent.dim) < kernel_.dims.size();
    if (!fits)
      return error(Code::invalid_file, "{}: the extent is dim {} or {}, not one of {} dims", of,
                   extent.dim, extent.known, kernel_.dims.size());
    return {};
  }

  Result<void> check_declarations() {
    if (kernel_.axes.size() > kAxesMax || kernel_.dims.size() > kDimsMax ||
        kernel_.buffers.size() > kBuffersMax || kernel_.body.size() > kInstructionsMax)
      return error(Code::too_large,
                   "{} axes, {} dims, {} buffers, {} instructions; at most {}, {}, {}, {}",
                   kernel_.axes.size(), kernel_.dims.size(), kernel_.buffers.size(),
                   kernel_.body.size(), kAxesMax, kDimsMax, kBuffersMax, kInstructionsMax);
    if (!is_name(kernel_.name))
      return error(Code::invalid_file, "kernel \"{}\": not a name",
                   kernel_.name.substr(0, kNameBytesMax));
    for (const std::string& dim : kernel_.dims) TRY_VOID(check_name("dim", dim));
    for (const Buffer& buffer : kernel_.buffers) {
      TRY_VOID(check_name("buffer", buffer.name));
      if (!is_stored(buffer.dtype))
        return error(Code::invalid_file, "{}: elements of dtype {} cannot be loaded", buffer.name,
                     dtype_name(buffer.dtype));
      if (buffer.dims.size() > kRankMax)
        return error(Code::too_large, "{}: rank {}; at most {}", buffer.name, buffer.dims.size(),
                     kRankMax);
      for (const Extent& extent : buffer.dims) TRY_VOID(check_extent(extent, buffer.name));
      if (buffer.layout == Layout::panels || buffer.layout == Layout::nibbles) {
        if (buffer.output) return error(Code::invalid_file, "{}: packed, and written", buffer.name);
        if (value_dtype(buffer.dtype) != DType::f32 && buffer.dtype != DType::i8)
          return error(Code::invalid_file, "{}: packed elements of {}; f32, f16, bf16 or i8",
                       buffer.name, dtype_name(buffer.dtype));
        if (buffer.layout == Layout::nibbles && buffer.dtype != DType::i8)
          return error(Code::invalid_file, "{}: nibbles of {}; i8 is wanted", buffer.name,
                       dtype_name(buffer.dtype));
        if (buffer.panel_lead < 0 || size_t(buffer.panel_lead) + 2 > buffer.dims.size())
          return error(Code::invalid_file,
                       "{}: packed with {} leading dims of {}; at most rank - 2", buffer.name,
                       buffer.panel_lead, buffer.dims.size());
      } else if (buffer.layout != Layout::strided || buffer.panel_lead != 0) {
        return error(Code::invalid_file, "{}: unknown layout", buffer.name);
      }
    }
    TRY_VOID(check_operator());
    // Every dim must be told by some buffer, else nothing binds it.
    for (size_t d = 0; d < kernel_.dims.size(); d++) {
      bool told = false;
      for (const Buffer& buffer : kernel_.buffers)
        for (const Extent& extent : buffer.dims) told |= extent.dim == int32_t(d);
      if (!told) return error(Code::invalid_file, "no buffer tells dim {}", kernel_.dims[d]);
    }
    for (const Axis& a : kernel_.axes) {
      TRY_VOID(check_name("axis", a.name));
      TRY_VOID(check_extent(a.extent, a.name));
      bool serial = a.kind == AxisKind::serial;
      if (a.kind > AxisKind::serial || (a.each && a.kind == AxisKind::span) ||
          (serial ? a.block < 1 || a.block > 65536 : a.block != 0) ||
          (serial && a.each && a.block != 1) || a.whole < 0 || a.whole > 65536 ||
          (a.whole > 0 && (!serial || a.each)) || (a.backward && !serial))
        return error(Code::invalid_file,
                     "axis {}: kind {}, block {}, whole {}, each {}, backward {} do not fit",
                     a.name, int(a.kind), a.block, a.whole, a.each, a.backward);
    }
    return {};
  }

  // Each input is one argument of the operator that the kernel stands for.
  Result<void> check_operator() {
    const KernelOperator& op = kernel_.stands_for;
    if (op.name.empty()) return {};
    size_t inputs = 0, outputs = 0;
    for (const Buffer& buffer : kernel_.buffers) {
      (buffer.output ? outputs : inputs)++;
      auto count = std::count(op.arguments.begin(), op.arguments.end(), buffer.name);
      if (count != (buffer.output ? 0 : 1))
        return error(Code::invalid_file,
                     "operator {}: buffer {} is {} of its arguments; {} is wanted", op.name,
                     buffer.name, count, buffer.output ? 0 : 1);
    }
    if (op.arguments.size() != inputs)
      return error(Code::invalid_file, "operator {}: {} arguments for {} inputs of the kernel",
                   op.name, op.arguments.size(), inputs);
    if (outputs == 0) return error(Code::invalid_file, "operator {}: no output", op.name);
    return {};
  }

  // Axes of a value that depends on this axis.
  AxisSet dimension(AxisId id) const { return axis(id).each ? 0 : AxisSet(1) << id; }

  Result<void> check_axis(AxisId id) {
    if (id < 0 || size_t(id) >= kernel_.axes.size())
      return error(Code::invalid_file, "axis {} of {}", id, kernel_.axes.size());
    if (axis(id).kind != AxisKind::serial) return {};
    for (const Instruction* loop : loops_)
      if (loop->axes[0] == id) return {};
    return error(Code::invalid_file, "axis {} is used outside its loop", axis(id).name);
  }

  Result<ValueType> use(ValueId id) {
    if (id < 0 || size_t(id) >= kernel_.values.size() || !alive_[size_t(id)])
      return error(Code::invalid_file, "value %{} is not defined here", id);
    return kernel_.values[size_t(id)];
  }

  Result<void> define(const Instruction& instruction, ValueType type, size_t result = 0) {
    if (instruction.results[result] != ValueId(kernel_.values.size()))
      return error(Code::invalid_file, "result is %{}; values are numbered in order, %{} is next",
                   instruction.results[result], kernel_.values.size());
    kernel_.values.push_back(type);
    alive_.push_back(true);
    return {};
  }

  Result<void> check_counts(const Instruction& i, size_t operands, size_t results) {
    if (i.operands.size() != operands || i.results.size() != results)
      return error(Code::invalid_file, "{} operands and {} results; {} and {} are wanted",
                   i.operands.size(), i.results.size(), operands, results);
    return {};
  }

  // Every axis of a value in which it is indexed must be one that is known here.
  Result<AxisSet> check_index(const Instruction& i) {
    if (i.buffer < 0 || size_t(i.buffer) >= kernel_.buffers.size())
      return error(Code::invalid_file, "buffer {} of {}", i.buffer, kernel_.buffers.size());
    const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
    if (i.index.size() != buffer.dims.size())
      return error(Code::invalid_file, "{} indices into {}, which has rank {}", i.index.size(),
                   buffer.name, buffer.dims.size());
    AxisSet axes = 0;
    for (const Index& index : i.index) {
      if (index.offset < -int64_t(INT32_MAX) || index.offset > INT32_MAX)
        return error(Code::invalid_file, "offset {} into {}", index.offset, buffer.name);
      AxisSet here = 0;
      if (index.terms.size() > kAxesMax)
        return error(Code::invalid_file, "{} terms index {}", index.terms.size(), buffer.name);
      for (const Term& term : index.terms) {
        TRY_VOID(check_axis(term.axis));
        if (term.factor < -INT32_MAX || term.factor > INT32_MAX || term.factor == 0)
          return error(Code::invalid_file, "axis {} has factor {}", axis(term.axis).name,
                       term.factor);
        if (here >> term.axis & 1)
          return error(Code::invalid_file, "axis {} twice in one index", axis(term.axis).name);
        here |= AxisSet(1) << term.axis;
        axes |= dimension(term.axis);
      }
      if (index.value != kNone) {
        TRY(ValueType type, use(index.value));
        if (type.dtype != DType::i32 && type.dtype != DType::i64)
          return error(Code::invalid_file, "%{} indexes {} and is {}", index.value, buffer.name,
                       dtype_name(type.dtype));
        axes |= type.axes;
      }
    }
    return axes;
  }

  static bool is_fixed(const Index& index) { return index.terms.empty() && index.value == kNone; }

  Result<void> check_store(const Instruction& i) {
    TRY_VOID(check_counts(i, 1, 0));
    TRY(ValueType type, use(i.operands[0]));
    TRY(AxisSet axes, check_index(i));
    const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
    if (!buffer.output) return error(Code::invalid_file, "{} is read only", buffer.name);
    if (type.dtype != value_dtype(buffer.dtype))
      return error(Code::invalid_file, "{} is stored into {}, which is {}", dtype_name(type.dtype),
                   buffer.name, dtype_name(buffer.dtype));
    // Each axis in one dim, and the axes of one dim like digits of a number: then no two iterations
    // meet, wherever indices that are computed point.
    AxisSet seen = 0, told = 0;
    for (const Index& index : i.index)
      for (const Term& term : index.terms) told |= dimension(term.axis);
    if ((type.axes | axes) & ~told)
      return error(Code::invalid_file, "a value with more axes than its place in {}", buffer.name);
    for (const Index& index : i.index) {
      if (index.value != kNone && !index.terms.empty())
        return error(Code::invalid_file, "a store into {} at a computed index and axes",
                     buffer.name);
      std::vector<Term> digits = index.terms;
      std::sort(digits.begin(), digits.end(),
                [](const Term& a, const Term& b) { return a.factor < b.factor; });
      for (size_t d = 0; d < digits.size(); d++) {
        const Axis& here = axis(digits[d].axis);
        if (seen >> digits[d].axis & 1)
          return error(Code::invalid_file, "axis {} indexes two dims of {}", here.name,
                       buffer.name);
        seen |= AxisSet(1) << digits[d].axis;
        if (digits.size() == 1) break;
        bool apart = digits[d].factor > 0 && here.extent.dim == kNone &&
                     (d + 1 == digits.size() ||
                      digits[d + 1].factor >= digits[d].factor * here.extent.known);
        if (!apart)
          return error(Code::invalid_file,
                       "iterations over {} can store to the same place in {} as others", here.name,
                       buffer.name);
      }
    }
    for (size_t a = 0; a < kernel_.axes.size(); a++)
      if (kernel_.axes[a].kind == AxisKind::parallel && !(seen >> a & 1))
        return error(Code::invalid_file,
                     "iterations of parallel axis {} store to the same place in {}",
                     kernel_.axes[a].name, buffer.name);
    // Two stores into one buffer could race, but for fixed places that differ.
    for (const Instruction* other : stores_) {
      bool apart = other->buffer != i.buffer;
      for (size_t d = 0; d < i.index.size() && !apart; d++)
        apart = is_fixed(i.index[d]) && is_fixed(other->index[d]) &&
                i.index[d].offset != other->index[d].offset;
      if (!apart) return error(Code::invalid_file, "{} is written by two stores", buffer.name);
    }
    stores_.push_back(&i);
    return {};
  }

  Result<ValueType> joined(const Instruction& i) {
    ValueType type;
    for (size_t k = 0; k < i.operands.size(); k++) {
      TRY(ValueType operand, use(i.operands[k]));
      if (k > 0 && operand.dtype != type.dtype)
        return error(Code::invalid_file, "operands are {} and {}", dtype_name(type.dtype),
                     dtype_name(operand.dtype));
      type = {operand.dtype, type.axes | operand.axes};
    }
    return type;
  }

  Result<AxisSet> check_span_list(const Instruction& i) {
    AxisSet set = 0;
    if (i.axes.empty() || i.axes.size() > kAxesMax)
      return error(Code::invalid_file, "over {} axes", i.axes.size());
    for (AxisId id : i.axes) {
      TRY_VOID(check_axis(id));
      if (axis(id).kind == AxisKind::parallel || axis(id).each)
        return error(Code::invalid_file, "over {}, which is not whole here", axis(id).name);
      if (set >> id & 1) return error(Code::invalid_file, "over {} twice", axis(id).name);
      set |= AxisSet(1) << id;
    }
    return set;
  }

  Result<void> check(const Instruction& i) {
    if (i.op != Op::load && i.op != Op::store && !i.index.empty())
      return error(Code::invalid_file, "{} indices; a load or a store has some", i.index.size());
    switch (i.op) {
      case Op::constant: {
        TRY_VOID(check_counts(i, 0, 1));
        if (!is_number(i.dtype) && i.dtype != DType::b8)
          return error(Code::invalid_file, "a constant of dtype {}", dtype_name(i.dtype));
        if (i.dtype != DType::f32 && !(i.number >= -0x1p53 && i.number <= 0x1p53))
          return error(Code::invalid_file, "the integer constant {}", i.number);
        AxisSet axes = 0;
        for (AxisId id : i.axes) {
          TRY_VOID(check_axis(id));
          axes |= dimension(id);
        }
        return define(i, {i.dtype, axes});
      }
      case Op::extent:
      case Op::iota: {
        TRY_VOID(check_counts(i, 0, 1));
        if (i.axes.size() != 1) return error(Code::invalid_file, "of {} axes", i.axes.size());
        TRY_VOID(check_axis(i.axes[0]));
        return define(i, {DType::i64, i.op == Op::iota ? dimension(i.axes[0]) : 0});
      }
      case Op::load: {
        TRY_VOID(check_counts(i, 0, 1));
        TRY(AxisSet axes, check_index(i));
        const Buffer& buffer = kernel_.buffers[size_t(i.buffer)];
        if (buffer.output)
          return error(Code::invalid_file, "{} is an output and cannot be loaded", buffer.name);
        if (value_dtype(buffer.dtype) != DType::f32 && !(i.number >= -0x1p53 && i.number <= 0x1p53))
          return error(Code::invalid_file, "{} around the integers of {}", i.number, buffer.name);
        return define(i, {value_dtype(buffer.dtype), axes});
      }
      case Op::store: return check_store(i);
      case Op::unary: {
        TRY_VOID(check_counts(i, 1, 1));
        TRY(ValueType type, joined(i));
        auto f = Unary(i.function);
        if (i.function > uint8_t(Unary::bit_not))
          return error(Code::invalid_file, "function {}", i.function);
        bool fits = f == Unary::bit_not ? type.dtype != DType::f32
                    : f == Unary::neg || f == Unary::abs || f == Unary::relu
                        ? is_number(type.dtype)
                        : type.dtype == DType::f32;
        if (!fits) return error(Code::invalid_file, "{} of {}", name_of(f), dtype_name(type.dtype));
        return define(i, type);
      }
      case Op::binary: {
        TRY_VOID(check_counts(i, 2, 1));
        TRY(ValueType type, joined(i));
        auto f = Binary(i.function);
        if (i.function > uint8_t(Binary::bit_xor))
          return error(Code::invalid_file, "function {}", i.function);
        bool logical = f >= Binary::bit_and, compares = f >= Binary::eq && f <= Binary::ge;
        bool fits = logical                                ? type.dtype != DType::f32
                    : compares                             ? true
                    : f == Binary::div || f == Binary::pow ? type.dtype == DType::f32
                                                           : is_number(type.dtype);
        if (!fits) return error(Code::invalid_file, "{} of {}", name_of(f), dtype_name(type.dtype));
        if (compares) type.dtype = DType::b8;
        return define(i, type);
      }
      case Op::fma: {
        TRY_VOID(check_counts(i, 3, 1));
        TRY(ValueType type, joined(i));
        if (type.dtype != DType::f32)
          return error(Code::invalid_file, "fma of {}", dtype_name(type.dtype));
        return define(i, type);
      }
      case Op::select: {
        TRY_VOID(check_counts(i, 3, 1));
        TRY(ValueType c, use(i.operands[0]));
        TRY(ValueType a, use(i.operands[1]));
        TRY(ValueType b, use(i.operands[2]));
        if (c.dtype != DType::b8 || a.dtype != b.dtype)
          return error(Code::invalid_file, "select of {}, {}, {}", dtype_name(c.dtype),
                       dtype_name(a.dtype), dtype_name(b.dtype));
        return define(i, {a.dtype, c.axes | a.axes | b.axes});
      }
      case Op::cast: {
        TRY_VOID(check_counts(i, 1, 1));
        TRY(ValueType type, use(i.operands[0]));
        if (!is_number(i.dtype) && i.dtype != DType::b8)
          return error(Code::invalid_file, "cast to {}", dtype_name(i.dtype));
        return define(i, {i.dtype, type.axes});
      }
      case Op::reduce: {
        TRY_VOID(check_counts(i, 1, 1));
        TRY(ValueType type, use(i.operands[0]));
        TRY(AxisSet over, check_span_list(i));
        if (i.function > uint8_t(Reduce::max) || (i.lanes && Reduce(i.function) != Reduce::sum))
          return error(Code::invalid_file, "function {}, lanes {}", i.function, i.lanes);
        if (!is_number(type.dtype))
          return error(Code::invalid_file, "a reduction of {}", dtype_name(type.dtype));
        if (over & ~type.axes)
          return error(Code::invalid_file, "the operand does not have all of the axes");
        return define(i, {type.dtype, type.axes & ~over});
      }
      case Op::dot: {
        TRY_VOID(check_counts(i, 3, 1));
        TRY(ValueType type, joined(i));
        TRY(ValueType initial, use(i.operands[0]));
        TRY(ValueType a, use(i.operands[1]));
        TRY(ValueType b, use(i.operands[2]));
        TRY(AxisSet over, check_span_list(i));
        if (type.dtype != DType::f32 && type.dtype != DType::i32)
          return error(Code::invalid_file, "dot of {}", dtype_name(type.dtype));
        if (initial.axes & over)
          return error(Code::invalid_file, "the initial value has an axis that is contracted");
        if (over & ~(a.axes | b.axes))
          return error(Code::invalid_file, "an axis that neither operand has is contracted");
        return define(i, {type.dtype, type.axes & ~over});
      }
      case Op::serial: {
        if (i.operands.size() != i.results.size() || i.axes.size() != 1 || i.axes[0] < 0 ||
            size_t(i.axes[0]) >= kernel_.axes.size())
          return error(Code::invalid_file, "{} initial values for {} carried ones, {} axes",
                       i.operands.size(), i.results.size(), i.axes.size());
        if (axis(i.axes[0]).kind != AxisKind::serial)
          return error(Code::invalid_file, "a loop over {}, which is not serial",
                       axis(i.axes[0]).name);
        for (const Instruction* loop : loops_)
          if (loop->axes[0] == i.axes[0])
            return error(Code::invalid_file, "two loops over {} in each other",
                         axis(i.axes[0]).name);
        if (loops_.size() >= 4) return error(Code::too_large, "more than 4 loops in each other");
        std::vector<ValueType> types;
        for (ValueId operand : i.operands) {
          TRY(ValueType type, use(operand));
          types.push_back(type);
        }
        first_in_loop_.push_back(kernel_.values.size());
        for (size_t k = 0; k < types.size(); k++) TRY_VOID(define(i, types[k], k));
        loops_.push_back(&i);
        return {};
      }
      case Op::yield: {
        if (loops_.empty()) return error(Code::invalid_file, "yield outside a loop");
        const Instruction& loop = *loops_.back();
        TRY_VOID(check_counts(i, loop.results.size(), loop.results.size()));
        if (i.axes != loop.axes) return error(Code::invalid_file, "yield of another loop");
        std::vector<ValueType> types;
        for (size_t k = 0; k < i.operands.size(); k++) {
          TRY(ValueType type, use(i.operands[k]));
          const ValueType& carried = kernel_.values[size_t(loop.results[k])];
          if (type.dtype != carried.dtype || (type.axes & ~carried.axes))
            return error(
                Code::invalid_file,
                "carried value {} begins as {} over axes {:#x} and goes on as {} over {:#x}", k,
                dtype_name(carried.dtype), carried.axes, dtype_name(type.dtype), type.axes);
          types.push_back(carried);
        }
        for (size_t v = first_in_loop_.back(); v < alive_.size(); v++) alive_[v] = false;
        first_in_loop_.pop_back();
        loops_.pop_back();
        for (size_t k = 0; k < types.size(); k++) TRY_VOID(define(i, types[k], k));
        return {};
      }
      case Op::rename: {
        TRY_VOID(check_counts(i, 1, 1));
        TRY(ValueType type, use(i.operands[0]));
        if (i.axes.size() != 2)
          return error(Code::invalid_file, "{} axes; 2 are wanted", i.axes.size());
        for (AxisId id : i.axes) {
          TRY_VOID(check_axis(id));
          if (axis(id).kind != AxisKind::span)
            return error(Code::invalid_file, "{} is renamed, or what it becomes, and is no span",
                         axis(id).name);
        }
        const Axis &from = axis(i.axes[0]), &to = axis(i.axes[1]);
        if (from.extent != to.extent)
          return error(Code::invalid_file, "{} and {} differ in their extents", from.name, to.name);
        AxisSet gone = AxisSet(1) << i.axes[0], come = AxisSet(1) << i.axes[1];
        if (!(type.axes & gone) || (type.axes & come))
          return error(Code::invalid_file, "{} becomes {} in a value over axes {:#x}", from.name,
                       to.name, type.axes);
        return define(i, {type.dtype, (type.axes & ~gone) | come});
      }
    }
    return error(Code::invalid_file, "operation {}", int(i.op));
  }

  Kernel& kernel_;
  std::vector<std::string> names_;
  std::vector<bool> alive_;
  std::vector<const Instruction*> loops_;
  std::vector<size_t> first_in_loop_;
  std::vector<const Instruction*> stores_;
};

}  // namespace

#define SCONCE_TILE_ROW(name) #name,
const char* name_of(Unary function) {
  static constexpr const char* kNames[] = {SCONCE_TILE_UNARY(SCONCE_TILE_ROW)};
  return kNames[size_t(function)];
}
const char* name_of(Binary function) {
  static constexpr const char* kNames[] = {SCONCE_TILE_BINARY(SCONCE_TILE_ROW)};
  return kNames[size_t(function)];
}
const char* name_of(Reduce function) {
  static constexpr const char* kNames[] = {SCONCE_TILE_REDUCE(SCONCE_TILE_ROW)};
  return kNames[size_t(function)];
}
#undef SCONCE_TILE_ROW

DType value_dtype(DType stored) {
  switch (stored) {
    case DType::f16:
    case DType::bf16: return DType::f32;
    case DType::i8:
    case DType::u8:
    case DType::i16: return DType::i32;
    default: return stored;
  }
}

Result<void> verify(Kernel& kernel) {
  return Verifier(kernel).run().with_context("kernel " + kernel.name.substr(0, kNameBytesMax));
}

std::optional<PanelShape> panel_shape(const Buffer& buffer, Span<const int64_t> sizes) {
  PanelShape shape;
  size_t last = sizes.size() - 1;
  int64_t leads = 1;
  bool overflow = false;
  auto times = [&](int64_t a, int64_t b) {
    overflow |= __builtin_mul_overflow(a, b, &a);
    return a;
  };
  for (size_t d = 0; d + 1 < last; d++) {
    int64_t& of = d < size_t(buffer.panel_lead) ? leads : shape.rows;
    of = times(of, sizes[d]);
  }
  shape.length = sizes[last - 1];
  shape.panels = (sizes[last] + kPanelColumns - 1) / kPanelColumns;
  shape.element_bytes = int64_t(dtype_bytes(buffer.dtype));
  shape.halves = buffer.layout == Layout::nibbles;
  if (shape.halves) {
    shape.row_bytes = times((shape.length + kNibbles - 1) / kNibbles, kQuad * kPanelColumns);
    shape.panel_bytes = times(shape.row_bytes, shape.rows);
  } else if (shape.element_bytes == 1) {
    shape.row_bytes = times((shape.length + kQuad - 1) / kQuad, kQuad * kPanelColumns);
    overflow |= __builtin_add_overflow(times(shape.row_bytes, shape.rows), kPanelColumns * 4,
                                       &shape.panel_bytes);
  } else {
    shape.row_bytes = times(shape.length, kPanelColumns * shape.element_bytes);
    shape.panel_bytes = times(shape.row_bytes, shape.rows);
  }
  shape.bytes = times(times(leads, shape.panels), shape.panel_bytes);
  if (overflow) return std::nullopt;
  return shape;
}

void complete_panels(const Buffer& buffer, Span<const int64_t> sizes, uint8_t* data) {
  auto shape = panel_shape(buffer, sizes);
  if (!shape || shape->bytes == 0 || buffer.dtype != DType::i8 || shape->halves) return;
  int64_t columns = shape->panels * kPanelColumns, used = sizes[sizes.size() - 1];
  int64_t padded = (shape->length + kQuad - 1) / kQuad * kQuad;
  for (int64_t lead = 0; lead * shape->panels * shape->panel_bytes < shape->bytes; lead++)
    for (int64_t n = 0; n < columns; n++) {
      uint32_t sum = 0;
      for (int64_t row = 0; row < shape->rows; row++)
        for (int64_t k = 0; k < padded; k++) {
          uint8_t& weight = data[shape->offset(lead, row, k, n)];
          if (n >= used || k >= shape->length) weight = 0;
          sum += uint32_t(int8_t(weight));
        }
      int64_t behind = (kPanelColumns - n % kPanelColumns) * 4;
      memcpy(data + shape->panel(lead, n) + shape->panel_bytes - behind, &sum, 4);
    }
}

Result<std::vector<int64_t>> bind(const Kernel& kernel, Span<const BufferView> buffers) {
  auto fail = [&](const Buffer& buffer, std::string text) {
    return Error{Code::invalid_argument,
                 fmt::format("kernel {}: buffer {}: {}", kernel.name, buffer.name, text)};
  };
  if (buffers.size() != kernel.buffers.size())
    return error(Code::invalid_argument, "kernel {}: {} buffers; {} are wanted", kernel.name,
                 buffers.size(), kernel.buffers.size());
  std::vector<int64_t> dims(kernel.dims.size(), -1);
  for (size_t b = 0; b < buffers.size(); b++) {
    const Buffer& buffer = kernel.buffers[b];
    const BufferView& view = buffers[b];
    bool packed = buffer.is_packed();
    if (view.sizes.size() != buffer.dims.size() ||
        (!packed && view.strides.size() != buffer.dims.size()))
      return fail(buffer,
                  fmt::format("rank {}; {} is wanted", view.sizes.size(), buffer.dims.size()));
    bool empty = false;
    int64_t last = 0, least = 0;  // furthest elements on both sides
    bool overflow = false;
    for (size_t d = 0; d < view.sizes.size(); d++) {
      int64_t size = view.sizes[d];
      const Extent& extent = buffer.dims[d];
      if (size < 0 || size > INT32_MAX)
        return fail(buffer, fmt::format("dimension {} has size {}", d, size));
      if (extent.dim == kNone ? size != extent.known
                              : dims[size_t(extent.dim)] >= 0 && dims[size_t(extent.dim)] != size)
        return fail(buffer,
                    fmt::format("dimension {} has size {}; {} is wanted", d, size,
                                extent.dim == kNone ? extent.known : dims[size_t(extent.dim)]));
      if (extent.dim != kNone) dims[size_t(extent.dim)] = size;
      empty |= size == 0;
      if (!packed && size > 0) {
        int64_t reach = 0;
        overflow |= __builtin_mul_overflow(size - 1, view.strides[d], &reach);
        overflow |=
            __builtin_add_overflow(reach < 0 ? least : last, reach, reach < 0 ? &least : &last);
      }
    }
    if (empty) continue;
    int64_t wanted = 0;
    if (packed) {
      auto shape = panel_shape(buffer, {view.sizes.data(), view.sizes.size()});
      overflow = !shape;
      wanted = shape ? shape->bytes : 0;
    } else {
      overflow |= __builtin_mul_overflow(last + 1, int64_t(dtype_bytes(buffer.dtype)), &wanted);
    }
    if (overflow || least < 0 || wanted > view.bytes)
      return fail(buffer,
                  fmt::format("{} bytes are there; its sizes and strides reach {}", view.bytes,
                              overflow ? std::string("beyond 64 bits")
                                       : std::to_string(least < 0 ? least : wanted)));
  }
  return dims;
}

}  // namespace sconce::tile
