#include "formats/zip/zip.h"

#include <string>

#include <gtest/gtest.h>

#include "formats/zip/zip_builder.h"

namespace sconce {
namespace {

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string error_of(const std::vector<BuiltEntry>& entries, const BuiltEnd& end = {}) {
  auto file = build_zip(entries, end);
  auto archive = read_zip(file);
  return archive.ok() ? "accepted" : archive.error().text;
}

std::string number64(uint64_t value) {
  std::string text(8, 0);
  for (int i = 0; i < 8; i++) text[i] = char(value >> (8 * i));
  return text;
}

// The field that holds 64-bit sizes and offsets.
std::string extra64(const std::string& body) {
  return std::string{1, 0, char(body.size()), 0} + body;
}

TEST(Zip, computes_the_checksum_of_the_standard) {
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xcbf43926u);
  EXPECT_EQ(crc32(bytes_of("")), 0u);
}

TEST(Zip, finds_entries_in_place) {
  auto file = build_zip({{"b", "second"}, {"a/x", "first"}, {"empty", ""}});
  auto archive = read_zip(file);
  ASSERT_TRUE(archive.ok()) << archive.error().text;
  EXPECT_EQ(archive->entries.size(), 3u);
  EXPECT_EQ(archive->first_name, "b");
  const ZipEntry* entry = find_entry(*archive, "b");
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->bytes.data(), file.data() + 31);
  EXPECT_EQ(entry->bytes.size(), 6u);
  EXPECT_TRUE(verify_crc(*entry).ok());
  EXPECT_EQ(find_entry(*archive, "c"), nullptr);
}

TEST(Zip, accepts_an_archive_without_entries) { EXPECT_EQ(error_of({}), "accepted"); }

TEST(Zip, reads_64_bit_records) {
  BuiltEntry entry{"a", "data"};
  entry.central_bytes = 0xffffffff;
  entry.offset = 0xffffffff;
  entry.extra = std::string("zz\1\0?", 5) + extra64(number64(4) + number64(4) + number64(0));
  BuiltEnd end{.count = 0xffff, .bytes = 0xffffffff, .offset = 0xffffffff, .has_end64 = true};
  auto file = build_zip({entry}, end);
  auto archive = read_zip(file);
  ASSERT_TRUE(archive.ok()) << archive.error().text;
  EXPECT_EQ(archive->entries[0].bytes.size(), 4u);
}

TEST(Zip, tells_a_wrong_checksum) {
  BuiltEntry entry{"a", "data"};
  entry.crc = 1;
  auto file = build_zip({entry});
  auto archive = read_zip(file);
  ASSERT_TRUE(archive.ok());
  auto verified = verify_crc(archive->entries[0]);
  ASSERT_FALSE(verified.ok());
  EXPECT_NE(verified.error().text.find("\"a\""), std::string::npos);
}

TEST(Zip, rejects_lies_about_entries) {
  auto with = [](auto change) {
    BuiltEntry entry{"a", "data"};
    change(entry);
    return error_of({{"first", "x"}, entry});
  };
  auto has = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text << "\n  wanted: " << part;
  };
  has(error_of({{"a", "1"}, {"b", "2"}, {"a", "3"}}), "two entries are named \"a\"");
  has(with([](BuiltEntry& e) { e.method = 8; }), "\"a\": is compressed");
  has(with([](BuiltEntry& e) { e.flags = 1; }), "\"a\": is encrypted");
  has(with([](BuiltEntry& e) { e.name = ""; }), "no proper name");
  has(with([](BuiltEntry& e) { e.name = std::string("a\0b", 3); }), "no proper name");
  has(with([](BuiltEntry& e) { e.local_name = "b"; }), "calls it \"b\"");
  has(with([](BuiltEntry& e) { e.local_bytes = 3; }), "local header says 3 bytes");
  has(with([](BuiltEntry& e) { e.central_bytes = 3; }), "central 3");
  has(with([](BuiltEntry& e) { e.central_bytes = e.local_bytes = 1000000; }), "pass the end");
  has(with([](BuiltEntry& e) { e.central_bytes = e.local_bytes = 0xfffffffe; }), "pass the end");
  has(with([](BuiltEntry& e) { e.offset = 3; }), "no local header");
  has(with([](BuiltEntry& e) { e.offset = 1000000; }), "outside");
  has(with([](BuiltEntry& e) { e.offset = 0; }), "calls it \"first\"");
  has(with([](BuiltEntry& e) { e.central_bytes = 0xffffffff; }), "64-bit extra field is missing");
  has(with([](BuiltEntry& e) {
        e.central_bytes = 0xffffffff;
        e.extra = extra64(number64(4));
      }),
      "too short");
  has(with([](BuiltEntry& e) {
        e.central_bytes = 0xffffffff;
        e.extra = extra64(number64(4) + number64(5));
      }),
      "two sizes");
  has(with([](BuiltEntry& e) {
        e.offset = 0xffffffff;
        e.extra = extra64(number64(~0ull - 3));
      }),
      "outside");
  has(with([](BuiltEntry& e) {
        e.central_bytes = e.local_bytes = 0xffffffff;
        e.extra = extra64(number64(~0ull - 3) + number64(~0ull - 3));
      }),
      "pass the end");
  has(with([](BuiltEntry& e) { e.extra = std::string("\1\0\x40\0", 4); }), "extra field of 64");
  has(with([](BuiltEntry& e) { e.extra = extra64("") + extra64(""); }), "two 64-bit extra");
  has(with([](BuiltEntry& e) { e.flags = 8; }), "data descriptor");
  // A second entry whose headers stand inside the data of the first.
  std::vector<uint8_t> inner = build_zip({{"b", "x"}});
  BuiltEntry outer{"a", std::string(inner.begin(), inner.begin() + 32)};
  BuiltEntry hidden{"b", "x"};
  hidden.offset = 31;
  has(error_of({outer, hidden}), "overlaps \"a\"");
}

