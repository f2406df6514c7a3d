#include "formats/ptd/ptd.h"

#include <cstring>
#include <functional>

#include <gtest/gtest.h>

#include "base/file.h"
#include "ptd_generated.h"

namespace sconce {
namespace {

struct Layout {
  int8_t dtype = int8_t(DType::f32);
  std::vector<int32_t> sizes = {2, 1};
  std::vector<uint8_t> dim_order = {0, 1};
};
struct Parts {
  uint32_t version = 0, header_bytes = 40;
  std::vector<std::pair<uint64_t, uint64_t>> segments = {{0, 8}, {16, 3}};
  struct Entry {
    std::string key;
    uint32_t segment;
    const Layout* layout;
  };
  Layout layout;
  std::vector<Entry> entries = {{"weight", 0, &layout}, {"blob", 1, nullptr}};
};

// The bytes of a file: tables with the header after their first 8 bytes, then 19 bytes of segments.
std::vector<uint8_t> file_of(const Parts& parts) {
  using namespace ptd::fb;
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<Segment>> segments;
  for (auto [offset, bytes] : parts.segments)
    segments.push_back(CreateSegment(builder, offset, bytes));
  std::vector<flatbuffers::Offset<Entry>> entries;
  for (const Parts::Entry& entry : parts.entries) {
    flatbuffers::Offset<ptd::fb::Layout> layout = 0;
    if (entry.layout)
      layout = CreateLayoutDirect(builder, entry.layout->dtype, &entry.layout->sizes,
                                  &entry.layout->dim_order);
    entries.push_back(CreateEntryDirect(builder, entry.key.c_str(), entry.segment, layout));
  }
  FinishFileBuffer(builder, CreateFileDirect(builder, parts.version, &segments, &entries));
  std::vector<uint8_t> tables(builder.GetBufferPointer(),
                              builder.GetBufferPointer() + builder.GetSize());
  constexpr uint64_t kHeaderRoom = 48;  // a multiple of 16, as stock pads it
  std::vector<uint8_t> file(8 + kHeaderRoom);
  memcpy(file.data(), tables.data(), 8);
  file.insert(file.end(), tables.begin() + 8, tables.end());
  uint32_t root;
  memcpy(&root, file.data(), 4);
  root += uint32_t(kHeaderRoom);
  memcpy(file.data(), &root, 4);
  uint64_t base = (file.size() + 127) / 128 * 128;
  uint64_t words[] = {kHeaderRoom, tables.size(), base, 19};
  memcpy(file.data() + 8, "FH01", 4);
  memcpy(file.data() + 12, &parts.header_bytes, 4);
  memcpy(file.data() + 16, words, sizeof(words));
  file.resize(size_t(base));
  for (uint8_t i = 0; i < 19; i++) file.push_back(i);
  return file;
}

TEST(Ptd, reads_tensors_and_blobs_in_place) {
  std::vector<uint8_t> file = file_of({});
  auto entries = read_ptd(file);
  ASSERT_TRUE(entries.ok()) << entries.error().text;
  ASSERT_EQ(entries->size(), 2u);
  const PtdEntry& weight = (*entries)[0];
  EXPECT_EQ(weight.key, "weight");
  EXPECT_TRUE(weight.is_tensor);
  EXPECT_EQ(weight.dtype, DType::f32);
  EXPECT_EQ(weight.sizes, (std::vector<int32_t>{2, 1}));
  EXPECT_EQ(weight.bytes.data(), file.data() + file.size() - 19);
  EXPECT_EQ(weight.bytes.size(), 8u);
  EXPECT_FALSE((*entries)[1].is_tensor);
  EXPECT_EQ((*entries)[1].bytes.size(), 3u);
}

TEST(Ptd, reads_what_stock_wrote) {
  auto file = map_file(SCONCE_SOURCE_DIR "/src/formats/ptd/testdata/linear.ptd");
  ASSERT_TRUE(file.ok()) << file.error().text;
  auto entries = read_ptd(file->bytes());
  ASSERT_TRUE(entries.ok()) << entries.error().text;
  ASSERT_EQ(entries->size(), 2u);
  for (const PtdEntry& entry : *entries) {
    ASSERT_TRUE(entry.is_tensor);
    EXPECT_EQ(entry.dtype, DType::f32);
    EXPECT_EQ(entry.bytes.size(), entry.key == "weight" ? 24u : 8u) << entry.key;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(entry.bytes.data()) % 16, 0u);
  }
}

TEST(Ptd, refuses_every_lie_and_names_it) {
  struct Lie {
    const char* said;
    std::function<void(Parts&)> tell;
  };
  const Lie lies[] = {
      {"version 1", [](Parts& p) { p.version = 1; }},
      {"header of 39 bytes", [](Parts& p) { p.header_bytes = 39; }},
      {"segment 1: 4 bytes at 16 of 19", [](Parts& p) { p.segments[1].second = 4; }},
      {"segment 0: 18446744073709551615 bytes at 1",
       [](Parts& p) {
         p.segments[0] = {1, UINT64_MAX};
       }},
      {"entry \"blob\": segment 2 of 2", [](Parts& p) { p.entries[1].segment = 2; }},
      {"entry \"weight\": there are two", [](Parts& p) { p.entries[1].key = "weight"; }},
      {"entry 1 has no key", [](Parts& p) { p.entries[1].key = ""; }},
      {"entry \"weight\": its segment has 8 bytes, its sizes want 12",
       [](Parts& p) {
         p.layout.sizes = {3, 1};
       }},
      {"its segment has 8 bytes",
       [](Parts& p) {
         p.layout.sizes = {-2, -1};
       }},
      {"its segment has 8 bytes",
       [](Parts& p) {
         p.layout.sizes = {INT32_MAX, INT32_MAX};
       }},
      {"dtype 120 is none", [](Parts& p) { p.layout.dtype = 120; }},
      {"dim order is no order of 2",
       [](Parts& p) {
         p.layout.dim_order = {1, 1};
       }},
      {"dim order is no order of 2", [](Parts& p) { p.layout.dim_order = {0}; }},
  };
  for (const Lie& lie : lies) {
    Parts parts;
    for (Parts::Entry& entry : parts.entries)
      if (entry.layout) entry.layout = &parts.layout;
    lie.tell(parts);
    auto read = read_ptd(file_of(parts));
    ASSERT_FALSE(read.ok()) << lie.said;
    EXPECT_NE(read.error().text.find(lie.said), std::string::npos) << read.error().text;
  }
}

TEST(Ptd, refuses_every_cut_and_survives_every_flipped_byte) {
  const std::vector<uint8_t> file = file_of({});
  for (size_t size = 0; size < file.size(); size++) {
    std::vector<uint8_t> cut(file.begin(), file.begin() + long(size));
    EXPECT_FALSE(read_ptd(cut).ok()) << size;
  }
  for (size_t at = 0; at + 19 < file.size(); at++) {
    for (uint8_t flip : {0x01, 0x80, 0xff}) {
      std::vector<uint8_t> changed = file;
      changed[at] ^= flip;
      auto read = read_ptd(changed);
      if (!read.ok()) continue;
      for (const PtdEntry& entry : *read)  // what comes back lies inside the file
        for (uint8_t byte : entry.bytes) EXPECT_LT(byte, 19);
    }
  }
}

TEST(Ptd, writes_what_it_reads) {
  std::vector<uint8_t> one = {1, 2, 3, 4, 5, 6, 7, 8}, same = one, blob(300, 9);
  std::vector<PtdEntry> entries(5);
  entries[0] = {"weight", one, true, DType::f32, {2, 1}, {0, 1}};
  entries[1] = {"blob", blob, false, DType::f32, {}, {}};
  entries[2] = {"turned", same, true, DType::i16, {2, 2}, {1, 0}};
  entries[3] = {"number", Bytes(one.data(), 4), true, DType::i32, {}, {}};
  entries[4] = {"nothing", {}, true, DType::f32, {0}, {0}};
  auto file = write_ptd(entries);
  ASSERT_TRUE(file.ok()) << file.error().text;
  std::vector<uint8_t> bytes = file->joined();
  EXPECT_EQ(bytes.size(), file->bytes);
  EXPECT_EQ(bytes, write_ptd(entries)->joined());
  auto read = read_ptd(bytes);
  ASSERT_TRUE(read.ok()) << read.error().text;
  ASSERT_EQ(read->size(), entries.size());
  for (size_t i = 0; i < entries.size(); i++) {
    const PtdEntry &a = (*read)[i], &b = entries[i];
    EXPECT_EQ(a.key, b.key);
    EXPECT_EQ(a.is_tensor, b.is_tensor);
    EXPECT_TRUE(std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin(), b.bytes.end()))
        << a.key;
    EXPECT_EQ((a.bytes.data() - bytes.data()) % 128, 0) << a.key;
    if (!b.is_tensor) continue;
    EXPECT_EQ(a.dtype, b.dtype);
    EXPECT_EQ(a.sizes, b.sizes);
    EXPECT_EQ(a.dim_order, b.dim_order);
  }
  EXPECT_EQ((*read)[0].bytes.data(), (*read)[2].bytes.data()) << "equal bytes are stored once";
  EXPECT_TRUE(read_ptd(write_ptd({})->joined()).ok());
}

TEST(Ptd, refuses_to_write_what_nobody_could_read) {
  std::vector<uint8_t> bytes(8);
  PtdEntry good = {"weight", bytes, true, DType::f32, {2}, {0}};
  auto refusal = [&](auto change, bool twice = false) {
    std::vector<PtdEntry> entries(twice ? 2 : 1, good);
    change(entries[0]);
    auto file = write_ptd(entries);
    return file.ok() ? std::string() : file.error().text;
  };
  EXPECT_NE(refusal([](PtdEntry& e) { e.key.clear(); }).find("no key"), std::string::npos);
  EXPECT_NE(refusal([](PtdEntry&) {}, true).find("two of it"), std::string::npos);
  EXPECT_NE(refusal([](PtdEntry& e) { e.sizes = {3}; }).find("8 bytes, its sizes want 12"),
            std::string::npos);
  EXPECT_NE(refusal([](PtdEntry& e) { e.dim_order = {1}; }).find("dim order"), std::string::npos);
  EXPECT_NE(refusal([](PtdEntry& e) { e.dim_order.clear(); }).find("dim order"), std::string::npos);
}

}  // namespace
}  // namespace sconce
