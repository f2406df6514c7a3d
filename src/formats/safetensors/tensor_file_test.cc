#include "sconce/tensor_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "base/file.h"

namespace sconce {
namespace {

class TensorFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + fmt::format("sconce_tensor_file_{}", getpid());
    std::filesystem::create_directory(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ + "/" + name; }
  void write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(
        save_file(path(name), Bytes(reinterpret_cast<const uint8_t*>(text.data()), text.size()))
            .ok());
  }
  // U8 tensors of 4 bytes, each filled with the first letter of its name.
  void write_tensors(const std::string& name, const std::vector<std::string>& tensors) const {
    std::vector<TensorSpec> specs;
    for (const std::string& tensor : tensors) specs.push_back({tensor, ElementType::u8, {4}});
    auto writer = TensorWriter::create(path(name), specs);
    ASSERT_TRUE(writer.ok()) << writer.error().text;
    for (const PlacedSpec& placed : writer->order())
      ASSERT_TRUE(
          writer->append(std::vector<uint8_t>(4, uint8_t(writer->spec(placed).name[0]))).ok());
    ASSERT_TRUE(writer->finish().ok());
  }
  std::string problem(const std::string& name, AcceptMode mode = AcceptMode::standard) const {
    auto file = TensorFile::open(path(name), {mode});
    return file.ok() ? "accepted" : file.error().text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  std::string folder_;
};

constexpr const char* kIndex = "set.safetensors.index.json";

TEST_F(TensorFileTest, opens_a_set_as_one_file) {
  write_tensors("1.safetensors", {"b", "d"});
  write_tensors("2.safetensors", {"a", "c"});
  write(kIndex, R"({"metadata":{"total_size":16},"weight_map":
        {"a":"2.safetensors","b":"1.safetensors","c":"2.safetensors","d":"1.safetensors"}})");
  auto file = TensorFile::open(path(kIndex));
  ASSERT_TRUE(file.ok()) << file.error().text;
  ASSERT_EQ(file->tensors().size(), 4u);
  EXPECT_EQ(file->data_bytes(), 16u);
  for (const char* name : {"a", "b", "c", "d"}) {
    ASSERT_TRUE(file->find(name));
    EXPECT_EQ(file->bytes(*file->find(name))[3], uint8_t(name[0]));
  }
  EXPECT_FALSE(file->find("e"));
  for (LoadMethod method : {LoadMethod::map, LoadMethod::read, LoadMethod::automatic}) {
    auto loaded = file->load({.method = method});
    ASSERT_TRUE(loaded.ok()) << loaded.error().text;
    EXPECT_EQ(loaded->bytes(*file->find("c"))[0], 'c');
    *loaded->data(*file->find("c")) = 'x';
    EXPECT_EQ(file->bytes(*file->find("c"))[0], 'c');
  }
  auto slice = file->read_slice(*file->find("d"), std::vector<SliceRange>{{1, 3}});
  ASSERT_TRUE(slice.ok());
  EXPECT_EQ(*slice, (std::vector<uint8_t>{'d', 'd'}));
}

TEST_F(TensorFileTest, refuses_sets_whose_index_lies) {
  write_tensors("1.safetensors", {"a", "b"});
  write_tensors("2.safetensors", {"b", "c"});
  struct Case {
    const char* index;
    const char* message;
    bool reference;  // accepted there, with a warning
  };
  const Case cases[] = {
      {R"({"weight_map":{"a":"1.safetensors"}})", "tensor \"b\" of 1.safetensors is not in", true},
      {R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"}})",
       "tensor \"b\" is in 2.safetensors too, the index says 1.safetensors", true},
      {R"({"weight_map":{"c":"1.safetensors"}})", "tensor \"c\" is not in 1.safetensors", false},
      {R"({"metadata":{"total_size":7},"weight_map":{"a":"1.safetensors","b":"1.safetensors"}})",
       "total_size is 7, the tensors take 8 bytes", true},
      {R"({"metadata":{"total_size":"8"},"weight_map":{}})", "total_size is not a whole", false},
      {R"({"weight_map":{"a":"1.safetensors","a":"1.safetensors"}})", "stands there twice", false},
      {R"({"weight_map":{},"weight_map":{}})", "stands there twice", false},
      {R"({"weight_map":{"a":"../1.safetensors"}})", "not a plain file name", false},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "not a plain file name", false},
      {R"({"weight_map":{"a":".."}})", "not a plain file name", false},
      {R"({"weight_map":{"a":"x\\1.safetensors"}})", "not a plain file name", false},
      {R"({"weight_map":{"a":"1.safetensors\u0000"}})", "not a plain file name", false},
      {R"({"weight_map":{"a":3}})", "is not a string", false},
      {R"({"weight_map":[]})", "is not an object", false},
      {R"({})", "\"weight_map\" is missing", false},
      {R"([])", "not a JSON object", false},
      {"", "not proper JSON", false},
      {R"({"weight_map":{"a":"3.safetensors"}})", "No such file", false},
  };
  for (const Case& c : cases) {
    write(kIndex, c.index);
    EXPECT_NE(problem(kIndex).find(c.message), std::string::npos)
        << c.index << "\n  " << problem(kIndex);
    EXPECT_EQ(problem(kIndex, AcceptMode::reference) == "accepted", c.reference) << c.index;
    EXPECT_NE(problem(kIndex, AcceptMode::strict), "accepted");
  }
}

