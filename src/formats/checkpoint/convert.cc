// Copies the elements of planned tensors into the new file, piece by piece.
#include "formats/checkpoint/convert.h"

#include <algorithm>
#include <cstring>

#include "base/file.h"
#include "formats/checkpoint/view.h"
#include "formats/safetensors/writer.h"
#include "formats/zip/zip.h"

namespace sconce {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;  // stays in the cache between checksum and write
constexpr uint64_t kInflationRounds = 8;   // how often a storage may be inflated, on average

void swap_bytes(uint8_t* data, uint64_t bytes, uint32_t width) {
  for (uint64_t i = 0; i + width <= bytes; i += width) std::reverse(data + i, data + i + width);
}

// Flips the sign bits of every second (or every) component; components are little endian.
void flip_signs(uint8_t* data, uint64_t bytes, uint32_t width, uint64_t first, uint64_t step) {
  for (uint64_t i = first * width; i + width <= bytes; i += step * width)
    data[i + width - 1] ^= 0x80;
}

class Copier {
 public:
  Copier(const Checkpoint& checkpoint, const std::function<void(uint64_t)>& progress)
      : checkpoint_(checkpoint), progress_(progress), checked_(checkpoint.storages.size()) {}

  Result<void> copy(const PickleTensor& tensor, TensorWriter& writer);

 private:
  Result<Bytes> elements_of(uint32_t storage);
  Result<void> check(uint32_t storage);
  Result<void> append(Bytes bytes, TensorWriter& writer) {
    TRY_VOID(writer.append(bytes));
    if (progress_) progress_(writer.appended_bytes());
    return {};
  }
  Result<void> copy_whole(const PickleTensor& tensor, Bytes bytes, TensorWriter& writer);

  const Checkpoint& checkpoint_;
  const std::function<void(uint64_t)>& progress_;
  std::vector<bool> checked_;
  std::vector<uint8_t> inflated_, piece_;
  uint32_t inflated_storage_ = kNoStorage;
  uint64_t inflation_count_ = 0;
};

// The last deflated storage is kept, since its tensors often follow each other.
Result<Bytes> Copier::elements_of(uint32_t storage) {
  const StorageRecord& record = checkpoint_.storages[storage];
  if (!record.deflated) return record.bytes;
  if (inflated_storage_ != storage) {
    inflated_storage_ = kNoStorage;
    if (++inflation_count_ > kInflationRounds * checkpoint_.storages.size())
      return error(Code::unsupported,
                   "deflated storages are wanted in turns, more than {} times each; store them "
                   "without compression",
                   kInflationRounds);
    ZipEntry entry{record.name, record.bytes, record.checksum, true, record.inflated_bytes};
    TRY(inflated_, inflate_entry(entry, record.inflated_bytes));
    inflated_storage_ = storage;
  }
  return Bytes(inflated_);
}

static Error wrong_checksum(const StorageRecord& record, uint32_t found) {
  return error(Code::invalid_file,
               "entry \"{}\": checksum of the bytes is {:08x}, the archive says {:08x}",
               record.name, found, record.checksum);
}

Result<void> Copier::check(uint32_t storage) {
  const StorageRecord& record = checkpoint_.storages[storage];
  if (checked_[storage] || !record.has_checksum || record.deflated) return {};
  checked_[storage] = true;
  uint32_t found = crc32(record.bytes);
  if (found != record.checksum) return wrong_checksum(record, found);
  return {};
}

// All of a storage as it stands: the checksum is made of the same pieces that are written.
Result<void> Copier::copy_whole(const PickleTensor& tensor, Bytes bytes, TensorWriter& writer) {
  const StorageRecord& record = checkpoint_.storages[tensor.storage];
  bool check = record.has_checksum && !record.deflated && !checked_[tensor.storage];
  uint32_t found = 0;
  for (uint64_t at = 0; at < bytes.size(); at += kPieceBytes) {
    Bytes piece = bytes.subspan(at, std::min<uint64_t>(kPieceBytes, bytes.size() - at));
    if (check) found = crc32(piece, found);
    TRY_VOID(append(piece, writer));
    // Whole pages only; what is wanted again comes from the system's cache.
    if (!record.deflated) release_pages(piece);
  }
  if (check && found != record.checksum) return wrong_checksum(record, found);
  if (check) checked_[tensor.storage] = true;
  return {};
}

Result<void> Copier::copy(const PickleTensor& tensor, TensorWriter& writer) {
  uint32_t width = tensor.type->bytes;
  bool in_pickle = tensor.storage == kNoStorage;
  bool big_endian = in_pickle ? tensor.big_endian : checkpoint_.big_endian;
  bool as_it_is =
      !(big_endian && tensor.type->component_bytes > 1) && !tensor.conjugate && !tensor.negative;
  Bytes elements = tensor.bytes;
  if (!in_pickle) {
    TRY(elements, elements_of(tensor.storage));
  }
  ViewReader reader(elements.data() + tensor.begin * width, tensor.sizes, tensor.strides, width);
  uint64_t bytes = reader.elements_left() * width;
  if (bytes == 0) return {};
  if (as_it_is && reader.is_contiguous()) {
    Bytes part = elements.subspan(tensor.begin * width, bytes);
    if (!in_pickle && part.size() == elements.size()) return copy_whole(tensor, part, writer);
    if (!in_pickle) TRY_VOID(check(tensor.storage));
    return append(part, writer);
  }
  if (!in_pickle) TRY_VOID(check(tensor.storage));
  piece_.resize(std::min(bytes, kPieceBytes * 4));
  while (reader.elements_left() > 0) {
    uint64_t count = std::min<uint64_t>(reader.elements_left(), piece_.size() / width);
    reader.read(piece_.data(), count);
    uint64_t size = count * width;
    uint32_t component = tensor.type->component_bytes;
    if (big_endian && component > 1) swap_bytes(piece_.data(), size, component);
    if (tensor.conjugate && component < width) flip_signs(piece_.data(), size, component, 1, 2);
    if (tensor.negative) flip_signs(piece_.data(), size, component, 0, 1);
    TRY_VOID(append(Bytes(piece_.data(), size), writer));
  }
  if (!in_pickle && !checkpoint_.storages[tensor.storage].deflated && bytes >= kPieceBytes)
    release_pages(elements);
  return {};
}

}  // namespace

Result<void> write_conversion(const Checkpoint& checkpoint, const ConvertPlan& plan,
                              const std::string& path,
                              const std::function<void(uint64_t)>& progress) {
  std::vector<TensorSpec> specs;
  std::vector<uint32_t> tensors;
  for (const FoundTensor& found : plan.tensors) {
    if (!found.problem.empty() || !found.same_as.empty()) continue;
    const PickleTensor& tensor = checkpoint.tree.tensors[found.tensor];
    auto type = find_element_type(tensor.type->safetensors);
    CHECK(type);
    specs.push_back({found.name, *type, found.shape});
    tensors.push_back(found.tensor);
  }
  TRY(TensorWriter writer, TensorWriter::create(path, std::move(specs), plan.metadata));
  Copier copier(checkpoint, progress);
  for (size_t i = 0; i < writer.order().size(); i++) {
    const PlacedSpec& placed = writer.order()[i];
    auto done = copier.copy(checkpoint.tree.tensors[tensors[placed.spec]], writer);
    if (!done.ok())
      return std::move(done.error())
          .with_context(fmt::format("tensor \"{:.200}\"", writer.spec(placed).name));
  }
  return writer.finish();
}

}  // namespace sconce
