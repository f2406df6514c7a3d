#include <gtest/gtest.h>

extern "C" int run_from_c(const char* path);

TEST(CApi, loads_runs_and_refuses_from_c) {
  EXPECT_EQ(run_from_c(SCONCE_SOURCE_DIR "/src/runtime/testdata/add.pte"), 0)
      << "line of c_api_test.c";
}