TEST_F(TensorFileTest, follows_links_only_to_where_the_index_is) {
  std::filesystem::create_directories(path("blobs"));
  std::filesystem::create_directories(path("cache"));
  std::filesystem::create_directories(path("else"));
  write_tensors("blobs/1234", {"a"});
  write_tensors("else/1234", {"a"});
  write("blobs/5678", R"({"weight_map":{"a":"1.safetensors"}})");
  // As a download cache has it: everything links to one folder.
  std::filesystem::create_symlink("../blobs/1234", path("cache/1.safetensors"));
  std::filesystem::create_symlink("../blobs/5678", path("cache/set.safetensors.index.json"));
  EXPECT_EQ(problem("cache/set.safetensors.index.json"), "accepted");
  std::filesystem::remove(path("cache/1.safetensors"));
  std::filesystem::create_symlink("../else/1234", path("cache/1.safetensors"));
  EXPECT_NE(problem("cache/set.safetensors.index.json").find("link out of its folder"),
            std::string::npos);
}

TEST_F(TensorFileTest, takes_folders_and_refuses_what_is_no_file) {
  EXPECT_NE(TensorFile::open(folder_).ok(), true);
  write_tensors("model.safetensors", {"a"});
  EXPECT_TRUE(TensorFile::open(folder_ + "/").ok());
  write_tensors("other.safetensors", {"a"});
  EXPECT_TRUE(TensorFile::open(folder_).ok());  // model.safetensors is meant
  ASSERT_EQ(mkfifo(path("pipe.safetensors").c_str(), 0600), 0);
  EXPECT_NE(problem("pipe.safetensors").find("not a regular file"), std::string::npos);
  EXPECT_NE(problem("none.safetensors").find("No such file"), std::string::npos);
  write("empty.safetensors", "");
  EXPECT_NE(problem("empty.safetensors").find("HeaderTooSmall"), std::string::npos);
}

TEST_F(TensorFileTest, writes_sets_that_it_opens) {
  std::vector<TensorSpec> specs;
  for (int i = 0; i < 10; i++)
    specs.push_back({fmt::format("t{}", i), ElementType::i16, {uint64_t(100 * (i % 4))}});
  TensorSource source = [&](size_t spec, const auto& append) -> Result<void> {
    uint64_t bytes = specs[spec].shape[0] * 2;
    TRY_VOID(append(std::vector<uint8_t>(bytes / 2, uint8_t(spec))));
    return append(std::vector<uint8_t>(bytes - bytes / 2, uint8_t(spec)));
  };
  for (uint64_t limit : {1u, 500u, 1000u, 100000u}) {
    auto opened = write_shards(folder_, "m", specs, source, Metadata{{"format", "pt"}},
                               {.shard_bytes_max = limit});
    ASSERT_TRUE(opened.ok()) << opened.error().text;
    auto file = TensorFile::open(*opened);
    ASSERT_TRUE(file.ok()) << file.error().text;
    EXPECT_EQ(file->has_index(), limit < 100000);
    EXPECT_EQ(file->tensors().size(), 10u);
    for (const TensorShard& shard : file->shards())
      EXPECT_TRUE(shard.header.data_bytes() <= limit || shard.header.tensors().size() == 1);
    for (const TensorRecord& tensor : file->tensors())
      for (uint8_t byte : file->bytes(tensor)) ASSERT_EQ(byte, uint8_t(tensor.name[1] - '0'));
  }
  auto short_source = [](size_t, const auto& append) { return append(Bytes()); };
  EXPECT_FALSE(write_shards(folder_, "x", specs, short_source).ok());
  EXPECT_FALSE(std::filesystem::exists(path("x.safetensors")));
}

