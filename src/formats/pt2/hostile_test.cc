// Broken archives: each is made from a good sample by one change, and must end in a clean error (or
// in the same contents, where the change does not matter).
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "formats/pt2/pt2.h"
#include "formats/zip/zip.h"
#include "formats/zip/zip_builder.h"

namespace sconce::pt2 {
namespace {

std::vector<uint8_t> load_sample(const std::string& name) {
  auto file = map_file(SCONCE_SOURCE_DIR "/src/formats/pt2/testdata/" + name + ".pt2");
  EXPECT_TRUE(file.ok());
  if (!file.ok()) return {};
  return {file->bytes().begin(), file->bytes().end()};
}

std::vector<BuiltEntry> entries_of(const std::string& name) {
  auto file = load_sample(name);
  auto zip = read_zip(file);
  EXPECT_TRUE(zip.ok());
  std::vector<BuiltEntry> entries;
  for (const ZipEntry& entry : zip->entries)
    entries.push_back(
        {std::string(entry.name), std::string(entry.bytes.begin(), entry.bytes.end())});
  return entries;
}

BuiltEntry& entry_ending(std::vector<BuiltEntry>& entries, std::string_view suffix) {
  for (BuiltEntry& entry : entries)
    if (std::string_view(entry.name).ends_with(suffix)) return entry;
  ADD_FAILURE() << "no entry " << suffix;
  return entries[0];
}

std::string error_of(const std::vector<BuiltEntry>& entries, const ReadOptions& options = {}) {
  auto file = build_zip(entries);
  auto archive = read_archive(file, options);
  return archive.ok() ? "accepted" : archive.error().text;
}

// Replaces the first occurrence of `from` in the entry.
std::string error_with(const std::string& sample, std::string_view entry, const std::string& from,
                       const std::string& to) {
  auto entries = entries_of(sample);
  std::string& text = entry_ending(entries, entry).data;
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << sample << ": " << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return error_of(entries);
}

void expect_part(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\n  wanted: " << part;
}

TEST(HostilePt2, rebuilt_samples_are_good) {
  for (const char* name : {"parameters", "cond", "symbolic", "two_programs", "types"})
    EXPECT_EQ(error_of(entries_of(name)), "accepted");
}

TEST(HostilePt2, rejects_every_truncation) {
  auto file = load_sample("parameters");
  for (size_t size = 0; size < file.size(); size++)
    ASSERT_FALSE(read_archive(Bytes(file.data(), size)).ok()) << size;
}

TEST(HostilePt2, changed_bytes_end_in_an_error_or_change_nothing) {
  auto good = load_sample("parameters"), file = good;
  auto wanted = read_archive(good);
  ASSERT_TRUE(wanted.ok());
  size_t accepted = 0, refused = 0;
  for (size_t at = 0; at < file.size(); at++) {
    for (uint8_t change : {0x01, 0x80, 0xff}) {
      file[at] ^= change;
      auto archive = read_archive(file, {.verify_weights = true});
      file[at] ^= change;
      if (!archive.ok()) {
        EXPECT_FALSE(archive.error().text.empty());
        refused++;
        continue;
      }
      accepted++;
      const Program& found = archive->programs[0];
      const Program& program = wanted->programs[0];
      ASSERT_EQ(found.graph.nodes.size(), program.graph.nodes.size()) << at;
      ASSERT_EQ(found.weights.size(), program.weights.size()) << at;
      for (size_t i = 0; i < found.weights.size(); i++) {
        ASSERT_EQ(found.weights[i].name, program.weights[i].name) << at;
        ASSERT_TRUE(std::ranges::equal(found.weights[i].bytes, program.weights[i].bytes)) << at;
      }
    }
  }
  // What may change: the pickled sample inputs (never read), dates, padding, attributes.
  EXPECT_GT(refused, accepted);
}

TEST(HostilePt2, notices_changed_weights_only_when_asked) {
  auto entries = entries_of("parameters");
  BuiltEntry& weight = entry_ending(entries, "weight_0");
  weight.crc = 0;
  EXPECT_EQ(error_of(entries), "accepted");
  expect_part(error_of(entries, {.verify_weights = true}), "weight_0\": checksum");
  entries = entries_of("parameters");
  entry_ending(entries, "model.json").crc = 0;
  expect_part(error_of(entries), "model.json\": checksum");
}

TEST(HostilePt2, rejects_archives_of_other_kinds) {
  expect_part(error_of({}), "no top folder");
  expect_part(error_of({{"file", ""}}), "no top folder");
  expect_part(error_of({{"a/file", ""}}), "\"archive_format\" is missing");
  expect_part(error_of({{"serialized_exported_program.json", "{}"}}), "no top folder");
  expect_part(error_of({{"a/serialized_exported_program.json", "{}"}}), "older torch");
  auto change = [](const char* entry, const char* data) {
    auto entries = entries_of("parameters");
    entry_ending(entries, entry).data = data;
    return error_of(entries);
  };
  expect_part(change("archive_format", "zip"), "archive_format is \"zip\", wanted \"pt2\"");
  expect_part(change("archive_version", "1"), "archive_version is \"1\", wanted \"0\"");
  expect_part(change("byteorder", "big"), "byteorder is \"big\", wanted \"little\"");
  auto without = [](const char* suffix) {
    auto entries = entries_of("parameters");
    std::erase_if(entries, [&](const BuiltEntry& e) { return e.name.ends_with(suffix); });
    return error_of(entries);
  };
  expect_part(without("model.json"), "no exported program");
  expect_part(without("archive_version"), "\"archive_version\" is missing");
  expect_part(without("model_weights_config.json"), "model_weights_config.json\" is missing");
  expect_part(without("model_constants_config.json"), "model_constants_config.json\" is missing");
  expect_part(without("weight_0"), "data/weights/weight_0\" that holds it is missing");
  EXPECT_EQ(without("data/sample_inputs/model.pt"), "accepted");
  EXPECT_EQ(without("byteorder"), "accepted");
  auto entries = entries_of("parameters");
  BuiltEntry& config = entry_ending(entries, "model_weights_config.json");
  config.name = config.name.substr(0, config.name.find("model_weights")) + "model.pt";
  expect_part(error_of(entries), "is a pickle");
}

TEST(HostilePt2, rejects_lies_about_weights) {
  struct Case {
    const char *sample, *from, *to, *message;
  };
  const Case cases[] = {
      {"parameters", "\"use_pickle\": false", "\"use_pickle\": true", "is a pickle"},
      {"parameters", "\"weight_0\"", "\"../weight_0\"", "is missing"},
      {"parameters", "\"weight_0\"", "\"\"", "is missing"},
      {"parameters", "\"weight_0\"", "\"weight_1\"", "pass the end of \"data/weights/weight_1\""},
      {"parameters", "\"linear.weight\"", "\"linear.height\"", "no data for \"linear.weight\""},
      {"parameters", "\"linear.bias\"", "\"linear.weight\"", "stands there twice"},
      {"parameters", "\"sizes\": [{\"as_int\": 2}", "\"sizes\": [{\"as_int\": 3}", "pass the end"},
      {"parameters", "\"sizes\": [{\"as_int\": 2}", "\"sizes\": [{\"as_int\": 1}", "differs from"},
      {"parameters", "\"sizes\": [{\"as_int\": 2}", "\"sizes\": [{\"as_int\": -1}", "negative"},
      {"parameters", "\"sizes\": [{\"as_int\": 2}", "\"sizes\": [{\"as_int\": 9223372036854775807}",
       "64 bits"},
      {"parameters", "\"sizes\": [{\"as_int\": 2}", "\"sizes\": [{\"as_int\": 1152921504606846976}",
       "64 bits"},
      {"parameters", "\"strides\": [{\"as_int\": 3}", "\"strides\": [{\"as_int\": 4}",
       "pass the end"},
      {"parameters", "\"strides\": [{\"as_int\": 3}", "\"strides\": [{\"as_int\": -3}", "negative"},
      {"parameters", "\"strides\": [{\"as_int\": 3}",
       "\"strides\": [{\"as_int\": 9223372036854775807}", "pass the end"},
      {"parameters", "\"strides\": [{\"as_int\": 3}, ", "\"strides\": [", "2 sizes but 1 strides"},
      {"parameters", "\"storage_offset\": {\"as_int\": 0}", "\"storage_offset\": {\"as_int\": 1}",
       "pass the end"},
      {"parameters", "\"storage_offset\": {\"as_int\": 0}", "\"storage_offset\": {\"as_int\": -1}",
       "negative"},
      {"parameters", "\"storage_offset\": {\"as_int\": 0}",
       "\"storage_offset\": {\"as_int\": 4611686018427387904}", "pass the end"},
      {"parameters", "\"storage_offset\": {\"as_int\": 0}",
       "\"storage_offset\": {\"as_expr\": {\"expr_str\": \"s0\"}}", "symbolic"},
      {"parameters", "\"dtype\": 7", "\"dtype\": 8", "pass the end"},
      {"parameters", "\"dtype\": 7", "\"dtype\": 6", "differs from"},
      {"parameters", "\"dtype\": 7", "\"dtype\": 33", "float8_e8m0fnu"},
      {"parameters", "\"dtype\": 7", "\"dtype\": 0", "not supported"},
      {"parameters", "\"layout\": 7", "\"layout\": 1", "not dense"},
      {"parameters", "\"layout\": 7", "\"layout\": 8", "wanted 0 to 7"},
      {"types", "\"as_int\": 0}, {\"as_int\": 5}", "\"as_int\": 0}, {\"as_int\": -5}", "negative"},
  };
  for (const Case& c : cases)
    expect_part(error_with(c.sample, "model_weights_config.json", c.from, c.to), c.message);
  auto entries = entries_of("parameters");
  entry_ending(entries, "weight_0").data = "";
  expect_part(error_of(entries), "fake tensors");
}

TEST(HostilePt2, rejects_lies_about_the_program) {
  struct Case {
    const char *sample, *from, *to, *message;
  };
  const Case cases[] = {
      {"parameters", "\"major\": 8", "\"major\": 9", "schema_version: found 9."},
      {"parameters", "\"major\": 8", "\"major\": \"8\"", "string \"8\""},
      {"parameters", "\"schema_version\"", "\"schema\"", "\"schema_version\" is missing"},
      {"parameters", "\"graph_module\"", "\"graph\"", "\"graph_module\" is missing"},
      {"parameters", "{\"graph_module\"", "[{\"graph_module\"", "not proper JSON"},
      {"parameters", "{\"name\": \"p_linear_weight\"}", "{\"name\": 3}", "wanted a string"},
      {"parameters", "{\"as_tensor\": {\"name\": \"p_linear_weight\"}}",
       "{\"as_matrix\": {\"name\": \"p_linear_weight\"}}", "as_matrix: no such kind"},
      {"parameters", "{\"as_tensor\": {\"name\": \"p_linear_weight\"}}",
       "{\"as_none\": true, \"as_tensor\": {\"name\": \"p_linear_weight\"}}", "2 members"},
      {"parameters", "{\"as_tensor\": {\"name\": \"p_linear_weight\"}}", "{}", "0 members"},
      {"parameters", "{\"as_tensor\": {\"name\": \"p_linear_weight\"}}, ", "",
       "is used before anything defines it"},
      {"parameters", "{\"as_tensor\": {\"name\": \"p_linear_weight\"}}",
       "{\"as_tensor\": {\"name\": \"x\"}}", "\"x\" is defined twice"},
      {"parameters", "{\"as_tensor\": {\"name\": \"p_linear_weight\"}}",
       "{\"as_tensor\": {\"name\": \"y\"}}", "missing in tensor_values"},
      {"parameters", "\"outputs\": [{\"as_tensor\": {\"name\": \"linear\"}}]",
       "\"outputs\": [{\"as_tensor\": {\"name\": \"linear_9\"}}]", "before anything defines it"},
      {"parameters", "\"outputs\": [{\"as_tensor\": {\"name\": \"linear\"}}]",
       "\"outputs\": [{\"as_sym_int\": {\"as_name\": \"linear\"}}]", "but defined as tensor"},
      {"parameters", "\"name\": \"input\", \"arg\": {\"as_tensor\": {\"name\": \"x\"}}",
       "\"name\": \"input\", \"arg\": {\"as_tensor\": {\"name\": \"linear\"}}",
       "argument \"input\": tensor \"linear\" is used before"},
      {"parameters", "\"name\": \"input\"", "\"name\": \"input\", \"name\": \"input\"", "twice"},
      {"parameters", "\"tensor_values\": {\"p_linear_weight\"",
       "\"tensor_values\": {\"x\": {}, \"p_linear_weight\"", "tensor_values: \"x\""},
      {"parameters", "\"parameter_name\": \"linear.weight\"", "\"parameter_name\": \"linear.bias\"",
       "differs from"},
      {"parameters", "\"parameter_name\": \"linear.weight\"", "\"parameter_name\": \"none\"",
       "no data for \"none\""},
      {"parameters", "{\"parameter\": {\"arg\": {\"name\": \"p_linear_weight\"}",
       "{\"parameter\": {\"arg\": {\"name\": \"p_linear_bias\"}", "input_specs: [0]"},
      {"parameters", "{\"parameter\": {\"arg\"", "{\"parrot\": {\"arg\"", "parrot: no such kind"},
      {"parameters", "{\"user_output\": {\"arg\"", "{\"output\": {\"arg\"", "output: no such kind"},
      {"parameters", "\"output_specs\": [", "\"output_specs\": [], \"unused\": [",
       "0 output_specs, but the graph has 1"},
      {"parameters", "\"input_specs\": [", "\"input_specs\": [], \"unused\": [",
       "0 input_specs, but the graph has 3"},
      {"parameters", "\"kind\": 1", "\"kind\": 3", "wanted 0 to 2"},
      {"functional", "\"buffer_name\": \"count\"}}, {\"user_input_mutation\"",
       "\"buffer_name\": \"account\"}}, {\"user_input_mutation\"",
       "no input stands for \"account\""},
      {"functional", "\"user_input_name\": \"cache\"", "\"user_input_name\": \"count\"",
       "no input stands for \"count\""},
      {"symbolic", "\"as_expr\"", "\"as_text\"", "wanted \"as_int\" or \"as_expr\""},
      {"symbolic", "\"expr_str\": \"Symbol", "\"expr_str\": \"\", \"s\": \"Symbol", "is empty"},
      {"symbolic", "\"min_val\": 2", "\"min_val\": 17", "minimum 17 exceeds maximum 16"},
      {"symbolic", "\"min_val\": 2", "\"min_val\": 2.5", "number 2.5"},
      {"symbolic", "\"min_val\": 2", "\"min_val\": 99999999999999999999", "not proper JSON"},
      {"symbolic", "{\"as_name\": \"sym_size_int_1\"}", "{\"as_name\": \"no_size\"}",
       "sym_int \"no_size\" is missing in sym_int_values"},
      {"options", "\"as_float\": \"-Infinity\"", "\"as_float\": \"-Inf\"", "wanted a number"},
      {"options", "\"as_memory_format\": 2", "\"as_memory_format\": 5", "wanted 0 to 4"},
      {"options", "\"as_scalar_type\": 13", "\"as_scalar_type\": 99", "element type 99 (unknown)"},
      {"lists", "{\"as_none\": true}, {\"as_tensor\"", "{\"as_int\": 1}, {\"as_tensor\"",
       "as_optional_tensors: [0]"},
      {"lists", "\"as_ints\": [1, 2, 1]", "\"as_ints\": [1, 2.0, 1]",
       "as_ints: [1]: found number 2"},
      {"lists", "\"as_ints\": [1, 2, 1]", "\"as_ints\": 1", "wanted a list"},
      // A nested graph sees nothing of the one around it.
      {"cond",
       "\"name\": \"self\", \"arg\": {\"as_tensor\": {\"name\": \"x\"}}, \"kind\": 1}, "
       "{\"name\": \"other\", \"arg\": {\"as_int\": 1}",
       "\"name\": \"self\", \"arg\": {\"as_tensor\": {\"name\": \"gt\"}}, \"kind\": 1}, "
       "{\"name\": \"other\", \"arg\": {\"as_int\": 1}",
       "\"gt\" is used before"},
  };
  for (const Case& c : cases)
    expect_part(error_with(c.sample, "models/model.json", c.from, c.to), c.message);
}

TEST(HostilePt2, limits_depth_and_size) {
  auto entries = entries_of("nested_cond");
  auto file = build_zip(entries);
  EXPECT_TRUE(read_archive(file, {.graph_depth_max = 2}).ok());
  expect_part(read_archive(file, {.graph_depth_max = 1}).error().text, "nested deeper");
  expect_part(read_archive(file, {.json_bytes_max = 100}).error().text, "exceed the limit of 100");
  std::string& text = entry_ending(entries, "models/model.json").data;
  text = std::string(100000, '[');
  expect_part(error_of(entries), "not proper JSON");
  std::string deep = "{\"as_none\": true}";
  for (int i = 0; i < 400; i++) deep = "{\"as_string_to_argument\": {\"k\": " + deep + "}}";
  expect_part(
      error_with("parameters", "models/model.json", "{\"as_tensor\": {\"name\": \"x\"}}", deep),
      "is used before");
  for (int i = 0; i < 400; i++) deep = "{\"as_string_to_argument\": {\"k\": " + deep + "}}";
  expect_part(
      error_with("parameters", "models/model.json", "{\"as_tensor\": {\"name\": \"x\"}}", deep),
      "not proper JSON");
}

// Every scalar of the JSON in turn becomes something else, and every member gets another name.
TEST(HostilePt2, survives_every_mistyped_or_missing_member) {
  for (const char* sample : {"symbolic", "while_loop", "functional", "numbers"}) {
    auto entries = entries_of(sample);
    std::string& text = entry_ending(entries, "models/model.json").data;
    const std::string good = text;
    size_t refused = 0, tried = 0;
    bool in_string = false;
    for (size_t at = 0; at < good.size(); at++) {
      if (good[at] == '\\' && in_string) {
        at++;
        continue;
      }
      if (good[at] == '"') in_string = !in_string;
      bool is_value = !in_string && (good[at] == ':' || good[at] == '[' || good[at] == ',') &&
                      at + 1 < good.size();
      if (!is_value) continue;
      size_t begin = at + 1;
      while (good[begin] == ' ') begin++;
      size_t end = begin;
      if (good[begin] == '{' || good[begin] == '[' || good[begin] == ']') continue;
      if (good[begin] == '"') {
        end = good.find('"', begin + 1) + 1;
        while (good[end - 2] == '\\') end = good.find('"', end) + 1;
      } else {
        end = good.find_first_of(",]}", begin);
      }
      for (const char* other : {"null", "-1", "1e300", "\"x\"", "[]", "{}", "true"}) {
        text = good.substr(0, begin) + other + good.substr(end);
        std::string problem = error_of(entries);
        EXPECT_FALSE(problem.empty());
        refused += problem != "accepted";
        tried++;
      }
    }
    EXPECT_GT(refused, tried / 2) << sample;
  }
}

}  // namespace
}  // namespace sconce::pt2
