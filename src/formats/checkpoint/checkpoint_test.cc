#include "formats/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/checkpoint/convert.h"
#include "formats/safetensors/safetensors.h"
#include "formats/zip/zip_builder.h"

namespace sconce {
namespace {

using Input = std::vector<uint8_t>;

std::string number(uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; i++) out += char(value >> (8 * i));
  return out;
}
std::string text(std::string_view value) {
  return "X" + number(value.size(), 4) + std::string(value);
}
std::string integer(uint64_t value) { return "\x8a\x08" + number(value, 8); }

// A tensor over a storage of floats.
std::string tensor(std::string_view key, uint64_t count, const std::vector<uint64_t>& sizes,
                   const std::vector<uint64_t>& strides, std::string_view type = "FloatStorage") {
  std::string out = "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" +
                    std::string(type) + "\n" + text(key) + text("cpu") + integer(count) + "tQ" +
                    integer(0);
  for (const auto* numbers : {&sizes, &strides}) {
    out += "(";
    for (uint64_t n : *numbers) out += integer(n);
    out += "t";
  }
  return out +
         "\x89"
         "ccollections\nOrderedDict\n)RtR";
}

Input zip_of(const std::string& pickle, const std::string& data = std::string(16, 'x')) {
  return build_zip(
      {{"a/data.pkl", "\x80\x02" + pickle}, {"a/byteorder", "little"}, {"a/data/0", data}});
}

Input load(const std::filesystem::path& path) {
  auto file = map_file(path.string());
  CHECK(file.ok());
  return Input(file->bytes().begin(), file->bytes().end());
}

std::vector<std::filesystem::path> samples() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry :
       std::filesystem::directory_iterator(SCONCE_SOURCE_DIR "/src/formats/checkpoint/testdata"))
    if (entry.path().extension() != ".py") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// "" or the error of reading, planning and writing.
std::string convert(Bytes file, const ConvertOptions& options = {},
                    const CheckpointOptions& reading = {}) {
  auto checkpoint = read_checkpoint(file, reading);
  if (!checkpoint.ok()) return checkpoint.error().text;
  auto plan = plan_conversion(*checkpoint, file.size(), options);
  if (!plan.ok()) return plan.error().text;
  std::string path = testing::TempDir() + "sconce_checkpoint.safetensors";
  std::filesystem::remove(path);
  auto done = write_conversion(*checkpoint, *plan, path);
  EXPECT_EQ(done.ok(), std::filesystem::exists(path));
  if (!done.ok()) return done.error().text;
  auto written = map_file(path);
  EXPECT_TRUE(written.ok() && read_safetensors(written->bytes()).ok());
  return "";
}

std::vector<std::string> names_in(Bytes file, const ConvertOptions& options = {}) {
  auto checkpoint = read_checkpoint(file, {.ignore_unknown = true});
  if (!checkpoint.ok()) return {checkpoint.error().text};
  auto plan = plan_conversion(*checkpoint, file.size(), options);
  if (!plan.ok()) return {plan.error().text};
  std::vector<std::string> names;
  for (const FoundTensor& found : plan->tensors) names.push_back(found.name);
  return names;
}

TEST(Checkpoint, converts_every_sample) {
  ASSERT_GE(samples().size(), 10u);
  for (const auto& path : samples()) EXPECT_EQ(convert(load(path), {.arrays = true}), "") << path;
}

TEST(Checkpoint, recognises_each_format) {
  auto format = [](const char* name) {
    Input file =
        load(std::filesystem::path(SCONCE_SOURCE_DIR "/src/formats/checkpoint/testdata") / name);
    auto checkpoint = read_checkpoint(file);
    return checkpoint.ok() ? std::string(format_name(checkpoint->format)) : checkpoint.error().text;
  };
  EXPECT_EQ(format("state.pt"), "zip archive of torch.save");
  EXPECT_EQ(format("deflated.pt"), "zip archive of torch.save");
  EXPECT_EQ(format("script.pt"), "TorchScript archive");
  EXPECT_EQ(format("stream.pt"), "stream of torch.save before 1.6");
  EXPECT_EQ(format("old.tar"), "tar archive of torch.save before 0.1.10");
  EXPECT_EQ(format("arrays.pkl"), "plain pickle");
}

