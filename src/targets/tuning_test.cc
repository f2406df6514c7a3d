// Schedules of programs that are loaded: found in a folder or in the file, taken or ignored, and
// never a change to results.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "platform/cpu.h"
#include "sconce/runtime.h"
#include "targets/backend_test.h"
#include "targets/cpu/run/tuning.h"
#include "tile/program_bytes.h"

namespace sconce {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNetwork = R"(
    constant @w: f32[64, 64] = omitted 0000000000000001
    method forward(%x: f32[2, 40, 64] as x) {
      %w = constant @w
      %q: f32[2, 40, 64] = aten::linear(%x, %w, none)
      %s: f32[2, 40, 64] = aten::_softmax(%q, -1, false)
      %y: f32[2, 40, 64] = aten::linear(%s, %w, none)
      return %y
    })";

class Tuning : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "sconce_tuning_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    options_.tuning.folder = (folder_ / "cache").string();
    std::vector<TestTensor> wanted;
    evaluate_for_test(kNetwork, &inputs_, &wanted);
    options_.tuning.use_kept = false;
    plain_ = run(made_.file);
    options_.tuning.use_kept = true;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // The output's bytes; report_ says how.
  std::vector<uint8_t> run(const std::vector<uint8_t>& file) {
    options_.tuning.report = report_ = std::make_shared<TuningReport>();
    Result<Module> module = Module::load(Bytes(file), options_);
    EXPECT_TRUE(module.ok()) << module.error().text;
    std::vector<Argument> arguments;
    for (const TestTensor& tensor : inputs_)
      arguments.push_back(Argument::of(tensor.bytes.data(), tensor.dtype, tensor.sizes));
    auto results = module->execute("forward", arguments);
    EXPECT_TRUE(results.ok()) << results.error().text;
    if (!results.ok()) return {};
    Bytes bytes = (*results)[0].bytes();
    return {bytes.begin(), bytes.end()};
  }
  // Tunes, so that there is a file; gives its path.
  fs::path tuned_file() {
    options_.tuning.seconds = 0.1;
    EXPECT_EQ(run(made_.file), plain_);
    options_.tuning.seconds = 0;
    EXPECT_EQ(report_->problem, "");
    std::vector<fs::path> files(fs::directory_iterator(options_.tuning.folder), {});
    EXPECT_EQ(files.size(), 1u);
    return files.empty() ? fs::path() : files[0];
  }
  // A schedule with tiles of 16 for every step.
  std::string schedules(tile::Machine machine) const {
    auto program = tile::read_program(made_.program.methods[0].delegates[0].data);
    EXPECT_TRUE(program.ok());
    tile::MachineSchedules one{std::move(machine), {}};
    for (const tile::Step& step : program->steps) {
      const tile::Kernel& kernel = program->kernels[step.kernel];
      one.steps[tile::schedule_key(kernel, shapes_of(*program, step))] = {
          std::vector<int64_t>(kernel.axes.size(), 16), 8};
    }
    return print(Span<const tile::MachineSchedules>(&one, 1));
  }
  static tile::Machine here() { return tile::this_machine(*chosen_isa(), 1); }
  static void write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  std::vector<uint8_t> file_with(const std::string& text) {
    PteProgram program = made_.program;
    program.named_data.push_back(
        {kSchedulesName, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}});
    auto made = write_pte(program);
    EXPECT_TRUE(made.ok());
    return made->joined();
  }

  CompiledForTest made_ = compile_for_cpu(kNetwork);
  std::vector<TestTensor> inputs_;
  std::vector<uint8_t> plain_;
  fs::path folder_;
  ModuleOptions options_;
  std::shared_ptr<TuningReport> report_;
};

TEST_F(Tuning, is_done_when_asked_and_kept_with_the_same_results) {
  EXPECT_EQ(run(made_.file), plain_);
  EXPECT_FALSE(fs::exists(options_.tuning.folder));
  fs::path file = tuned_file();
  ASSERT_FALSE(report_->tuned.empty());
  for (const TunedStep& step : report_->tuned) {
    EXPECT_GT(step.default_us, 0);
    EXPECT_LE(step.best_us, step.default_us);
  }
  // A second time there is nothing to do.
  options_.tuning.seconds = 100;
  EXPECT_EQ(run(made_.file), plain_);
  EXPECT_TRUE(report_->tuned.empty());
}

TEST_F(Tuning, takes_the_schedules_of_its_file) {
  write(tuned_file(), schedules(here()));
  EXPECT_EQ(run(made_.file), plain_);
  EXPECT_EQ(report_->payloads, 1u);
  EXPECT_GT(report_->steps, 0u);
  EXPECT_EQ(report_->scheduled, report_->steps);
  options_.tuning.use_kept = false;
  EXPECT_EQ(run(made_.file), plain_);
  EXPECT_EQ(report_->scheduled, 0u);
}

TEST_F(Tuning, ignores_files_that_are_old_foreign_cut_off_or_worse) {
  fs::path file = tuned_file();
  std::string sound = schedules(here());
  tile::Machine other = here();
  other.micro_architecture = "another";
  std::string endless(2 * tile::kSchedulesBytesMax, 'x');
  std::string later = sound;
  later.replace(later.find('1'), 1, "2");
  for (const std::string& text :
       {std::string(), std::string("\0\xff\n", 3), sound.substr(0, sound.size() / 2) + "~",
        sound + "rubbish", schedules(other), endless, later}) {
    write(file, text);
    EXPECT_EQ(run(made_.file), plain_);
    EXPECT_EQ(report_->scheduled, 0u) << text.substr(0, 200);
    EXPECT_EQ(report_->problem, "");
  }
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(run(made_.file), plain_);
}

TEST_F(Tuning, takes_sizes_that_make_no_sense_without_harm) {
  fs::path file = tuned_file();
  std::string text = schedules(here());
  for (size_t at = 0; (at = text.find(",16", at)) != std::string::npos;)
    text.replace(at, 3, ",2147483648");
  write(file, text);
  EXPECT_EQ(run(made_.file), plain_);
}

TEST_F(Tuning, takes_schedules_that_the_program_ships_for_this_machine) {
  EXPECT_EQ(run(file_with(schedules(here()))), plain_);
  EXPECT_EQ(report_->scheduled, report_->steps);
  ASSERT_EQ(report_->from.size(), 1u);
  EXPECT_EQ(report_->from[0], "the program");
  tile::Machine more_threads = here();
  more_threads.threads = 7;
  EXPECT_EQ(run(file_with(schedules(more_threads))), plain_);
  EXPECT_EQ(report_->scheduled, 0u);
  EXPECT_EQ(run(file_with("sconce-schedules nonsense")), plain_);
  EXPECT_EQ(report_->scheduled, 0u);
}

TEST_F(Tuning, that_cannot_be_kept_is_used_and_told) {
  options_.tuning.folder = "/dev/null/cache";
  options_.tuning.seconds = 0.1;
  EXPECT_EQ(run(made_.file), plain_);
  EXPECT_NE(report_->problem.find("/dev/null/cache"), std::string::npos) << report_->problem;
  EXPECT_FALSE(report_->tuned.empty());
}

}  // namespace
}  // namespace sconce
