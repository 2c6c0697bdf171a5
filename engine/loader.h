#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/augment.h"
#include "engine/packed_dataset.h"
#include "engine/resident_images.h"
#include "engine/tensor.h"

namespace cutis {

/// Samples that are ready for the network.
struct Batch {
    Tensor images;                       ///< n x size x size x 3, normalised; none where a GPU makes them
    std::vector<AugmentSample> samples;  ///< for a GPU: how to make them
    Tensor bytes;                        ///< u8, the samples' sources, where these are not resident
    Tensor labels;                       ///< n, i32
    std::vector<int> indices;            ///< n, positions in the data set
    std::int64_t number = 0;             ///< of the batch in its epoch

    std::int64_t size() const { return labels.size(0); }
};

struct LoaderOptions {
    int batch_size = 32;
    int size = 224;  ///< output side
    std::array<float, 3> mean{}, std{};
    AugmentOptions augment;  ///< defaults: none
    std::uint64_t seed = 0;
    int threads = 1;
    int prefetch = 4;  ///< batches made ahead of the consumer
    /// Decide only, and leave making the images to cuda::augment, from bytes that come with the batch or, where
    /// `resident` is given (it must outlive the loader), from those.
    bool on_gpu = false;
    const ResidentImages* resident = nullptr;
};

/// Makes batches in the background. Every sample is augmented from a random stream of its own, named by (seed, epoch,
/// position in the epoch's order), so that neither the number of threads nor a restart in mid-epoch changes a value.
/// One consumer.
class Loader {
  public:
    /// Keeps a reference to `dataset`. Throws Error on an option out of range.
    Loader(const PackedDataset& dataset, const LoaderOptions& options);
    ~Loader();
    Loader(const Loader&) = delete;
    Loader& operator=(const Loader&) = delete;

    /// Begins an epoch: `order` holds positions in the data set; batches before `first_batch` are skipped (resuming).
    /// An epoch that still runs is dropped.
    void start(std::vector<int> order, std::uint32_t epoch, std::int64_t first_batch = 0);

    /// The next batch in order, waiting for it where it is not ready; nothing at the end of the epoch. The last batch
    /// may be shorter. Throws what went wrong in the background (a damaged image), once its batch would be next.
    std::optional<Batch> next();

    /// Batches of an epoch of `samples` samples.
    std::int64_t batches(std::size_t samples) const;

  private:
    void work();
    Batch make(std::int64_t number, const std::vector<int>& order, std::uint32_t epoch) const;
    void plan_sample(Batch& batch, std::int64_t i, PhiloxStream& random) const;

    struct Ready {
        Batch batch;
        std::exception_ptr error;
    };

    const PackedDataset& dataset_;
    LoaderOptions options_;
    std::int64_t largest_source_ = 0;  ///< bytes
    std::mutex mutex_;
    std::condition_variable room_, ready_;
    std::vector<int> order_;
    std::uint32_t epoch_ = 0;
    std::uint64_t generation_ = 0;  ///< epochs started: a worker drops what belongs to an older one
    std::int64_t total_ = 0;        ///< batches of the epoch
    std::int64_t claimed_ = 0;      ///< next batch that a worker takes
    std::int64_t consumed_ = 0;     ///< next batch that the consumer gets
    std::map<std::int64_t, Ready> made_;
    bool stop_ = false;
    std::vector<std::thread> workers_;
};

}  // namespace cutis
