#include "formats/safetensors/writer.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include <gtest/gtest.h>

#include "base/file.h"

namespace sconce {
namespace {

struct Folder {
  Folder() : path(testing::TempDir() + fmt::format("sconce_writer_{}", getpid())) {
    std::filesystem::create_directory(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  size_t entries() const {
    size_t count = 0;
    for ([[maybe_unused]] auto& entry : std::filesystem::directory_iterator(path)) count++;
    return count;
  }
  std::string path;
};

std::vector<uint8_t> bytes_of(size_t count, uint8_t value) {
  return std::vector<uint8_t>(count, value);
}

TEST(TensorWriter, appends_in_pieces_that_keep_no_borders) {
  Folder folder;
  std::string path = folder.path + "/a.safetensors";
  auto writer = TensorWriter::create(
      path,
      {{"a", ElementType::u8, {3}}, {"b", ElementType::f32, {2}}, {"c", ElementType::f6e2m3, {4}}});
  ASSERT_TRUE(writer.ok()) << writer.error().text;
  ASSERT_EQ(writer->order().size(), 3u);
  EXPECT_EQ(writer->spec(writer->order()[0]).name, "b");
  EXPECT_EQ(writer->spec(writer->order()[2]).name, "c");
  EXPECT_EQ(writer->data_bytes(), 14u);
  EXPECT_FALSE(std::filesystem::exists(path));
  ASSERT_TRUE(writer->append(bytes_of(9, 1)).ok());
  EXPECT_FALSE(writer->append(bytes_of(6, 1)).ok());
  EXPECT_FALSE(writer->finish().ok());
  ASSERT_TRUE(writer->append(bytes_of(5, 2)).ok());
  ASSERT_TRUE(writer->finish().ok());
  EXPECT_EQ(folder.entries(), 1u);
  auto file = map_file(path);
  ASSERT_TRUE(file.ok());
  auto header = parse_header(file->bytes(), file->bytes().size(), AcceptMode::strict);
  ASSERT_TRUE(header.ok()) << header.error().text;
  EXPECT_EQ(file->bytes()[header->data_offset() + 8], 1);
  EXPECT_EQ(file->bytes()[header->data_offset() + 9], 2);
}

TEST(TensorWriter, leaves_the_old_file_when_dropped) {
  Folder folder;
  std::string path = folder.path + "/a.safetensors";
  ASSERT_TRUE(save_file(path, bytes_of(5, 9)).ok());
  {
    auto writer = TensorWriter::create(path, {{"a", ElementType::u8, {1 << 21}}});
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->append(bytes_of(1 << 20, 1)).ok());
    EXPECT_EQ(folder.entries(), 2u);
  }
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_EQ(std::filesystem::file_size(path), 5u);
}

TEST(TensorWriter, keeps_the_permissions_of_the_file_it_replaces_and_replaces_links) {
  Folder folder;
  std::string path = folder.path + "/a", link = folder.path + "/link";
  ASSERT_TRUE(save_file(path, bytes_of(5, 9)).ok());
  std::filesystem::permissions(path, std::filesystem::perms(0640));
  ASSERT_TRUE(save_file(path, bytes_of(6, 9)).ok());
  EXPECT_EQ(int(std::filesystem::status(path).permissions()), 0640);
  std::filesystem::create_symlink(path, link);
  ASSERT_TRUE(save_file(link, bytes_of(7, 9)).ok());
  EXPECT_FALSE(std::filesystem::is_symlink(link));
  EXPECT_EQ(std::filesystem::file_size(path), 6u);
  EXPECT_FALSE(save_file(folder.path, bytes_of(1, 9)).ok());
  EXPECT_FALSE(save_file("/dev/null", bytes_of(1, 9)).ok());
  EXPECT_FALSE(save_file(folder.path + "/none/a", bytes_of(1, 9)).ok());
}

TEST(TensorWriter, starts_the_data_where_asked) {
  for (uint64_t alignment : {8u, 64u, 4096u, 2u << 20}) {
    std::vector<TensorSpec> specs = {{"a", ElementType::u8, {3}}};
    auto layout = plan_layout(specs, {}, {.data_alignment = alignment});
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->head.size() % alignment, 0u);
    EXPECT_LE(layout->head.size(), alignment + 64);
    Bytes head(reinterpret_cast<const uint8_t*>(layout->head.data()), layout->head.size());
    EXPECT_TRUE(parse_header(head, head.size() + 3, AcceptMode::strict).ok());
  }
  EXPECT_FALSE(plan_layout({}, {}, {.data_alignment = 24}).ok());
  EXPECT_FALSE(plan_layout({}, {}, {.data_alignment = 4}).ok());
}

TEST(TensorWriter, refuses_specs_that_cannot_be_written) {
  auto text_of = [](std::vector<TensorSpec> specs, Metadata metadata = {}) {
    auto layout = plan_layout(specs, metadata);
    return layout.ok() ? "accepted" : layout.error().text;
  };
  EXPECT_EQ(text_of({}), "accepted");
  EXPECT_NE(text_of({{"a", ElementType::f4, {3}}}).find("MisalignedSlice"), std::string::npos);
  EXPECT_NE(text_of({{"a", ElementType::f4, {1ull << 32, 1ull << 32}}}).find("ValidationOverflow"),
            std::string::npos);
  EXPECT_NE(text_of({{"a", ElementType::u8, {1ull << 60}},
                     {"b", ElementType::i8, {1ull << 60}},
                     {"c", ElementType::i8, {1ull << 60}},
                     {"d", ElementType::i8, {1ull << 60}},
                     {"e", ElementType::i8, {1ull << 60}},
                     {"f", ElementType::i8, {1ull << 60}},
                     {"g", ElementType::i8, {1ull << 60}},
                     {"h", ElementType::i8, {1ull << 60}}})
                .find("2^63"),
            std::string::npos);
  EXPECT_NE(text_of({{"a", ElementType::u8, {}}, {"a", ElementType::i8, {}}}).find("two tensors"),
            std::string::npos);
  EXPECT_NE(text_of({{"__metadata__", ElementType::u8, {}}}).find("reserved"), std::string::npos);
  EXPECT_NE(text_of({{"\xc3", ElementType::u8, {}}}).find("UTF-8"), std::string::npos);
  EXPECT_NE(text_of({}, {{"k", "\xff"}}).find("UTF-8"), std::string::npos);
  EXPECT_NE(text_of({}, {{"k", "1"}, {"k", "2"}}).find("two metadata"), std::string::npos);
  EXPECT_NE(text_of({}, {{"k", std::string(100'000'000, 'x')}}).find("HeaderTooLarge"),
            std::string::npos);
}

}  // namespace
}  // namespace sconce
