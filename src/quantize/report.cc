// The report of a quantised model: text, and a page of its own with plots as SVG.
#include <algorithm>

#include <fmt/format.h>

#include "sconce/quantize.h"

namespace sconce {
namespace {

std::string megabytes(uint64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} B", bytes);
  if (bytes < 10'000'000) return fmt::format("{:.1f} kB", double(bytes) / 1e3);
  return fmt::format("{:.2f} MB", double(bytes) / 1e6);
}

double share(uint64_t after, uint64_t before) {
  return before ? double(after) / double(before) : 1;
}

std::string kind(const QuantizeReport::Layer& layer) {
  if (!layer.why_float.empty()) return "float";
  std::string text = fmt::format("int{}", layer.bits);
  if (layer.group) text += fmt::format("-g{}", layer.group);
  return text;
}

std::string decibels(double db) {
  return db == 0 ? "" : db >= 200 ? "exact" : fmt::format("{:.1f}", db);
}

std::string caches_line(const std::vector<QuantizeReport::Cache>& caches) {
  uint64_t before = 0, after = 0, made = 0;
  for (const auto& cache : caches) {
    before += cache.bytes_before;
    after += cache.bytes_after;
    made += cache.why_float.empty();
  }
  return fmt::format("caches: {} of {} int8; state: {} to {} ({:.3f})", made, caches.size(),
                     megabytes(before), megabytes(after), share(after, before));
}

std::string escaped(const std::string& text) {
  std::string out;
  for (char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace

std::string report_text(const QuantizeReport& report) {
  std::string text;
  auto line = [&](std::string more) { text += std::move(more) + "\n"; };
  size_t widest = 5;
  for (const auto& layer : report.layers) widest = std::max(widest, layer.name.size());
  widest = std::min<size_t>(widest, 60);
  line(fmt::format("{:{}}  {:9}  {:12}  {:>10}  {:>9}  {:>8}", "layer", widest, "weights", "inputs",
                   "size", "alone, dB", "here, dB"));
  for (const auto& layer : report.layers) {
    std::string name = layer.name;
    if (name.size() > widest) name = "..." + name.substr(name.size() - widest + 3);
    line(fmt::format("{:{}}  {:9}  {:12}  {:>10}  {:>9}  {:>8}{}", name, widest, kind(layer),
                     layer.activations, megabytes(layer.weight_bytes_after),
                     decibels(layer.sqnr_alone_db), decibels(layer.sqnr_db),
                     layer.why_float.empty() ? "" : "  " + layer.why_float));
  }
  for (size_t i = 0; i < report.outputs.size(); i++) {
    const auto& o = report.outputs[i];
    line(fmt::format("output {}: {} dB, relative error {:.2g}, cosine {:.6f}", i,
                     decibels(o.sqnr_db), o.error, o.cosine));
  }
  line(fmt::format("weights: {} to {} ({:.3f}); file: {} to {} ({:.3f})",
                   megabytes(report.weight_bytes_before), megabytes(report.weight_bytes_after),
                   share(report.weight_bytes_after, report.weight_bytes_before),
                   megabytes(report.file_bytes_before), megabytes(report.file_bytes_after),
                   share(report.file_bytes_after, report.file_bytes_before)));
  if (!report.caches.empty()) line(caches_line(report.caches));
  for (const auto& cache : report.caches)
    if (!cache.why_float.empty())
      line(fmt::format("cache \"{}\" stays float: {}", cache.name, cache.why_float));
  for (const std::string& note : report.notes) line("note: " + note);
  line(fmt::format("{} for {}, {} samples, {:.1f} s", report.scheme, report.target, report.samples,
                   report.seconds));
  return text;
}

std::string report_html(const QuantizeReport& report, const std::string& title) {
  constexpr double kPlot = 420, kScale = 80, kRow = 20;  // pixels; dB at the right end; pixels
  auto bar = [&](double db) { return std::clamp(db, 0.0, kScale) / kScale * kPlot; };
  std::string html = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title>\n<style>\n"
      "body{{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1100px;padding:0 "
      "1em;color:#222;background:#fff}}\n"
      "h1{{font-size:1.4em}}h2{{font-size:1.1em;margin-top:2em}}\n"
      "table{{border-collapse:collapse}}td,th{{padding:.1em .8em .1em "
      "0;text-align:left;font-variant-numeric:tabular-nums}}th{{border-bottom:1px solid #999}}\n"
      ".n{{text-align:right}}svg text{{font:12px "
      "system-ui,sans-serif;fill:#222}}\n</style>\n<h1>{0}</h1>\n",
      escaped(title));
  html += fmt::format("<p>{} for {}, {} samples{}.</p>\n", escaped(report.scheme),
                      escaped(report.target), report.samples,
                      report.observer.empty() ? "" : ", ranges by " + escaped(report.observer));
  for (const std::string& note : report.notes)
    html += fmt::format("<p>&#9656; {}</p>\n", escaped(note));

  if (!report.caches.empty()) html += fmt::format("<p>{}</p>\n", caches_line(report.caches));

  // Sizes: two pairs of bars.
  struct Size {
    const char* name;
    uint64_t before, after;
  };
  html += "<h2>Size</h2>\n<svg width=\"760\" height=\"108\" role=\"img\" aria-label=\"sizes\">\n";
  double y = 4;
  for (const Size& size :
       {Size{"file", report.file_bytes_before, report.file_bytes_after},
        Size{"weights", report.weight_bytes_before, report.weight_bytes_after}}) {
    uint64_t most = std::max<uint64_t>({size.before, size.after, 1});
    for (bool after : {false, true}) {
      uint64_t bytes = after ? size.after : size.before;
      double width = double(bytes) / double(most) * kPlot;
      html += fmt::format(
          "<text x=\"120\" y=\"{:.0f}\" text-anchor=\"end\">{} {}</text><rect x=\"128\" "
          "y=\"{:.0f}\" width=\"{:.1f}\" height=\"16\" fill=\"{}\"/><text x=\"{:.1f}\" "
          "y=\"{:.0f}\">{}{}</text>\n",
          y + 13, size.name, after ? "after" : "before", y, width, after ? "#1b7a5a" : "#b9c0c7",
          134 + width, y + 13, megabytes(bytes),
          after ? fmt::format(" ({:.3f})", share(size.after, size.before)) : "");
      y += 22;
    }
    y += 10;
  }
  html += "</svg>\n";

  if (!report.outputs.empty()) {
    html +=
        "<h2>Outputs against the float model</h2>\n<table><tr><th>output<th "
        "class=n>signal to noise, dB<th class=n>relative error<th class=n>cosine\n";
    for (size_t i = 0; i < report.outputs.size(); i++) {
      const auto& o = report.outputs[i];
      html += fmt::format("<tr><td>{}<td class=n>{}<td class=n>{:.2g}<td class=n>{:.6f}\n", i,
                          decibels(o.sqnr_db), o.error, o.cosine);
    }
    html += "</table>\n";
  }

  // Signal to noise of each layer: light where it is, dark alone.
  bool measured = std::any_of(report.layers.begin(), report.layers.end(),
                              [](const auto& l) { return l.sqnr_db != 0 || l.sqnr_alone_db != 0; });
  if (measured) {
    size_t longest = 0;
    for (const auto& layer : report.layers) longest = std::max(longest, layer.name.size());
    double left = 7.0 * double(std::min<size_t>(longest, 62)) + 16;
    double height = kRow * double(report.layers.size()) + 34;
    html += fmt::format(
        "<h2>Layers: ratio of signal to noise, dB</h2>\n<p><span style=\"color:#1b7a5a\">&#9632;"
        "</span> the layer alone on the float model's numbers, <span style=\"color:#8fcfb7\">"
        "&#9632;</span> where it is, all others quantised too. Longer is better.</p>\n<svg "
        "width=\"{:.0f}\" height=\"{:.0f}\" role=\"img\" aria-label=\"signal to noise of each "
        "layer\">\n",
        left + kPlot + 90, height);
    for (double db = 0; db <= kScale; db += 20)
      html += fmt::format(
          "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"0\" y2=\"{1:.0f}\" stroke=\"#ddd\"/><text "
          "x=\"{0:.1f}\" y=\"{2:.0f}\" text-anchor=\"middle\">{3:.0f}</text>\n",
          left + bar(db), height - 22, height - 6, db);
    double row = 2;
    for (const auto& layer : report.layers) {
      std::string name = layer.name;
      if (name.size() > 62) name = "..." + name.substr(name.size() - 59);
      html += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"end\">{}</text>", left - 8,
                          row + 12, escaped(name));
      if (!layer.why_float.empty()) {
        html += fmt::format("<text x=\"{:.1f}\" y=\"{:.0f}\" style=\"fill:#888\">float</text>\n",
                            left + 6, row + 12);
      } else {
        double alone = bar(layer.sqnr_alone_db), here = bar(layer.sqnr_db);
        html += fmt::format(
            "<rect x=\"{0:.1f}\" y=\"{1:.0f}\" width=\"{2:.1f}\" height=\"7\" "
            "fill=\"#1b7a5a\"/><rect x=\"{0:.1f}\" y=\"{3:.0f}\" width=\"{4:.1f}\" height=\"7\" "
            "fill=\"#8fcfb7\"/><text x=\"{5:.1f}\" y=\"{6:.0f}\">{7}</text>\n",
            left, row, alone, row + 8, here, left + std::max(alone, here) + 6, row + 12,
            kind(layer));
      }
      row += kRow;
    }
    html += "</svg>\n";
  }

  html +=
      "<h2>All layers</h2>\n<table><tr><th>layer<th>operator<th>weights<th>inputs<th "
      "class=n>before<th class=n>after<th class=n>alone, dB<th class=n>here, dB<th>stays float "
      "because\n";
  for (const auto& layer : report.layers)
    html += fmt::format(
        "<tr><td>{}<td>{}<td>{}<td>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td>{}"
        "\n",
        escaped(layer.name), escaped(layer.op), kind(layer), layer.activations,
        megabytes(layer.weight_bytes_before), megabytes(layer.weight_bytes_after),
        decibels(layer.sqnr_alone_db), decibels(layer.sqnr_db), escaped(layer.why_float));
  return html + "</table>\n</html>\n";
}

}  // namespace sconce
