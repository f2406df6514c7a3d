#include "formats/pt2/zip.h"

#include <string>

#include <gtest/gtest.h>

namespace sconce {
namespace {

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

TEST(Zip, computes_the_checksum_of_the_standard) {
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xcbf43926u);
  EXPECT_EQ(crc32(bytes_of("")), 0u);
}

TEST(Zip, accepts_an_archive_without_entries) {
  std::string end("PK\5\6", 4);
  end.resize(22);
  auto archive = read_zip(bytes_of(end));
  ASSERT_TRUE(archive.ok());
  EXPECT_TRUE(archive->entries.empty());
}

}  // namespace
}  // namespace sconce
