// Shows what Silero VAD hears: turns a recording into the model's input, and its answer into a
// plot in the terminal and an SVG.
//
//     speech_view tensor speech.wav audio.npy
//     speech_view show speech.wav answer.safetensors speech.svg
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/file.h"
#include "base/result.h"
#include "formats/npy/npy.h"
#include "formats/safetensors/safetensors.h"

namespace sconce {
namespace {

constexpr int kRate = 16000;
constexpr size_t kFrame = 512;  // samples the model gives one probability for
constexpr double kFrameSeconds = double(kFrame) / kRate;

template <class T>
T read_little_endian(Bytes bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// RIFF/WAVE with 16-bit mono samples at 16 kHz, as numbers in -1..1.
Result<std::vector<float>> read_wav(const std::string& path) {
  TRY(MappedFile file, map_file(path));
  const Bytes bytes = file.bytes();
  auto tag = [&](size_t at, const char* wanted) {
    return at + 4 <= bytes.size() && std::memcmp(bytes.data() + at, wanted, 4) == 0;
  };
  if (!tag(0, "RIFF") || !tag(8, "WAVE"))
    return error(Code::invalid_file, "{}: not a RIFF/WAVE file", path);
  bool known_format = false;
  for (size_t at = 12; at + 8 <= bytes.size();) {
    const size_t size = read_little_endian<uint32_t>(bytes, at + 4);
    if (size > bytes.size() - at - 8)
      return error(Code::invalid_file, "{}: chunk at byte {} holds {} bytes, the file ends before",
                   path, at, size);
    if (tag(at, "fmt ")) {
      if (size < 16) return error(Code::invalid_file, "{}: format chunk of {} bytes", path, size);
      const int kind = read_little_endian<uint16_t>(bytes, at + 8);
      const int channels = read_little_endian<uint16_t>(bytes, at + 10);
      const int rate = int(read_little_endian<uint32_t>(bytes, at + 12));
      const int bits = read_little_endian<uint16_t>(bytes, at + 22);
      if (kind != 1 || channels != 1 || rate != kRate || bits != 16)
        return error(
            Code::unsupported,
            "{}: {} channels of {} bits at {} Hz (encoding {}); the model hears one channel "
            "of 16-bit samples at {} Hz: sox {} -r {} -c 1 -b 16 out.wav",
            path, channels, bits, rate, kind, kRate, path, kRate);
      known_format = true;
    } else if (tag(at, "data")) {
      if (!known_format) return error(Code::invalid_file, "{}: samples before their format", path);
      std::vector<float> samples(size / 2);
      for (size_t i = 0; i < samples.size(); ++i)
        samples[i] = float(read_little_endian<int16_t>(bytes, at + 8 + 2 * i)) / 32768.0f;
      return samples;
    }
    at += 8 + size + size % 2;
  }
  return error(Code::invalid_file, "{}: no samples", path);
}

Result<void> write_tensor(const std::string& wav, const std::string& npy) {
  TRY(std::vector<float> samples, read_wav(wav));
  samples.resize((samples.size() + kFrame - 1) / kFrame * kFrame);
  const int64_t sizes[] = {1, int64_t(samples.size())};
  return write_npy(npy, DType::f32, sizes,
                   Bytes(reinterpret_cast<const uint8_t*>(samples.data()), samples.size() * 4));
}

Result<std::vector<float>> read_probabilities(const std::string& path) {
  TRY(MappedFile file, map_file(path));
  TRY(SafetensorsFile tensors, read_safetensors(file.bytes()));
  const TensorEntry* answer = find_tensor(tensors, "output.0");
  if (!answer || answer->dtype != DType::f32)
    return error(Code::invalid_file, "{}: no f32 tensor output.0", path);
  std::vector<float> values(answer->bytes.size() / 4);
  std::memcpy(values.data(), answer->bytes.data(), values.size() * 4);
  return values;
}

struct Stretch {
  double start, end;  // seconds
};

// Speech starts above a half and ends when the probability stays under 0.35 for a tenth of a
// second; what lasts under a quarter of a second is dropped.
std::vector<Stretch> find_speech(Span<const float> probabilities) {
  const size_t patience = size_t(0.1 / kFrameSeconds);
  std::vector<Stretch> found;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] < 0.5f) continue;
    const size_t start = i;
    size_t last = i;
    for (; i < probabilities.size() && i - last <= patience; ++i)
      if (probabilities[i] >= 0.35f) last = i;
    if (double(last + 1 - start) * kFrameSeconds >= 0.25)
      found.push_back({double(start) * kFrameSeconds, double(last + 1) * kFrameSeconds});
  }
  return found;
}

