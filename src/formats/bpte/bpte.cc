#include "formats/bpte/bpte.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "bundle_generated.h"
#include "tensor/tensor.h"

namespace sconce {
namespace {

constexpr uint32_t kVersion = 2;
constexpr size_t kNameBytesMax = 1024;
constexpr size_t kHeadBytes = 8;  // offset of the root table, identifier

// What both reader and writer want of a tensor. `bytes` may be more than its sizes want.
Result<uint64_t> tensor_bytes_of(const BpteTensor& tensor) {
  if (tensor.sizes.size() > size_t(kRankMax))
    return error(Code::too_large, "rank {} exceeds {}", tensor.sizes.size(), kRankMax);
  if (tensor.dim_order.size() != tensor.sizes.size() ||
      !is_valid_dim_order(tensor.dim_order.data(), int(tensor.dim_order.size())))
    return error(Code::invalid_file, "dim order is no order of {} dimensions", tensor.sizes.size());
  int64_t count = 0;
  uint64_t bytes = 0;
  if (!checked_element_count(tensor.sizes.data(), int(tensor.sizes.size()), &count) ||
      !checked_multiply<uint64_t>(uint64_t(count), dtype_bytes(tensor.dtype), &bytes))
    return error(Code::invalid_file, "a size is negative, or sizes overflow");
  if (tensor.bytes.size() < bytes)
    return error(Code::invalid_file, "has {} bytes, its sizes want {}", tensor.bytes.size(), bytes);
  return bytes;
}

Result<BpteValue> decode_value(const bpte::fb::Value& from) {
  using namespace bpte::fb;  // NOLINT: the union's tags
  // A tag may stand without a table: the verifier lets that pass.
  if (!from.content()) return error(Code::invalid_file, "has no content");
  switch (from.content_type()) {
    case Content_Int: return BpteValue(from.content_as_Int()->value());
    case Content_Bool: return BpteValue(from.content_as_Bool()->value());
    case Content_Double: return BpteValue(from.content_as_Double()->value());
    case Content_Tensor: break;
    default:
      return error(Code::invalid_file,
                   "its tag is {}, want 1 (tensor), 2 (int), 3 (bool), 4 (double)",
                   int(from.content_type()));
  }
  const bpte::fb::Tensor& table = *from.content_as_Tensor();
  // Before they are copied: tables of a file may share one long vector.
  for (size_t rank : {table.sizes() ? table.sizes()->size() : 0,
                      table.dim_order() ? table.dim_order()->size() : 0})
    if (rank > size_t(kRankMax))
      return error(Code::too_large, "rank {} exceeds {}", rank, kRankMax);
  BpteTensor tensor;
  if (!is_dtype(table.dtype()))
    return error(Code::invalid_file, "dtype {} is none", int(table.dtype()));
  tensor.dtype = DType(table.dtype());
  if (table.sizes()) tensor.sizes.assign(table.sizes()->begin(), table.sizes()->end());
  if (table.dim_order())
    tensor.dim_order.assign(table.dim_order()->begin(), table.dim_order()->end());
  if (table.data()) tensor.bytes = {table.data()->data(), table.data()->size()};
  TRY(uint64_t bytes, tensor_bytes_of(tensor));
  tensor.bytes = tensor.bytes.first(size_t(bytes));
  return BpteValue(std::move(tensor));
}

using FbValues = flatbuffers::Vector<flatbuffers::Offset<bpte::fb::Value>>;

Result<std::vector<BpteValue>> decode_values(const FbValues* from, const char* what) {
  std::vector<BpteValue> values;
  if (!from) return values;
  for (const bpte::fb::Value* value : *from) {
    auto decoded = decode_value(*value);
    if (!decoded.ok())
      return std::move(decoded.error()).with_context(fmt::format("{} {}", what, values.size()));
    values.push_back(std::move(*decoded));
  }
  return values;
}

Result<BpteCase> decode_case(const bpte::fb::Case& from) {
  BpteCase made;
  TRY(made.inputs, decode_values(from.inputs(), "input"));
  TRY(made.outputs, decode_values(from.outputs(), "expected output"));
  return made;
}

std::string place_of(const std::string& method, size_t index) {
  return fmt::format("method {}: case {}", method, index);
}

// --- writing ------------------------------------------------------------------------------------

// A vector of bytes whose first lies at a multiple of `alignment`.
flatbuffers::Offset<flatbuffers::Vector<uint8_t>> write_bytes(
    flatbuffers::FlatBufferBuilder& builder, Bytes bytes, size_t alignment) {
  builder.ForceVectorAlignment(bytes.size(), 1, alignment);
  return builder.CreateVector(bytes.data(), bytes.size());
}

flatbuffers::Offset<bpte::fb::Value> write_value(flatbuffers::FlatBufferBuilder& builder,
                                                 const BpteValue& value, Bytes bytes) {
  using namespace bpte::fb;
  if (auto* number = std::get_if<int64_t>(&value))
    return CreateValue(builder, Content_Int, CreateInt(builder, *number).Union());
  if (auto* flag = std::get_if<bool>(&value))
    return CreateValue(builder, Content_Bool, CreateBool(builder, *flag).Union());
  if (auto* number = std::get_if<double>(&value))
    return CreateValue(builder, Content_Double, CreateDouble(builder, *number).Union());
  const auto& tensor = std::get<BpteTensor>(value);
  auto data = write_bytes(builder, bytes, 16);
  auto sizes = builder.CreateVector(tensor.sizes);
  auto dim_order = builder.CreateVector(tensor.dim_order);
  auto table = CreateTensor(builder, int8_t(tensor.dtype), sizes, data, dim_order);
  return CreateValue(builder, Content_Tensor, table.Union());
}

}  // namespace

bool is_bpte(Bytes file) {
  return file.size() >= kHeadBytes && memcmp(file.data() + 4, bpte::fb::FileIdentifier(), 4) == 0;
}

Result<BpteFile> read_bpte(Bytes file) {
  if (!is_bpte(file))
    return error(Code::invalid_file, "no .bpte: {} is wanted at bytes 4 to 7 of {}",
                 bpte::fb::FileIdentifier(), file.size());
  if (file.size() >= FLATBUFFERS_MAX_BUFFER_SIZE)
    return error(Code::too_large, "{} bytes, a bundle has less than {}", file.size(),
                 FLATBUFFERS_MAX_BUFFER_SIZE);
  // No more tables than bytes to hold them: vectors that share tables cannot make the walk long.
  flatbuffers::Verifier verifier(file.data(), file.size(), 8, uint32_t(file.size() / 4));
  if (!bpte::fb::VerifyFileBuffer(verifier))
    return error(Code::invalid_file, "its tables leave the {} bytes of the file", file.size());
  const bpte::fb::File& root = *bpte::fb::GetFile(file.data());
  if (root.version() > kVersion)
    return error(Code::unsupported, "version {}, we read 0 to {}", root.version(), kVersion);
  BpteFile made;
  if (!root.program() || root.program()->size() == 0)
    return error(Code::invalid_file, "there is no program in it");
  made.program = {root.program()->data(), root.program()->size()};
  if (!root.suites()) return made;
  for (const bpte::fb::Suite* from : *root.suites()) {
    BpteSuite& suite = made.suites.emplace_back();
    if (!from->method() || from->method()->size() == 0)
      return error(Code::invalid_file, "suite {} names no method", made.suites.size() - 1);
    if (from->method()->size() > kNameBytesMax)
      return error(Code::too_large,
                   "suite {}: the name of its method has {} bytes, want {} or less",
                   made.suites.size() - 1, from->method()->size(), kNameBytesMax);
    suite.method = from->method()->str();
    if (suite.method.find('\0') != std::string::npos)
      return error(Code::invalid_file, "suite {}: the name of its method has a zero byte",
                   made.suites.size() - 1);
    if (!from->cases()) continue;
    for (const bpte::fb::Case* test : *from->cases()) {
      auto decoded = decode_case(*test);
      if (!decoded.ok())
        return std::move(decoded.error()).with_context(place_of(suite.method, suite.cases.size()));
      suite.cases.push_back(std::move(*decoded));
    }
  }
  return made;
}

Result<Bytes> program_in(Bytes file) {
  if (!is_bpte(file)) return file;
  TRY(BpteFile bundle, read_bpte(file));
  return bundle.program;
}

Result<std::vector<uint8_t>> write_bpte(const BpteFile& file) {
  if (file.program.empty()) return error(Code::invalid_argument, "a bundle needs a program");
  uint64_t total = file.program.size();
  for (const BpteSuite& suite : file.suites) {
    if (suite.method.empty() || suite.method.size() > kNameBytesMax ||
        suite.method.find('\0') != std::string::npos)
      return error(Code::invalid_argument,
                   "a method's name of {} bytes, want 1 to {} without zeros", suite.method.size(),
                   kNameBytesMax);
    for (size_t c = 0; c < suite.cases.size(); c++)
      for (const auto* values : {&suite.cases[c].inputs, &suite.cases[c].outputs})
        for (const BpteValue& value : *values) {
          auto* tensor = std::get_if<BpteTensor>(&value);
          if (!tensor) continue;
          auto bytes = tensor_bytes_of(*tensor);
          if (!bytes.ok()) return std::move(bytes.error()).with_context(place_of(suite.method, c));
          if (!checked_add(total, *bytes, &total)) total = UINT64_MAX;
        }
  }
  // Tables, and the room that alignment takes, stay far below the rest of the limit.
  constexpr uint64_t kDataMax = uint64_t(FLATBUFFERS_MAX_BUFFER_SIZE) - (64 << 20);
  if (total > kDataMax)
    return error(Code::too_large, "program and tensors have {} bytes, a bundle at most {}", total,
                 kDataMax);

  flatbuffers::FlatBufferBuilder builder(size_t(total) + 4096);
  auto write_values = [&](const std::vector<BpteValue>& values) {
    std::vector<flatbuffers::Offset<bpte::fb::Value>> made;
    for (const BpteValue& value : values) {
      Bytes bytes;
      if (auto* tensor = std::get_if<BpteTensor>(&value))
        bytes = tensor->bytes.first(size_t(*tensor_bytes_of(*tensor)));
      made.push_back(write_value(builder, value, bytes));
    }
    return builder.CreateVector(made);
  };
  std::vector<const BpteSuite*> sorted;
  for (const BpteSuite& suite : file.suites) sorted.push_back(&suite);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto* a, const auto* b) { return a->method < b->method; });
  std::vector<flatbuffers::Offset<bpte::fb::Suite>> suites;
  for (const BpteSuite* suite : sorted) {
    std::vector<flatbuffers::Offset<bpte::fb::Case>> cases;
    for (const BpteCase& test : suite->cases) {
      auto inputs = write_values(test.inputs);
      auto outputs = write_values(test.outputs);
      cases.push_back(bpte::fb::CreateCase(builder, inputs, outputs));
    }
    suites.push_back(bpte::fb::CreateSuiteDirect(builder, suite->method.c_str(), &cases));
  }
  auto program = write_bytes(builder, file.program, 32);
  auto all = builder.CreateVector(suites);
  bpte::fb::FinishFileBuffer(builder, bpte::fb::CreateFile(builder, kVersion, all, program));
  return std::vector<uint8_t>(builder.GetBufferPointer(),
                              builder.GetBufferPointer() + builder.GetSize());
}

}  // namespace sconce
