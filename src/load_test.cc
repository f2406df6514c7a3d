// Files of stock ExecuTorch, compiled anew in memory: the answers of stock's own runtime.
#include <gtest/gtest.h>

#include <set>

#include "runtime/stock_cases.h"
#include "sconce/load.h"

namespace sconce {
namespace {

const std::string kPortable = SCONCE_SOURCE_DIR "/src/runtime/testdata/";
const std::string kXnnpack = SCONCE_SOURCE_DIR "/src/targets/xnnpack/run/testdata/";

Result<Module> improved(const std::string& path) { return load_module(path); }

TEST(Load, gives_stocks_answers_to_stocks_portable_files) {
  int compared = 0;
  for (const auto& [key, calls] : read_cases((kPortable + "cases.txt").c_str())) {
    SCOPED_TRACE(key.first + " " + key.second);
    compared +=
        expect_answers(kPortable + key.first + ".pte", key.second, calls, 1e-5, false, improved);
  }
  EXPECT_GE(compared, 30);
}

TEST(Load, gives_stocks_answers_to_stocks_xnnpack_files) {
  int compared = 0;
  for (const auto& [key, calls] : read_cases((kXnnpack + "cases.txt").c_str())) {
    SCOPED_TRACE(key.first);
    double tolerance = key.first.starts_with("half")    ? 2e-3
                       : key.first.starts_with("brain") ? 1e-2
                                                        : 1e-5;
    compared += expect_answers(kXnnpack + key.first + ".pte", key.second, calls, tolerance, false,
                               improved);
  }
  EXPECT_GE(compared, 50);
}

// Names of what ran, each once.
struct Seen {
  std::set<std::string> names;
  static void after(void* self, const Step& step) {
    static_cast<Seen*>(self)->names.insert(step.name);
  }
};

TEST(Load, tells_which_methods_run_as_they_stand_and_why) {
  LoadReport report;
  ASSERT_TRUE(load_module(kPortable + "linear.pte", {}, &report).ok());
  EXPECT_TRUE(report.improved);
  EXPECT_TRUE(report.as_is.empty() && report.by_sizes.empty());
  for (const std::string& path :
       {kPortable + "cond.pte", kPortable + "map.pte", kXnnpack + "int8_per_tensor.pte"}) {
    ASSERT_TRUE(load_module(path, {}, &report).ok());
    EXPECT_TRUE(report.improved && report.as_is.empty()) << path;
  }
  ASSERT_TRUE(load_module(kPortable + "item.pte", {}, &report).ok());
  EXPECT_FALSE(report.improved);
  ASSERT_EQ(report.as_is.size(), 1u);
  EXPECT_EQ(report.as_is[0].method, "forward");
  EXPECT_EQ(report.as_is[0].reason,
            "instruction 4: aten::full.out: the result is [n0], its tensor [5]");
}

TEST(Load, runs_the_file_as_it_stands_when_asked_to) {
  for (bool as_is : {false, true}) {
    auto module = load_module(kXnnpack + "linear.pte", {.as_is = as_is});
    ASSERT_TRUE(module.ok()) << module.error().text;
    Seen seen;
    module->set_observer(nullptr, Seen::after, &seen);
    auto meta = module->method_meta("forward");
    std::vector<float> data(4096, 0.5f);
    std::vector<Argument> inputs;
    for (uint32_t i = 0; i < meta->input_count(); i++)
      inputs.push_back(
          Argument::of(data.data(), DType::f32,
                       {meta->input(i).sizes, meta->input(i).sizes + meta->input(i).rank}));
    ASSERT_TRUE(module->execute("forward", inputs).ok());
    EXPECT_EQ(seen.names.count("XnnpackBackend"), as_is ? 1u : 0u);
    EXPECT_EQ(seen.names.count("SconceBackend"), as_is ? 0u : 1u);
  }
}

TEST(Load, compiles_methods_of_dynamic_shape_for_the_sizes_that_they_meet) {
  LoadReport report;
  auto module = load_module(kXnnpack + "linear_dynamic.pte", {}, &report);
  ASSERT_TRUE(module.ok()) << module.error().text;
  EXPECT_EQ(report.by_sizes, std::vector<std::string>{"forward"});
  auto as_is = Module::load(kXnnpack + "linear_dynamic.pte");
  auto meta = module->method_meta("forward");
  ASSERT_TRUE(meta.ok());
  SlotMeta slot = meta->input(0);
  std::vector<float> data(slot.bytes / 4);
  for (size_t i = 0; i < data.size(); i++) data[i] = float(i % 17) / 17;
  // The fifth and later only when they come again.
  std::vector<std::pair<int, bool>> calls = {{1, true},  {2, true}, {3, true}, {4, true},
                                             {5, false}, {1, true}, {5, true}, {2, true}};
  for (auto [rows, anew] : calls) {
    if (rows > slot.sizes[0]) continue;
    std::vector<int32_t> sizes(slot.sizes, slot.sizes + slot.rank);
    sizes[0] = rows;
    std::vector<Argument> inputs = {Argument::of(data.data(), DType::f32, sizes)};
    Seen seen;
    module->set_observer(nullptr, Seen::after, &seen);
    auto found = module->execute("forward", inputs), wanted = as_is->execute("forward", inputs);
    ASSERT_TRUE(found.ok()) << found.error().text;
    ASSERT_TRUE(wanted.ok()) << wanted.error().text;
    EXPECT_EQ(seen.names.count("SconceBackend"), anew ? 1u : 0u) << rows << " rows";
    EXPECT_EQ((*found)[0].sizes, (*wanted)[0].sizes);
    auto a = values_of((*found)[0]), b = values_of((*wanted)[0]);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); i++) EXPECT_NEAR(a[i], b[i], 1e-5);
  }
  // What the file refuses is refused.
  std::vector<Argument> bad = {Argument::of(data.data(), DType::f32, {1})};
  auto refused = module->execute("forward", bad);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().text.find("rank is 1"), std::string::npos) << refused.error().text;
}

}  // namespace
}  // namespace sconce
