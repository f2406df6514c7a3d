#include "formats/zip/zip.h"

#include <algorithm>

#include <libdeflate.h>

#include "base/checked.h"

namespace sconce {
namespace {

constexpr uint32_t kLocalSignature = 0x04034b50, kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50;
constexpr uint32_t kLocatorSignature = 0x07064b50, kDescriptorSignature = 0x08074b50;
constexpr uint64_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kEnd64Bytes = 56;
constexpr uint64_t kLocatorBytes = 20;
constexpr uint32_t kNone32 = 0xffffffff;  // "see the 64-bit field"
constexpr uint16_t kNone16 = 0xffff;
constexpr uint16_t kDeflate = 8;          // method
constexpr uint64_t kInflationMax = 1032;  // of deflate: 258 bytes for two bits

// Little-endian number at `offset`, which the caller has checked.
template <class T>
T number(Bytes file, uint64_t offset) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); i++) value |= T(T(file[offset + i]) << (8 * i));
  return value;
}

std::string_view text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Directory {
  uint64_t offset = 0, bytes = 0, count = 0;
};

// The end record is the last one whose comment reaches exactly the end of the file.
Result<uint64_t> find_end_record(Bytes file) {
  if (file.size() < kEndBytes)
    return error(Code::invalid_file, "{} bytes are too few for a zip archive", file.size());
  uint64_t last = file.size() - kEndBytes;
  uint64_t first = last > 0xffff ? last - 0xffff : 0;
  for (uint64_t at = last + 1; at-- > first;) {
    if (number<uint32_t>(file, at) == kEndSignature &&
        number<uint16_t>(file, at + 20) == file.size() - at - kEndBytes)
      return at;
  }
  return error(Code::invalid_file,
               "no end record of a zip archive: not a zip archive, or it is cut short");
}

Result<Directory> read_directory(Bytes file) {
  TRY(uint64_t end, find_end_record(file));
  uint16_t disk = number<uint16_t>(file, end + 4), first_disk = number<uint16_t>(file, end + 6);
  uint16_t count_here = number<uint16_t>(file, end + 8), count = number<uint16_t>(file, end + 10);
  uint32_t bytes = number<uint32_t>(file, end + 12), offset = number<uint32_t>(file, end + 16);
  Directory directory{offset, bytes, count};
  uint64_t limit = end;
  if (end >= kLocatorBytes && number<uint32_t>(file, end - kLocatorBytes) == kLocatorSignature) {
    uint64_t locator = end - kLocatorBytes, at = number<uint64_t>(file, locator + 8);
    if (number<uint32_t>(file, locator + 4) != 0 || number<uint32_t>(file, locator + 16) > 1)
      return error(Code::unsupported, "zip archive of several disks");
    if (!range_inside(at, kEnd64Bytes, locator))
      return error(Code::invalid_file, "64-bit end record at {} is outside the file", at);
    uint64_t rest = number<uint64_t>(file, at + 4);
    if (number<uint32_t>(file, at) != kEnd64Signature || rest != locator - at - 12)
      return error(Code::invalid_file, "64-bit end record at {} is broken", at);
    if (number<uint32_t>(file, at + 16) != 0 || number<uint32_t>(file, at + 20) != 0 ||
        number<uint64_t>(file, at + 24) != number<uint64_t>(file, at + 32))
      return error(Code::unsupported, "zip archive of several disks");
    directory = {number<uint64_t>(file, at + 48), number<uint64_t>(file, at + 40),
                 number<uint64_t>(file, at + 32)};
    if ((count != kNone16 && count != directory.count) ||
        (bytes != kNone32 && bytes != directory.bytes) ||
        (offset != kNone32 && offset != directory.offset))
      return error(Code::invalid_file,
                   "end record says {} entries in {} bytes at {}, 64-bit end record says {} in {} "
                   "at {}",
                   count, bytes, offset, directory.count, directory.bytes, directory.offset);
    limit = at;
  } else if (count == kNone16 || bytes == kNone32 || offset == kNone32) {
    return error(Code::invalid_file, "end record refers to a 64-bit end record that is missing");
  }
  if ((disk != 0 && disk != kNone16) || (first_disk != 0 && first_disk != kNone16) ||
      count_here != count)
    return error(Code::unsupported, "zip archive of several disks");
  if (!range_inside(directory.offset, directory.bytes, limit) ||
      directory.offset + directory.bytes != limit)
    return error(Code::invalid_file,
                 "central directory of {} bytes at {} does not end where the end record begins, {}",
                 directory.bytes, directory.offset, limit);
  if (directory.count > directory.bytes / kCentralBytes)
    return error(Code::invalid_file, "{} entries cannot fit a central directory of {} bytes",
                 directory.count, directory.bytes);
  return directory;
}

