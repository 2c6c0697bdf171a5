#include "tools/gpu_step.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "engine/on_device.h"
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
    inputs_.resize(std::max(inputs_.size(), batches.size()));
    // For each part of each batch, where it is and where it goes.
    struct Part {
        Tensor* to;
        const void* from;
        Shape shape;
        DType dtype;
    };
    std::vector<Part> parts;
    for (std::size_t i = 0; i < batches.size(); ++i) {
        const Batch& batch = batches[i];
        Input& input = inputs_[i];
        const auto add = [&](Tensor& to, const Tensor& from) {
            if (from) {
                parts.push_back({&to, from.raw(), from.shape(), from.dtype()});
            }
        };
        add(input.labels, batch.labels);
        add(input.images, batch.images);
        add(input.bytes, batch.bytes);
        if (!batch.samples.empty()) {
            const Shape records{batch.size(), sizeof(AugmentSample)};
            parts.push_back({&input.samples, batch.samples.data(), records, DType::u8});
        }
    }
    std::size_t bytes = sizeof(StepState);
    for (const Part& part : parts) {
        bytes += static_cast<std::size_t>(part.shape.elements()) * dtype_size(part.dtype);
        if (!*part.to || part.to->size(0) < part.shape[0]) {
            *part.to = Tensor::empty(part.shape, part.dtype, device);
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
    for (const Part& part : parts) {
        send(part.to->raw(), part.from, static_cast<std::size_t>(part.shape.elements()) * dtype_size(part.dtype));
    }
    staging.copied.record(device);
    staging.used = true;
}

// The first n images of a batch, in the network's type.
Tensor GpuStep::images_of(const Input& input, std::int64_t n) const {
    if (!input.samples) {
        return cast(input.images.rows(0, n), options_.activations);
    }
    const GpuImages& make = options_.images;
    Tensor images = Tensor::empty({n, make.size, make.size, 3}, options_.activations, options_.device);
    const std::uint8_t* const bytes =
        make.resident != nullptr ? make.resident->data() : std::as_const(input.bytes).data<std::uint8_t>();
    const auto* const samples = static_cast<const AugmentSample*>(input.samples.raw());
    const ProfileRange range("augment");
    by_type(options_.activations, [&]<class T>() {
        on::augment(options_.device, images.data<T>(), bytes, samples, make.look, make.contrast, static_cast<int>(n),
                    make.size);
    });
    return images;
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
        TrainingOutput output;
        Variable loss;
        {
            const ProfileRange range("forward");
            output = model_.forward_training(Variable(images_of(inputs_[i], sizes[i])), context);
        }
        {
            const ProfileRange range("loss");
            loss = training_loss(output, inputs_[i].labels.rows(0, sizes[i]), loss_);
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
        require(batch.images || (!batch.samples.empty() && options_.images.size > 0),
                "gpu step: a batch without images, and no word on how to make them");
        sizes.push_back(batch.size());
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
