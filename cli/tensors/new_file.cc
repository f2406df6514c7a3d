#include "tensors/new_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sconce::cli {

Result<void> write_new_file(const std::string& path, std::string_view text, mode_t mode) {
  int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (descriptor < 0)
    return error(errno == EEXIST ? Code::invalid_argument : Code::io, "{}: {}", path,
                 errno == EEXIST ? "exists already; keys are never overwritten" : strerror(errno));
  bool written = write(descriptor, text.data(), text.size()) == ssize_t(text.size());
  int reason = errno;
  if (close(descriptor) != 0) written = false;
  if (written) return {};
  unlink(path.c_str());
  return error(Code::io, "{}: {}", path, strerror(reason));
}

}  // namespace sconce::cli