TEST(Checkpoint, refuses_every_truncation) {
  for (const auto& path : samples()) {
    Input file = load(path);
    // The end of a tar archive is padding, which old readers do not want.
    size_t end = file.size();
    if (path.extension() == ".tar")
      while (end > 0 && file[end - 1] == 0) end--;
    for (size_t size = 0; size < end; size++) {
      if (size > 1 && file[size - 1] == 0 && file[size - 2] == 0) continue;  // padding
      Input part(file.begin(), file.begin() + long(size));
      part.shrink_to_fit();
      EXPECT_FALSE(read_checkpoint(part).ok()) << path << " cut to " << size;
    }
  }
}

// Some changes are accepted: they lie in what nobody reads (times, padding) or has no checksum.
TEST(Checkpoint, survives_every_change_of_a_byte) {
  for (const auto& path : samples()) {
    Input file = load(path);
    for (size_t at = 0; at < file.size(); at++) {
      if (file[at] == 0 && at > 0 && file[at - 1] == 0) continue;  // most of it is padding
      constexpr uint8_t kChanges[] = {0x01, 0x80, 0xff};
      Input changed = file;
      changed[at] ^= kChanges[at % 3];
      auto checkpoint = read_checkpoint(changed, {.ignore_unknown = true});
      if (checkpoint.ok()) (void)plan_conversion(*checkpoint, changed.size(), {});
    }
  }
}

TEST(Checkpoint, sees_every_changed_byte_of_the_elements_and_the_pickle) {
  Input file = load(SCONCE_SOURCE_DIR "/src/formats/checkpoint/testdata/state.pt");
  auto archive = read_zip(file);
  ASSERT_TRUE(archive.ok());
  for (const ZipEntry& entry : archive->entries) {
    if (entry.name.find("/data") == std::string_view::npos) continue;
    if (entry.name.find(".data/") != std::string_view::npos) continue;  // an id, for information
    for (size_t i = 0; i < entry.bytes.size(); i++) {
      Input changed = file;
      changed[size_t(entry.bytes.data() - file.data()) + i] ^= 1;
      EXPECT_NE(convert(changed).find("checksum"), std::string::npos) << entry.name << " " << i;
    }
  }
}

struct Lie {
  const char* name;
  Input file;
  const char* wanted;
};

