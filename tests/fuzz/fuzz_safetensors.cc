// Each accept mode takes a part of what the next takes; what is read must be written again, and
// read again with the same contents; parts of tensors stay inside of them.
#include <algorithm>
#include <cstdint>

#include "formats/safetensors/slice.h"
#include "formats/safetensors/writer.h"

using namespace sconce;

static void check(bool condition) {
  if (!condition) __builtin_trap();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Bytes file(data, size);
  auto length = header_bytes(file, size);
  if (!length.ok()) {
    check(!length.error().text.empty());
    return 0;
  }
  auto strict = parse_header(file, size, AcceptMode::strict);
  auto standard = parse_header(file, size, AcceptMode::standard);
  auto reference = parse_header(file, size, AcceptMode::reference);
  check(!strict.ok() || standard.ok());
  check(!standard.ok() || reference.ok());
  // Read in windows, the same is found.
  auto read = [&](uint64_t offset, uint8_t* out, uint64_t bytes) -> Result<void> {
    std::copy_n(data + offset, bytes, out);
    return {};
  };
  auto windows = read_header(size, read, AcceptMode::reference, 24 + size / 8);
  check(windows.ok() == reference.ok());
  if (windows.ok()) {
    check(windows->tensors().size() == reference->tensors().size() &&
          windows->metadata() == reference->metadata());
    for (const TensorInfo& info : reference->tensors()) {
      const TensorInfo* same = windows->find(info.name);
      check(
          same && same->type == info.type && same->begin == info.begin && same->end == info.end &&
          std::equal(same->shape.begin(), same->shape.end(), info.shape.begin(), info.shape.end()));
    }
  } else {
    check(windows.error().text == reference.error().text);
  }
  if (!reference.ok()) {
    check(!reference.error().text.empty());
    return 0;
  }
  const Header& header = *reference;
  check(header.file_bytes() == size);
  std::vector<TensorSpec> specs;
  uint64_t at = 0;
  for (const TensorInfo& info : header.tensors()) {
    check(info.begin == at);
    at = info.end;
    check(header.find(info.name) == &info);
    specs.push_back({std::string(info.name), info.type, {info.shape.begin(), info.shape.end()}});
    if (!info.shape.empty() && info.shape.size() < 8 && info.shape[0] > 0) {
      std::vector<SliceRange> first = {{info.shape[0] / 2, info.shape[0]}};
      auto slice = plan_slice(info.type, info.shape, first);
      if (slice.ok() && slice->bytes <= info.bytes()) {
        std::vector<uint8_t> out(slice->bytes);
        copy_slice(*slice, file.subspan(header.data_offset() + info.begin, info.bytes()),
                   out.data());
      }
    }
  }
  check(at == header.data_bytes());
  auto sorted = header.by_name();
  for (size_t i = 1; i < sorted.size(); i++) check(sorted[i - 1]->name < sorted[i]->name);

  auto layout = plan_layout(specs, header.metadata());
  if (!layout.ok()) return 0;  // a name that is reserved for writing, by way of reference mode
  Bytes head(reinterpret_cast<const uint8_t*>(layout->head.data()), layout->head.size());
  auto again = parse_header(head, head.size() + layout->data_bytes, AcceptMode::strict);
  check(again.ok() && again->tensors().size() == header.tensors().size() &&
        again->metadata() == header.metadata());
  for (const TensorInfo& info : header.tensors()) {
    const TensorInfo* other = again->find(info.name);
    check(
        other && other->type == info.type && other->bytes() == info.bytes() &&
        std::equal(other->shape.begin(), other->shape.end(), info.shape.begin(), info.shape.end()));
  }
  return 0;
}