TEST_F(TensorFileTest, loads_all_bytes_with_many_threads_and_tells_how_far) {
  const uint64_t bytes = 40 << 20;
  std::vector<TensorSpec> specs = {{"x", ElementType::u8, {bytes}}};
  auto writer = TensorWriter::create(path("big.safetensors"), specs);
  ASSERT_TRUE(writer.ok());
  std::vector<uint8_t> data(bytes);
  for (uint64_t i = 0; i < bytes; i++) data[i] = uint8_t(i * 2654435761u >> 13);
  ASSERT_TRUE(writer->append(data).ok() && writer->finish().ok());
  auto file = TensorFile::open(path("big.safetensors"));
  ASSERT_TRUE(file.ok());
  uint64_t told = 0;
  auto loaded = file->load({.owned = true, .threads = 3, .progress = [&](uint64_t done, uint64_t) {
                              told = done;
                              return true;
                            }});
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->method(), LoadMethod::read);
  EXPECT_EQ(told, bytes);
  EXPECT_EQ(memcmp(loaded->bytes(file->tensors()[0]).data(), data.data(), bytes), 0);
  EXPECT_EQ(uintptr_t(loaded->bytes(file->tensors()[0]).data()) % (2 << 20), 0u);
  *loaded->data(file->tensors()[0]) = 1;
  auto stopped = file->load({.owned = true, .progress = [](uint64_t, uint64_t) { return false; }});
  EXPECT_FALSE(stopped.ok());
  EXPECT_FALSE(file->load({.method = LoadMethod::map, .owned = true}).ok());
  // Cut short after it was opened: reading tells, where a mapping would end the process.
  std::filesystem::resize_file(path("big.safetensors"), 20 << 20);
  auto cut = file->load({.owned = true});
  EXPECT_FALSE(file->load({.method = LoadMethod::map}).ok());
  EXPECT_FALSE(file->read(file->tensors()[0], data.data()).ok());
  ASSERT_FALSE(cut.ok());
  EXPECT_NE(cut.error().text.find("ends at byte"), std::string::npos);
}

TEST_F(TensorFileTest, edits_metadata_in_place_when_it_fits) {
  write_tensors("a.safetensors", {"a", "b"});
  std::string name = path("a.safetensors"), before = read("a.safetensors");
  auto inode = [&] {
    struct stat info;
    stat(name.c_str(), &info);
    return info.st_ino;
  };
  ino_t first = inode();
  EXPECT_EQ(*edit_metadata(name, {}), EditMethod::unchanged);
  auto done = edit_metadata(name, Metadata{{"k", std::string(100, 'v')}},
                            {.layout = {.metadata_room = 200}});
  ASSERT_TRUE(done.ok()) << done.error().text;
  EXPECT_EQ(*done, EditMethod::rewritten);
  EXPECT_NE(inode(), first);
  ino_t second = inode();
  for (const Metadata& metadata :
       {Metadata{{"k", std::string(250, 'w')}}, Metadata{{"a", "1"}, {"b", "2"}}, Metadata{}}) {
    done = edit_metadata(name, metadata);
    ASSERT_TRUE(done.ok()) << done.error().text;
    EXPECT_EQ(*done, EditMethod::in_place);
    EXPECT_EQ(inode(), second);
    auto file = TensorFile::open(name, {AcceptMode::strict});
    ASSERT_TRUE(file.ok()) << file.error().text;
    EXPECT_EQ(file->metadata(), metadata);
    EXPECT_EQ(file->bytes(*file->find("b"))[0], 'b');
  }
  done = edit_metadata(name, Metadata{{"k", std::string(5000, 'x')}});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(*done, EditMethod::rewritten);
  done = edit_metadata(name, {});
  ASSERT_TRUE(done.ok());
  EXPECT_EQ(*done, EditMethod::rewritten);  // more than a page changes
  EXPECT_EQ(read("a.safetensors"), before);
}

}  // namespace
}  // namespace sconce