TEST(Zip, rejects_lies_about_the_directory) {
  std::vector<BuiltEntry> entries = {{"a", "data"}, {"b", "more"}};
  auto has = [&](const BuiltEnd& end, const char* part) {
    EXPECT_NE(error_of(entries, end).find(part), std::string::npos) << error_of(entries, end);
  };
  has({.count = 1}, "bytes after its 1 entries");
  has({.count = 3}, "cannot fit");
  has({.count = 0xfffe}, "cannot fit");
  has({.count = 0xffff}, "64-bit end record that is missing");
  has({.bytes = 1}, "does not end where");
  has({.bytes = 0xfffffff0}, "does not end where");
  has({.offset = 1}, "does not end where");
  has({.offset = 0xfffffff0}, "does not end where");
  has({.has_end64 = true, .count64 = 3}, "64-bit end record says 3");
  has({.count = 0xffff, .has_end64 = true, .count64 = ~0ull}, "cannot fit");
  has({.bytes = 0xffffffff, .has_end64 = true, .bytes64 = ~0ull}, "does not end where");
  has({.offset = 0xffffffff, .has_end64 = true, .offset64 = ~0ull - 8}, "does not end where");
  has({.has_end64 = true, .end64_at = ~0ull}, "outside the file");
  has({.has_end64 = true, .end64_at = 0}, "is broken");
  auto file = build_zip(entries);
  EXPECT_EQ(read_zip(file, {.entry_count_max = 1}).error().code, Code::too_large);
  for (size_t size = 0; size < file.size(); size++)
    EXPECT_FALSE(read_zip(Bytes(file.data(), size)).ok()) << size;
  file.push_back(0);
  EXPECT_FALSE(read_zip(file).ok());
}

// One block that is not compressed: the simplest deflated bytes.
BuiltEntry deflated(const std::string& data) {
  uint16_t size = uint16_t(data.size()), inverse = uint16_t(~size);
  BuiltEntry entry{
      "a", std::string{1, char(size), char(size >> 8), char(inverse), char(inverse >> 8)} + data};
  entry.method = 8;
  entry.crc = crc32(bytes_of(data));
  entry.inflated_bytes = uint32_t(data.size());
  return entry;
}

std::string inflate_error_of(const BuiltEntry& entry, uint64_t bytes_max = 100) {
  auto file = build_zip({entry});
  auto archive = read_zip(file, {.allow_deflate = true});
  if (!archive.ok()) return archive.error().text;
  auto bytes = inflate_entry(archive->entries[0], bytes_max);
  return bytes.ok() ? "accepted" : bytes.error().text;
}

TEST(Zip, inflates_deflated_entries_when_asked) {
  auto file = build_zip({deflated("hello")});
  EXPECT_FALSE(read_zip(file).ok());
  auto archive = read_zip(file, {.allow_deflate = true});
  ASSERT_TRUE(archive.ok()) << archive.error().text;
  EXPECT_TRUE(archive->entries[0].deflated);
  auto bytes = inflate_entry(archive->entries[0], 5);
  ASSERT_TRUE(bytes.ok()) << bytes.error().text;
  EXPECT_EQ(std::string(bytes->begin(), bytes->end()), "hello");
}

TEST(Zip, refuses_to_inflate_lies) {
  auto with = [](auto change) {
    BuiltEntry entry = deflated("hello");
    change(entry);
    return inflate_error_of(entry);
  };
  auto has = [](const std::string& found, const char* wanted) {
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  has(inflate_error_of(deflated("hello"), 4), "inflates to 5 bytes, the limit is 4");
  has(with([](BuiltEntry& e) { e.inflated_bytes = 0xfffffffe; }), "10 deflated bytes cannot hold");
  has(with([](BuiltEntry& e) { e.inflated_bytes = 4; }), "do not inflate to the 4");
  has(with([](BuiltEntry& e) { e.inflated_bytes = 6; }), "do not inflate to the 6");
  has(with([](BuiltEntry& e) { e.data += "x"; }), "do not inflate");
  has(with([](BuiltEntry& e) { e.data[0] = 7; }), "do not inflate");
  has(with([](BuiltEntry& e) { e.crc = 1; }), "checksum");
  has(with([](BuiltEntry& e) { e.method = 9; }), "is compressed (method 9)");
  has(with([](BuiltEntry& e) { e.flags = 1; }), "is encrypted");
}

}  // namespace
}  // namespace sconce
