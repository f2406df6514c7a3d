#include "passes/pipeline.h"

#include <chrono>

namespace sconce {

// Why in this order: docs/passes.md.
static constexpr Pass kPipeline[] = {
    {"remove_dead_code", remove_dead_code},
    {"remove_no_ops", remove_no_ops},
    {"merge_common_subexpressions", merge_common_subexpressions},
    {"recognize_linear", recognize_linear},
    {"fold_constants", fold_constants},
    {"recognize_activations", recognize_activations},
    {"recognize_norms", recognize_norms},
    {"recognize_attention", recognize_attention},
    {"cancel_permutes", cancel_permutes},
    {"fold_padding", fold_padding},
    {"fold_batch_norm", fold_batch_norm},
    {"make_integers_signed", make_integers_signed},
    {"fold_quantization", fold_quantization},
    {"remove_dead_integers", remove_dead_code},
    {"legalize", legalize},
    {"make_promotion_explicit", make_promotion_explicit},
    {"remove_no_ops_again", remove_no_ops},
    {"merge_common_subexpressions_again", merge_common_subexpressions},
    {"fold_constants_again", fold_constants_again},
    {"remove_dead_code_again", remove_dead_code},
};

Span<const Pass> pipeline() { return kPipeline; }

static Result<void> run_on(const Pass& pass, Program& program, Graph& graph,
                           const PassContext& context) {
  // Bodies first: what they need from outside they get as operands.
  for (size_t i = 0; i < graph.subgraphs.size(); i++)
    TRY_VOID(run_on(pass, program, *graph.subgraphs[i], context));
  return pass.run(program, graph, context);
}

static size_t node_count(const Graph& graph) {
  size_t count = graph.order.size();
  for (const auto& inner : graph.subgraphs) count += node_count(*inner);
  return count;
}

Result<void> run_pipeline(Program& program, const PassContext& context,
                          const PipelineOptions& options) {
  bool started = options.start_after.empty();
  for (const Pass& pass : kPipeline) {
    if (!started) {
      started = options.start_after == pass.name;
      continue;
    }
    auto start = std::chrono::steady_clock::now();
    size_t nodes = 0;
    for (Method& method : program.methods) {
      Result<void> done = run_on(pass, program, method.graph, context);
      if (!done.ok())
        return std::move(done.error())
            .with_context(fmt::format("method {}: {}", method.name, pass.name));
      nodes += node_count(method.graph);
    }
    if (options.runs) {
      std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
      options.runs->push_back({pass.name, time.count(), nodes});
    }
    if (options.verify) {
      if (Result<void> sound = verify(program); !sound.ok())
        return std::move(sound.error()).with_context(fmt::format("after {}", pass.name));
    }
    if (options.after_pass) options.after_pass(pass, program);
    if (options.stop_after == pass.name) break;
  }
  return {};
}

}  // namespace sconce
