#include "tools/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/files.h"
#include "engine/json.h"
#include "engine/loader.h"
#include "engine/on_device.h"
#include "engine/ops.h"
#include "engine/packed_dataset.h"
#include "engine/profiler.h"
#include "engine/resident_images.h"
#include "engine/sampler.h"
#include "kernels/error.h"
#include "kernels/parallel.h"
#include "layers/ema.h"
#include "layers/optimizer.h"
#include "models/weights.h"
#include "tools/build_info.h"
#include "tools/console.h"
#include "tools/cpu_step.h"
#include "tools/device_choice.h"
#include "tools/evaluation.h"
#include "tools/figure_text.h"
#include "tools/gpu_step.h"
#include "tools/inference.h"
#include "tools/name_patterns.h"
#include "tools/output_files.h"
#include "tools/progress.h"
#include "tools/run_data.h"
#include "tools/run_log.h"
#include "tools/run_report.h"
#include "tools/signals.h"
#include "tools/train_position.h"
#include "tools/train_rules.h"
#include "tools/train_setup.h"

namespace cutis {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What a weights file states of itself, or of the weights that it began from.
std::string stated(const SafetensorsFile& weights, const std::string& key) {
    const auto& metadata = weights.metadata();
    const auto own = metadata.find(key);
    const auto found = own != metadata.end() ? own : metadata.find("init_" + key);
    return found == metadata.end() ? std::string() : found->second;
}

// The averaged weights stand in the model for the scope's life.
class AveragedWeights {
  public:
    explicit AveragedWeights(std::optional<Ema>& ema) : ema_(ema) { swap(); }
    ~AveragedWeights() { swap(); }
    AveragedWeights(const AveragedWeights&) = delete;
    AveragedWeights& operator=(const AveragedWeights&) = delete;

  private:
    void swap() {
        if (ema_) {
            ema_->swap();
        }
    }
    std::optional<Ema>& ema_;
};

class Training {
  public:
    Training(const TrainConfig& config, bool resume, StopCondition should_stop);
    TrainEnd run();

  private:
    void load_initial_weights();
    void freeze();
    void plan();
    /// Puts the training images into the GPU's memory where they fit, or --resident on says so.
    void keep_images_resident();
    GpuImages gpu_images() const;
    void restore();

    /// One update from `accumulate` batches, fewer at the end of an epoch; false when the epoch is over.
    bool update();
    std::optional<Batch> next_batch();
    /// Takes note of a finished update's loss, in the order of updates.
    void record_loss(std::int64_t step, double loss, std::int64_t images);
    /// Waits for the GPU and takes note of what it has done.
    void drain_gpu();
    void end_epoch(double seconds, std::int64_t images);
    void save_checkpoint();
    void save_best();
    TrainEnd finish(TrainEnd end);
    ExtraTensors extra_tensors() const;
    Predictions predict(std::span<const int> indices);

    TrainEnd interrupted();

