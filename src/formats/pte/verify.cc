// Two walks over a .pte file. The first needs no knowledge of programs: it follows kTables, which
// restates program.fbs as data, and proves that every table, vector and string lies inside the
// program. The second reads the tables through the views of tables.h and checks what they mean.
#include <cstdint>

#include "base/checked.h"
#include "formats/pte/tables.h"
#include "tensor/tensor.h"

namespace sconce::pte {

const uint8_t* Table::field(unsigned id) const {
  const uint8_t* vtable = at_ - load<int32_t>(at_);
  unsigned slot = 4 + 2 * id;
  if (slot + 2 > load<uint16_t>(vtable)) return nullptr;
  uint16_t offset = load<uint16_t>(vtable + slot);
  return offset ? at_ + offset : nullptr;
}

int32_t Table::i32(unsigned id) const {
  const uint8_t* at = field(id);
  return at ? load<int32_t>(at) : 0;
}
int64_t Table::i64(unsigned id) const {
  const uint8_t* at = field(id);
  return at ? load<int64_t>(at) : 0;
}
uint8_t Table::u8(unsigned id) const {
  const uint8_t* at = field(id);
  return at ? *at : uint8_t(0);
}
double Table::f64(unsigned id) const {
  const uint8_t* at = field(id);
  return at ? load<double>(at) : 0.0;
}

Table Vector::table(uint32_t i) const {
  const uint8_t* slot = items + 4 * size_t(i);
  return Table(slot + load<uint32_t>(slot));
}

ValueKind kind_of(Table value) { return ValueKind(value.u8(field::value::kind)); }

uint64_t placement_offset(Table placement) {
  return uint64_t(placement.u32(field::placement::offset_high)) << 32 |
         placement.u32(field::placement::offset_low);
}

bool is_external(Table tensor) {
  Table extra = tensor.table(field::tensor::extra);
  return extra && extra.i8(field::extra::location) == 1;
}

static const uint8_t* follow(const uint8_t* slot) {
  return slot ? slot + load<uint32_t>(slot) : nullptr;
}

Table Table::table(unsigned id) const { return Table(follow(field(id))); }

Vector Table::vector(unsigned id) const {
  const uint8_t* at = follow(field(id));
  if (!at) return {};
  return {at + 4, load<uint32_t>(at)};
}

const char* Table::string(unsigned id) const {
  const uint8_t* at = follow(field(id));
  return at ? reinterpret_cast<const char*>(at + 4) : "";
}

Bytes View::segment(uint32_t index) const {
  Table segment = root.vector(field::program::segments).table(index);
  return file.subspan(size_t(segment_base + segment.u64(field::segment::offset)),
                      size_t(segment.u64(field::segment::bytes)));
}

const uint8_t* View::constant(uint32_t data_index) const {
  Table constants = root.table(field::program::constants);
  Vector offsets;
  if (constants) offsets = constants.vector(field::subsegments::offsets);
  if (offsets.count)
    return segment(constants.u32(field::subsegments::segment)).data() + offsets.u64(data_index);
  return root.vector(field::program::constant_buffers)
      .table(data_index)
      .vector(field::list::items)
      .items;
}

const uint8_t* View::initial_value(uint32_t data_index) const {
  Table list = root.vector(field::program::initial_values).table(0);
  return segment(list.u32(field::subsegments::segment)).data() +
         list.vector(field::subsegments::offsets).u64(data_index);
}

Bytes View::delegate_data(Table delegate) const {
  Table processed = delegate.table(field::delegate::processed);
  uint32_t index = processed.u32(field::processed::index);
  if (processed.i8(field::processed::location) == 1) return segment(index);
  return root.vector(field::program::delegate_data).table(index).vector(field::list::items).bytes();
}

bool View::find_named_data(const char* key, Bytes* data) const {
  Vector entries = root.vector(field::program::named_data);
  for (uint32_t i = 0; i < entries.count; i++) {
    Table entry = entries.table(i);
    if (strcmp(entry.string(field::named::key), key) != 0) continue;
    *data = segment(entry.u32(field::named::segment));
    return true;
  }
  return false;
}

bool tensor_bytes_of(Table tensor, uint64_t* bytes) {
  Vector sizes = tensor.vector(field::tensor::sizes);
  int8_t code = tensor.i8(field::tensor::dtype);
  int64_t count;
  return is_dtype(code) && sizes.count <= uint32_t(kRankMax) &&
         checked_element_count(sizes.i32s(), int(sizes.count), &count) &&
         checked_multiply<uint64_t>(uint64_t(count), dtype_bytes(DType(code)), bytes) &&
         *bytes <= SIZE_MAX / 2;
}

namespace {

// --- first walk: structure --------------------------------------------------------------------

enum Rule : uint8_t { b1, b4, b8, text, v1, v4, v8, tag, one, many, choice };
enum Kind : uint8_t {
  kProgram,
  kPlan,
  kContainer,
  kValue,
  kNull,
  kScalar8,
  kBool,
  kString,
  kList1,
  kList4,
  kList8,
  kTensor,
  kPlacement,
  kExtra,
  kChain,
  kInstruction,
  kCall,
  kTwo,
  kOne,
  kOperator,
  kDelegate,
  kProcessed,
  kSpec,
  kBlob,
  kSegment,
  kSubsegments,
  kNamed,
  kDevice,
  kFrame,
  kFrames,
  kKindCount
};
struct Field {
  uint8_t rule, kind;
};

// Fields of each table in order of position; an entry {kEnd, 0} closes a table.
constexpr uint8_t kEnd = 255;
constexpr Field kFields[] = {
    /* kProgram */ {b4, 0},
    {many, kPlan},
    {many, kBlob},
    {many, kBlob},
    {many, kSegment},
    {one, kSubsegments},
    {many, kSubsegments},
    {many, kNamed},
    {kEnd, 0},
    /* kPlan */ {text, 0},
    {one, kContainer},
    {many, kValue},
    {v4, 0},
    {v4, 0},
    {many, kChain},
    {many, kOperator},
    {many, kDelegate},
    {v8, 0},
    {many, kDevice},
    {kEnd, 0},
    /* kContainer */ {text, 0},
    {text, 0},
    {kEnd, 0},
    /* kValue */ {tag, 0},
    {choice, 0},
    {kEnd, 0},
    /* kNull */ {kEnd, 0},
    /* kScalar8 */ {b8, 0},
    {kEnd, 0},
    /* kBool */ {b1, 0},
    {kEnd, 0},
    /* kString */ {text, 0},
    {kEnd, 0},
    /* kList1 */ {v1, 0},
    {kEnd, 0},
    /* kList4 */ {v4, 0},
    {kEnd, 0},
    /* kList8 */ {v8, 0},
    {kEnd, 0},
    /* kTensor */ {b1, 0},
    {b4, 0},
    {v4, 0},
    {v1, 0},
    {b1, 0},
    {b4, 0},
    {one, kPlacement},
    {b1, 0},
    {b1, 0},
    {one, kExtra},
    {kEnd, 0},
    /* kPlacement */ {b4, 0},
    {b4, 0},
    {b4, 0},
    {kEnd, 0},
    /* kExtra */ {b8, 0},
    {text, 0},
    {b1, 0},
    {b1, 0},
    {b1, 0},
    {kEnd, 0},
    /* kChain */ {v4, 0},
    {v4, 0},
    {many, kInstruction},
    {many, kFrames},
    {kEnd, 0},
    /* kInstruction */ {tag, 0},
    {choice, 1},
    {kEnd, 0},
    /* kCall */ {b4, 0},
    {v4, 0},
    {kEnd, 0},
    /* kTwo */ {b4, 0},
    {b4, 0},
    {kEnd, 0},
    /* kOne */ {b4, 0},
    {kEnd, 0},
    /* kOperator */ {text, 0},
    {text, 0},
    {kEnd, 0},
    /* kDelegate */ {text, 0},
    {one, kProcessed},
    {many, kSpec},
    {kEnd, 0},
    /* kProcessed */ {b1, 0},
    {b4, 0},
    {kEnd, 0},
    /* kSpec */ {text, 0},
    {v1, 0},
    {kEnd, 0},
    /* kBlob */ {v1, 0},
    {kEnd, 0},
    /* kSegment */ {b8, 0},
    {b8, 0},
    {kEnd, 0},
    /* kSubsegments */ {b4, 0},
    {v8, 0},
    {kEnd, 0},
    /* kNamed */ {text, 0},
    {b4, 0},
    {kEnd, 0},
    /* kDevice */ {b4, 0},
    {b1, 0},
    {b1, 0},
    {kEnd, 0},
    /* kFrame */ {text, 0},
    {b4, 0},
    {text, 0},
    {text, 0},
    {kEnd, 0},
    /* kFrames */ {many, kFrame},
    {kEnd, 0},
};

struct Starts {
  uint8_t of[kKindCount + 1] = {};
};
constexpr Starts find_starts() {
  Starts starts;
  int kind = 1;
  for (unsigned i = 0; i < sizeof(kFields) / sizeof(kFields[0]); i++)
    if (kFields[i].rule == kEnd) starts.of[kind++] = uint8_t(i + 1);
  return starts;
}
constexpr Starts kStarts = find_starts();
static_assert(kStarts.of[kKindCount] == sizeof(kFields) / sizeof(kFields[0]),
              "kFields and Kind name the same tables in the same order");

// Tables of a union by tag; tag 0 is "none", which a program never holds.
constexpr uint8_t kValueKinds[] = {kNull,  kScalar8, kBool,  kScalar8, kTensor, kString,
                                   kList8, kList8,   kList1, kList4,   kList4};
constexpr uint8_t kInstructionKinds[] = {kCall, kCall, kTwo, kTwo, kOne};

// Offsets count from the start of the program; `limit_` is its size, below 2 GiB.
class StructureWalk {
 public:
  StructureWalk(Bytes program, Diagnostic* diagnostic)
      : base_(program.data()),
        limit_(uint32_t(program.size())),
        // Every table of an honest file has a 4-byte head of its own and a 4-byte reference; the
        // bound stops files whose vectors share tables to make the walk long.
        tables_left_(uint32_t(program.size() / 8)),
        diagnostic_(diagnostic) {}

