#include "engine/loader.h"

#include <algorithm>
#include <utility>

#include "engine/resize.h"
#include "kernels/error.h"
#include "kernels/philox.h"

namespace cutis {

Loader::Loader(const PackedDataset& dataset, const LoaderOptions& options) : dataset_(dataset), options_(options) {
    require(options.batch_size >= 1, "loader: batch size {}; at least 1 is needed", options.batch_size);
    require(options.size >= 1 && options.size <= 8192, "loader: image side {}; 1 to 8192 are possible", options.size);
    require(options.threads >= 1 && options.threads <= 256, "loader: {} threads; 1 to 256 are possible",
            options.threads);
    require(options.prefetch >= 1, "loader: {} batches ahead; at least 1 is needed", options.prefetch);
    const std::int64_t largest = std::max(dataset.image_size(), options.size);
    largest_source_ = 3 * largest * largest;
    for (int i = 0; i < options.threads; ++i) {
        workers_.emplace_back(&Loader::work, this);
    }
}

Loader::~Loader() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    room_.notify_all();
    for (std::thread& worker : workers_) {
        worker.join();
    }
}

std::int64_t Loader::batches(std::size_t samples) const {
    const auto n = static_cast<std::int64_t>(samples);
    return (n + options_.batch_size - 1) / options_.batch_size;
}

void Loader::start(std::vector<int> order, std::uint32_t epoch, std::int64_t first_batch) {
    for (const int index : order) {
        require(index >= 0 && static_cast<std::size_t>(index) < dataset_.size(),
                "loader: sample {} of a data set with {} samples", index, dataset_.size());
    }
    {
        const std::lock_guard lock(mutex_);
        total_ = batches(order.size());
        require(first_batch >= 0 && first_batch <= total_, "loader: batch {} of an epoch with {} batches", first_batch,
                total_);
        order_ = std::move(order);
        epoch_ = epoch;
        ++generation_;
        claimed_ = consumed_ = first_batch;
        made_.clear();
    }
    room_.notify_all();
}

std::optional<Batch> Loader::next() {
    std::unique_lock lock(mutex_);
    if (consumed_ >= total_) {
        return std::nullopt;
    }
    ready_.wait(lock, [&] { return made_.contains(consumed_); });
    auto node = made_.extract(consumed_);
    ++consumed_;
    lock.unlock();
    room_.notify_all();
    if (node.mapped().error) {
        std::rethrow_exception(node.mapped().error);
    }
    return std::move(node.mapped().batch);
}

void Loader::work() {
    while (true) {
        std::unique_lock lock(mutex_);
        room_.wait(lock, [&] { return stop_ || (claimed_ < total_ && claimed_ < consumed_ + options_.prefetch); });
        if (stop_) {
            return;
        }
        const std::int64_t number = claimed_++;
        const std::uint64_t generation = generation_;
        const std::uint32_t epoch = epoch_;
        const std::size_t first = static_cast<std::size_t>(number) * static_cast<std::size_t>(options_.batch_size);
        const std::size_t last = std::min(order_.size(), first + static_cast<std::size_t>(options_.batch_size));
        const std::vector<int> part(order_.begin() + static_cast<std::ptrdiff_t>(first),
                                    order_.begin() + static_cast<std::ptrdiff_t>(last));
        lock.unlock();
        Ready ready;
        try {
            ready.batch = make(number, part, epoch);
        } catch (...) {
            ready.error = std::current_exception();
        }
        lock.lock();
        if (generation == generation_) {
            made_.emplace(number, std::move(ready));
            lock.unlock();
            ready_.notify_one();
        }
    }
}

// Decides on sample i of the batch, and brings its source where it is not resident.
void Loader::plan_sample(Batch& batch, std::int64_t i, PhiloxStream& random) const {
    const int index = batch.indices[static_cast<std::size_t>(i)], side = dataset_.image_size();
    const AugmentChoice choice = draw_augmentation(options_.augment, side, side, options_.size, random);
    const AugmentPlan plan = plan_augmentation(choice, side, side, options_.size);
    AugmentSample& sample = batch.samples[static_cast<std::size_t>(i)];
    sample = plan.sample;
    if (options_.resident != nullptr) {
        sample.first = options_.resident->first_byte(index, sample.width);
        return;
    }
    sample.first = i * largest_source_;
    write_resized(dataset_.image(static_cast<std::size_t>(index)).data(), side, sample.width,
                  batch.bytes.data<std::uint8_t>() + sample.first);
}

Batch Loader::make(std::int64_t number, const std::vector<int>& part, std::uint32_t epoch) const {
    const auto n = static_cast<std::int64_t>(part.size());
    const std::int64_t side = options_.size;
    Batch batch;
    batch.number = number;
    batch.indices = part;
    if (options_.on_gpu) {
        batch.samples.resize(part.size());
        if (options_.resident == nullptr) {
            batch.bytes = Tensor::empty({n, largest_source_}, DType::u8);
        }
    } else {
        batch.images = Tensor::empty({n, side, side, 3});
    }
    batch.labels = Tensor::empty({n}, DType::i32);
    for (std::int64_t i = 0; i < n; ++i) {
        const auto index = static_cast<std::size_t>(part[static_cast<std::size_t>(i)]);
        const auto position = static_cast<std::uint64_t>(number) * static_cast<std::uint64_t>(options_.batch_size) +
                              static_cast<std::uint64_t>(i);
        PhiloxStream random(options_.seed, RandomPurpose::augment, epoch, position);
        if (options_.on_gpu) {
            plan_sample(batch, i, random);
        } else {
            augment_to_float(dataset_.image(index).data(), dataset_.image_size(), dataset_.image_size(),
                             options_.augment, random, options_.mean.data(), options_.std.data(), options_.size,
                             batch.images.data() + i * side * side * 3);
        }
        batch.labels.data<std::int32_t>()[i] = dataset_.sample(index).label;
    }
    return batch;
}

}  // namespace cutis