// Fills the fields that stand as 0xffffffff from the 64-bit extra field, in their fixed order.
Result<void> read_extra64(Bytes extra, uint64_t* bytes, uint64_t* stored_bytes, uint64_t* offset) {
  bool found = false;
  while (extra.size() >= 4) {
    uint16_t id = number<uint16_t>(extra, 0), size = number<uint16_t>(extra, 2);
    if (size > extra.size() - 4)
      return error(Code::invalid_file, "extra field of {} bytes where {} are left", size,
                   extra.size() - 4);
    Bytes body = extra.subspan(4, size);
    extra = extra.subspan(4 + size);
    if (id != 1) continue;
    if (found) return error(Code::invalid_file, "two 64-bit extra fields");
    found = true;
    for (uint64_t* field : {bytes, stored_bytes, offset}) {
      if (!field || *field != kNone32) continue;
      if (body.size() < 8) return error(Code::invalid_file, "64-bit extra field is too short");
      *field = number<uint64_t>(body, 0);
      body = body.subspan(8);
    }
  }
  if (!found && (*bytes == kNone32 || *stored_bytes == kNone32 || (offset && *offset == kNone32)))
    return error(Code::invalid_file, "64-bit extra field is missing");
  return {};
}

struct Central {
  std::string_view name;
  uint16_t flags = 0, method = 0;
  uint32_t crc = 0;
  uint64_t bytes = 0, stored_bytes = 0, offset = 0;
};

// `at` moves past the header. The extra and comment sizes are checked against `limit`.
Result<Central> read_central(Bytes file, uint64_t* at, uint64_t limit, bool allow_deflate) {
  if (!range_inside(*at, kCentralBytes, limit))
    return error(Code::invalid_file, "central directory ends inside a header at {}", *at);
  if (number<uint32_t>(file, *at) != kCentralSignature)
    return error(Code::invalid_file, "no central header at {}", *at);
  Central central;
  central.flags = number<uint16_t>(file, *at + 8);
  central.method = number<uint16_t>(file, *at + 10);
  central.crc = number<uint32_t>(file, *at + 16);
  uint64_t stored_bytes = number<uint32_t>(file, *at + 20);
  central.bytes = number<uint32_t>(file, *at + 24);
  uint64_t name_bytes = number<uint16_t>(file, *at + 28);
  uint64_t extra_bytes = number<uint16_t>(file, *at + 30);
  uint64_t comment_bytes = number<uint16_t>(file, *at + 32);
  uint16_t disk = number<uint16_t>(file, *at + 34);
  central.offset = number<uint32_t>(file, *at + 42);
  uint64_t header_bytes = kCentralBytes + name_bytes + extra_bytes + comment_bytes;
  if (!range_inside(*at, header_bytes, limit))
    return error(Code::invalid_file, "central header of {} bytes at {} passes the directory's end",
                 header_bytes, *at);
  central.name = text(file.subspan(*at + kCentralBytes, name_bytes));
  if (central.name.empty() || central.name.find('\0') != std::string_view::npos)
    return error(Code::invalid_file, "central header at {} has no proper name", *at);
  auto in_entry = [&](Error problem) {
    return std::move(problem).with_context(fmt::format("entry \"{}\"", central.name));
  };
  if (auto done = read_extra64(file.subspan(*at + kCentralBytes + name_bytes, extra_bytes),
                               &central.bytes, &stored_bytes, &central.offset);
      !done.ok())
    return in_entry(std::move(done.error()));
  *at += header_bytes;
  if (central.flags & 0x2041)  // encryption in its three forms
    return in_entry(error(Code::unsupported, "is encrypted"));
  if (central.method != 0 && !(allow_deflate && central.method == kDeflate))
    return in_entry(error(Code::unsupported, "is compressed (method {}); entries must be stored{}",
                          central.method,
                          allow_deflate ? " or deflated" : ", as torch writes them"));
  if (disk != 0 && disk != kNone16)
    return in_entry(error(Code::unsupported, "is on disk {}", disk));
  central.stored_bytes = stored_bytes;
  if (central.method == 0 && stored_bytes != central.bytes)
    return in_entry(error(Code::invalid_file, "is stored but has two sizes, {} and {}",
                          stored_bytes, central.bytes));
  return central;
}

