#include "bench/training_step.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/loader.h"
#include "engine/on_device.h"
#include "engine/ops.h"
#include "kernels/philox.h"
#include "layers/optimizer.h"
#include "models/model.h"
#include "tools/device_choice.h"
#include "tools/gpu_step.h"

namespace cutis::bench {
namespace {

Batch random_batch(const StepOptions& options) {
    Batch batch;
    batch.images = Tensor::empty({options.batch, options.size, options.size, 3});
    batch.labels = Tensor::empty({options.batch}, DType::i32);
    PhiloxStream random(1, RandomPurpose::test);
    for (std::int64_t i = 0; i < batch.images.elements(); ++i) {
        batch.images.data()[i] = random.normal();
    }
    for (int i = 0; i < options.batch; ++i) {
        batch.labels.data<std::int32_t>()[i] = i % 7;
    }
    return batch;
}

class Step : public TrainingStep {
  public:
    explicit Step(const StepOptions& chosen)
        : options(chosen), model(make_model(chosen.model, {.width = chosen.width})), batch(random_batch(chosen)) {
        model->parts().move_to(options.device);
        optimizer.emplace(OptimizerConfig{.momentum = 0.9f, .weight_decay = 1e-4f},
                          std::vector<Optimizer::Group>{{model->parts().parameters, 0.01f}});
    }

    double flops() const override {
        double macs = 0;
        for (const LayerSummary& layer : model->summarize(options.size)) {
            macs += static_cast<double>(layer.macs);
        }
        return 6.0 * macs * options.batch;
    }

    StepOptions options;
    std::unique_ptr<Model> model;
    Batch batch;
    std::optional<Optimizer> optimizer;
};

class CpuStep final : public Step {
  public:
    explicit CpuStep(const StepOptions& chosen) : Step(chosen) {
        context_.training = true;
        context_.fused = options.fused;
    }

    void run() override {
        const BackendScope kernels(options.backend);
        Variable loss = training_loss(model->forward_training(Variable(batch.images), context_), batch.labels);
        loss.backward();
        optimizer->step(1.0);
        optimizer->clear_gradients();
        ++context_.step;
    }

  private:
    ForwardContext context_;
};

class OnGpu final : public Step {
  public:
    explicit OnGpu(const StepOptions& chosen)
        : Step(chosen),
          step_(*model, *optimizer, nullptr, {},
                {.device = options.device,
                 .activations = options.precision == "bf16" ? DType::bf16 : DType::f32,
                 .fused = options.fused}) {}

    void run() override {
        const BackendScope kernels(options.backend);
        set_matrix_precision(options.precision == "tf32" ? MatrixPrecision::tf32 : MatrixPrecision::fp32);
        step_.submit({&batch, 1}, number_++, 1.0);
        step_.take_losses();
    }

  private:
    GpuStep step_;
    std::uint64_t number_ = 0;
};

}  // namespace

std::unique_ptr<TrainingStep> make_training_step(const StepOptions& options) {
    require_precision(options.precision, options.device);
    if (options.device.kind == DeviceKind::cuda) {
        return std::make_unique<OnGpu>(options);
    }
    return std::make_unique<CpuStep>(options);
}

}  // namespace cutis::bench