  Status table(uint32_t at, Kind kind) {
    if (tables_left_-- == 0) return bad(at, "more tables than the file has room for");
    if (!inside(at, 4) || at % 4) return bad(at, "table outside the program or misaligned");
    int64_t vtable = int64_t(at) - load<int32_t>(base_ + at);
    if (vtable < 0 || vtable % 2 || vtable + 4 > limit_)
      return bad(at, "field list of a table outside the program");
    uint32_t fields_at = uint32_t(vtable), fields_bytes = load<uint16_t>(base_ + fields_at);
    uint32_t table_bytes = load<uint16_t>(base_ + fields_at + 2);
    if (fields_bytes < 4 || fields_bytes % 2 || !inside(fields_at, fields_bytes) ||
        table_bytes < 4 || !inside(at, table_bytes))
      return bad(at, "table or its field list exceeds the program");

    const Field* field = kFields + kStarts.of[kind];
    uint8_t tag_found = 0;
    for (uint32_t slot = 4; slot + 2 <= fields_bytes && field->rule != kEnd; slot += 2, field++) {
      uint32_t offset = load<uint16_t>(base_ + fields_at + slot);
      if (offset == 0) continue;
      uint32_t size = field->rule == b1 || field->rule == tag ? 1 : field->rule == b8 ? 8 : 4;
      if (offset < 4 || !range_inside(offset, size, table_bytes))
        return bad(at, "field outside its table");
      uint32_t where = at + offset;
      if (field->rule == tag) tag_found = base_[where];
      if (field->rule < text || field->rule == tag) continue;
      // A reference: unsigned, relative to where it stands.
      uint64_t target = uint64_t(where) + load<uint32_t>(base_ + where);
      if (target > limit_) return bad(where, "reference leaves the program");
      SCONCE_TRY_STATUS(reference(uint32_t(target), *field, tag_found));
    }
    return kOk;
  }

