#include "emit/emit.h"
#include "passes/pass_test.h"
#include "targets/backend_test.h"
#include "targets/target.h"

namespace sconce {

CompiledForTest compile_for_cpu(const std::string& text) {
  std::shared_ptr<Program> program = parse_completed(text);
  const Target& target = *find_target("cpu");
  Result<void> done = run_pipeline(*program, {target.has_node, target.quantized}, {});
  EXPECT_TRUE(done.ok()) << done.error().text;
  for (Method& method : program->methods) {
    done = target.partition(*program, method.graph, Prefer::balance);
    EXPECT_TRUE(done.ok()) << done.error().text;
  }
  std::vector<Emitted> parts;
  Result<Emitted> part = emit(*program);
  EXPECT_TRUE(part.ok()) << part.error().text;
  parts.push_back(std::move(*part));
  Result<Emitted> whole = join(std::move(parts));
  EXPECT_TRUE(whole.ok()) << whole.error().text;
  CompiledForTest made;
  auto kept =
      std::make_shared<std::pair<std::shared_ptr<Program>, Emitted>>(program, std::move(*whole));
  made.program = kept->second.program;
  made.keep_alive = kept;
  for (const PteInstruction& i : made.program.methods[0].chains[0].instructions)
    made.calls += std::holds_alternative<PteDelegateCall>(i);
  Result<PteFile> file = write_pte(made.program);
  EXPECT_TRUE(file.ok()) << file.error().text;
  made.file = file->joined();
  return made;
}

void evaluate_for_test(const std::string& text, std::vector<TestTensor>* inputs,
                       std::vector<TestTensor>* outputs) {
  auto program = parse_completed(text);
  const Graph& graph = program->methods[0].graph;
  std::vector<EvalValue> values = random_inputs(*program, graph, 11);
  Evaluator evaluator(*program);
  auto wanted = evaluator.run(graph, values);
  ASSERT_TRUE(wanted.ok()) << wanted.error().text;
  auto take = [](const std::vector<EvalValue>& from, std::vector<TestTensor>* to) {
    for (const EvalValue& value : from) {
      const auto& tensor = std::get<EvalTensor>(value);
      to->push_back({tensor.dtype,
                     {tensor.sizes.begin(), tensor.sizes.end()},
                     {tensor.data, tensor.data + tensor.bytes},
                     elements(tensor)});
    }
  };
  take(values, inputs);
  take(*wanted, outputs);
}

}  // namespace sconce
