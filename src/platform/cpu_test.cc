#include "platform/cpu.h"

#include <gtest/gtest.h>

#include <cstdio>

namespace sconce {
namespace {

TEST(Cpu, plain_always_runs_and_the_best_is_the_last_that_runs) {
  auto list = runnable_isas();
  ASSERT_FALSE(list.empty());
  EXPECT_EQ(list.front(), Isa::plain);
  EXPECT_EQ(list.back(), best_isa());
  for (Isa isa : list) EXPECT_TRUE(can_run(isa));
  std::string names;
  for (Isa isa : list) names += std::string(" ") + isa_name(isa);
  Caches c = caches();
  printf("%s: %d processors, caches %u %u %u KB:%s\n", processor_name().c_str(), processor_count(),
         c.l1_bytes >> 10, c.l2_bytes >> 10, c.l3_bytes >> 10, names.c_str());
}

TEST(Cpu, names_lead_back_to_their_sets) {
  for (Isa isa : runnable_isas()) EXPECT_EQ(find_isa(isa_name(isa)), isa);
  EXPECT_EQ(find_isa("avx3"), std::nullopt);
}

TEST(Cpu, agrees_with_the_compiler_about_this_processor) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  EXPECT_EQ(can_run(Isa::avx2), avx2);
  bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  EXPECT_EQ(can_run(Isa::avx512), avx512);
  EXPECT_EQ(can_run(Isa::avx512_vnni), avx512 && __builtin_cpu_supports("avx512vnni"));
  EXPECT_FALSE(can_run(Isa::neon));
#else
  EXPECT_FALSE(can_run(Isa::sse2));
#endif
}

TEST(Cpu, an_empty_choice_is_the_best) {
  EXPECT_EQ(*choose_isa(nullptr), best_isa());
  EXPECT_EQ(*choose_isa(""), best_isa());
  EXPECT_EQ(*choose_isa("plain"), Isa::plain);
}

TEST(Cpu, an_unknown_choice_is_an_error_that_lists_what_runs) {
  auto choice = choose_isa("avx1024");
  ASSERT_FALSE(choice.ok());
  EXPECT_EQ(choice.error().code, Code::invalid_argument);
  EXPECT_NE(choice.error().text.find("SCONCE_ISA: \"avx1024\""), std::string::npos);
  EXPECT_NE(choice.error().text.find("plain"), std::string::npos);
}

TEST(Cpu, a_choice_that_cannot_run_here_is_an_error) {
#if defined(__x86_64__)
  auto choice = choose_isa("neon_i8mm");
#else
  auto choice = choose_isa("avx512");
#endif
  ASSERT_FALSE(choice.ok());
  EXPECT_EQ(choice.error().code, Code::unsupported);
}

TEST(Cpu, a_micro_architecture_is_one_word) {
  EXPECT_FALSE(micro_architecture().empty());
  EXPECT_EQ(micro_architecture().find_first_of(" \n"), std::string::npos);
}

}  // namespace
}  // namespace sconce
