// Every kernel, called as a hostile file may call it: kinds as its signature says, everything else
// (dtypes, ranks, sizes, numbers, contents of index tensors, dtypes of outs) at random. A call may
// fail with a text; it must not touch memory that is not its own, trap or hang. Each kernel runs in
// a process of its own, so that one finding does not hide the next. Most is seen in the asan
// preset.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "ops/kernel.h"

namespace sconce {
namespace {

struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  int below(int limit) { return int(next() % uint64_t(limit)); }
  bool one_in(int n) { return below(n) == 0; }
};

constexpr DType kDTypes[] = {DType::f32, DType::f32, DType::f32,  DType::i64,   DType::i64,
                             DType::f64, DType::f16, DType::bf16, DType::i32,   DType::i16,
                             DType::i8,  DType::u8,  DType::b8,   DType::c64,   DType::u16,
                             DType::u32, DType::u64, DType::c128, DType::f8e5m2};

// A call and all that it points to. Data blocks are as long as the tensor, so that the sanitizer
// sees the first byte beyond.
class Call {
 public:
  explicit Call(uint64_t seed) : random_{seed} {
    dtype_ = kDTypes[random_.below(int(std::size(kDTypes)))];
    rank_ = random_.below(5);
    for (int i = 0; i < kRankMax; i++) sizes_[i] = random_.one_in(8) ? 0 : 1 + random_.below(4);
  }

  const Value* make(char letter) {
    bool optional = letter == 'T' || letter == 'N' || letter == 'I' || letter == 'F' ||
                    letter == 'B' || letter == 'S' || letter == 'L' || letter == 'D';
    if (optional && random_.one_in(3)) return keep(Value());
    switch (letter) {
      case 't':
      case 'T': return tensor();
      case 'e': return random_.one_in(3) ? number() : tensor();
      case 'n':
      case 'N':
      case 'f':
      case 'F': return number();
      case 'i':
      case 'I': return keep(Value::of(integer()));
      case 'b':
      case 'B': return keep(Value::of(random_.one_in(2)));
      case 's':
      case 'S': {
        constexpr const char* kTexts[] = {"",     "floor",    "trunc", "none",   "tanh",
                                          "mean", "sum",      "amax",  "prod",   "ij",
                                          "xy",   "bilinear", "left",  "reflect"};
        Value v;
        v.kind = Value::Kind::string;
        v.string = kTexts[random_.below(int(std::size(kTexts)))];
        v.count = uint32_t(strlen(v.string));
        return keep(v);
      }
      case 'l':
      case 'L': {
        if (random_.one_in(8)) return keep(Value::of(integer()));
        Value v;
        v.kind = Value::Kind::integers;
        v.count = uint32_t(random_.below(6));
        std::vector<const Value*> items;
        for (uint32_t i = 0; i < v.count; i++) items.push_back(keep(Value::of(integer())));
        lists_.push_back(std::make_unique<std::vector<const Value*>>(items));
        v.items = lists_.back()->data();
        return keep(v);
      }
      case 'd':
      case 'D': {
        Value v;
        v.kind = Value::Kind::floats;
        v.count = uint32_t(random_.below(5));
        floats_.push_back(std::make_unique<std::vector<double>>());
        for (uint32_t i = 0; i < v.count; i++) floats_.back()->push_back(floating());
        v.floats = floats_.back()->data();
        return keep(v);
      }
      case 'c': {
        Value v;
        v.kind = Value::Kind::booleans;
        v.count = uint32_t(random_.below(5));
        flags_.push_back(std::unique_ptr<bool[]>(new bool[5]{true, false, true, true, false}));
        v.booleans = flags_.back().get();
        return keep(v);
      }
      default: {  // v, V
        Value v;
        v.kind = Value::Kind::tensors;
        v.count = uint32_t(random_.below(5));
        std::vector<const Value*> items;
        for (uint32_t i = 0; i < v.count; i++)
          items.push_back(letter == 'V' && random_.one_in(4) ? keep(Value()) : tensor());
        lists_.push_back(std::make_unique<std::vector<const Value*>>(items));
        v.items = lists_.back()->data();
        return keep(v);
      }
    }
  }

  // An out with room for `meta` (most often) or of random form.
  const Value* make_out(const OutMeta& meta) {
    int rank = random_.one_in(12) ? random_.below(5) : meta.rank;
    int32_t sizes[kRankMax];
    bool fits = true;
    int64_t count = 1;
    for (int i = 0; i < rank; i++) {
      int64_t size = i < meta.rank ? meta.sizes[i] : 2;
      fits = fits && size >= 0 && size < 4096 && count * size < 1 << 20;
      sizes[i] = fits ? int32_t(size) : 1;
      count *= sizes[i];
    }
    if (random_.one_in(12) && rank) sizes[random_.below(rank)] = random_.below(4);
    DType dtype = random_.one_in(6) ? kDTypes[random_.below(int(std::size(kDTypes)))] : meta.dtype;
    return tensor_of(dtype, rank, sizes);
  }
  const Value* make_out_list(const std::vector<OutMeta>& metas) {
    Value v;
    v.kind = Value::Kind::tensors;
    v.count = uint32_t(metas.size());
    std::vector<const Value*> items;
    for (const OutMeta& meta : metas) items.push_back(make_out(meta));
    lists_.push_back(std::make_unique<std::vector<const Value*>>(items));
    v.items = lists_.back()->data();
    return keep(v);
  }