    Run run_;
    bool resume_;
    StopCondition should_stop_;
    PackedDataset data_;
    Split split_;
    std::unique_ptr<Model> model_;
    Parts parts_;
    std::vector<Variable> frozen_;
    std::optional<Optimizer> optimizer_;
    std::optional<Ema> ema_;
    Device device_;
    std::optional<ResidentImages> resident_;
    std::optional<CpuStep> cpu_;  // or
    std::optional<GpuStep> gpu_;
    std::vector<std::int64_t> waiting_images_;  ///< of the updates whose losses wait
    Schedule schedule_;
    LossOptions loss_;
    std::vector<int> labels_;
    std::optional<Loader> loader_;
    TrainPosition at_;
    std::optional<RunLog> log_;
    std::optional<Progress> progress_;
    std::int64_t images_total_ = 0;
    double last_loss_ = std::numeric_limits<double>::quiet_NaN();
};

Training::Training(const TrainConfig& config, bool resume, StopCondition should_stop)
    : resume_(resume), should_stop_(std::move(should_stop)), data_(open_data(config, config.data)) {
    run_.folder = std::filesystem::path(config.out);
    run_.config = config;
    if (resume) {
        run_ = open_run(run_.folder);
        require(run_.facts.data_checksum == data_.checksum(),
                "resume: {} has checksum {}, the run was trained on {}; give the same data set", config.data,
                data_.checksum(), run_.facts.data_checksum);
    }
    if (run_.config.threads > 0) {
        set_thread_count(run_.config.threads);
    }
    split_ = split_of(run_.config, data_);
    for (const std::string& notice : split_.notices) {
        say("note: {}", notice);
    }
    for (const Sample& sample : data_.samples()) {
        labels_.push_back(sample.label);
    }
    const std::vector<std::string> trained = trained_classes(run_.config, data_);
    const int data_classes = static_cast<int>(trained.size());
    const int classes = run_.config.classes > 0 ? run_.config.classes : data_classes;
    require(classes >= data_classes, "train: --classes {} but the data set has {} classes", classes, data_classes);
    require(!split_.train.empty(), "train: the training part is empty ({})", split_.description);

    RunFacts& facts = run_.facts;
    if (!resume) {
        facts.class_names = trained;
        for (int i = data_classes; i < classes; ++i) {
            facts.class_names.push_back(fmt::format("class_{}", i));
        }
        facts.size = run_.config.size > 0 ? run_.config.size : data_.image_size();
        facts.data_checksum = data_.checksum();
        facts.split_description = split_.description;
        facts.leaky = split_.leaky;
        fill_build_facts(facts);
        facts.threads = thread_count();
    }
    model_ = make_run_model(run_);
    parts_ = model_->parts();
    facts.parameters = model_->parameter_count();
    load_initial_weights();
    device_ = choose_device(run_.config.device);
    set_backend(choose_backend(run_.config.backend, device_));
    set_matrix_precision(run_.config.precision == "tf32" ? MatrixPrecision::tf32 : MatrixPrecision::fp32);
    parts_.move_to(device_);
    freeze();
    plan();
    if (resume) {
        restore();
    }
}

void Training::load_initial_weights() {
    InputSettings input{run_.facts.size, kImageNetMean, kImageNetStd};
    if (!run_.config.init.empty() && !resume_) {
        const SafetensorsFile file(std::filesystem::path(run_.config.init));
        const LoadReport report = load_weights(*model_, file, true);
        const std::string notice = report.notice();
        say("weights: {} tensors from {}{}{}", report.matched, run_.config.init, notice.empty() ? "" : "; ", notice);
        input = input_settings(file, *model_);
        if (run_.config.mean.empty() && run_.config.std.empty()) {
            say("images: {}", normalisation_text(file, input));
        }
        run_.facts.init_license = stated(file, "license");
        run_.facts.init_source = stated(file, "source");
    }
    if (!resume_) {
        const auto choose = [](const std::vector<float>& given, const std::array<float, 3>& otherwise) {
            return given.size() == 3 ? std::array<float, 3>{given[0], given[1], given[2]} : otherwise;
        };
        run_.facts.mean = choose(run_.config.mean, input.mean);
        run_.facts.std = choose(run_.config.std, input.std);
    }
}

void Training::freeze() {
    check_patterns(run_.config, parts_.parameters);
    const std::vector<std::string> patterns = parse_patterns("--freeze", run_.config.freeze);
    for (ParameterRef& parameter : parts_.parameters) {
        if (std::any_of(patterns.begin(), patterns.end(),
                        [&](const std::string& pattern) { return matches_pattern(pattern, parameter.name); })) {
            parameter.variable.set_requires_grad(false);
            frozen_.push_back(parameter.variable);
        }
    }
    if (!patterns.empty()) {
        say("frozen: {} of {} parameter tensors", frozen_.size(), parts_.parameters.size());
    }
}

void Training::plan() {
    const TrainConfig& config = run_.config;
    RunFacts& facts = run_.facts;
    const auto images = static_cast<std::int64_t>(split_.train.size());
    const std::int64_t batches = (images + config.batch_size - 1) / config.batch_size;
    facts.steps_per_epoch = (batches + config.accumulate - 1) / config.accumulate;
    facts.total_steps = config.steps > 0 ? config.steps : facts.steps_per_epoch * config.epochs;
    const std::int64_t whole_epochs = facts.total_steps / facts.steps_per_epoch;
    images_total_ = whole_epochs * images +
                    std::min(images, facts.total_steps % facts.steps_per_epoch * config.batch_size * config.accumulate);

    schedule_ = schedule_of(config, facts.total_steps);
    optimizer_.emplace(optimizer_config(config), learning_rates(config, *model_, parts_.parameters));
    if (config.ema > 0.0f) {
        ema_.emplace(parts_, config.ema);
    }

    std::vector<std::int64_t> counts = class_counts(data_, split_.train);
    counts.resize(facts.class_names.size(), 0);
    loss_ = loss_options(config, counts);
    if (device_.kind == DeviceKind::cuda) {
        keep_images_resident();
        gpu_.emplace(*model_, *optimizer_, ema_ ? &*ema_ : nullptr, loss_,
                     GpuStepOptions{.device = device_,
                                    .activations = config.precision == "bf16" ? DType::bf16 : DType::f32,
                                    .graph = config.graph,
                                    .fused = config.fused,
                                    .seed = config.seed,
                                    .accumulate = config.accumulate,
                                    .clip = config.clip_grad,
                                    .images = gpu_images()});
    } else {
        cpu_.emplace(*model_, *optimizer_, ema_ ? &*ema_ : nullptr, loss_,
                     CpuStepOptions{.fused = config.fused,
                                    .seed = config.seed,
                                    .accumulate = config.accumulate,
                                    .clip = static_cast<double>(config.clip_grad)});
    }

    LoaderOptions loader = loader_options(run_);
    loader.on_gpu = gpu_.has_value();
    loader.resident = resident_ ? &*resident_ : nullptr;
    loader_.emplace(data_, loader);
}

void Training::keep_images_resident() {
    const std::string& wish = run_.config.resident;
    const std::size_t bytes = ResidentImages::bytes_needed(data_, split_.train.size(), run_.facts.size);
    const std::size_t free = cuda_device_info(device_.index).free_memory;
    // Half of what is free stays for activations.
    if (wish == "off" || (wish == "auto" && bytes > free / 2)) {
        say("training images: sent to the GPU step by step{}",
            wish == "off" ? std::string()
                          : fmt::format("; as a whole they are {}, and {} of its memory are free",
                                        bytes_text(double(bytes)), bytes_text(double(free))));
        return;
    }
    resident_.emplace(data_, split_.train, run_.facts.size, device_);
    say("training images: {} in the GPU's memory", bytes_text(double(resident_->bytes())));
}

GpuImages Training::gpu_images() const {
    GpuImages images;
    images.size = run_.facts.size;
    std::copy(run_.facts.mean.begin(), run_.facts.mean.end(), images.look.mean);
    std::copy(run_.facts.std.begin(), run_.facts.std.end(), images.look.std);
    std::copy(run_.config.augmentation.fill.begin(), run_.config.augmentation.fill.end(), images.look.fill);
    images.contrast = run_.config.augmentation.contrast > 0.0f;
    images.resident = resident_ ? &*resident_ : nullptr;
    return images;
}

void Training::restore() {
    const SafetensorsFile file(run_.file("checkpoint.safetensors"));
    load_checkpoint(file, parts_, extra_tensors());
    at_ = TrainPosition::from(file);
    if (ema_) {
        ema_->set_updates(at_.ema_updates);
    }
}

ExtraTensors Training::extra_tensors() const {
    ExtraTensors extra = optimizer_->state();
    if (ema_) {
        const std::vector<BufferRef> averages = ema_->state();
        extra.insert(extra.end(), averages.begin(), averages.end());
    }
    return extra;
}

void Training::save_checkpoint() {
    drain_gpu();
    const ProfileRange range("checkpoint");
    at_.ema_updates = ema_ ? ema_->updates() : 0;
    save_weights(run_.file("checkpoint.safetensors"), parts_, extra_tensors(), at_.metadata());
}

void Training::save_best() {
    std::map<std::string, std::string> metadata{{"format", "pt"},
                                                {"model", run_.config.model},
                                                {"epoch", std::to_string(at_.epoch)},
                                                {"step", std::to_string(at_.step)},
                                                {"size", std::to_string(run_.facts.size)}};
    metadata["mean"] = three_text(run_.facts.mean);
    metadata["std"] = three_text(run_.facts.std);
    for (const auto& [key, fact] :
         {std::pair{"init_license", &run_.facts.init_license}, {"init_source", &run_.facts.init_source}}) {
        if (!fact->empty()) {
            metadata[key] = *fact;
        }
    }
    if (at_.best_epoch > 0) {
        metadata["val_balanced_accuracy"] = fmt::format("{}", at_.best_score);
    }
    save_weights(run_.file("best.safetensors"), parts_, {}, metadata);
}

void Training::record_loss(std::int64_t step, double loss, std::int64_t images) {
    require_finite_loss(step, loss);
    at_.loss_sum += loss * static_cast<double>(images);
    at_.loss_images += images;
    last_loss_ = loss;
    if (step % run_.config.log_every == 0) {
        log_->step(step, loss, static_cast<double>(run_.config.lr) * schedule_.factor(step - 1));
    }
}

void Training::drain_gpu() {
    if (!gpu_) {
        return;
    }
    const ProfileRange range("wait for the GPU");
    const std::vector<double> losses = gpu_->take_losses();
    for (std::size_t i = 0; i < losses.size(); ++i) {
        record_loss(at_.step - static_cast<std::int64_t>(losses.size() - i - 1), losses[i], waiting_images_[i]);
    }
    waiting_images_.clear();
}

std::optional<Batch> Training::next_batch() {
    const ProfileRange range("data wait");
    return loader_->next();
}

bool Training::update() {
    if (!frozen_.empty() && run_.config.freeze_steps > 0 && at_.step >= run_.config.freeze_steps) {
        for (Variable& variable : frozen_) {
            variable.set_requires_grad(true);
        }
        if (gpu_) {
            gpu_->forget_graphs();
        }
        say("step {}: everything trains now", at_.step + 1);
        frozen_.clear();
    }
    std::vector<Batch> batches;
    std::int64_t images = 0;
    while (batches.size() < static_cast<std::size_t>(run_.config.accumulate)) {
        std::optional<Batch> batch = next_batch();
        if (!batch) {
            break;
        }
        images += batch->size();
        batches.push_back(std::move(*batch));
    }
    if (batches.empty()) {
        return false;
    }
    const ProfileRange range("step");
    const double factor = schedule_.factor(at_.step);
    if (gpu_) {
        gpu_->submit(batches, static_cast<std::uint64_t>(at_.step), factor);
        waiting_images_.push_back(images);
        ++at_.step;
    } else {
        const double loss = cpu_->update(batches, at_.step, factor);
        ++at_.step;
        record_loss(at_.step, loss, images);
    }
    at_.batch += static_cast<std::int64_t>(batches.size());
    // Now and then the host waits for the GPU, to show the loss and to notice when it is no number any more; and once
    // at the start, so that there is a loss to show.
    constexpr std::size_t kUpdatesAhead = 32;
    if (gpu_ && (std::isnan(last_loss_) || gpu_->waiting() >= kUpdatesAhead)) {
        drain_gpu();
    }
    return true;
}

Predictions Training::predict(std::span<const int> indices) {
    const ProfileRange range("evaluation");
    const InputSettings input{run_.facts.size, run_.facts.mean, run_.facts.std};
    return predict_dataset(*model_, data_, indices, input, run_.config.batch_size);
}

void Training::end_epoch(double seconds, std::int64_t images) {
    drain_gpu();
    EpochRecord record;
    record.epoch = at_.epoch + 1;
    record.step = at_.step;
    record.train_loss = at_.loss_sum / static_cast<double>(std::max<std::int64_t>(1, at_.loss_images));
    record.lr = static_cast<double>(run_.config.lr) * schedule_.factor(at_.step - 1);
    record.images_per_second = seconds > 0.0 ? static_cast<double>(images) / seconds : 0.0;
    bool better = split_.val.empty();
    {
        const AveragedWeights averaged(ema_);
        if (!split_.val.empty()) {
            // A stop signal ends this with an exception: until it is done, nothing of the run's position has moved.
            const Metrics metrics = compute_metrics(predict(split_.val));
            record.val_loss = metrics.nll;
            record.val_accuracy = metrics.accuracy;
            record.val_balanced_accuracy = metrics.balanced_accuracy;
            better = at_.best_epoch == 0 || metrics.balanced_accuracy > at_.best_score ||
                     (metrics.balanced_accuracy == at_.best_score && metrics.nll < at_.best_loss);
            if (better) {
                at_.best_score = metrics.balanced_accuracy;
                at_.best_loss = metrics.nll;
                at_.best_epoch = record.epoch;
            }
        }
        at_.epoch = record.epoch;
        if (better) {
            save_best();
        }
    }
    at_.batch = 0;
    at_.loss_sum = 0.0;
    at_.loss_images = 0;
    log_->epoch(record);
    save_checkpoint();
    std::string line = fmt::format("epoch {:>3}  loss {:.4f}", at_.epoch, record.train_loss);
    if (!split_.val.empty()) {
        line += fmt::format("  val loss {:.4f}  accuracy {:.3f}  balanced accuracy {:.3f}{}{}", record.val_loss,
                            record.val_accuracy, record.val_balanced_accuracy, better ? " *" : "",
                            split_.leaky ? " (leaky split)" : "");
    }
    progress_->note(line + fmt::format("  {:.1f} images/s", record.images_per_second));
}

TrainEnd Training::interrupted() {
    save_checkpoint();
    log_->flush();
    progress_->finish();
    say("saved step {} to {}; go on with: cutis train --resume --out {}", grouped_digits(at_.step),
        run_.file("checkpoint.safetensors").string(), run_.config.out);
    return TrainEnd::interrupted;
}

TrainEnd Training::run() {
    make_out_folder(run_.folder);
    save_run(run_);
    log_.emplace(run_.folder, at_.step, at_.epoch);
    const TrainConfig& config = run_.config;
    say("{}: {} parameters; {}", config.model, grouped_digits(run_.facts.parameters), split_.description);
    if (split_.leaky) {
        warn("this split shares lesions between training and test: its figures say nothing about new patients");
    }
    if (device_.kind == DeviceKind::cuda) {
        say("device {}: {}, {}{}", to_string(device_), cuda_device_info(device_.index).name, config.precision,
            config.graph ? "" : ", kernel by kernel");
    }
    say("{} steps of {} images at {} px, {} per epoch; {} kernel threads", grouped_digits(run_.facts.total_steps),
        config.batch_size * config.accumulate, run_.facts.size, grouped_digits(run_.facts.steps_per_epoch),
        thread_count());
    if (resume_) {
        say("resumed behind step {} (epoch {})", grouped_digits(at_.step), at_.epoch + 1);
    } else {
        save_checkpoint();
    }
    const auto images = static_cast<std::int64_t>(split_.train.size());
    const auto images_done = [&] {
        return std::min(images_total_, at_.epoch * images + at_.batch * config.batch_size);
    };
    progress_.emplace("train", images_total_, "images", images_done());
    const Order order = order_named(config.order);
    while (at_.step < run_.facts.total_steps) {
        if (config.early_stop > 0 && at_.best_epoch > 0 && at_.epoch - at_.best_epoch >= config.early_stop) {
            progress_->finish();
            say("stopped early: {} epochs without a better validation figure", config.early_stop);
            return finish(TrainEnd::stopped_early);
        }
        const auto epoch = static_cast<std::uint32_t>(at_.epoch);
        loader_->start(
            epoch_order(order, split_.train, labels_, static_cast<int>(data_.class_names().size()), config.seed, epoch),
            epoch, at_.batch);
        const Clock::time_point begin = Clock::now();
        const std::int64_t first_batch = at_.batch;
        while (at_.step < run_.facts.total_steps && update()) {
            progress_->update(images_done(), fmt::format("epoch {}  loss {:.4f}", at_.epoch + 1, last_loss_));
            if (should_stop_(at_.step)) {
                return interrupted();
            }
        }
        const std::int64_t seen = std::min(images, at_.batch * config.batch_size) - first_batch * config.batch_size;
        try {
            end_epoch(seconds_since(begin), std::max<std::int64_t>(0, seen));
        } catch (const Stopped&) {
            return interrupted();
        }
    }
    progress_->finish();
    return finish(TrainEnd::finished);
}

TrainEnd Training::finish(TrainEnd end) {
    const SafetensorsFile best(run_.file("best.safetensors"));
    load_checkpoint(best, parts_, {});
    nlohmann::json final = {{"kind", "final"}, {"step", at_.step}, {"epochs", at_.epoch}};
    if (at_.best_epoch > 0) {
        final["best_epoch"] = at_.best_epoch;
        final["best_val_balanced_accuracy"] = at_.best_score;
    }
    for (const auto& [name, indices] : {std::pair{"val", &split_.val}, std::pair{"test", &split_.test}}) {
        if (indices->empty()) {
            continue;
        }
        const Evaluation evaluation = judge(name, predict(*indices), split_.leaky);
        write_predictions_csv(run_.folder / fmt::format("predictions_{}.csv", name), evaluation.predictions);
        write_file_atomically(run_.folder / fmt::format("evaluation_{}.json", name), metrics_to_json(evaluation));
        final[name] = {{"accuracy", evaluation.metrics.accuracy},
                       {"balanced_accuracy", evaluation.metrics.balanced_accuracy},
                       {"macro_f1", evaluation.metrics.macro_f1}};
        say("{}: {}{}", name, headline_text(evaluation), split_.leaky ? " (leaky split)" : "");
    }
    log_->final(final);
    write_run_report(run_, data_.path());
    say("report: {}", run_.file("report.html").string());
    return end;
}

}  // namespace

TrainEnd train(const TrainConfig& config, bool resume, StopCondition should_stop) {
    if (!should_stop) {
        should_stop = [](std::int64_t) { return stop_signal() != 0; };
    }
    return Training(config, resume, std::move(should_stop)).run();
}

}  // namespace cutis
