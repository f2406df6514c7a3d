#include "tile/schedules.h"

#include <algorithm>
#include <charconv>

#include "platform/cpu.h"

namespace sconce::tile {
namespace {

constexpr std::string_view kTitle = "sconce-schedules ";
constexpr size_t kMachinesMax = 64, kStepsMax = 16384, kNameBytes = 64;
constexpr int64_t kSizeMax = int64_t(1) << 31;

// Words and numbers of one line, from the left.
class Line {
 public:
  explicit Line(std::string_view text) : rest_(text) {}

  bool is_done() const { return rest_.empty(); }
  bool skip(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  template <class T>
  bool number(T* to, int base, int64_t most) {
    auto [end, code] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), *to, base);
    if (code != std::errc() || *to < T(0) || (most >= 0 && *to > T(most))) return false;
    rest_.remove_prefix(size_t(end - rest_.data()));
    return true;
  }
  // Up to the next space: letters, digits and -_. of names.
  bool name(std::string* to) {
    size_t end = 0;
    auto fits = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '-' || c == '_' || c == '.';
    };
    while (end < rest_.size() && fits(rest_[end])) end++;
    if (end == 0 || end > kNameBytes) return false;
    *to = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return true;
  }

 private:
  std::string_view rest_;
};

bool parse_machine(Line line, Machine* machine) {
  return line.name(&machine->micro_architecture) && line.skip(" ") && line.name(&machine->isa) &&
         line.skip(" threads ") && line.number(&machine->threads, 10, 1024) &&
         machine->threads > 0 && line.is_done();
}

bool parse_step(Line line, uint64_t* key, Schedule* schedule) {
  if (!line.number(key, 16, -1) || !line.skip(" tile ")) return false;
  do {
    int64_t size = 0;
    if (schedule->tile.size() == kAxesMax || !line.number(&size, 10, kSizeMax)) return false;
    schedule->tile.push_back(size);
  } while (line.skip(","));
  return line.skip(" depth ") && line.number(&schedule->depth, 10, kSizeMax) && line.is_done();
}

// A name as the text holds it.
std::string plain_name(std::string_view name) {
  std::string plain(name.substr(0, kNameBytes));
  for (char& c : plain)
    if (std::string word; !Line(std::string_view(&c, 1)).name(&word)) c = '-';
  return plain.empty() ? "unknown" : plain;
}

}  // namespace

Machine this_machine(Isa isa, int threads) {
  return {plain_name(micro_architecture()), isa_name(isa), threads};
}

uint64_t hash_of(Bytes bytes, uint64_t hash) {
  for (uint8_t byte : bytes) hash = (hash ^ byte) * 0x100000001b3;
  return hash;
}

uint64_t schedule_key(const Kernel& kernel, Span<const BufferView> shapes) {
  Kernel nameless = kernel;
  nameless.name = "k";
  std::string text = print(nameless);
  uint64_t hash = hash_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  auto add = [&](const std::vector<int64_t>& numbers) {
    hash = hash_of({reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * 8}, hash);
  };
  for (const BufferView& shape : shapes) {
    add({int64_t(shape.sizes.size())});
    add(shape.sizes);
    add(shape.strides);
  }
  return hash;
}

std::string print(Span<const MachineSchedules> all) {
  std::string text = fmt::format("{}{}\n", kTitle, kSchedulesVersion);
  for (const MachineSchedules& one : all) {
    text += fmt::format("for {} {} threads {}\n", one.machine.micro_architecture, one.machine.isa,
                        one.machine.threads);
    for (const auto& [key, schedule] : one.steps) {
      text += fmt::format("{:016x} tile ", key);
      for (size_t a = 0; a < std::max<size_t>(schedule.tile.size(), 1); a++)
        text += fmt::format("{}{}", a ? "," : "", a < schedule.tile.size() ? schedule.tile[a] : 0);
      text += fmt::format(" depth {}\n", schedule.depth);
    }
  }
  return text;
}

Result<std::vector<MachineSchedules>> parse_schedules(std::string_view text) {
  if (text.size() > kSchedulesBytesMax)
    return error(Code::too_large, "{} bytes of schedules; at most {}", text.size(),
                 kSchedulesBytesMax);
  std::vector<MachineSchedules> all;
  size_t steps = 0;
  for (int number = 1; !text.empty(); number++) {
    size_t end = text.find('\n');
    if (end == std::string_view::npos)
      return error(Code::invalid_file, "line {} has no end: the text was cut off", number);
    Line line(text.substr(0, end));
    std::string_view shown = text.substr(0, std::min<size_t>(end, 60));
    text.remove_prefix(end + 1);
    if (number == 1) {
      int version = 0;
      if (!line.skip(kTitle) || !line.number(&version, 10, INT32_MAX) || !line.is_done())
        return error(Code::invalid_file, "line 1 is \"{}\"; \"{}{}\" is wanted", shown, kTitle,
                     kSchedulesVersion);
      if (version != kSchedulesVersion)
        return error(Code::unsupported, "schedules of version {}; we read {}", version,
                     kSchedulesVersion);
    } else if (line.skip("for ")) {
      MachineSchedules one;
      if (all.size() == kMachinesMax || !parse_machine(line, &one.machine))
        return error(Code::invalid_file,
                     "line {} is \"{}\"; \"for PROCESSOR ISA threads COUNT\" is wanted, {} at most",
                     number, shown, kMachinesMax);
      all.push_back(std::move(one));
    } else {
      uint64_t key = 0;
      Schedule schedule;
      if (all.empty() || steps++ == kStepsMax || !parse_step(line, &key, &schedule))
        return error(Code::invalid_file,
                     "line {} is \"{}\"; \"KEY tile SIZE,... depth STEPS\" is wanted under a "
                     "\"for\", {} at most",
                     number, shown, kStepsMax);
      all.back().steps[key] = std::move(schedule);
    }
  }
  return all;
}

}  // namespace sconce::tile