  Random& random() { return random_; }

 private:
  struct Block {
    void* data;
    explicit Block(size_t bytes) : data(malloc(bytes ? bytes : 1)) {}
    Block(Block&& other) noexcept : data(other.data) { other.data = nullptr; }
    ~Block() { free(data); }
  };

  int64_t integer() {
    constexpr int64_t kOdd[] = {INT64_MAX, INT64_MIN,   INT32_MAX, INT32_MIN,
                                1 << 20,   -1000000007, 64};
    if (random_.one_in(12)) return kOdd[random_.below(int(std::size(kOdd)))];
    return random_.below(8) - 3;
  }
  double floating() {
    constexpr double kOdd[] = {0, -0.0, 1e300, -1e300, 1e-300, 0x1p63};
    if (random_.one_in(8)) return kOdd[random_.below(int(std::size(kOdd)))];
    if (random_.one_in(16)) return random_.one_in(2) ? double(INFINITY) : double(NAN);
    return double(random_.below(17) - 8) / 4;
  }
  const Value* number() {
    int kind = random_.below(3);
    return keep(kind == 0   ? Value::of(integer())
                : kind == 1 ? Value::of(floating())
                            : Value::of(random_.one_in(2)));
  }

  const Value* tensor() {
    // Most tensors of a call resemble each other, else few calls pass the shape rules.
    int rank = random_.one_in(4) ? random_.below(6) : rank_;
    int32_t sizes[kRankMax];
    for (int i = 0; i < rank; i++) sizes[i] = random_.one_in(6) ? random_.below(4) : sizes_[i];
    DType dtype = random_.one_in(5) ? kDTypes[random_.below(int(std::size(kDTypes)))] : dtype_;
    return tensor_of(dtype, rank, sizes);
  }

  const Value* tensor_of(DType dtype, int rank, const int32_t* sizes) {
    auto t = std::make_unique<Tensor>();
    shapes_.push_back(std::make_unique<std::vector<int32_t>>(sizes, sizes + rank));
    t->sizes = shapes_.back()->data();
    t->rank = uint8_t(rank);
    t->dtype = dtype;
    t->fixed_sizes = random_.one_in(2);
    if (random_.one_in(4) && rank) {
      orders_.push_back(std::make_unique<std::vector<uint8_t>>());
      for (int i = 0; i < rank; i++) orders_.back()->push_back(uint8_t(i));
      for (int i = rank - 1; i > 0; i--)
        std::swap((*orders_.back())[size_t(i)], (*orders_.back())[size_t(random_.below(i + 1))]);
      t->dim_order = orders_.back()->data();
    }
    int64_t count = element_count(*t);
    t->capacity_bytes = uint64_t(count) * dtype_bytes(dtype);
    blocks_.emplace_back(size_t(t->capacity_bytes));
    t->data = blocks_.back().data;
    for (int64_t i = 0; i < count; i++) fill(static_cast<uint8_t*>(t->data), dtype, i);
    tensors_.push_back(std::move(t));
    return keep(Value::of(tensors_.back().get()));
  }

  void fill(uint8_t* data, DType dtype, int64_t i) {
    uint8_t* to = data + size_t(i) * dtype_bytes(dtype);
    if (dtype == DType::b8)
      *to = uint8_t(random_.below(2));
    else if (dtype == DType::f32) {
      float v = float(floating());
      memcpy(to, &v, 4);
    } else if (dtype == DType::f64) {
      double v = floating();
      memcpy(to, &v, 8);
    } else if (is_integral(dtype)) {
      int64_t v = integer();
      memcpy(to, &v, dtype_bytes(dtype));
    } else
      for (size_t k = 0; k < dtype_bytes(dtype); k++) to[k] = uint8_t(random_.next());
  }

  const Value* keep(Value v) {
    values_.push_back(std::make_unique<Value>(v));
    return values_.back().get();
  }