TEST(Checkpoint, refuses_lying_archives_and_names_their_place) {
  std::string good = tensor("0", 4, {4}, {1}) + ".";
  ASSERT_EQ(convert(zip_of(good)), "");
  auto change = [&](auto edit) {
    std::vector<BuiltEntry> entries = {{"a/data.pkl", "\x80\x02" + good},
                                       {"a/byteorder", "little"},
                                       {"a/data/0", std::string(16, 'x')}};
    edit(entries);
    return build_zip(entries);
  };
  using Entries = std::vector<BuiltEntry>;
  const Lie lies[] = {
      {"record_shorter_than_the_storage", zip_of(good, std::string(12, 'x')),
       "record \"a/data/0\" has 12 bytes, storage \"0\" of 4 float32 wants 16"},
      {"record_longer_than_the_storage", zip_of(good, std::string(20, 'x')), "has 20 bytes"},
      {"record_missing", zip_of(tensor("1", 4, {4}, {1}) + "."), "has no record \"a/data/1\""},
      {"record_name_climbs", zip_of(tensor("../data/0", 4, {4}, {1}) + "."), "has no record"},
      {"data_after_stop", zip_of(good + "cos\nsystem\n."), "bytes after STOP"},
      {"nul_after_stop", zip_of(good + std::string(1, '\0')), "1 bytes after STOP"},
      {"flag_encrypted", change([](Entries& e) { e[0].flags = 1; }), "is encrypted"},
      {"flag_strong_encryption", change([](Entries& e) { e[2].flags = 0x41; }), "is encrypted"},
      {"flag_masked_headers", change([](Entries& e) { e[2].flags = 0x2000; }), "is encrypted"},
      {"method_lzma", change([](Entries& e) { e[0].method = 14; }), "is compressed (method 14)"},
      {"deflate_bomb_by_size", change([](Entries& e) {
         e[2].method = 8;
         e[2].inflated_bytes = 0xfffffff0;
       }),
       "4294967280 bytes, storage"},
      {"checksum_of_the_pickle", change([](Entries& e) { e[0].crc = 7; }),
       "\"a/data.pkl\": checksum"},
      {"checksum_of_the_elements", change([](Entries& e) { e[2].crc = 7; }),
       "\"a/data/0\": checksum"},
      {"two_pickles", change([](Entries& e) { e.push_back(e[0]); }), "two entries are named"},
      {"two_storages", change([](Entries& e) { e.push_back(e[2]); }), "two entries are named"},
      {"two_folders", change([](Entries& e) {
         e.push_back({"b/data.pkl", "N."});
       }),
       "record \"b/data.pkl\" is outside the folder"},
      {"no_folder", build_zip({{"data.pkl", "N."}}), "is in no folder"},
      {"no_pickle", build_zip({{"a/version", "3"}}), "no record \"a/data.pkl\""},
      {"local_name_differs", change([](Entries& e) { e[0].local_name = "a/dat1.pkl"; }),
       "local header calls it"},
      {"local_size_differs", change([](Entries& e) { e[2].local_bytes = 8; }),
       "local header says 8"},
      {"central_size_differs", change([](Entries& e) { e[2].central_bytes = 8; }), "a/data/0"},
      {"entries_overlap", change([](Entries& e) { e[2].offset = 0; }), "local header calls it"},
      {"byte_order_of_neither", change([](Entries& e) { e[1].data = "middle"; }),
       "\"middle\", wanted little or big"},
      {"byte_order_of_a_megabyte", change([](Entries& e) { e[1].data.resize(1 << 20); }),
       "has 1048576 bytes, wanted at most 64"},
      {"exported_program", build_zip({{"a/archive_format", "pt2"}}), "sconce compile reads"},
      {"empty_file", {}, "the file is empty"},
      {"text_file",
       {'h', 'e', 'l', 'l', 'o'},
       "neither zip nor tar, and as a pickle: offset 0: BINGET"},
      {"seven_zip", {'7', 'z', 0xbc, 0xaf, 0x27, 0x1c}, "offset 0"},
  };
  for (const Lie& lie : lies) {
    std::string found = convert(lie.file);
    EXPECT_NE(found.find(lie.wanted), std::string::npos) << lie.name << ": " << found;
  }
}

