// The header of a safetensors file: what tensors there are and where their data stands.
//
// Layout of a file: 8 bytes of length N, little endian; N bytes of JSON; the data. The JSON is one
// object: name -> {"dtype", "shape", "data_offsets": [begin, end)}, offsets from the start of the
// data; "__metadata__" -> {text: text}. Together the tensors cover the data without gap, overlap
// or tail, so that no byte can be smuggled in. See format.md for what each mode accepts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/span.h"
#include "formats/safetensors/element_type.h"

namespace sconce {

// Limit of the format on N, for reading and writing.
inline constexpr uint64_t kSafetensorsHeaderBytesMax = 100'000'000;

// What headers are accepted. Each mode accepts a subset of the next.
enum class AcceptMode : uint8_t {
  strict,     // the text of the format's specification: starts with '{', padded with spaces only,
              // no unknown fields, data of every tensor aligned to its elements
  standard,   // all that means the same to every reader: names are unique, tensors are objects
  reference,  // exactly what the Python package safetensors 0.8.0 accepts; of equal names the last
};

using Metadata = std::vector<std::pair<std::string, std::string>>;  // sorted by key

struct TensorInfo {
  std::string_view name;  // UTF-8, may hold any character
  ElementType type = ElementType::f32;
  Span<const uint64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes from the start of the data

  uint64_t bytes() const { return end - begin; }
};

// A checked header. Movable; views into it live as long as it does and survive moves. Const
// functions are safe to call from several threads.
class Header {
 public:
  Span<const TensorInfo> tensors() const { return tensors_; }  // by place in the file
  // Null when there is none of that name. Takes constant time, or that of a binary search.
  const TensorInfo* find(std::string_view name) const;
  // Sorted by the bytes of their names; made on each call, most often from an order that is known.
  std::vector<const TensorInfo*> by_name() const;
  const Metadata& metadata() const { return metadata_; }
  bool has_metadata() const { return has_metadata_; }  // "__metadata__" is there, perhaps empty

  uint64_t data_offset() const { return data_offset_; }  // of the data, from the start of the file
  uint64_t data_bytes() const { return data_bytes_; }
  uint64_t file_bytes() const { return data_offset_ + data_bytes_; }

 private:
  friend class HeaderParser;
  struct Slot {
    uint32_t tag, place;  // high half of the name's hash; place in tensors_
  };
  // Fills order_, or, when names come in no good order or twice, index_. Calls repeated(earlier,
  // later) for places of equal names; false when the call gives false.
  bool index_names(const std::function<bool(size_t, size_t)>& repeated);
  bool order_names();
  bool hash_names(const std::function<bool(size_t, size_t)>& repeated);
  const TensorInfo& at_rank(size_t rank) const {
    return tensors_[order_.empty() ? rank : order_[rank]];
  }

  std::vector<TensorInfo> tensors_;
  Metadata metadata_;
  bool has_metadata_ = false;
  uint64_t data_offset_ = 0, data_bytes_ = 0;
  std::unique_ptr<char[]> names_;
  std::vector<std::unique_ptr<uint64_t[]>> shapes_;
  std::vector<uint32_t> order_;  // places in tensors_ by name; none when that is the order there
  std::vector<Slot> index_;      // instead: hash table, its size a power of two
};

// Bytes of the header, the 8 of its length included, from the first 8 bytes of a file: how much to
// read before parse_header(). Fails as parse_header() would.
Result<uint64_t> header_bytes(Bytes first_eight, uint64_t file_bytes);

// `head` is the start of a file of `file_bytes` bytes; fails where it ends before the header does.
// Nothing of it is kept. Errors begin with the name that the reference gives them
// ("InvalidOffset: ...").
Result<Header> parse_header(Bytes head, uint64_t file_bytes,
                            AcceptMode mode = AcceptMode::standard);
// The same of a file that is read through `read`, which gives `bytes` bytes from `offset`. Large
// headers are read in windows of `window_bytes`, so that their text is never all in memory: new
// memory costs more than parsing.
inline constexpr uint64_t kHeaderWindowBytes = 256 << 10;
using ReadAt = std::function<Result<void>(uint64_t offset, uint8_t* out, uint64_t bytes)>;
Result<Header> read_header(uint64_t file_bytes, const ReadAt& read,
                           AcceptMode mode = AcceptMode::standard,
                           uint64_t window_bytes = kHeaderWindowBytes);

// Bytes of a tensor, checked as the format does: factor by factor, so that [2^64 - 1, 2, 0] is an
// overflow and [0, 2^64 - 1, 2] is none.
Result<uint64_t> tensor_bytes(ElementType type, Span<const uint64_t> shape);

// A name in quotes for messages and terminals: control characters escaped, long ones cut.
std::string quoted_name(std::string_view name);

// "[2, 3]"
std::string shape_text(Span<const uint64_t> shape);

}  // namespace sconce