// Checks the local header against the central one and finds the data. `end` is set to the first
// byte after everything that belongs to the entry.
Result<Bytes> read_local(Bytes file, const Central& central, uint64_t limit, uint64_t* end) {
  uint64_t at = central.offset;
  if (!range_inside(at, kLocalBytes, limit))
    return error(Code::invalid_file, "local header at {} is outside [0, {})", at, limit);
  if (number<uint32_t>(file, at) != kLocalSignature)
    return error(Code::invalid_file, "no local header at {}", at);
  uint16_t flags = number<uint16_t>(file, at + 6), method = number<uint16_t>(file, at + 8);
  uint32_t crc = number<uint32_t>(file, at + 14);
  uint64_t stored_bytes = number<uint32_t>(file, at + 18), bytes = number<uint32_t>(file, at + 22);
  uint64_t name_bytes = number<uint16_t>(file, at + 26);
  uint64_t extra_bytes = number<uint16_t>(file, at + 28);
  if (!range_inside(at + kLocalBytes, name_bytes + extra_bytes, limit))
    return error(Code::invalid_file, "local header at {} passes the end of the entries", at);
  std::string_view name = text(file.subspan(at + kLocalBytes, name_bytes));
  if (name != central.name) return error(Code::invalid_file, "local header calls it \"{}\"", name);
  if (flags != central.flags || method != central.method)
    return error(Code::invalid_file, "local header has flags {:#x} and method {}, central {:#x} {}",
                 flags, method, central.flags, central.method);
  uint64_t data = at + kLocalBytes + name_bytes + extra_bytes;
  if (!range_inside(data, central.stored_bytes, limit))
    return error(Code::invalid_file, "{} bytes at {} pass the end of the entries, {}",
                 central.stored_bytes, data, limit);
  *end = data + central.stored_bytes;
  bool has_descriptor = flags & 8;
  if (!has_descriptor || crc != 0 || stored_bytes != 0 || bytes != 0) {
    TRY_VOID(read_extra64(file.subspan(at + kLocalBytes + name_bytes, extra_bytes), &bytes,
                          &stored_bytes, nullptr));
    // Writers of descriptors may leave any of the three out.
    auto agrees = [&](uint64_t local, uint64_t wanted) {
      return local == wanted || (has_descriptor && local == 0);
    };
    if (!agrees(crc, central.crc) || !agrees(bytes, central.bytes) ||
        !agrees(stored_bytes, central.stored_bytes))
      return error(Code::invalid_file,
                   "local header says {} bytes and checksum {:08x}, central {} and {:08x}", bytes,
                   crc, central.bytes, central.crc);
  }
  if (has_descriptor) {
    // The signature is optional and the sizes have 4 or 8 bytes: accept the form that agrees.
    bool agrees = false;
    for (uint64_t signature_bytes : {4, 0}) {
      for (uint64_t size_bytes : {4, 8}) {
        uint64_t descriptor_bytes = signature_bytes + 4 + 2 * size_bytes, from = *end;
        if (agrees || !range_inside(from, descriptor_bytes, limit)) continue;
        if (signature_bytes && number<uint32_t>(file, from) != kDescriptorSignature) continue;
        from += signature_bytes;
        auto size = [&](uint64_t offset) -> uint64_t {
          return size_bytes == 4 ? number<uint32_t>(file, offset) : number<uint64_t>(file, offset);
        };
        if (number<uint32_t>(file, from) != central.crc || size(from + 4) != central.stored_bytes ||
            size(from + 4 + size_bytes) != central.bytes)
          continue;
        agrees = true;
        *end += descriptor_bytes;
      }
    }
    if (!agrees)
      return error(Code::invalid_file,
                   "data descriptor at {} does not say {} bytes and checksum {:08x}", *end,
                   central.bytes, central.crc);
  }
  return file.subspan(data, central.stored_bytes);
}

}  // namespace

