#include "tile/schedules.h"

#include <gtest/gtest.h>

#include "platform/cpu.h"
#include "sconce/tile.h"

namespace sconce::tile {
namespace {

std::vector<MachineSchedules> some() {
  MachineSchedules one{{"GenuineIntel-6-143", "avx512_vnni", 2}, {}};
  one.steps[0x0123456789abcdef] = {{0, 28, 64}, 256};
  one.steps[7] = {{0}, 0};
  MachineSchedules other{{"arm-0x41-0xd0c", "neon", 1}, {}};
  other.steps[uint64_t(-1)] = {{1, 2}, 0};
  return {one, other};
}

TEST(Schedules, are_parsed_as_they_were_printed) {
  std::vector<MachineSchedules> all = some();
  auto again = parse_schedules(print(all));
  ASSERT_TRUE(again.ok()) << again.error().text;
  EXPECT_EQ(*again, all);
}

TEST(Schedules, of_a_text_cut_anywhere_are_refused_or_fewer) {
  std::string text = print(some());
  for (size_t size = 0; size < text.size(); size++) {
    auto part = parse_schedules(std::string_view(text).substr(0, size));
    if (size > 0 && text[size - 1] != '\n') {
      EXPECT_FALSE(part.ok()) << size;
    }
    if (!part.ok()) {
      EXPECT_NE(part.error().text.find("line "), std::string::npos);
    }
  }
}

TEST(Schedules, that_are_not_sound_name_the_line) {
  const std::string title = "sconce-schedules 1\n", machine = "for cpu avx2 threads 1\n";
  for (const std::string& rest :
       {std::string("00 tile 1 depth 0\n"), std::string("for cpu avx2 threads 0\n"),
        std::string("for cpu avx2 threads 1025\n"), std::string("for cpu avx2 threads 1 \n"),
        std::string("for  avx2 threads 1\n"), std::string("for ../x/y avx2 threads 1\n"),
        machine + "00 tile -1 depth 0\n", machine + "00 tile 1,, depth 0\n",
        machine + "00 tile 99999999999999999999 depth 0\n",
        machine + "00 tile 4294967296 depth 0\n", machine + "00 tile 1 depth -2\n",
        machine + "-1 tile 1 depth 0\n", machine + "11111111111111111 tile 1 depth 0\n",
        machine + "\n",
        machine + "00 tile 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1 depth 0\n"}) {
    auto wrong = parse_schedules(title + rest);
    ASSERT_FALSE(wrong.ok()) << rest;
    EXPECT_NE(wrong.error().text.find("line "), std::string::npos) << wrong.error().text;
  }
  EXPECT_EQ(parse_schedules("sconce-schedules 2\n").error().code, Code::unsupported);
  EXPECT_FALSE(parse_schedules(std::string(kSchedulesBytesMax + 1, '\n')).ok());
}

Kernel product() {
  return *kernels::define("product", [](kernels::Trace& t) {
    Extent m_size = t.dim("M"), n_size = t.dim("N"), k_size = t.dim("K");
    kernels::In x = t.input("x", DType::f32, {m_size, k_size});
    kernels::In w = t.weights("w", DType::f32, {k_size, n_size});
    kernels::Out y = t.output("y", DType::f32, {m_size, n_size});
    kernels::Axis m = t.parallel("m", m_size), n = t.parallel("n", n_size);
    kernels::Axis k = t.span("k", k_size);
    y(m, n) = dot(x(m, k), w(k, n), {k});
  });
}

TEST(Schedules, are_found_by_what_a_kernel_does_at_its_shapes) {
  Kernel kernel = product(), named = kernel;
  named.name = "other";
  auto arrays = kernels::random_arrays(kernel, {{"M", 8}, {"N", 32}, {"K", 4}});
  auto larger = kernels::random_arrays(kernel, {{"M", 9}, {"N", 32}, {"K", 4}});
  ASSERT_TRUE(arrays.ok() && larger.ok());
  EXPECT_EQ(schedule_key(kernel, arrays->views), schedule_key(named, arrays->views));
  EXPECT_NE(schedule_key(kernel, arrays->views), schedule_key(kernel, larger->views));
}

TEST(Schedules, of_any_numbers_give_the_same_bits) {
  Kernel kernel = product();
  const kernels::DimSizes dims = {{"M", 37}, {"N", 50}, {"K", 19}};
  ThreadPool pool(1);
  Scratch scratch;
  std::vector<uint8_t> wanted;
  for (int64_t size : {int64_t(0), int64_t(1), int64_t(3), int64_t(100), int64_t(1) << 31,
                       INT64_MAX, int64_t(-5), INT64_MIN}) {
    auto arrays = kernels::random_arrays(kernel, dims);
    ASSERT_TRUE(arrays.ok());
    auto plan = Plan::make(kernel, arrays->views, kernels_for(best_isa()), 1,
                           {std::vector<int64_t>(30, size), size});
    ASSERT_TRUE(plan.ok()) << plan.error().text;
    ASSERT_TRUE(run_plan(*plan, arrays->views, pool, scratch).ok());
    if (wanted.empty()) wanted = arrays->bytes.back();
    EXPECT_EQ(arrays->bytes.back(), wanted) << size;
  }
}

TEST(Tune, keeps_the_default_or_what_is_faster) {
  Kernel kernel = product();
  auto arrays = kernels::random_arrays(kernel, {{"M", 64}, {"N", 64}, {"K", 64}});
  ASSERT_TRUE(arrays.ok());
  ThreadPool pool(1);
  // It ends by itself long before, but on a machine that does much else.
  auto tuned = tune_schedule(kernel, arrays->views, kernels_for(best_isa()), pool, 10);
  ASSERT_TRUE(tuned.ok()) << tuned.error().text;
  EXPECT_GT(tuned->tried, 1);
  EXPECT_GT(tuned->best_us, 0);
  if (tuned->schedule == Schedule())
    EXPECT_EQ(tuned->best_us, tuned->default_us);
  else
    EXPECT_LT(tuned->best_us, (1 - kGainMin) * tuned->default_us);
}

}  // namespace
}  // namespace sconce::tile
