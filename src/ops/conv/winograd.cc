#include "ops/conv/winograd.h"

#include <cstring>

namespace sconce {

std::vector<float> winograd_weights(Bytes windows, size_t count, int tile) {
  const Winograd method = winograd(tile);
  std::vector<float> result(size_t(method.points() * method.points()) * count);
  constexpr size_t kTaps = kWinogradWindow * kWinogradWindow;
  for (size_t i = 0; i < count; i++) {
    float window[kTaps];
    memcpy(window, windows.data() + i * sizeof(window), sizeof(window));
    std::vector<double> points =
        sandwich(method.weight, std::vector<double>(window, window + kTaps),
                 [](const tile::TransformStep& step, double x, double y) {
                   switch (step.op) {
                     case tile::TransformOp::add: return x + y;
                     case tile::TransformOp::sub: return x - y;
                     case tile::TransformOp::mul: return x * step.number;
                     case tile::TransformOp::fma: break;
                   }
                   return x * step.number + y;
                 });
    for (size_t p = 0; p < points.size(); p++) result[p * count + i] = float(points[p]);
  }
  return result;
}

}  // namespace sconce
