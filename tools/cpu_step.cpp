#include "tools/cpu_step.h"

#include <cmath>
#include <utility>

#include "engine/profiler.h"
#include "kernels/error.h"

namespace cutis {

double CpuStep::update(std::span<const Batch> batches, std::int64_t step, double lr_factor) {
    double loss_sum = 0.0, images = 0.0;
    for (std::size_t i = 0; i < batches.size(); ++i) {
        const Batch& batch = batches[i];
        // The number keeps dropout masks of accumulated batches apart.
        const auto micro = static_cast<std::uint64_t>(step) * static_cast<std::uint64_t>(options_.accumulate) + i;
        const ForwardContext context{.training = true, .seed = options_.seed, .step = micro, .fused = options_.fused};
        TrainingOutput output;
        Variable loss;
        {
            const ProfileRange range("forward");
            output = model_.forward_training(Variable(batch.images), context);
        }
        {
            const ProfileRange range("loss");
            loss = training_loss(output, batch.labels, loss_);
        }
        const double value = *std::as_const(loss).value().data();
        require_finite_loss(step + 1, value);
        {
            const ProfileRange range("backward");
            loss.backward();
        }
        const auto n = static_cast<double>(batch.images.size(0));
        loss_sum += value * n;
        images += n;
    }
    const ProfileRange range("optimizer");
    if (batches.size() > 1) {
        optimizer_.scale_gradients(1.0f / static_cast<float>(batches.size()));
    }
    if (options_.clip > 0.0) {
        optimizer_.clip_gradients(options_.clip);
    }
    optimizer_.step(lr_factor);
    optimizer_.clear_gradients();
    if (ema_ != nullptr) {
        ema_->update();
    }
    return loss_sum / images;
}

void require_finite_loss(std::int64_t step, double loss) {
    require(std::isfinite(loss), "step {}: the loss is {}; lower --lr, or add --warmup or --clip-grad", step, loss);
}

}  // namespace cutis
