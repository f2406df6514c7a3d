// Running, checking and tuning of kernels. include/sconce/tile.h
#include <algorithm>
#include <cstring>
#include <random>

#include "platform/cpu.h"
#include "sconce/tile.h"
#include "tensor/half.h"

namespace sconce::kernels {

using tile::Buffer;
using tile::Layout;
using tile::Plan;
using tile::run_plan;
using tile::Scratch;
using tile::size_of;

namespace {

constexpr size_t kPlansMax = 16;

}  // namespace

BufferView dense(void* data, std::vector<int64_t> sizes, DType dtype) {
  BufferView view{data, std::move(sizes), {}, 0};
  view.strides.assign(view.sizes.size(), 1);
  int64_t count = 1;
  for (size_t d = view.sizes.size(); d-- > 0;) {
    view.strides[d] = count;
    count *= view.sizes[d];
  }
  view.bytes = count * int64_t(dtype_bytes(dtype));
  return view;
}

std::vector<float> pack_weights(Span<const float> weights, const std::vector<int64_t>& sizes,
                                int lead) {
  Buffer buffer;
  buffer.panel_lead = lead;
  tile::PanelShape shape = *tile::panel_shape(buffer, {sizes.data(), sizes.size()});
  int64_t columns = sizes.back(), outer = 1, depth = shape.rows * shape.length;
  for (int d = 0; d < lead; d++) outer *= sizes[size_t(d)];
  std::vector<float> to(size_t(shape.bytes) / sizeof(float), 0);
  for (int64_t o = 0; o < outer; o++)
    for (int64_t k = 0; k < depth; k++)
      for (int64_t n = 0; n < columns; n++)
        to[size_t(shape.offset(o, 0, k, n)) / sizeof(float)] =
            weights[size_t((o * depth + k) * columns + n)];
  return to;
}
BufferView packed(std::vector<float>& data, const std::vector<int64_t>& sizes) {
  BufferView view = dense(data.data(), sizes);
  view.bytes = int64_t(data.size() * sizeof(float));
  return view;
}

// --- Runner

struct Runner::State {
  struct Shaped {
    std::vector<BufferView> shapes;  // their data is not used
    Plan plan;
  };
  Kernel kernel;
  Schedule schedule;
  const tile::KernelTable* table = nullptr;
  std::unique_ptr<ThreadPool> pool;
  std::vector<Shaped> plans;  // the last used last
  Scratch scratch;
};

Runner::Runner(std::unique_ptr<State> state) : state_(std::move(state)) {}
Runner::Runner(Runner&&) noexcept = default;
Runner& Runner::operator=(Runner&&) noexcept = default;
Runner::~Runner() = default;

const Kernel& Runner::kernel() const { return state_->kernel; }

Result<Runner> Runner::make(Kernel kernel, int threads, Schedule schedule) {
  TRY_VOID(verify(kernel).with_context(kernel.name));
  TRY(Isa isa, chosen_isa());
  auto state = std::make_unique<State>();
  state->kernel = std::move(kernel);
  state->schedule = std::move(schedule);
  state->table = &tile::kernels_for(isa);
  state->pool = std::make_unique<ThreadPool>(threads);
  return Runner(std::move(state));
}

Result<void> Runner::run(const std::vector<BufferView>& arrays) {
  State& s = *state_;
  auto has_shape = [](const BufferView& a, const BufferView& b) {
    return a.sizes == b.sizes && a.strides == b.strides && a.bytes == b.bytes;
  };
  auto found = std::find_if(s.plans.begin(), s.plans.end(), [&](const State::Shaped& made) {
    return std::equal(made.shapes.begin(), made.shapes.end(), arrays.begin(), arrays.end(),
                      has_shape);
  });
  if (found == s.plans.end()) {
    TRY(Plan plan, Plan::make(s.kernel, arrays, *s.table, s.pool->size(), s.schedule));
    if (s.plans.size() == kPlansMax) s.plans.erase(s.plans.begin());
    s.plans.push_back({arrays, std::move(plan)});
  } else {
    std::rotate(found, found + 1, s.plans.end());
  }
  return run_plan(s.plans.back().plan, arrays, *s.pool, s.scratch).with_context(s.kernel.name);
}

// --- checking and tuning

Result<RandomArrays> random_arrays(const Kernel& kernel, const DimSizes& dims, uint32_t seed) {
  RandomArrays made;
  std::mt19937 random(seed);
  std::vector<int64_t> sizes;
  for (const std::string& name : kernel.dims) {
    auto found = std::find_if(dims.begin(), dims.end(), [&](auto& d) { return d.first == name; });
    if (found == dims.end() || found->second < 1 || found->second > (int64_t(1) << 31))
      return error(Code::invalid_argument, "{}: dim {} has no size from 1 to 2^31", kernel.name,
                   name);
    sizes.push_back(found->second);
  }
  for (const auto& [name, size] : dims)
    if (std::find(kernel.dims.begin(), kernel.dims.end(), name) == kernel.dims.end())
      return error(Code::invalid_argument, "{}: there is no dim {}", kernel.name, name);
  for (const Buffer& buffer : kernel.buffers) {
    std::vector<int64_t> own;
    double count = 1;
    for (const Extent& extent : buffer.dims) {
      own.push_back(size_of(extent, sizes));
      count *= double(own.back());
    }
    if (count > 4e9)
      return error(Code::invalid_argument,
                   "{}: {} would have {:.0f} elements; at most 4e9 are made", kernel.name,
                   buffer.name, count);
    BufferView view = dense(nullptr, own, buffer.dtype);
    if (buffer.is_packed())  // within 64 bits: the elements were counted above
      view.bytes = tile::panel_shape(buffer, {own.data(), own.size()})->bytes;
    made.bytes.emplace_back(size_t(view.bytes), 0);
    uint8_t* data = made.bytes.back().data();
    int64_t elements = view.bytes / int64_t(dtype_bytes(buffer.dtype));
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int64_t i = 0; i < elements && !buffer.output; i++) {
      float number = uniform(random);
      uint64_t integer = random() % (buffer.dtype == DType::b8 ? 2 : 4);
      switch (buffer.dtype) {
        case DType::f32: memcpy(data + 4 * i, &number, 4); break;
        case DType::f16: {
          uint16_t bits = to_f16(number).bits;
          memcpy(data + 2 * i, &bits, 2);
          break;
        }
        case DType::bf16: {
          uint16_t bits = to_bf16(number).bits;
          memcpy(data + 2 * i, &bits, 2);
          break;
        }
        default: {  // little-endian: the low bytes come first
          size_t bytes = dtype_bytes(buffer.dtype);
          memcpy(data + int64_t(bytes) * i, &integer, std::min(bytes, sizeof integer));
        }
      }
    }
    if (buffer.is_packed()) tile::complete_panels(buffer, {own.data(), own.size()}, data);
    made.views.push_back(std::move(view));
  }
  for (size_t b = 0; b < made.views.size(); b++) made.views[b].data = made.bytes[b].data();
  return made;
}