 private:
  Status reference(uint32_t at, Field field, uint8_t tag_found) {
    switch (field.rule) {
      case one: return table(at, Kind(field.kind));
      case choice: {
        bool is_value = field.kind == 0;
        uint32_t count = is_value ? sizeof(kValueKinds) : sizeof(kInstructionKinds);
        if (tag_found == 0 || tag_found > count)
          return bad(at, "unknown kind of value or instruction");
        return table(at, Kind((is_value ? kValueKinds : kInstructionKinds)[tag_found - 1]));
      }
      default: break;
    }
    if (!inside(at, 4) || at % 4) return bad(at, "vector outside the program or misaligned");
    uint64_t count = load<uint32_t>(base_ + at);
    uint32_t item = field.rule == v8 ? 8 : field.rule == v4 || field.rule == many ? 4 : 1;
    if (!range_inside(at + 4, count * item + (field.rule == text), limit_))
      return bad(at, "vector exceeds the program");
    if (item == 8 && (at + 4) % 8 && count) return bad(at, "vector misaligned");
    if (field.rule == text && base_[at + 4 + count] != 0) return bad(at, "string without its end");
    if (field.rule != many) return kOk;
    for (uint32_t i = 0; i < count; i++) {
      uint32_t where = at + 4 + 4 * i;
      uint64_t target = uint64_t(where) + load<uint32_t>(base_ + where);
      if (target > limit_) return bad(where, "reference leaves the program");
      SCONCE_TRY_STATUS(table(uint32_t(target), Kind(field.kind)));
    }
    return kOk;
  }

