// What a header answers, and what its parts share; parse_header.cc makes one.
#include "formats/safetensors/header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <random>

#include "base/checked.h"

namespace sconce {
namespace {

constexpr uint32_t kNone = ~0u;

// Keyed, so that nobody can craft names that fall on the same place.
uint64_t hash_name(std::string_view name) {
  static const auto key = [] {
    std::random_device random;
    auto next = [&] { return (uint64_t(random()) << 32 | random()) | 1; };
    struct Key {
      uint64_t a, b;
    };
    return Key{next(), next()};
  }();
  auto fold = [](uint64_t x, uint64_t y) {
    auto product = static_cast<unsigned __int128>(x) * y;
    return uint64_t(product) ^ uint64_t(product >> 64);
  };
  uint64_t hash = key.a ^ name.size();
  const char* at = name.data();
  size_t left = name.size();
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    hash = fold(hash ^ word, key.b) + key.a;
  }
  uint64_t word = 0;
  if (left) memcpy(&word, at, left);
  return fold(hash ^ word, key.b);
}

}  // namespace

bool Header::hash_names(const std::function<bool(size_t, size_t)>& repeated) {
  size_t count = tensors_.size();
  uint64_t mask = std::bit_ceil(std::max<uint64_t>(count * 2, 8)) - 1;
  index_.assign(mask + 1, {0, kNone});
  // The table is larger than the caches: places are asked for some tensors ahead.
  constexpr size_t kAhead = 16;
  uint64_t hashes[kAhead];
  for (size_t i = 0; i < count + kAhead; i++) {
    uint64_t hash = hashes[i % kAhead];
    if (i < count) {
      hashes[i % kAhead] = hash_name(tensors_[i].name);
      __builtin_prefetch(&index_[hashes[i % kAhead] & mask], 1);
    }
    if (i < kAhead) continue;
    size_t place = i - kAhead;
    uint32_t tag = uint32_t(hash >> 32);
    uint64_t at = hash & mask;
    for (; index_[at].place != kNone; at = (at + 1) & mask)
      if (index_[at].tag == tag && tensors_[index_[at].place].name == tensors_[place].name) {
        if (!repeated(index_[at].place, place)) return false;
        break;
      }
    index_[at] = {tag, uint32_t(place)};
  }
  return true;
}

// Names most often come in a few sorted runs: files hold their tensors by name, by name within a
// type, or by the number of their layer. Finds the runs and merges neighbours. False when there are
// many, or when two names are equal.
bool Header::order_names() {
  constexpr size_t kRunsMax = 32;
  order_.clear();
  std::vector<size_t> ends{0};  // of runs, after the start of the first
  for (size_t i = 1; i < tensors_.size(); i++) {
    if (tensors_[i - 1].name < tensors_[i].name) continue;
    if (ends.size() == kRunsMax) return false;
    ends.push_back(i);
  }
  ends.push_back(tensors_.size());
  if (ends.size() <= 2) return true;
  std::vector<uint32_t> merged(tensors_.size());
  order_.resize(tensors_.size());
  std::iota(order_.begin(), order_.end(), 0u);
  while (ends.size() > 2) {
    size_t kept = 1;
    for (size_t i = 0; i + 1 < ends.size(); i += 2) {
      size_t end = ends[std::min(i + 2, ends.size() - 1)];
      size_t a = ends[i], b = ends[i + 1], b_first = b;
      for (size_t to = a; to < end; to++) {
        int compared = a == b_first ? 1
                       : b == end   ? -1
                                    : tensors_[order_[a]].name.compare(tensors_[order_[b]].name);
        if (compared == 0) {
          order_.clear();
          return false;
        }
        merged[to] = order_[compared < 0 ? a++ : b++];
      }
      ends[kept++] = end;
    }
    ends.resize(kept);
    order_.swap(merged);
  }
  return true;
}

bool Header::index_names(const std::function<bool(size_t, size_t)>& repeated) {
  index_.clear();
  return order_names() || hash_names(repeated);
}

const TensorInfo* Header::find(std::string_view name) const {
  if (index_.empty()) {
    size_t low = 0, high = tensors_.size();
    while (low < high) {
      size_t middle = (low + high) / 2;
      if (at_rank(middle).name < name)
        low = middle + 1;
      else
        high = middle;
    }
    return low < tensors_.size() && at_rank(low).name == name ? &at_rank(low) : nullptr;
  }
  uint64_t hash = hash_name(name), mask = index_.size() - 1;
  for (uint64_t at = hash & mask; index_[at].place != kNone; at = (at + 1) & mask) {
    const Slot& slot = index_[at];
    if (slot.tag == uint32_t(hash >> 32) && tensors_[slot.place].name == name)
      return &tensors_[slot.place];
  }
  return nullptr;
}

