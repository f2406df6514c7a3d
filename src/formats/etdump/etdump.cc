#include "formats/etdump/etdump.h"

#include "etdump_generated.h"

namespace sconce {

constexpr uint32_t kVersion = 0;

Result<std::vector<uint8_t>> write_etdump(Span<const EtdumpRun> runs) {
  // An event takes at most its tables and strings; names are stored once.
  uint64_t total = 0;
  for (const EtdumpRun& run : runs)
    for (const EtdumpEvent& event : run.events) total += 128 + event.metadata.size();
  constexpr uint64_t kBytesMax = uint64_t(FLATBUFFERS_MAX_BUFFER_SIZE) / 2;
  if (total > kBytesMax)
    return error(Code::too_large, "a profile of about {} bytes, it can have {}: record fewer runs",
                 total, kBytesMax);
  flatbuffers::FlatBufferBuilder builder;
  auto text = [&](const std::string& value) {
    return value.empty() ? flatbuffers::Offset<flatbuffers::String>()
                         : builder.CreateSharedString(value);
  };
  std::vector<flatbuffers::Offset<etdump::fb::Run>> written;
  for (const EtdumpRun& run : runs) {
    std::vector<flatbuffers::Offset<etdump::fb::Event>> events;
    for (const EtdumpEvent& event : run.events) {
      auto name = text(event.name), delegate_name = text(event.delegate_name);
      flatbuffers::Offset<flatbuffers::Vector<uint8_t>> metadata;
      if (!event.metadata.empty())
        metadata = builder.CreateVector(reinterpret_cast<const uint8_t*>(event.metadata.data()),
                                        event.metadata.size());
      events.push_back(etdump::fb::CreateEvent(
          builder,
          etdump::fb::CreateProfile(builder, name, event.chain, event.instruction, -1,
                                    delegate_name, metadata, event.start_ns, event.end_ns)));
    }
    auto name = builder.CreateString(run.name);
    auto all = builder.CreateVector(events);
    written.push_back(etdump::fb::CreateRun(builder, name, -1, 0, all));
  }
  auto all = builder.CreateVector(written);
  etdump::fb::FinishSizePrefixedFileBuffer(builder, etdump::fb::CreateFile(builder, kVersion, all));
  return std::vector<uint8_t>(builder.GetBufferPointer(),
                              builder.GetBufferPointer() + builder.GetSize());
}

}  // namespace sconce
