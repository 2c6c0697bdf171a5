#include "tools/gpu_step.h"

#include <algorithm>
#include <cstring>

#include "engine/profiler.h"
#include "kernels/error.h"
#include "kernels/step_state.h"

namespace cutis {
namespace {

constexpr std::size_t kStagings = 2;    // one is filled while the other is copied
constexpr std::int64_t kHistory = 256;  // updates whose losses may wait

}  // namespace

GpuStep::GpuStep(Model& model, Optimizer& optimizer, Ema* ema, const LossOptions& loss, const GpuStepOptions& options)
    : model_(model), optimizer_(optimizer), ema_(ema), loss_(loss), options_(options), staging_(kStagings) {
    require(options.device.kind == DeviceKind::cuda, "gpu step: the device is {}", to_string(options.device));
    require(options.accumulate >= 1, "gpu step: {} accumulated batches", options.accumulate);
    if (loss_.class_weights) {
        loss_.class_weights = loss_.class_weights.to(options.device);
    }
    state_ = Tensor::empty({sizeof(StepState)}, DType::u8, options.device);
    losses_ = Tensor::zeros({options.accumulate}, DType::f32, options.device);
    history_ = Tensor::zeros({kHistory, options.accumulate}, DType::f32, options.device);
}

void GpuStep::copy_in(std::span<const Batch> batches, std::uint64_t step, double lr_factor) {
    const ProfileRange range("copy in");
    const Device device = options_.device;
    images_.resize(std::max(images_.size(), batches.size()));
    labels_.resize(images_.size());
    std::size_t bytes = sizeof(StepState);
    for (std::size_t i = 0; i < batches.size(); ++i) {
        const Batch& batch = batches[i];
        bytes += batch.images.bytes() + batch.labels.bytes();
        if (!images_[i] || images_[i].size(0) < batch.images.size(0)) {
            images_[i] = Tensor::empty(batch.images.shape(), DType::f32, device);
            labels_[i] = Tensor::empty(batch.labels.shape(), DType::i32, device);
            forget_graphs();  // they read the old places
        }
    }
    Staging& staging = staging_[next_staging_];
    next_staging_ = (next_staging_ + 1) % staging_.size();
    if (staging.used) {
        staging.copied.wait();
    }
    if (!staging.memory || staging.memory->bytes() < bytes) {
        staging.memory = std::make_unique<PinnedMemory>(bytes);
    }
    auto* at = static_cast<std::byte*>(staging.memory->data());
    const auto send = [&](void* to, const void* from, std::size_t count) {
        std::memcpy(at, from, count);
        copy_bytes(to, device, at, {}, count);
        at += count;
    };
    const StepState state{step, lr_factor, ema_ != nullptr ? ema_->next_decay() : 0.0f};
    send(state_.raw(), &state, sizeof state);
    for (std::size_t i = 0; i < batches.size(); ++i) {
        send(images_[i].raw(), batches[i].images.raw(), batches[i].images.bytes());
        send(labels_[i].raw(), batches[i].labels.raw(), batches[i].labels.bytes());
    }
    staging.copied.record(device);
    staging.used = true;
}

// Everything of an update that a graph can hold.
void GpuStep::run(std::span<const std::int64_t> sizes) {
    const auto* const state = static_cast<const StepState*>(state_.raw());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const ForwardContext context{.training = true,
                                     .seed = options_.seed,
                                     .step = i,
                                     .fused = options_.fused,
                                     .step_state = state,
                                     .step_stride = static_cast<std::uint64_t>(options_.accumulate)};
        Variable logits, loss;
        {
            const ProfileRange range("forward");
            const Tensor images = cast(images_[i].rows(0, sizes[i]), options_.activations);
            logits = model_.forward(Variable(images), context);
        }
        {
            const ProfileRange range("loss");
            loss = cross_entropy(logits, labels_[i].rows(0, sizes[i]), loss_);
            losses_.rows(static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1)
                .reshape({})
                .copy_from(std::as_const(loss).value());
        }
        const ProfileRange range("backward");
        loss.backward();
    }
    const ProfileRange range("optimizer");
    optimizer_.step_on_gpu(state, 1.0f / static_cast<float>(sizes.size()), options_.clip);
    optimizer_.clear_gradients();
    if (ema_ != nullptr) {
        ema_->update_on_gpu(state);
    }
}

void GpuStep::submit(std::span<const Batch> batches, std::uint64_t step, double lr_factor) {
    require(!batches.empty() && batches.size() <= static_cast<std::size_t>(options_.accumulate),
            "gpu step: {} batches of {}", batches.size(), options_.accumulate);
    require(waiting() < static_cast<std::size_t>(kHistory), "gpu step: {} losses wait to be taken", waiting());
    std::vector<std::int64_t> sizes;
    for (const Batch& batch : batches) {
        sizes.push_back(batch.images.size(0));
    }
    copy_in(batches, step, lr_factor);
    Plan& plan = plans_[sizes];
    // First kernel by kernel: libraries set themselves up at their first call, which must not happen while recording.
    if (!options_.graph || plan.runs == 0) {
        run(sizes);
    } else {
        if (!plan.graph) {
            plan.graph = std::make_unique<CudaGraph>(options_.device, [&] { run(sizes); });
        }
        plan.graph->launch();
        ++graph_launches_;
    }
    ++plan.runs;
    if (ema_ != nullptr) {
        ema_->set_updates(ema_->updates() + 1);
    }
    const auto row = static_cast<std::int64_t>(pending_.size());
    Tensor kept = history_.rows(row, row + 1).reshape({options_.accumulate});
    kept.copy_from(losses_);
    pending_.push_back(std::move(sizes));
}

std::vector<double> GpuStep::take_losses() {
    std::vector<double> means;
    if (pending_.empty()) {
        return means;
    }
    const Tensor losses = history_.rows(0, static_cast<std::int64_t>(pending_.size())).to(Device{});
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        double sum = 0.0, images = 0.0;
        for (std::size_t k = 0; k < pending_[i].size(); ++k) {
            const auto n = static_cast<double>(pending_[i][k]);
            const std::size_t index = i * static_cast<std::size_t>(options_.accumulate) + k;
            sum += n * static_cast<double>(losses.values()[index]);
            images += n;
        }
        means.push_back(sum / images);
    }
    pending_.clear();
    return means;
}

}  // namespace cutis