  bool inside(uint32_t at, uint32_t size) const { return range_inside(at, size, limit_); }
  Status bad(uint32_t at, [[maybe_unused]] const char* what) const {
    (void)at;
    return SCONCE_FAIL(Code::invalid_file, diagnostic_, "program tables, offset %u: %s", at, what);
  }

  const uint8_t* base_;
  uint32_t limit_, tables_left_;
  Diagnostic* diagnostic_;
};

// --- header -----------------------------------------------------------------------------------

Status read_header(Bytes file, View* view, Diagnostic* diagnostic) {
  const uint8_t* at = file.data();
  if (file.size() < 16)
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "a .pte has at least 16 bytes, this has %zu",
                       file.size());
  if (reinterpret_cast<uintptr_t>(at) % 16)
    return SCONCE_FAIL(Code::invalid_argument, diagnostic,
                       "the file's bytes must be aligned to 16 in memory");
  if (memcmp(at + 4, "ET12", 4) != 0) {
    if (memcmp(at + 4, "ET", 2) == 0)
      return SCONCE_FAIL(Code::unsupported, diagnostic,
                         "version of .pte is ET%c%c, this runtime reads ET12", at[6], at[7]);
    return SCONCE_FAIL(Code::invalid_file, diagnostic, "not a .pte: bytes 4 to 7 are not \"ET12\"");
  }
  view->file = file;
  view->program_bytes = file.size();
  if (memcmp(at + 8, "eh00", 4) == 0) {
    uint32_t header_bytes = load<uint32_t>(at + 12);
    if (header_bytes < 24 || header_bytes > file.size() - 8 || file.size() < 40)
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "extended header of %u bytes: want 24 or more, inside the file of %zu",
                         header_bytes, file.size());
    view->extended_header = true;
    view->program_bytes = load<uint64_t>(at + 16);
    view->segment_base = load<uint64_t>(at + 24);
    if (view->program_bytes < 32 || view->program_bytes > file.size())
      return SCONCE_FAIL(Code::invalid_file, diagnostic,
                         "header says the program has %llu bytes, the file has %zu",
                         (unsigned long long)view->program_bytes, file.size());
    if (view->segment_base != 0) {
      if (view->segment_base < view->program_bytes || view->segment_base > file.size())
        return SCONCE_FAIL(Code::invalid_file, diagnostic,
                           "header puts segments at %llu: want %llu to %zu (program to file end)",
                           (unsigned long long)view->segment_base,
                           (unsigned long long)view->program_bytes, file.size());
      view->segment_limit = file.size() - view->segment_base;
      if (header_bytes >= 32) {
        uint64_t bytes = load<uint64_t>(at + 32);
        if (bytes > view->segment_limit)
          return SCONCE_FAIL(Code::invalid_file, diagnostic,
                             "file is cut: segments need %llu bytes from %llu, the file has %zu",
                             (unsigned long long)bytes, (unsigned long long)view->segment_base,
                             file.size());
        view->segment_limit = bytes;
      }
    }
  }
  if (view->program_bytes > INT32_MAX)
    return SCONCE_FAIL(Code::too_large, diagnostic, "program tables of %llu bytes exceed 2 GiB",
                       (unsigned long long)view->program_bytes);
  return kOk;
}

