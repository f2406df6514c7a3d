#include "tensors/passphrase.h"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace sconce::cli {
namespace {

constexpr size_t kBytesMax = 1000;  // OpenSSL takes at most 1024

Result<std::string> read_line(int descriptor, const std::string& name) {
  std::string line;
  while (true) {
    char c;
    ssize_t count = read(descriptor, &c, 1);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return error(Code::io, "{}: {}", name, strerror(errno));
    if (count == 0 || c == '\n') break;
    if (line.size() == kBytesMax)
      return error(Code::too_large, "{}: a passphrase of more than {} bytes", name, kBytesMax);
    line += c;
  }
  if (line.ends_with('\r')) line.pop_back();
  if (line.empty()) return error(Code::invalid_argument, "{}: the passphrase is empty", name);
  return line;
}

Result<std::string> ask(int terminal, const std::string& prompt) {
  auto say = [&](const std::string& text) { (void)!write(terminal, text.data(), text.size()); };
  termios before;
  if (tcgetattr(terminal, &before) != 0)
    return error(Code::io, "the terminal: {}", strerror(errno));
  termios silent = before;
  silent.c_lflag &= ~tcflag_t(ECHO);
  say(prompt);
  tcsetattr(terminal, TCSAFLUSH, &silent);
  auto line = read_line(terminal, "passphrase");
  tcsetattr(terminal, TCSAFLUSH, &before);
  say("\n");
  return line;
}

}  // namespace

Result<std::string> read_passphrase(const std::string& file, const std::string& prompt,
                                    bool confirm) {
  if (file == "-") return read_line(0, "standard input");
  if (!file.empty()) {
    int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return error(Code::io, "{}: {}", file, strerror(errno));
    auto line = read_line(descriptor, file);
    close(descriptor);
    return line;
  }
  int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
  if (terminal < 0)
    return error(Code::invalid_argument,
                 "a passphrase is needed and there is no terminal to ask on: give "
                 "--passphrase-file");
  auto first = ask(terminal, prompt);
  if (first.ok() && confirm) {
    auto second = ask(terminal, "The same again: ");
    if (second.ok() && *second != *first)
      second = error(Code::invalid_argument, "the two passphrases differ");
    if (!second.ok()) first = std::move(second.error());
  }
  close(terminal);
  return first;
}

}  // namespace sconce::cli