std::vector<const TensorInfo*> Header::by_name() const {
  std::vector<const TensorInfo*> sorted(tensors_.size());
  if (index_.empty()) {
    for (size_t i = 0; i < sorted.size(); i++) sorted[i] = &at_rank(i);
    return sorted;
  }
  // Names begin alike ("model.layers."): the 8 bytes after that decide nearly always.
  std::string_view common = tensors_[0].name;
  for (const TensorInfo& tensor : tensors_) {
    size_t same = 0, limit = std::min(common.size(), tensor.name.size());
    while (same < limit && common[same] == tensor.name[same]) same++;
    common = common.substr(0, same);
  }
  struct Key {
    uint64_t text;
    const TensorInfo* tensor;
  };
  std::vector<Key> keys(tensors_.size());
  for (size_t i = 0; i < keys.size(); i++) {
    std::string_view rest = tensors_[i].name.substr(common.size());
    uint64_t text = 0;
    for (size_t k = 0; k < 8; k++) text = text << 8 | (k < rest.size() ? uint8_t(rest[k]) : 0);
    keys[i] = {text, &tensors_[i]};
  }
  std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) {
    return a.text != b.text ? a.text < b.text : a.tensor->name < b.tensor->name;
  });
  for (size_t i = 0; i < keys.size(); i++) sorted[i] = keys[i].tensor;
  return sorted;
}

Result<uint64_t> header_bytes(Bytes first_eight, uint64_t file_bytes) {
  if (file_bytes < 8 || first_eight.size() < 8)
    return error(Code::invalid_file,
                 "HeaderTooSmall: {} bytes are too few for a safetensors file, which begins with 8 "
                 "bytes of length",
                 file_bytes);
  uint64_t bytes = 0;
  for (int i = 0; i < 8; i++) bytes |= uint64_t(first_eight[size_t(i)]) << (8 * i);
  if (bytes > kSafetensorsHeaderBytesMax)
    return error(Code::invalid_file, "HeaderTooLarge: header of {} bytes, at most {} are allowed",
                 bytes, kSafetensorsHeaderBytesMax);
  if (bytes > file_bytes - 8)
    return error(Code::invalid_file,
                 "InvalidHeaderLength: header of {} bytes, the file has {} bytes after the length",
                 bytes, file_bytes - 8);
  return 8 + bytes;
}

std::string shape_text(Span<const uint64_t> shape) {
  constexpr size_t kShown = 16;
  if (shape.size() <= kShown) return fmt::format("[{}]", fmt::join(shape, ", "));
  return fmt::format("[{}, ... {} sizes]", fmt::join(shape.first(kShown), ", "), shape.size());
}

Result<uint64_t> tensor_bytes(ElementType type, Span<const uint64_t> shape) {
  uint64_t bits = 1;
  bool fits = true;
  for (uint64_t size : shape) fits = fits && checked_multiply(bits, size, &bits);
  if (!fits || !checked_multiply<uint64_t>(bits, element_bits(type), &bits))
    return error(Code::too_large, "ValidationOverflow: {} {} has 2^64 bits or more",
                 element_name(type), shape_text(shape));
  if (bits % 8 != 0)
    return error(Code::invalid_argument,
                 "MisalignedSlice: {} {} has {} bits, which is no whole number of bytes",
                 element_name(type), shape_text(shape), bits);
  return bits / 8;
}

std::string quoted_name(std::string_view name) {
  constexpr size_t kShown = 200;
  bool cut = name.size() > kShown;
  if (cut) {
    size_t end = kShown;  // not inside a character
    while (end > 0 && (uint8_t(name[end]) & 0xc0) == 0x80) end--;
    name = name.substr(0, end);
  }
  std::string text = "\"";
  for (char c : name) {
    if (c == '"' || c == '\\')
      (text += '\\') += c;
    else if (uint8_t(c) < 0x20 || c == 0x7f)
      text += fmt::format("\\x{:02x}", uint8_t(c));
    else
      text += c;
  }
  return text + (cut ? "\"..." : "\"");
}

}  // namespace sconce