  Random random_;
  DType dtype_;
  int rank_;
  int32_t sizes_[kRankMax];
  std::vector<std::unique_ptr<Value>> values_;
  std::vector<std::unique_ptr<Tensor>> tensors_;
  std::vector<std::unique_ptr<std::vector<const Value*>>> lists_;
  std::vector<std::unique_ptr<std::vector<double>>> floats_;
  std::vector<std::unique_ptr<bool[]>> flags_;
  std::vector<std::unique_ptr<std::vector<int32_t>>> shapes_;
  std::vector<std::unique_ptr<std::vector<uint8_t>>> orders_;
  std::vector<Block> blocks_;
};

// True when the kernel ran.
bool call_once(const Kernel& kernel, uint64_t seed) {
  Call call(seed);
  std::vector<const Value*> values;
  const char* letter = kernel.signature;
  for (; *letter && *letter != '>'; letter++) values.push_back(call.make(*letter));
  int input_count = int(values.size());
  // Ask the shape rule what fits, with outs of rank 0 that it may look at.
  int out_letters = int(strlen(letter)) - 1;
  bool list = out_letters == 1 && letter[1] == 'v';
  std::vector<OutMeta> metas(list ? size_t(1 + call.random().below(4)) : size_t(out_letters));
  for (OutMeta& meta : metas) {
    meta.dtype = call.random().one_in(2) ? DType::f32 : DType::i64;
    meta.rank = call.random().below(3);
    for (int i = 0; i < meta.rank; i++) meta.sizes[i] = call.random().below(4);
  }
  Diagnostic diagnostic;
  std::vector<const Value*> guess = values;
  if (list)
    guess.push_back(call.make_out_list(metas));
  else
    for (const OutMeta& meta : metas) guess.push_back(call.make_out(meta));
  (void)kernel.shape({guess, input_count}, metas, &diagnostic);

  if (list)
    values.push_back(call.make_out_list(metas));
  else
    for (const OutMeta& meta : metas) values.push_back(call.make_out(meta));
  int found = 0;
  if (!match_signature(kernel, values, &found, &diagnostic).ok()) abort();
  Args args{values, input_count};
  diagnostic.text[0] = 0;
  Status status = prepare_outs(kernel, args, &diagnostic);
  if (status.ok()) {
    uint64_t bytes = kernel.scratch_bytes ? kernel.scratch_bytes(args) : 0;
    if (bytes > 64 << 20) return false;
    std::unique_ptr<uint8_t, decltype(&free)> scratch(
        static_cast<uint8_t*>(aligned_alloc(16, (bytes + 15) / 16 * 16)), &free);
    uint64_t random_state = seed;
    KernelContext context{&diagnostic, {scratch.get(), size_t(bytes)}, &random_state};
    status = kernel.run(args, context);
  }
  if (!status.ok() && diagnostic.text[0] == 0) {
    fprintf(stderr, "%s: an error without a word\n", kernel.name);
    abort();
  }
  return status.ok();
}

TEST(HostileKernels, survive_calls_with_anything_their_signature_allows) {
  const char* only = getenv("SCONCE_KERNEL");  // one kernel by name
  const char* seed_text = getenv("SCONCE_SEED");
  uint64_t first_seed = seed_text ? strtoull(seed_text, nullptr, 10) : 1;
  int runs = getenv("SCONCE_RUNS") ? atoi(getenv("SCONCE_RUNS")) : 400;
  int never = 0;
  std::string never_names;
  for (const KernelRow& row : all_kernels()) {
    const Kernel& kernel = *row.kernel;
    if (only && strcmp(only, kernel.name) != 0) continue;
    int results[2];
    ASSERT_EQ(pipe(results), 0);
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child == 0) {
      close(results[0]);
      rlimit seconds{30, 30};  // of processor time: a busy machine is no finding
      setrlimit(RLIMIT_CPU, &seconds);
      int ran = 0;
      for (int i = 0; i < runs; i++) {
        uint64_t seed = first_seed + uint64_t(i);
        if (write(results[1], &seed, sizeof(seed)) < 0) _exit(3);
        ran += call_once(kernel, seed * 1000003 + 7);
      }
      uint64_t done = uint64_t(ran) | uint64_t(1) << 63;
      if (write(results[1], &done, sizeof(done)) < 0) _exit(3);
      _exit(0);
    }
    close(results[1]);
    uint64_t last = 0, message;
    while (read(results[0], &message, sizeof(message)) == sizeof(message)) last = message;
    close(results[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
      ADD_FAILURE() << kernel.name << ": "
                    << (WIFSIGNALED(status) &&
                                (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL)
                            ? "hangs"
                            : "finding")
                    << "; repeat: SCONCE_KERNEL=" << kernel.name << " SCONCE_SEED=" << last
                    << " SCONCE_RUNS=1";
    } else if ((last & ~(uint64_t(1) << 63)) == 0) {
      never++;
      never_names += std::string(" ") + kernel.name;
    }
  }
  printf("%d of %zu kernels accepted no random call:%s\n", never, all_kernels().size(),
         never_names.c_str());
}

}  // namespace
}  // namespace sconce
