#include "import/pte/memory.h"

namespace sconce {

bool PlannedMemory::is_untouched(const MemoryPlace& place) const {
  auto space = spaces_.find(place.space);
  if (space == spaces_.end()) return true;
  auto next = space->second.lower_bound(place.offset);
  if (next != space->second.end() && next->first < place.end()) return false;
  return next == space->second.begin() || std::prev(next)->second.end <= place.offset;
}

std::optional<ValueId> PlannedMemory::find_whole(const MemoryPlace& place) const {
  auto space = spaces_.find(place.space);
  if (space == spaces_.end()) return std::nullopt;
  auto found = space->second.find(place.offset);
  if (found == space->second.end() || found->second.end != place.end() || found->second.at != 0 ||
      found->second.value == kNoValue)
    return std::nullopt;
  if (found->second.symbolic) return found->second.value;
  auto bytes = bytes_max(build_->tensor(found->second.value), build_->program().symbols);
  return bytes == place.bytes ? std::optional(found->second.value) : std::nullopt;
}

Result<ValueId> PlannedMemory::read(const MemoryPlace& place, const TensorType& type) {
  if (place.bytes == 0) return build_->full(type.sizes, 0, type.dtype);
  auto wants = [&](ValueId value) -> Result<void> {
    DType found = build_->dtype(value);
    if (found == type.dtype) return {};
    return error(Code::unsupported, "memory that holds {} is read as {}", dtype_name(found),
                 dtype_name(type.dtype));
  };
  if (auto whole = find_whole(place)) {
    TRY_VOID(wants(*whole));
    const TensorType& held = build_->tensor(*whole);
    if (held.sizes == type.sizes) return *whole;
    if (is_static(held)) return build_->view(*whole, type.sizes);
  }
  // Parts of what was written, one after the other.
  const Extents& extents = spaces_[place.space];
  int64_t element = int64_t(dtype_bytes(type.dtype));
  std::vector<ValueRef> parts;
  uint64_t at = place.offset;
  auto next = extents.upper_bound(at);
  if (next != extents.begin()) next--;
  for (; at < place.end(); next++) {
    if (next == extents.end() || next->first > at || next->second.end <= at)
      return error(Code::unsupported, "memory is read that nothing has written");
    const Extent& extent = next->second;
    if (extent.value == kNoValue)
      return error(Code::unsupported, "memory is read that only a branch has written");
    TRY_VOID(wants(extent.value));
    if (extent.symbolic)
      return error(Code::unsupported, "part of a tensor of dynamic shape is read");
    uint64_t end = std::min(extent.end, place.end());
    int64_t from = int64_t(extent.at + (at - next->first)), to = from + int64_t(end - at);
    if (from % element || to % element)
      return error(Code::unsupported, "memory is read that is no whole number of {}",
                   dtype_name(type.dtype));
    ValueId flat = build_->view(extent.value, {-1});
    parts.push_back(
        {build_->call1("aten::slice.Tensor",
                       {ValueRef{flat}, int64_t{0}, from / element, to / element, int64_t{1}})});
    at = end;
  }
  ValueId joined =
      parts.size() == 1 ? parts[0].id : build_->call1("aten::cat", {parts, int64_t{0}});
  return build_->view(joined, type.sizes);
}

Result<ValueId> PlannedMemory::read_symbolic(const MemoryPlace& place,
                                             const std::vector<SymInt>& sizes) {
  auto space = spaces_.find(place.space);
  auto extent =
      space == spaces_.end() ? Extents::const_iterator() : space->second.find(place.offset);
  if (space == spaces_.end() || extent == space->second.end() || extent->second.at != 0 ||
      extent->second.value == kNoValue)
    return error(Code::unsupported,
                 "a tensor of dynamic shape is read from memory that holds no whole tensor");
  if (build_->tensor(extent->second.value).sizes == sizes) return extent->second.value;
  return build_->view(extent->second.value, sizes);
}

void PlannedMemory::write(const MemoryPlace& place, ValueId value) {
  put(place, {place.end(), value, 0, !is_static(build_->tensor(value))});
}

void PlannedMemory::put(const MemoryPlace& place, Extent extent) {
  if (place.bytes == 0) return;
  Extents& extents = spaces_[place.space];
  auto next = extents.lower_bound(place.offset);
  if (next != extents.begin() && std::prev(next)->second.end > place.offset) next--;
  while (next != extents.end() && next->first < place.end()) {
    uint64_t begin = next->first;
    Extent old = next->second;
    next = extents.erase(next);
    if (old.symbolic) continue;  // what is left of it has no known place
    if (begin < place.offset) {
      Extent left = old;
      left.end = place.offset;
      extents[begin] = left;
    }
    if (old.end > place.end()) {
      Extent right = old;
      right.at += place.end() - begin;
      extents[place.end()] = right;
    }
  }
  extents[place.offset] = extent;
}

bool PlannedMemory::holds_same(const PlannedMemory& other, const MemoryPlace& place) const {
  static const Extents kNothing;
  auto of = [&](const PlannedMemory& memory) {
    auto space = memory.spaces_.find(place.space);
    const Extents& extents = space == memory.spaces_.end() ? kNothing : space->second;
    auto next = extents.lower_bound(place.offset);
    if (next != extents.begin() && std::prev(next)->second.end > place.offset) next--;
    std::vector<std::pair<uint64_t, Extent>> found;
    for (; next != extents.end() && next->first < place.end(); next++) found.push_back(*next);
    return found;
  };
  return of(*this) == of(other);
}

void PlannedMemory::forget_differences(const PlannedMemory& other) {
  // What was written there took the place of what is here, so looking at one side is enough.
  for (const auto& [space, extents] : other.spaces_)
    for (const auto& [begin, extent] : extents) {
      MemoryPlace place{space, begin, extent.end - begin};
      if (!holds_same(other, place)) put(place, {extent.end, kNoValue, 0, false});
    }
}

}  // namespace sconce
