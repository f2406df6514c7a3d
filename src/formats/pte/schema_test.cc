// tables.h names fields by position; the compiler that knows program.fbs agrees.
#include <gtest/gtest.h>

#include "formats/pte/pte.h"
#include "formats/pte/tables.h"
#include "program_generated.h"

namespace sconce {
namespace {

namespace fbs = pte_schema;
namespace f = pte::field;

#define SAME(table, NAME, position) \
  static_assert(fbs::table::VT_##NAME == 4 + 2 * (position), #table " " #NAME)

SAME(Program, VERSION, f::program::version);
SAME(Program, EXECUTION_PLAN, f::program::plans);
SAME(Program, CONSTANT_BUFFER, f::program::constant_buffers);
SAME(Program, BACKEND_DELEGATE_DATA, f::program::delegate_data);
SAME(Program, SEGMENTS, f::program::segments);
SAME(Program, CONSTANT_SEGMENT, f::program::constants);
SAME(Program, MUTABLE_DATA_SEGMENTS, f::program::initial_values);
SAME(Program, NAMED_DATA, f::program::named_data);
SAME(ExecutionPlan, NAME, f::plan::name);
SAME(ExecutionPlan, CONTAINER_META_TYPE, f::plan::container);
SAME(ExecutionPlan, VALUES, f::plan::values);
SAME(ExecutionPlan, INPUTS, f::plan::inputs);
SAME(ExecutionPlan, OUTPUTS, f::plan::outputs);
SAME(ExecutionPlan, CHAINS, f::plan::chains);
SAME(ExecutionPlan, OPERATORS, f::plan::operators);
SAME(ExecutionPlan, DELEGATES, f::plan::delegates);
SAME(ExecutionPlan, NON_CONST_BUFFER_SIZES, f::plan::memories);
SAME(ExecutionPlan, NON_CONST_BUFFER_DEVICE, f::plan::devices);
SAME(EValue, VAL_TYPE, f::value::kind);
SAME(EValue, VAL, f::value::value);
SAME(Int, INT_VAL, f::scalar::value);
SAME(String, STRING_VAL, f::scalar::value);
SAME(IntList, ITEMS, f::list::items);
SAME(FrameList, ITEMS, f::list::items);
SAME(Buffer, STORAGE, f::list::items);
SAME(Tensor, SCALAR_TYPE, f::tensor::dtype);
SAME(Tensor, STORAGE_OFFSET, f::tensor::storage_offset);
SAME(Tensor, SIZES, f::tensor::sizes);
SAME(Tensor, DIM_ORDER, f::tensor::dim_order);
SAME(Tensor, REQUIRES_GRAD, f::tensor::requires_grad);
SAME(Tensor, DATA_BUFFER_IDX, f::tensor::data_index);
SAME(Tensor, ALLOCATION_INFO, f::tensor::placement);
SAME(Tensor, LAYOUT, f::tensor::layout);
SAME(Tensor, SHAPE_DYNAMISM, f::tensor::dynamism);
SAME(Tensor, EXTRA_TENSOR_INFO, f::tensor::extra);
SAME(AllocationDetails, MEMORY_ID, f::placement::memory_id);
SAME(AllocationDetails, MEMORY_OFFSET_LOW, f::placement::offset_low);
SAME(AllocationDetails, MEMORY_OFFSET_HIGH, f::placement::offset_high);
SAME(ExtraTensorInfo, FULLY_QUALIFIED_NAME, f::extra::name);
SAME(ExtraTensorInfo, LOCATION, f::extra::location);
SAME(ExtraTensorInfo, DEVICE_TYPE, f::extra::device_type);
SAME(Chain, INSTRUCTIONS, f::chain::instructions);
SAME(Chain, STACKTRACE, f::chain::stacks);
SAME(Instruction, INSTR_ARGS_TYPE, f::instruction::kind);
SAME(Instruction, INSTR_ARGS, f::instruction::arguments);
SAME(KernelCall, OP_INDEX, f::call::callee);
SAME(KernelCall, ARGS, f::call::args);
SAME(DelegateCall, DELEGATE_INDEX, f::call::callee);
SAME(DelegateCall, ARGS, f::call::args);
SAME(MoveCall, MOVE_FROM, f::move::from);
SAME(MoveCall, MOVE_TO, f::move::to);
SAME(JumpFalseCall, COND_VALUE_INDEX, f::jump::condition);
SAME(JumpFalseCall, DESTINATION_INSTRUCTION, f::jump::destination);
SAME(FreeCall, VALUE_INDEX, f::free::value);
SAME(Operator, NAME, f::oper::name);
SAME(Operator, OVERLOAD, f::oper::overload);
SAME(BackendDelegate, ID, f::delegate::id);
SAME(BackendDelegate, PROCESSED, f::delegate::processed);
SAME(BackendDelegate, COMPILE_SPECS, f::delegate::specs);
SAME(BackendDelegateDataReference, LOCATION, f::processed::location);
SAME(BackendDelegateDataReference, INDEX, f::processed::index);
SAME(CompileSpec, KEY, f::spec::key);
SAME(CompileSpec, VALUE, f::spec::value);
SAME(DataSegment, OFFSET, f::segment::offset);
SAME(DataSegment, SIZE, f::segment::bytes);
SAME(SubsegmentOffsets, SEGMENT_INDEX, f::subsegments::segment);
SAME(SubsegmentOffsets, OFFSETS, f::subsegments::offsets);
SAME(NamedData, KEY, f::named::key);
SAME(NamedData, SEGMENT_INDEX, f::named::segment);
SAME(Frame, FILENAME, f::frame::file);
SAME(Frame, CONTEXT, f::frame::code);
static_assert(int(fbs::KernelTypes_OptionalTensorList) == int(pte::ValueKind::optional_tensors));
static_assert(int(fbs::KernelTypes_Tensor) == int(pte::ValueKind::tensor));
static_assert(int(fbs::InstructionArguments_FreeCall) == int(pte::InstructionKind::release));
static_assert(std::variant_size_v<PteValue> == fbs::KernelTypes_MAX);
static_assert(std::variant_size_v<PteInstruction> == fbs::InstructionArguments_MAX);

// The verifier that flatc generates accepts what we write: both read the same layout.
TEST(PteSchema, generated_verifier_accepts_written_programs) {
  PteProgram program;
  PteMethod& method = program.methods.emplace_back();
  method.memories = {64};
  PteTensor tensor{.scalar_type = 6, .sizes = {2, 3}};
  tensor.placement = PtePlacement{1, 0};
  method.values = {std::monostate(),
                   int64_t(-7),
                   true,
                   2.5,
                   tensor,
                   std::string("text"),
                   PteIntList{{1}},
                   PteDoubleList{{0.5}},
                   PteBoolList{{1, 0}},
                   PteTensorList{{4}},
                   PteOptionalTensorList{{-1, 4}}};
  method.outputs = {1};
  method.chains.emplace_back();
  auto file = write_pte(program);
  ASSERT_TRUE(file.ok()) << file.error().text;
  auto bytes = file->joined();
  flatbuffers::Verifier verifier(bytes.data(), file->program.size());
  EXPECT_TRUE(fbs::VerifyProgramBuffer(verifier));
}

}  // namespace
}  // namespace sconce
