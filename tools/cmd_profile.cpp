#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "engine/files.h"
#include "models/model.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/device_choice.h"
#include "tools/profile.h"

namespace cutis {
namespace {

struct Options {
    ProfileOptions profile;
    std::string device = "auto", trace;
    int threads = 0;
    bool unfused = false, json = false;
};

void run(const Options& options) {
    ProfileOptions profile = options.profile;
    require_within("--batch", profile.batch, 1, 65536);
    require_within("--size", profile.size, 1, 16384);
    require_within("--classes", profile.classes, 1, 100000);
    require_within("--lstm-hidden", profile.lstm_hidden, 1, 4096);
    require_within("--steps", profile.steps, 1, 10000);
    require_within("--warmup", profile.warmup, 1, 10000);
    use_threads(options.threads);
    profile.device = choose_device(options.device);
    profile.fused = !options.unfused;
    std::optional<AtomicFile> trace;  // before the work, so that a place that cannot be written costs no time
    if (!options.trace.empty()) {
        trace.emplace(options.trace);
    }
    const Profile result = profile_training(profile);
    say("{}", options.json ? profile_json(result) : profile_text(result));
    if (trace) {
        trace->write(chrome_trace(result));
        trace->commit();
        if (!options.json) {
            say("\n{}: open it in ui.perfetto.dev or chrome://tracing", options.trace);
        }
    }
}

}  // namespace

void add_profile_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("profile", "Time a training step, layer by layer, against what the machine can do");
    const auto options = std::make_shared<Options>();
    ProfileOptions& profile = options->profile;
    std::string models;
    for (const ModelEntry& entry : model_table()) {
        models += (models.empty() ? "" : ", ") + std::string(entry.name);
    }
    command->add_option("--model", profile.model, "Name of the model: " + models)->required();
    command->add_option("--batch", profile.batch, "Images of a step")->capture_default_str();
    command->add_option("--size", profile.size, "Side of the input in pixels")->capture_default_str();
    command->add_option("--classes", profile.classes, "Number of classes")->capture_default_str();
    command->add_option("--width", profile.width, "Width multiplier")->capture_default_str();
    add_lstm_hidden_option(*command, profile.lstm_hidden);
    add_device_option(*command, options->device);
    command
        ->add_option("--precision", profile.precision,
                     "fp32; on a GPU also tf32 (inputs of products rounded) and bf16 (mixed precision)")
        ->capture_default_str()
        ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
    command
        ->add_option("--backend", profile.backend,
                     "Whose kernels: native (ours), or vendor (oneDNN's on a CPU, cuDNN's on a GPU)")
        ->capture_default_str()
        ->check(CLI::IsMember({"native", "vendor"}));
    command->add_flag("--no-fuse", options->unfused,
                      "Op by op, without the fused schedule of convolution and batchnorm");
    command->add_option("--steps", profile.steps, "Steps to measure")->capture_default_str();
    command->add_option("--warmup", profile.warmup, "Steps before that")->capture_default_str();
    add_threads_option(*command, options->threads);
    command->add_option("--trace", options->trace, "JSON to write for Perfetto or chrome://tracing");
    command->add_flag("--json", options->json, "As JSON instead of tables");
    command->footer(examples({"cutis profile --model mobilenet_v2 --batch 32 --size 96",
                              "cutis profile --model mobilenet_v2 --batch 32 --no-fuse --trace step.json",
                              "cutis profile --model mobilenet_v2 --batch 256 --device cuda --precision bf16 --json"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
