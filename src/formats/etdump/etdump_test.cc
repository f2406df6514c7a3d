#include "formats/etdump/etdump.h"

#include <gtest/gtest.h>

#include "etdump_generated.h"

namespace sconce {
namespace {

TEST(Etdump, writes_runs_and_events_in_order) {
  EtdumpRun load{"Default", {{"Method::init", "", "", -1, 0, 5, 9}}};
  EtdumpRun call{
      "Execute",
      {{"", "matmul #1", "model.py:3", 0, 2, 10, 30}, {"DELEGATE_CALL", "", "", 0, 2, 10, 31}}};
  const EtdumpRun runs[] = {load, call};
  auto bytes = write_etdump(runs);
  ASSERT_TRUE(bytes.ok()) << bytes.error().text;
  flatbuffers::Verifier verifier(bytes->data(), bytes->size());
  ASSERT_TRUE(etdump::fb::VerifySizePrefixedFileBuffer(verifier));
  const auto& root = *etdump::fb::GetSizePrefixedFile(bytes->data());
  EXPECT_EQ(root.version(), 0u);
  ASSERT_EQ(root.runs()->size(), 2u);
  EXPECT_EQ(root.runs()->Get(0)->name()->str(), "Default");
  const auto& events = *root.runs()->Get(1)->events();
  ASSERT_EQ(events.size(), 2u);
  const auto& step = *events.Get(0)->profile();
  EXPECT_EQ(step.name(), nullptr);
  EXPECT_EQ(step.delegate_name()->str(), "matmul #1");
  EXPECT_EQ(step.delegate_metadata()->size(), 10u);
  EXPECT_EQ(step.instruction(), 2);
  EXPECT_EQ(step.start(), 10u);
  EXPECT_EQ(step.end(), 30u);
  EXPECT_EQ(events.Get(1)->profile()->name()->str(), "DELEGATE_CALL");
  EXPECT_EQ(events.Get(1)->profile()->delegate_name(), nullptr);
}

TEST(Etdump, writes_a_profile_of_nothing) {
  auto bytes = write_etdump({});
  ASSERT_TRUE(bytes.ok());
  flatbuffers::Verifier verifier(bytes->data(), bytes->size());
  EXPECT_TRUE(etdump::fb::VerifySizePrefixedFileBuffer(verifier));
}

}  // namespace
}  // namespace sconce