// --- second walk: meaning ---------------------------------------------------------------------

class MeaningWalk {
 public:
  MeaningWalk(const View& view, Diagnostic* diagnostic) : view_(view), diagnostic_(diagnostic) {}

  Status program() {
    Vector segments = view_.root.vector(field::program::segments);
    for (uint32_t i = 0; i < segments.count; i++) {
      uint64_t offset = segments.table(i).u64(field::segment::offset);
      uint64_t bytes = segments.table(i).u64(field::segment::bytes);
      if (!range_inside(offset, bytes, view_.segment_limit))
        return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                           "segment %u: offset %llu + %llu bytes exceed the %llu bytes of segments",
                           i, (unsigned long long)offset, (unsigned long long)bytes,
                           (unsigned long long)view_.segment_limit);
    }
    segment_count_ = segments.count;
    if (Table constants = view_.root.table(field::program::constants))
      SCONCE_TRY_STATUS(subsegments(constants, "constants"));
    Vector initial = view_.root.vector(field::program::initial_values);
    for (uint32_t i = 0; i < initial.count; i++)
      SCONCE_TRY_STATUS(subsegments(initial.table(i), "initial values"));
    Vector named = view_.root.vector(field::program::named_data);
    for (uint32_t i = 0; i < named.count; i++) {
      uint32_t segment = named.table(i).u32(field::named::segment);
      if (segment >= segment_count_)
        return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                           "named data \"%s\": segment %u, the file has %u",
                           named.table(i).string(field::named::key), segment, segment_count_);
    }
    Vector plans = view_.plans();
    if (plans.count == 0)
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "the program has no methods");
    for (uint32_t i = 0; i < plans.count; i++) {
      Table plan = plans.table(i);
      if (Status status = method(plan); !status.ok()) {
        SCONCE_CONTEXT(diagnostic_, "method %s", plan.string(field::plan::name));
        return status;
      }
    }
    return kOk;
  }

 private:
  Status subsegments(Table list, [[maybe_unused]] const char* what) {
    Vector offsets = list.vector(field::subsegments::offsets);
    if (offsets.count <= 1) return kOk;  // only the placeholder: the segment is not used
    uint32_t segment = list.u32(field::subsegments::segment);
    if (segment >= segment_count_)
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "%s: segment %u, the file has %u", what,
                         segment, segment_count_);
    return kOk;
  }

  // Bytes that entry `index` of a list of offsets may use, in its segment.
  Status data_range(Table list, uint32_t index, uint64_t bytes, [[maybe_unused]] const char* what) {
    Vector offsets = list.vector(field::subsegments::offsets);
    if (index >= offsets.count)
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "%s %u of %u", what, index,
                         offsets.count);
    uint64_t room = view_.segment(list.u32(field::subsegments::segment)).size();
    if (!range_inside(offsets.u64(index), bytes, room))
      return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                         "%s %u: offset %llu + %llu bytes exceed its segment of %llu", what, index,
                         (unsigned long long)offsets.u64(index), (unsigned long long)bytes,
                         (unsigned long long)room);
    return kOk;
  }

  Status index(int64_t found, uint32_t count, [[maybe_unused]] const char* what) {
    if (found >= 0 && found < int64_t(count)) return kOk;
    return SCONCE_FAIL(Code::invalid_file, diagnostic_, "%s %lld, the method has %u", what,
                       (long long)found, count);
  }
  Status indices(Vector list, [[maybe_unused]] const char* what) {
    for (uint32_t i = 0; i < list.count; i++)
      SCONCE_TRY_STATUS(index(list.i32(i), values_.count, what));
    return kOk;
  }
  ValueKind kind(int64_t i) const { return kind_of(values_.table(uint32_t(i))); }

  Status method(Table plan) {
    if (!*plan.string(field::plan::name))
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "a method has no name");
    values_ = plan.vector(field::plan::values);
    memories_ = plan.vector(field::plan::memories);
    for (uint32_t i = 1; i < memories_.count; i++)
      if (memories_.i64(i) < 0)
        return SCONCE_FAIL(Code::invalid_file, diagnostic_, "planned memory %u has %lld bytes", i,
                           (long long)memories_.i64(i));
    for (uint32_t i = 0; i < values_.count; i++) {
      if (Status status = value(values_.table(i)); !status.ok()) {
        SCONCE_CONTEXT(diagnostic_, "value %u", i);
        return status;
      }
    }
    SCONCE_TRY_STATUS(indices(plan.vector(field::plan::inputs), "input is value"));
    SCONCE_TRY_STATUS(indices(plan.vector(field::plan::outputs), "output is value"));
    Vector delegates = plan.vector(field::plan::delegates);
    for (uint32_t i = 0; i < delegates.count; i++)
      SCONCE_TRY_STATUS(delegate(delegates.table(i), i));
    Vector chains = plan.vector(field::plan::chains);
    for (uint32_t c = 0; c < chains.count; c++) {
      Vector instructions = chains.table(c).vector(field::chain::instructions);
      for (uint32_t i = 0; i < instructions.count; i++) {
        Status status = instruction(plan, instructions.table(i), instructions.count);
        if (!status.ok()) {
          SCONCE_CONTEXT(diagnostic_, "instruction %u", i);
          return status;
        }
      }
    }
    return kOk;
  }

  Status value(Table value) {
    Table content = value.table(field::value::value);
    ValueKind kind_found = kind_of(value);
    if (kind_found == ValueKind::absent || kind_found > ValueKind::optional_tensors || !content)
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "kind %u has no meaning or no content",
                         unsigned(kind_found));
    Vector items;
    switch (kind_found) {
      case ValueKind::tensor: return tensor(content);
      case ValueKind::integers:
        items = content.vector(field::list::items);
        for (uint32_t i = 0; i < items.count; i++) {
          SCONCE_TRY_STATUS(index(items.i64(i), values_.count, "item of a list is value"));
          if (kind(items.i64(i)) != ValueKind::integer)
            return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                               "item %u of an integer list is value %lld, which is no integer", i,
                               (long long)items.i64(i));
        }
        return kOk;
      case ValueKind::tensors:
      case ValueKind::optional_tensors: {
        bool optional = kind_found == ValueKind::optional_tensors;
        items = content.vector(field::list::items);
        for (uint32_t i = 0; i < items.count; i++) {
          int32_t item = items.i32(i);
          if (optional && item == -1) continue;
          SCONCE_TRY_STATUS(index(item, values_.count, "item of a list is value"));
          if (kind(item) != ValueKind::tensor && !(optional && kind(item) == ValueKind::none))
            return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                               "item %u of a tensor list is value %d, which is no tensor", i, item);
        }
        return kOk;
      }
      case ValueKind::booleans:
        items = content.vector(field::list::items);
        for (uint32_t i = 0; i < items.count; i++)
          if (items.u8(i) > 1)
            return SCONCE_FAIL(Code::invalid_file, diagnostic_, "item %u of a bool list is %u", i,
                               items.u8(i));
        return kOk;
      default: return kOk;
    }
  }

  Status tensor(Table tensor) {
    Vector sizes = tensor.vector(field::tensor::sizes);
    Vector dim_order = tensor.vector(field::tensor::dim_order);
    int8_t code = tensor.i8(field::tensor::dtype), dynamism = tensor.i8(field::tensor::dynamism);
    uint64_t bytes = 0;
    if (!is_dtype(code))
      return SCONCE_FAIL(Code::unsupported, diagnostic_, "element type code %d is not known", code);
    if (sizes.count > uint32_t(kRankMax))
      return SCONCE_FAIL(Code::too_large, diagnostic_, "rank %u exceeds %d", sizes.count, kRankMax);
    if (tensor.field(field::tensor::dim_order) &&
        (dim_order.count != sizes.count ||
         !is_valid_dim_order(dim_order.items, int(dim_order.count))))
      return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                         "dim order of %u entries is no order of %u dimensions", dim_order.count,
                         sizes.count);
    if (!tensor_bytes_of(tensor, &bytes))
      return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                         "a size is negative or the sizes overflow");
    if (tensor.i32(field::tensor::storage_offset) != 0)
      return SCONCE_FAIL(Code::unsupported, diagnostic_, "storage offset %d, want 0",
                         tensor.i32(field::tensor::storage_offset));
    if (dynamism < 0 || dynamism > 2)
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "shape dynamism %d has no meaning",
                         dynamism);

    uint64_t alignment = dtype_bytes(DType(code)) < 8 ? dtype_bytes(DType(code)) : 8;
    uint32_t data_index = tensor.u32(field::tensor::data_index);
    Table placement = tensor.table(field::tensor::placement);
    if (placement) {
      uint32_t memory = placement.u32(field::placement::memory_id);
      uint64_t offset = placement_offset(placement);
      if (memory == 0 || memory >= memories_.count)
        return SCONCE_FAIL(Code::invalid_file, diagnostic_, "planned memory %u: want 1 to %u",
                           memory, memories_.count ? memories_.count - 1 : 0);
      if (!range_inside(offset, bytes, uint64_t(memories_.i64(memory))))
        return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                           "offset %llu + %llu bytes exceed planned memory %u of %lld",
                           (unsigned long long)offset, (unsigned long long)bytes, memory,
                           (long long)memories_.i64(memory));
      if (offset % alignment)
        return SCONCE_FAIL(Code::unsupported, diagnostic_,
                           "offset %llu in planned memory is no multiple of %u",
                           (unsigned long long)offset, unsigned(alignment));
    }
    if (is_external(tensor)) {
      if (!*tensor.table(field::tensor::extra).string(field::extra::name))
        return SCONCE_FAIL(Code::invalid_file, diagnostic_, "external data without a name");
      return kOk;
    }
    if (data_index == 0) return kOk;
    if (placement) {
      Vector initial = view_.root.vector(field::program::initial_values);
      if (initial.count == 0)
        return SCONCE_FAIL(Code::invalid_file, diagnostic_, "initial value %u, the file has none",
                           data_index);
      return data_range(initial.table(0), data_index, bytes, "initial value");
    }
    Table constants = view_.root.table(field::program::constants);
    if (constants && constants.vector(field::subsegments::offsets).count) {
      SCONCE_TRY_STATUS(data_range(constants, data_index, bytes, "constant"));
    } else {
      Vector buffers = view_.root.vector(field::program::constant_buffers);
      if (data_index >= buffers.count)
        return SCONCE_FAIL(Code::invalid_file, diagnostic_, "constant %u of %u", data_index,
                           buffers.count);
      uint32_t room = buffers.table(data_index).vector(field::list::items).count;
      if (bytes > room)
        return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                           "constant %u has %u bytes, its tensor %llu", data_index, room,
                           (unsigned long long)bytes);
    }
    if (bytes && reinterpret_cast<uintptr_t>(view_.constant(data_index)) % alignment)
      return SCONCE_FAIL(Code::unsupported, diagnostic_, "constant %u is not aligned to %u bytes",
                         data_index, unsigned(alignment));
    return kOk;
  }

  Status delegate(Table delegate, uint32_t position) {
    Table processed = delegate.table(field::delegate::processed);
    if (!processed || !*delegate.string(field::delegate::id))
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "delegate %u has no %s", position,
                         processed ? "id" : "data");
    bool segment = processed.i8(field::processed::location) == 1;
    uint32_t count =
        segment ? segment_count_ : view_.root.vector(field::program::delegate_data).count;
    uint32_t found = processed.u32(field::processed::index);
    if (found >= count || (!segment && processed.i8(field::processed::location) != 0))
      return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                         "delegate %u: data index %u of %u, location %d", position, found, count,
                         processed.i8(field::processed::location));
    return kOk;
  }

  Status instruction(Table plan, Table instruction, uint32_t instruction_count) {
    Table content = instruction.table(field::instruction::arguments);
    auto kind_found = InstructionKind(instruction.u8(field::instruction::kind));
    if (kind_found == InstructionKind::absent || kind_found > InstructionKind::release || !content)
      return SCONCE_FAIL(Code::invalid_file, diagnostic_, "kind %u has no meaning or no content",
                         unsigned(kind_found));
    switch (kind_found) {
      case InstructionKind::kernel:
        SCONCE_TRY_STATUS(index(content.i32(field::call::callee),
                                plan.vector(field::plan::operators).count, "operator"));
        return indices(content.vector(field::call::args), "argument is value");
      case InstructionKind::delegate:
        SCONCE_TRY_STATUS(index(content.i32(field::call::callee),
                                plan.vector(field::plan::delegates).count, "delegate"));
        return indices(content.vector(field::call::args), "argument is value");
      case InstructionKind::move: {
        int32_t from = content.i32(field::move::from), to = content.i32(field::move::to);
        SCONCE_TRY_STATUS(index(from, values_.count, "moved value"));
        SCONCE_TRY_STATUS(index(to, values_.count, "moved value"));
        if (move_class(kind(from)) != move_class(kind(to)))
          return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                             "moves value %d of kind %u to value %d of kind %u", from,
                             unsigned(kind(from)), to, unsigned(kind(to)));
        return kOk;
      }
      case InstructionKind::jump_false: {
        int32_t condition = content.i32(field::jump::condition);
        int32_t destination = content.i32(field::jump::destination);
        SCONCE_TRY_STATUS(index(condition, values_.count, "condition is value"));
        // Stock writes the placeholder of a computed condition as an int.
        if (kind(condition) != ValueKind::boolean && kind(condition) != ValueKind::integer &&
            kind(condition) != ValueKind::tensor)
          return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                             "condition is value %d of kind %u, want a bool, an int or a tensor",
                             condition, unsigned(kind(condition)));
        if (destination < 0 || uint32_t(destination) > instruction_count)
          return SCONCE_FAIL(Code::invalid_file, diagnostic_,
                             "jumps to %d, the chain has %u instructions", destination,
                             instruction_count);
        return kOk;
      }
      default: {
        int32_t value = content.i32(field::free::value);
        SCONCE_TRY_STATUS(index(value, values_.count, "freed value"));
        if (kind(value) != ValueKind::tensor)
          return SCONCE_FAIL(Code::invalid_file, diagnostic_, "frees value %d, which is no tensor",
                             value);
        return kOk;
      }
    }
  }

  // Values move within a class: numbers to numbers, else the same kind.
  static ValueKind move_class(ValueKind kind) {
    return kind == ValueKind::boolean || kind == ValueKind::floating ? ValueKind::integer : kind;
  }

  const View& view_;
  Diagnostic* diagnostic_;
  Vector values_, memories_;
  uint32_t segment_count_ = 0;
};

}  // namespace

Status verify_pte(Bytes file, View* view, Diagnostic* diagnostic) {
  *view = View();
  SCONCE_TRY_STATUS(read_header(file, view, diagnostic));
  Bytes program = file.first(size_t(view->program_bytes));
  uint32_t root = load<uint32_t>(program.data());
  if (root > program.size())
    return SCONCE_FAIL(Code::invalid_file, diagnostic,
                       "root table at %u, the program has %zu bytes", root, program.size());
  SCONCE_TRY_STATUS(StructureWalk(program, diagnostic).table(root, kProgram));
  view->root = Table(program.data() + root);
  return MeaningWalk(*view, diagnostic).program();
}

}  // namespace sconce::pte
