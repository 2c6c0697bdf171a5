#include "tools/profile.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <tuple>
#include <utility>

#include "engine/on_device.h"
#include "engine/ops.h"
#include "kernels/error.h"
#include "kernels/philox.h"
#include "layers/optimizer.h"
#include "models/model.h"
#include "tools/device_choice.h"
#include "tools/gpu_step.h"
#include "tools/signals.h"

namespace cutis {
namespace {

constexpr float kLearningRate = 1e-3f;  // small: what is measured should not diverge
constexpr int kStepsAhead = 16;         // that are queued on a GPU before it is waited for

Batch random_batch(const ProfileOptions& options) {
    Batch batch;
    batch.images = Tensor::empty({options.batch, options.size, options.size, 3});
    batch.labels = Tensor::empty({options.batch}, DType::i32);
    PhiloxStream random(1, RandomPurpose::test);
    float* const pixels = batch.images.data();
    for (std::int64_t i = 0; i < batch.images.elements(); ++i) {
        pixels[i] = random.normal();
    }
    for (int i = 0; i < options.batch; ++i) {
        batch.labels.data<std::int32_t>()[i] = i % options.classes;
    }
    return batch;
}

// The step that is measured: on a GPU the very one of training.
class Step {
  public:
    explicit Step(const ProfileOptions& options)
        : options_(options),
          model_(make_model(options.model,
                            {.classes = options.classes, .width = options.width, .lstm_hidden = options.lstm_hidden})),
          batch_(random_batch(options)) {
        require(options.size >= model_->least_size(), "profile: {} takes images from {} px, not of {}", options.model,
                model_->least_size(), options.size);
        const Parts parts = model_->parts();
        parts.move_to(options.device);
        optimizer_.emplace(OptimizerConfig{.weight_decay = 1e-4f},
                           std::vector<Optimizer::Group>{{parts.parameters, kLearningRate}});
        if (options.device.kind == DeviceKind::cuda) {
            by_kernel_.emplace(*model_, *optimizer_, nullptr, LossOptions{}, gpu_options(false));
            as_graph_.emplace(*model_, *optimizer_, nullptr, LossOptions{}, gpu_options(true));
        }
    }

    /// Runs one, on a GPU only queues it.
    void run() {
        throw_if_stopped();
        if (by_kernel_) {
            by_kernel_->submit({&batch_, 1}, static_cast<std::uint64_t>(step_++), 1.0);
            return;
        }
        const ForwardContext context{
            .training = true, .step = static_cast<std::uint64_t>(step_++), .fused = options_.fused};
        TrainingOutput output;
        Variable loss;
        {
            const ProfileRange range("forward");
            output = model_->forward_training(Variable(batch_.images), context);
        }
        {
            const ProfileRange range("loss");
            loss = training_loss(output, batch_.labels);
        }
        {
            const ProfileRange range("backward");
            loss.backward();
        }
        const ProfileRange range("optimizer");
        optimizer_->step(1.0);
        optimizer_->clear_gradients();
    }

    /// Queues one on a GPU as a single launch, as training does and as no range can look into.
    void run_graph() {
        throw_if_stopped();
        as_graph_->submit({&batch_, 1}, static_cast<std::uint64_t>(step_++), 1.0);
    }

    /// Until everything queued has run.
    void wait() {
        if (by_kernel_) {
            by_kernel_->take_losses();
            as_graph_->take_losses();
        }
        synchronize(options_.device);
    }

  private:
    GpuStepOptions gpu_options(bool graph) const {
        return {.device = options_.device,
                .activations = options_.precision == "bf16" ? DType::bf16 : DType::f32,
                .graph = graph,
                .fused = options_.fused};
    }

    ProfileOptions options_;
    std::unique_ptr<Model> model_;
    Batch batch_;
    std::optional<Optimizer> optimizer_;
    std::optional<GpuStep> by_kernel_, as_graph_;
    std::int64_t step_ = 0;
};

double seconds_of(const ProfiledRange& range) {
    return static_cast<double>(range.duration_ns()) * 1e-9;
}

// Each begins with a range that lies in none.
std::vector<std::vector<ProfiledRange>> split_steps(std::vector<ProfiledRange> ranges) {
    std::vector<std::vector<ProfiledRange>> steps;
    int first = 0;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        if (ranges[i].parent < 0) {
            first = static_cast<int>(i);
            steps.emplace_back();
        } else {
            ranges[i].parent -= first;
        }
        steps.back().push_back(std::move(ranges[i]));
    }
    return steps;
}

std::vector<std::vector<ProfiledRange>> watch(Step& step, const ProfileOptions& options, bool graph) {
    std::vector<std::vector<ProfiledRange>> steps;
    Profiler profiler(options.device);
    for (int i = 0; i < options.steps; ++i) {
        {
            const ProfileRange range("step");
            graph ? step.run_graph() : step.run();
        }
        if ((i + 1) % kStepsAhead == 0 || i + 1 == options.steps) {
            step.wait();
            std::vector<std::vector<ProfiledRange>> taken = split_steps(profiler.take());
            std::move(taken.begin(), taken.end(), std::back_inserter(steps));
        }
    }
    return steps;
}

// Seconds of steps as training runs them: on the CPU without a profiler, on a GPU as one graph, whose ends are all that
// it looks at.
Spread time_unwatched(Step& step, const ProfileOptions& options) {
    using Clock = std::chrono::steady_clock;
    std::vector<double> seconds;
    if (options.device.kind == DeviceKind::cpu) {
        for (int i = 0; i < options.steps; ++i) {
            const Clock::time_point begin = Clock::now();
            step.run();
            seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
        }
        return spread_of(std::move(seconds));
    }
    for (int i = 0; i < 2; ++i) {  // the second one records the graph
        step.run_graph();
    }
    step.wait();
    for (const std::vector<ProfiledRange>& ranges : watch(step, options, true)) {
        seconds.push_back(seconds_of(ranges.front()));
    }
    return spread_of(std::move(seconds));
}

}  // namespace