TEST(Checkpoint, refuses_values_that_explode) {
  auto has = [](const std::string& found, const char* wanted) {
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  // A view that says one element a million million times.
  has(convert(zip_of(tensor("0", 4, {1 << 20, 1 << 20}, {0, 0}) + ".")),
      "tensors pass 1048576 bytes, the limit for this file");
  has(convert(zip_of(tensor("0", 4, {1 << 18, 2}, {0, 1}) + ".")), "tensors pass 1048576");
  EXPECT_EQ(convert(zip_of(tensor("0", 4, {1000, 2}, {0, 1}) + ".")), "");
  EXPECT_EQ(
      convert(zip_of(tensor("0", 4, {1 << 18, 2}, {0, 1}) + "."), {.output_bytes_max = 1 << 21}),
      "");
  // A billion laughs: each tuple holds the one before twice.
  std::string laughs = tensor("0", 4, {4}, {1}) + "q" + std::string(1, '\0');
  for (int i = 1; i < 60; i++)
    laughs += "h" + std::string(1, char(i - 1)) + "h" + std::string(1, char(i - 1)) + "\x86q" +
              std::string(1, char(i));
  laughs = "(" + laughs + "t.";
  has(convert(zip_of(laughs), {.visit_count_max = 1 << 16}), "values expand to more than 65536");
  has(convert(zip_of(laughs), {.tensor_count_max = 1000}), "more than 1000 tensors");
  // Deeper than any reader's stack, in a pickle that opens no mark twice.
  std::string deep = tensor("0", 4, {4}, {1});
  for (int i = 0; i < 100000; i++) deep += "\x85";
  has(convert(zip_of(deep + ".")), "values nest deeper than 512");
  // The same depth, hidden from a walk that looks at each value once.
  std::string chain = "(" + tensor("0", 4, {4}, {1}) + "\x94";
  for (int i = 0; i < 2000; i++) chain += "j" + number(uint64_t(i), 4) + "\x85\x94";
  has(convert(zip_of(chain + "t.")), "values nest deeper than 512");
}

TEST(Checkpoint, refuses_values_that_hold_themselves) {
  std::string zero(1, '\0');
  auto has = [](const std::string& found, const char* wanted) {
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  has(convert(zip_of("]q" + zero + "h" + zero + "a.")), "a value holds itself");
  has(convert(zip_of("}q" + zero + text("a") + "h" + zero + "s" + text("b") +
                     tensor("0", 4, {4}, {1}) + "s.")),
      "a value holds itself");
  // An object may know its parent.
  std::string parent = "cm\nModule\n)\x81q" + zero + "}" + text("self") + "h" + zero + "s" +
                       text("w") + tensor("0", 4, {4}, {1}) + "sb.";
  EXPECT_EQ(names_in(zip_of(parent)), std::vector<std::string>{"w"});
}

TEST(Checkpoint, refuses_names_that_cannot_be_written) {
  std::string t = tensor("0", 4, {4}, {1});
  auto has = [](const std::string& found, const char* wanted) {
    EXPECT_NE(found.find(wanted), std::string::npos) << found;
  };
  has(convert(zip_of("}" + text(std::string("a\0b", 3)) + t + "s.")), "holds a NUL");
  has(convert(zip_of("}" + text("__metadata__") + t + "s.")), "named __metadata__");
  has(convert(zip_of("}(" + text("a") + t + text("a") + t + "u.")), "two tensors are named \"a\"");
  has(convert(zip_of("}(" + text("a.b") + t + text("a") + "}" + text("b") + t + "su.")),
      "two tensors are named \"a.b\"");
  has(convert(zip_of("}(K\x01" + t + text("1") + t + "u.")), "two tensors are named \"1\"");
}

TEST(Checkpoint, picks_what_is_under_a_key) {
  Input file = load(SCONCE_SOURCE_DIR "/src/formats/checkpoint/testdata/protocol_2.pt");
  auto names = names_in(file, {.key = "model"});
  EXPECT_EQ(names.size(), 8u);
  EXPECT_EQ(names[0], "layer.weight");
  EXPECT_EQ(names_in(file, {.key = "model.layer.half"}), std::vector<std::string>{"tensor"});
  EXPECT_EQ(names_in(file, {.key = "optimizer.state.0"}).size(), 2u);
  EXPECT_NE(names_in(file, {.key = "optimiser"})[0].find("there are: model, optimizer, epoch"),
            std::string::npos);
}

TEST(Checkpoint, takes_tensors_out_of_objects_without_their_classes) {
  // What torch writes for a module: a class, its arguments, its attributes.
  std::string t = tensor("0", 4, {4}, {1});
  auto module = [&](const std::string& parts) { return "cmine\nModule\n)\x81}(" + parts + "ub"; };
  std::string inner = module(text("_parameters") + "}" + text("w") + t + "s" + text("_buffers") +
                             "}" + text("b") + t + "s" + text("_modules") + "}");
  std::string outer = module(text("_parameters") + "}" + text("_buffers") + "}" + text("_modules") +
                             "}" + text("inner") + inner + "s");
  EXPECT_NE(convert(zip_of(outer + ".")).find("global mine.Module is not on the list"),
            std::string::npos);
  EXPECT_EQ(names_in(zip_of(outer + ".")), (std::vector<std::string>{"inner.w", "inner.b"}));
}

}  // namespace
}  // namespace sconce
