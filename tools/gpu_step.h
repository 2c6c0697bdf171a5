#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/cuda_device.h"
#include "engine/loader.h"
#include "engine/ops.h"
#include "layers/ema.h"
#include "layers/optimizer.h"
#include "models/model.h"

namespace cutis {

/// How a GPU makes the images of batches that come with samples in their place (LoaderOptions::on_gpu).
struct GpuImages {
    int size = 0;  ///< output side
    AugmentLook look;
    bool contrast = false;                     ///< whether a sample may change it
    const ResidentImages* resident = nullptr;  ///< where the samples' bytes are; null: they come with the batch
};

struct GpuStepOptions {
    Device device;
    DType activations = DType::f32;  ///< bf16 for mixed precision
    bool graph = true;               ///< record a step once and launch it as one from then on
    bool fused = true;
    std::uint64_t seed = 0;
    int accumulate = 1;
    float clip = 0.0f;
    GpuImages images = {};
};

/// Training updates on a GPU. A step is a list of kernels on one stream that the host never waits for: what changes
/// from step to step (images or how to make them, labels, learning rate, step number) is copied into fixed places in
/// device memory first, and losses are collected there. A step of given batch sizes runs kernel by kernel the first
/// time and is recorded as a CUDA graph the second time; from then on it is one launch.
class GpuStep {
  public:
    /// Keeps references. `ema` may be null.
    GpuStep(Model& model, Optimizer& optimizer, Ema* ema, const LossOptions& loss, const GpuStepOptions& options);

    /// Queues one update from `batches` (1 to accumulate of them); returns before it has run.
    /// @param step       the update's number, from 0
    /// @param lr_factor  of every learning rate
    void submit(std::span<const Batch> batches, std::uint64_t step, double lr_factor);

    /// The losses of all updates submitted since the last call, each the mean over its images; waits for the GPU.
    std::vector<double> take_losses();
    /// How many losses wait to be taken.
    std::size_t waiting() const { return pending_.size(); }

    /// Forgets recorded graphs: call when parameters are frozen or thawed.
    void forget_graphs() { plans_.clear(); }
    /// Launches that were graphs.
    std::int64_t graph_launches() const { return graph_launches_; }

  private:
    struct Plan {
        int runs = 0;
        std::unique_ptr<CudaGraph> graph;
    };
    // Pinned copies of a step's input; free again when the event has been reached.
    struct Staging {
        std::unique_ptr<PinnedMemory> memory;
        CudaEvent copied;
        bool used = false;
    };

    // What a batch brings, in fixed places on the device, of the largest size seen.
    struct Input {
        Tensor labels;
        Tensor images;          ///< ready ones
        Tensor samples, bytes;  ///< or how to make them, u8 both
    };

    void run(std::span<const std::int64_t> sizes);
    void copy_in(std::span<const Batch> batches, std::uint64_t step, double lr_factor);
    Tensor images_of(const Input& input, std::int64_t n) const;

    Model& model_;
    Optimizer& optimizer_;
    Ema* ema_;
    LossOptions loss_;
    GpuStepOptions options_;
    std::vector<Input> inputs_;  ///< one per accumulated batch
    Tensor state_, losses_, history_;
    std::map<std::vector<std::int64_t>, Plan> plans_;
    std::vector<Staging> staging_;
    std::size_t next_staging_ = 0;
    std::vector<std::vector<std::int64_t>> pending_;  ///< batch sizes of updates whose losses wait
    std::int64_t graph_launches_ = 0;
};

}  // namespace cutis