// The largest of each of `count` equal parts.
std::vector<float> largest_of_parts(Span<const float> values, size_t count) {
  std::vector<float> parts(count);
  for (size_t i = 0; i < values.size(); ++i) {
    float& part = parts[i * count / values.size()];
    part = std::max(part, std::fabs(values[i]));
  }
  return parts;
}

void print_bars(std::string_view label, Span<const float> heights, int rows) {
  static constexpr std::string_view kBars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  for (int row = rows - 1; row >= 0; --row) {
    fmt::print("{:>12} │", row == rows / 2 ? label : "");
    for (float height : heights) {
      const float eighths = height * float(rows) * 8 - float(row) * 8;
      fmt::print("{}", kBars[std::lround(std::clamp(eighths, 0.0f, 8.0f))]);
    }
    fmt::print("│\n");
  }
}

void print_plot(Span<const float> samples, Span<const float> probabilities,
                Span<const Stretch> speech) {
  constexpr size_t kColumns = 96;
  const double seconds = double(samples.size()) / kRate;
  std::vector<float> loud = largest_of_parts(samples, kColumns);
  const float top = std::max(1e-6f, *std::max_element(loud.begin(), loud.end()));
  for (float& value : loud) value /= top;
  fmt::print("\n");
  print_bars("loudness", loud, 3);
  print_bars("speech?", largest_of_parts(probabilities, kColumns), 3);
  std::string marks(kColumns, ' ');
  for (const Stretch& s : speech)
    for (size_t i = size_t(s.start / seconds * kColumns);
         i < std::min(kColumns, size_t(std::ceil(s.end / seconds * kColumns))); ++i)
      marks[i] = '=';
  fmt::print("{:>12} │{}│\n{:>14}", "speech", marks, "");
  std::string scale(kColumns, ' ');
  for (int second = 0; second <= int(seconds); ++second) {
    const std::string text = fmt::format("{}s", second);
    const size_t at = size_t(double(second) / seconds * kColumns);
    if (at + text.size() <= kColumns) scale.replace(at, text.size(), text);
  }
  fmt::print("{}\n\n", scale);
  for (const Stretch& s : speech)
    fmt::print("speech from {:5.2f} s to {:5.2f} s\n", s.start, s.end);
  if (speech.empty()) fmt::print("no speech in {:.2f} s\n", seconds);
}

std::string escape_xml(std::string_view text) {
  std::string safe;
  for (char c : text) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else
      safe += c;
  }
  return safe;
}