Result<KernelCheck> check_kernel(const Kernel& kernel, const DimSizes& dims, uint32_t seed) {
  TRY(RandomArrays wanted, random_arrays(kernel, dims, seed));
  TRY_VOID(interpret(kernel, wanted.views).with_context(kernel.name));
  KernelCheck check;
  Scratch scratch;
  for (Isa isa : runnable_isas()) {
    if (isa == Isa::sse2) continue;
    for (int threads : {1, 2})
      for (int64_t tile : {0, 1, 16}) {
        std::string what =
            fmt::format("{}, {} thread{}, {}", isa_name(isa), threads, threads == 1 ? "" : "s",
                        tile ? fmt::format("tiles of {}", tile) : "tiles as planned");
        Schedule schedule;
        if (tile) schedule.tile.assign(kernel.axes.size(), tile);
        TRY(RandomArrays got, random_arrays(kernel, dims, seed));
        TRY(Plan plan, Plan::make(kernel, got.views, tile::kernels_for(isa), threads, schedule)
                           .with_context(kernel.name));
        ThreadPool pool(threads);
        TRY_VOID(run_plan(plan, got.views, pool, scratch).with_context(what));
        for (size_t b = 0; b < got.bytes.size(); b++) {
          if (got.bytes[b] == wanted.bytes[b]) continue;
          auto differ =
              std::mismatch(got.bytes[b].begin(), got.bytes[b].end(), wanted.bytes[b].begin());
          int64_t element =
              (differ.first - got.bytes[b].begin()) / int64_t(dtype_bytes(kernel.buffers[b].dtype));
          return error(Code::internal, "{}: {}: element {} of {} differs from the interpreter's",
                       kernel.name, what, element, kernel.buffers[b].name);
        }
        check.ran.push_back(std::move(what));
      }
  }
  return check;
}

Result<Tuned> tune_kernel(const Kernel& kernel, const DimSizes& dims, int threads, double seconds) {
  TRY(RandomArrays arrays, random_arrays(kernel, dims));
  TRY(Isa isa, chosen_isa());
  ThreadPool pool(threads);
  return tile::tune_schedule(kernel, arrays.views, tile::kernels_for(isa), pool, seconds);
}

}  // namespace sconce::kernels