Spread spread_of(std::vector<double> values) {
    require(!values.empty(), "profile: no step was measured");
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    return {median, values.front(), values.back()};
}

std::vector<ProfileRow> profile_rows(const std::vector<std::vector<ProfiledRange>>& steps, bool by_layer,
                                     Spread* accounted) {
    std::vector<ProfileRow> rows;
    std::vector<std::vector<double>> times;  // by row and step
    std::map<std::tuple<std::string, std::string, std::string>, std::size_t> known;
    std::vector<double> in_ranges(steps.size());
    for (std::size_t s = 0; s < steps.size(); ++s) {
        const std::vector<ProfiledRange>& ranges = steps[s];
        std::vector<std::int64_t> own(ranges.size());  // nanoseconds outside of the ranges within
        std::vector<int> phase(ranges.size(), 0), inner(ranges.size(), 0);
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            own[i] += ranges[i].duration_ns();
            if (ranges[i].parent >= 0) {
                const auto parent = static_cast<std::size_t>(ranges[i].parent);
                own[parent] -= ranges[i].duration_ns();
                ++inner[parent];
                phase[i] = parent == 0 ? static_cast<int>(i) : phase[parent];
            }
        }
        for (std::size_t i = 0; i < ranges.size(); ++i) {
            const ProfiledRange& range = ranges[i];
            const bool rest = static_cast<std::size_t>(phase[i]) == i && inner[i] > 0;  // a phase, or the step
            const std::string& phase_name = ranges[static_cast<std::size_t>(phase[i])].name;
            const std::string op = rest ? std::string(kRest) : range.name;
            const std::string layer = by_layer ? range.layer : std::string();
            const auto [found, fresh] = known.try_emplace({phase_name, layer, op}, rows.size());
            if (fresh) {
                rows.push_back({phase_name, layer, op});
                times.emplace_back(steps.size());
            }
            ProfileRow& row = rows[found->second];
            row.calls += s == 0;
            row.flops += s == 0 ? range.flops : 0;
            row.bytes += s == 0 ? range.bytes : 0;
            const double seconds = static_cast<double>(own[i]) * 1e-9;
            times[found->second][s] += seconds;
            in_ranges[s] += rest ? 0 : seconds;
        }
    }
    for (std::size_t r = 0; r < rows.size(); ++r) {
        rows[r].seconds = spread_of(times[r]);
    }
    if (accounted != nullptr) {
        *accounted = spread_of(in_ranges);
    }
    return rows;
}

Profile profile_training(const ProfileOptions& options) {
    require_precision(options.precision, options.device);
    const BackendScope kernels(choose_backend(options.backend, options.device));
    Profile profile;
    profile.options = options;
    Step step(options);
    profile.ceilings = measure_ceilings(options.device, options.precision);
    const MatrixPrecision before = matrix_precision();
    set_matrix_precision(options.precision == "tf32" ? MatrixPrecision::tf32 : MatrixPrecision::fp32);
    for (int i = 0; i < options.warmup; ++i) {
        step.run();
    }
    step.wait();
    profile.steps = watch(step, options, false);
    profile.unwatched = time_unwatched(step, options);
    set_matrix_precision(before);

    std::vector<double> seconds;
    for (const std::vector<ProfiledRange>& ranges : profile.steps) {
        seconds.push_back(seconds_of(ranges.front()));
    }
    profile.step = spread_of(seconds);
    profile.rows = profile_rows(profile.steps, true, &profile.accounted);
    profile.by_op = profile_rows(profile.steps, false, nullptr);
    std::stable_sort(profile.by_op.begin(), profile.by_op.end(),
                     [](const ProfileRow& a, const ProfileRow& b) { return a.seconds.median > b.seconds.median; });
    return profile;
}

}  // namespace cutis
