// Changing the metadata of a file whose tensors stay.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "formats/safetensors/opened_file.h"
#include "sconce/tensor_file.h"

namespace sconce {
namespace {

constexpr uint64_t kPage = 4096;

// A header of the old length with the new metadata, empty when it does not fit. What room there is
// goes after the metadata where it can, so that the text of the tensors stays in its place.
Result<std::string> fit_header(uint64_t wanted, Span<const TensorSpec> specs,
                               Span<const std::pair<std::string, std::string>> metadata) {
  auto text_bytes = [](const std::string& head) { return head.find_last_not_of(' ') + 1; };
  TRY(Layout layout, plan_layout(specs, metadata));
  if (text_bytes(layout.head) > wanted) return std::string();
  LayoutOptions options;
  options.metadata_room = wanted - text_bytes(layout.head);
  if (metadata.empty()) {  // an empty "__metadata__" takes room itself
    constexpr uint64_t kEmpty = std::string_view("\"__metadata__\":{},").size();
    options.metadata_room -= std::min(options.metadata_room, kEmpty);
  }
  if (options.metadata_room > 0) {
    TRY(Layout roomy, plan_layout(specs, metadata, options));
    if (text_bytes(roomy.head) <= wanted) layout = std::move(roomy);
  }
  layout.head.resize(wanted, ' ');
  for (int i = 0; i < 8; i++) layout.head[size_t(i)] = char((wanted - 8) >> (8 * i));
  return std::move(layout.head);
}

}  // namespace

Result<EditMethod> edit_metadata(const std::string& path,
                                 Span<const std::pair<std::string, std::string>> metadata,
                                 const WriteOptions& options) {
  TRY(OpenedFile file, OpenedFile::open(path, AcceptMode::standard));
  const Header& header = file.header();
  // In the order of the file; a file of another writer may have another than the canonical one.
  std::vector<TensorSpec> specs;
  for (const TensorInfo& info : header.tensors())
    specs.push_back({std::string(info.name), info.type, {info.shape.begin(), info.shape.end()}});
  TRY(Layout layout, plan_layout(specs, metadata, options.layout).with_context(path));
  bool canonical = true;
  for (size_t i = 0; i < layout.tensors.size(); i++)
    canonical =
        canonical && layout.tensors[i].begin == header.tensors()[layout.tensors[i].spec].begin;
  Metadata sorted(metadata.begin(), metadata.end());
  std::sort(sorted.begin(), sorted.end());
  bool as_it_is = options.layout.data_alignment == 8 && options.layout.metadata_room == 0;
  if (as_it_is && sorted == header.metadata()) return EditMethod::unchanged;

  if (canonical && as_it_is) {
    TRY(std::string fitted, fit_header(header.data_offset(), specs, metadata).with_context(path));
    if (!fitted.empty()) {
      std::string old(fitted.size(), '\0');
      TRY_VOID(
          read_exactly(file.descriptor(), 0, reinterpret_cast<uint8_t*>(old.data()), old.size())
              .with_context(path));
      size_t first =
          size_t(std::mismatch(old.begin(), old.end(), fitted.begin()).first - old.begin());
      size_t last = old.size();
      while (last > first && old[last - 1] == fitted[last - 1]) last--;
      if (first / kPage == (last - 1) / kPage) {
        int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (descriptor >= 0) {
          ssize_t written = pwrite(descriptor, fitted.data() + first, last - first, off_t(first));
          bool done =
              written == ssize_t(last - first) && (!options.durable || fsync(descriptor) == 0);
          Error problem = error(Code::io, "{}: write: {}", path, strerror(errno));
          close(descriptor);
          if (!done) return problem;
          return EditMethod::in_place;
        }
      }
    }
  }

  TRY(TensorWriter writer, TensorWriter::create(path, specs, metadata, options));
  for (const PlacedSpec& placed : writer.order()) {
    const TensorInfo& info = header.tensors()[placed.spec];
    TRY_VOID(
        writer.append_from(file.descriptor(), header.data_offset() + info.begin, info.bytes()));
  }
  TRY_VOID(writer.finish());
  return EditMethod::rewritten;
}

}  // namespace sconce