Result<ZipArchive> read_zip(Bytes file, const ZipLimits& limits) {
  TRY(Directory directory, read_directory(file));
  if (directory.count > limits.entry_count_max)
    return error(Code::too_large, "{} entries exceed the limit of {}", directory.count,
                 limits.entry_count_max);
  ZipArchive archive;
  archive.entries.reserve(directory.count);
  struct Extent {
    uint64_t begin, end;
    std::string_view name;
  };
  std::vector<Extent> extents;
  extents.reserve(directory.count);
  uint64_t at = directory.offset, directory_end = directory.offset + directory.bytes;
  for (uint64_t i = 0; i < directory.count; i++) {
    TRY(Central central, read_central(file, &at, directory_end, limits.allow_deflate));
    uint64_t end = 0;
    auto bytes = read_local(file, central, directory.offset, &end);
    if (!bytes.ok())
      return std::move(bytes.error()).with_context(fmt::format("entry \"{}\"", central.name));
    archive.entries.push_back(
        {central.name, *bytes, central.crc, central.method == kDeflate, central.bytes});
    extents.push_back({central.offset, end, central.name});
  }
  if (at != directory_end)
    return error(Code::invalid_file, "central directory has {} bytes after its {} entries",
                 directory_end - at, directory.count);
  if (!archive.entries.empty()) archive.first_name = archive.entries[0].name;

  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < extents.size(); i++)
    if (extents[i].begin < extents[i - 1].end)
      return error(Code::invalid_file, "entry \"{}\" at {} overlaps \"{}\", which ends at {}",
                   extents[i].name, extents[i].begin, extents[i - 1].name, extents[i - 1].end);
  std::sort(archive.entries.begin(), archive.entries.end(),
            [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  for (size_t i = 1; i < archive.entries.size(); i++)
    if (archive.entries[i].name == archive.entries[i - 1].name)
      return error(Code::invalid_file, "two entries are named \"{}\"", archive.entries[i].name);
  return archive;
}

const ZipEntry* find_entry(const ZipArchive& archive, std::string_view name) {
  auto found = std::lower_bound(
      archive.entries.begin(), archive.entries.end(), name,
      [](const ZipEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != archive.entries.end() && found->name == name ? &*found : nullptr;
}

Result<void> verify_crc(const ZipEntry& entry) {
  uint32_t found = crc32(entry.bytes);
  if (found != entry.crc)
    return error(Code::invalid_file,
                 "entry \"{}\": checksum of the bytes is {:08x}, the archive says {:08x}",
                 entry.name, found, entry.crc);
  return {};
}

Result<std::vector<uint8_t>> inflate_entry(const ZipEntry& entry, uint64_t bytes_max) {
  auto in_entry = [&](Error problem) {
    return std::move(problem).with_context(fmt::format("entry \"{}\"", entry.name));
  };
  if (entry.inflated_bytes / kInflationMax > entry.bytes.size())
    return in_entry(error(Code::invalid_file,
                          "{} deflated bytes cannot hold the {} that are stated",
                          entry.bytes.size(), entry.inflated_bytes));
  if (entry.inflated_bytes > bytes_max)
    return in_entry(error(Code::too_large, "inflates to {} bytes, the limit is {}",
                          entry.inflated_bytes, bytes_max));
  std::vector<uint8_t> out(entry.inflated_bytes);
  libdeflate_decompressor* decompressor = libdeflate_alloc_decompressor();
  CHECK(decompressor);
  size_t used = 0, made = 0;
  libdeflate_result result = libdeflate_deflate_decompress_ex(
      decompressor, entry.bytes.data(), entry.bytes.size(), out.data(), out.size(), &used, &made);
  libdeflate_free_decompressor(decompressor);
  if (result != LIBDEFLATE_SUCCESS || made != out.size() || used != entry.bytes.size())
    return in_entry(error(Code::invalid_file,
                          "{} deflated bytes do not inflate to the {} that are stated",
                          entry.bytes.size(), out.size()));
  ZipEntry inflated{entry.name, out, entry.crc};
  TRY_VOID(verify_crc(inflated));
  return out;
}

uint32_t crc32(Bytes bytes, uint32_t crc) {
  return libdeflate_crc32(crc, bytes.data(), bytes.size());
}

}  // namespace sconce