std::string draw_svg(std::string_view title, Span<const float> samples,
                     Span<const float> probabilities, Span<const Stretch> speech) {
  constexpr int kWidth = 960, kLeft = 10, kWave = 120, kCurve = 90, kTop = 34, kGap = 16;
  const double seconds = double(samples.size()) / kRate;
  auto x = [&](double second) { return kLeft + second / seconds * kWidth; };
  const int curve_top = kTop + kWave + kGap, bottom = curve_top + kCurve;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" "
      "fill=\"#fff\"/>\n<text x=\"{2}\" y=\"20\" font-size=\"14\">{3}</text>\n",
      kWidth + 2 * kLeft, bottom + 30, kLeft, escape_xml(title));
  for (const Stretch& s : speech)
    svg += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\" fill=\"#d8f0dc\"/>\n",
        x(s.start), kTop, x(s.end) - x(s.start), bottom - kTop);

  // The waveform: from the lowest to the highest sample of each column.
  float top = 1e-6f;
  for (float sample : samples) top = std::max(top, std::fabs(sample));
  svg += "<path stroke=\"#456\" fill=\"none\" d=\"";
  for (int column = 0; column < kWidth; ++column) {
    const size_t begin = samples.size() * size_t(column) / kWidth;
    const size_t end = std::max(begin + 1, samples.size() * size_t(column + 1) / kWidth);
    const auto [low, high] = std::minmax_element(samples.begin() + begin, samples.begin() + end);
    const double middle = kTop + kWave / 2.0;
    svg += fmt::format("M{} {:.1f}V{:.1f}", kLeft + column, middle - *high / top * kWave / 2,
                       middle - *low / top * kWave / 2 + 0.5);
  }
  svg += fmt::format(
      "\"/>\n<path stroke=\"#185\" stroke-width=\"1.5\" fill=\"#185\" "
      "fill-opacity=\"0.15\" d=\"M{} {}",
      kLeft, bottom);
  for (size_t i = 0; i < probabilities.size(); ++i)
    svg += fmt::format("L{:.1f} {:.1f}", x((double(i) + 0.5) * kFrameSeconds),
                       bottom - probabilities[i] * kCurve);
  svg += fmt::format("V{}Z\"/>\n<path stroke=\"#999\" stroke-dasharray=\"4 4\" d=\"M{} {}H{}\"/>\n",
                     bottom, kLeft, bottom - kCurve / 2, kLeft + kWidth);
  svg += fmt::format(
      "<text x=\"{}\" y=\"{}\" fill=\"#666\">probability of speech, a half dashed"
      "</text>\n",
      kLeft + 4, curve_top - 4);
  for (int second = 0; second <= int(seconds); ++second)
    svg += fmt::format(
        "<path stroke=\"#999\" d=\"M{0:.1f} {1}v5\"/><text x=\"{0:.1f}\" y=\"{2}\" "
        "text-anchor=\"middle\">{3} s</text>\n",
        x(second), bottom, bottom + 20, second);
  return svg + "</svg>\n";
}

Result<void> show(const std::string& wav, const std::string& answer, const std::string& svg_path) {
  TRY(std::vector<float> samples, read_wav(wav));
  TRY(std::vector<float> probabilities, read_probabilities(answer));
  const size_t frames = (samples.size() + kFrame - 1) / kFrame;
  if (samples.empty() || probabilities.size() != frames)
    return error(Code::invalid_argument, "{} has {} frames of {} samples, {} has {} probabilities",
                 wav, frames, kFrame, answer, probabilities.size());
  samples.resize(frames * kFrame);
  const std::vector<Stretch> speech = find_speech(probabilities);
  print_plot(samples, probabilities, speech);
  const size_t slash = wav.find_last_of('/');
  const std::string svg = draw_svg(
      fmt::format("What Silero VAD hears in {}", wav.substr(slash == wav.npos ? 0 : slash + 1)),
      samples, probabilities, speech);
  auto saved = save_file(svg_path, Bytes(reinterpret_cast<const uint8_t*>(svg.data()), svg.size()));
  if (saved.ok()) fmt::print("picture: {}\n", svg_path);
  return saved;
}

}  // namespace
}  // namespace sconce

int main(int count, char** words) {
  const std::vector<std::string> arguments(words + 1, words + count);
  sconce::Result<void> done;
  if (arguments.size() == 3 && arguments[0] == "tensor") {
    done = sconce::write_tensor(arguments[1], arguments[2]);
  } else if (arguments.size() == 4 && arguments[0] == "show") {
    done = sconce::show(arguments[1], arguments[2], arguments[3]);
  } else {
    fmt::print(stderr,
               "usage: speech_view tensor IN.wav OUT.npy\n"
               "       speech_view show IN.wav ANSWER.safetensors OUT.svg\n");
    return 2;
  }
  if (!done.ok()) {
    fmt::print(stderr, "speech_view: {}\n", done.error().text);
    return 1;
  }
}
