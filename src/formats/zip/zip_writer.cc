#include "formats/zip/zip_writer.h"

#include "formats/zip/zip.h"

namespace sconce {
namespace {

constexpr size_t kAlignment = 64;
constexpr uint16_t kPadding = 0x4246;  // "FB": the extra field that aligns, as torch names it

}  // namespace

void ZipWriter::add(const std::string& name, Bytes data) {
  const size_t header = file_.size() + 30 + name.size() + 4;  // with the extra field's own
  const size_t padding = (kAlignment - header % kAlignment) % kAlignment;
  entries_.push_back({name, crc32(data), data.size(), file_.size()});
  append(0x04034b50, 4);
  append_common(entries_.back());
  append(uint32_t(4 + padding), 2);
  file_.insert(file_.end(), name.begin(), name.end());
  append(kPadding, 2);
  append(uint32_t(padding), 2);
  file_.insert(file_.end(), padding, uint8_t('Z'));
  file_.insert(file_.end(), data.begin(), data.end());
}

Result<std::vector<uint8_t>> ZipWriter::finish() {
  const size_t directory = file_.size();
  for (const Entry& entry : entries_) {
    append(0x02014b50, 4);
    append(20, 2);  // made by
    append_common(entry);
    append(0, 2);  // extra
    append(0, 2);  // comment
    append(0, 2);  // disk
    append(0, 2);  // attributes
    append(0, 4);
    append(uint32_t(entry.at), 4);
    file_.insert(file_.end(), entry.name.begin(), entry.name.end());
  }
  const size_t bytes = file_.size() - directory;
  if (file_.size() >= UINT32_MAX || entries_.size() >= UINT16_MAX)
    return error(Code::too_large,
                 "an archive of {} entries and {} bytes: fewer than 65535 and 4 GiB are written",
                 entries_.size(), file_.size());
  append(0x06054b50, 4);
  append(0, 4);  // disks
  append(uint32_t(entries_.size()), 2);
  append(uint32_t(entries_.size()), 2);
  append(uint32_t(bytes), 4);
  append(uint32_t(directory), 4);
  append(0, 2);  // comment
  return std::move(file_);
}

// What both headers of an entry have, up to the length of its name.
void ZipWriter::append_common(const Entry& entry) {
  append(20, 2);  // version that is needed
  append(0, 2);   // flags
  append(0, 2);   // stored
  append(0, 4);   // time
  append(entry.crc, 4);
  append(uint32_t(entry.bytes), 4);
  append(uint32_t(entry.bytes), 4);
  append(uint32_t(entry.name.size()), 2);
}

void ZipWriter::append(uint32_t value, int bytes) {
  for (int i = 0; i < bytes; i++) file_.push_back(uint8_t(value >> 8 * i));
}

}  // namespace sconce
