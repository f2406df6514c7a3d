// Runs a fuzz target without libFuzzer: every file of a corpus as it is, then seeded mutations.
//
// Usage: fuzz_x [--runs N] [--seconds T] [--seed S] [--only I [--save FILE]] PATH...; PATH is a file
// or a folder. N mutations, and more until T seconds have passed. Mutation I of a seed is always the
// same, so that --only I repeats it; --save writes its input. The process dies where a finding is.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// A target may bring its own mutations, which keep the outer form (checksums, lengths) sound.
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size,
                                                                size_t size_max, unsigned seed);
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Input = std::vector<uint8_t>;

long g_seed = 1, g_run = -1;

void tell_run() {
  std::fprintf(stderr, "finding in run %ld of seed %ld (repeat with --seed %ld --only %ld)\n",
               g_run, g_seed, g_seed, g_run);
}

void on_signal(int number) {
  tell_run();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

// Small and good enough: splitmix64.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  size_t below(size_t limit) { return limit ? size_t(next() % limit) : 0; }
};

void mutate(Input& input, const std::vector<Input>& corpus, Random& random) {
  constexpr uint64_t kNumbers[] = {0,          1,          0x7f,       0x80,
                                   0xff,       0x7fff,     0x8000,     0xffff,
                                   0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff,
                                   ~0ull,      ~0ull - 7,  64,         1000000007};
  if (input.empty()) input.push_back(uint8_t(random.next()));
  size_t at = random.below(input.size()), left = input.size() - at;
  switch (random.below(9)) {
    case 0: input[at] ^= uint8_t(1u << random.below(8)); break;
    case 1: input[at] = uint8_t(random.next()); break;
    case 2: {  // a number of 1 to 8 bytes
      uint64_t number = kNumbers[random.below(std::size(kNumbers))];
      std::memcpy(&input[at], &number, std::min(left, size_t(1) << random.below(4)));
      break;
    }
    case 3: input.resize(at); break;
    case 4:
      input.erase(input.begin() + long(at),
                  input.begin() + long(at + 1 + random.below(std::min<size_t>(left, 64))));
      break;
    case 5: {  // repeat a part
      Input part(input.begin() + long(at),
                 input.begin() + long(at + 1 + random.below(std::min<size_t>(left, 64))));
      input.insert(input.begin() + long(random.below(input.size())), part.begin(), part.end());
      break;
    }
    case 6: {  // a part of another input
      const Input& other = corpus[random.below(corpus.size())];
      if (other.empty()) break;
      size_t from = random.below(other.size());
      size_t size = std::min({other.size() - from, left, 1 + random.below(256)});
      std::copy_n(other.begin() + long(from), size, input.begin() + long(at));
      break;
    }
    case 7:  // a digit of a text
      for (size_t i = at; i < input.size(); i++) {
        if (input[i] < '0' || input[i] > '9') continue;
        input[i] = uint8_t("0123456789-.e"[random.below(13)]);
        break;
      }
      break;
    case 8: {  // two bytes change places
      std::swap(input[at], input[random.below(input.size())]);
      break;
    }
  }
}

Input load(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Input(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

int main(int count, char** arguments) {
  long runs = 1000, seconds = 0, only = -1;
  const char* save = nullptr;
  std::vector<std::filesystem::path> paths;
  for (int i = 1; i < count; i++) {
    std::string argument = arguments[i];
    auto number = [&] { return i + 1 < count ? std::atol(arguments[++i]) : 0; };
    if (argument == "--runs")
      runs = number();
    else if (argument == "--seconds")
      seconds = number();
    else if (argument == "--seed")
      g_seed = number();
    else if (argument == "--only")
      only = number();
    else if (argument == "--save" && i + 1 < count)
      save = arguments[++i];
    else if (std::filesystem::is_directory(argument)) {
      for (const auto& entry : std::filesystem::directory_iterator(argument))
        if (entry.is_regular_file()) paths.push_back(entry.path());
    } else {
      paths.push_back(argument);
    }
  }
  std::sort(paths.begin(), paths.end());  // the same mutations on every machine
  std::vector<Input> corpus;
  for (const auto& path : paths) corpus.push_back(load(path));
  if (corpus.empty()) {
    std::fprintf(stderr, "usage: %s [--runs N] [--seconds T] [--seed S] [--only I [--save FILE]] PATH...\n",
                 arguments[0]);
    return 2;
  }
  if (&__sanitizer_set_death_callback) __sanitizer_set_death_callback(tell_run);
  std::signal(SIGABRT, on_signal);
  std::signal(SIGILL, on_signal);  // __builtin_trap
  if (!&__sanitizer_set_death_callback) std::signal(SIGSEGV, on_signal);  // a sanitizer's says more
  std::printf("%zu inputs, %ld mutations, seed %ld\n", corpus.size(), runs, g_seed);
  std::fflush(stdout);
  if (only < 0)
    for (const Input& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  auto goes_on = [&] {
    if (only >= 0) return g_run == only;
    return g_run < runs || (seconds > 0 && std::chrono::steady_clock::now() < until);
  };
  for (g_run = only < 0 ? 0 : only; goes_on(); g_run++) {
    Random random{uint64_t(g_seed) * 0x100000001b3 + uint64_t(g_run)};
    Input input = corpus[random.below(corpus.size())];
    bool keeps_form = &LLVMFuzzerCustomMutator && random.below(4) != 0;
    for (size_t changes = 1 + random.below(4); changes > 0; changes--) {
      if (!keeps_form) {
        mutate(input, corpus, random);
        continue;
      }
      size_t size = input.size();
      input.resize(size + 4096);
      input.resize(
          LLVMFuzzerCustomMutator(input.data(), size, input.size(), unsigned(random.next())));
    }
    // An allocation of the exact size, so that a sanitizer sees the first byte past the end.
    Input exact(input.begin(), input.end());
    exact.shrink_to_fit();
    if (save)
      std::ofstream(save, std::ios::binary)
          .write(reinterpret_cast<const char*>(exact.data()), std::streamsize(exact.size()));
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  }
  std::printf("%ld mutations done\n", g_run);
  return 0;
}

// Of libFuzzer: a default mutation in place, for targets with a mutator of their own.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t size_max) {
  static Random random{0};
  Input input(data, data + size);
  random.state += size ? data[0] + size : 1;
  mutate(input, {input}, random);
  if (input.size() > size_max) input.resize(size_max);
  std::copy(input.begin(), input.end(), data);
  return input.size();
}
