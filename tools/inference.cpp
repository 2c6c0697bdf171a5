#include "tools/inference.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "engine/augment.h"
#include "engine/ops.h"
#include "engine/packed_dataset.h"
#include "engine/safetensors.h"
#include "engine/text.h"
#include "kernels/error.h"
#include "tools/progress.h"
#include "tools/signals.h"

namespace cutis {
namespace {

constexpr int kLargestInput = 16384;

/// Inputs of the batches to come, filled by threads. A ring of three batches: one that the model reads, one that is
/// ready, one that is being filled.
class ReadAhead {
  public:
    ReadAhead(std::int64_t count, int size, int batch_size, int threads, const ReadInput& read)
        : count_(count), batch_size_(batch_size), pixels_(std::int64_t{3} * size * size), read_(read) {
        const auto slots = std::min<std::int64_t>(kSlots, batches());
        for (std::int64_t i = 0; i < slots; ++i) {
            slots_.emplace_back().inputs = Tensor::empty({batch_size, size, size, 3});
        }
        try {
            for (int i = 0; i < threads; ++i) {
                threads_.emplace_back([this] { work(); });
            }
        } catch (...) {
            stop();
            throw;
        }
    }
    ~ReadAhead() { stop(); }
    ReadAhead(const ReadAhead&) = delete;
    ReadAhead& operator=(const ReadAhead&) = delete;

    std::int64_t batches() const { return (count_ + batch_size_ - 1) / batch_size_; }
    std::int64_t batch_count(std::int64_t batch) const {
        return std::min<std::int64_t>(batch_size_, count_ - batch * batch_size_);
    }

    /// The inputs of `batch`; they stay until `release`. Throws what reading the first faulty one of them threw.
    Tensor wait_for(std::int64_t batch) {
        Slot& slot = slot_of(batch);
        std::unique_lock lock(mutex_);
        filled_.wait(lock, [&] { return slot.filled == batch_count(batch); });
        if (slot.error) {
            std::rethrow_exception(slot.error);
        }
        return slot.inputs.rows(0, batch_count(batch));
    }

    void release(std::int64_t batch) {
        {
            const std::lock_guard lock(mutex_);
            slot_of(batch).filled = 0;
            released_ = batch + 1;
        }
        room_.notify_all();
    }

  private:
    static constexpr std::int64_t kSlots = 3;

    struct Slot {
        Tensor inputs;
        std::int64_t filled = 0;
        std::exception_ptr error;  // of the input `error_at`
        std::int64_t error_at = 0;
    };

    Slot& slot_of(std::int64_t batch) { return slots_[static_cast<std::size_t>(batch % kSlots)]; }

    void work() {
        while (true) {
            const std::int64_t index = next_.fetch_add(1);
            const std::int64_t batch = index / batch_size_;
            if (index >= count_) {
                return;
            }
            Slot& slot = slot_of(batch);
            {
                std::unique_lock lock(mutex_);
                room_.wait(lock, [&] { return stopped_ || batch < released_ + kSlots; });
                if (stopped_) {
                    return;
                }
            }
            std::exception_ptr error;
            try {
                read_(index, slot.inputs.data() + index % batch_size_ * pixels_);
            } catch (...) {
                error = std::current_exception();
            }
            const std::lock_guard lock(mutex_);
            // Of several faulty inputs the first is reported, whichever thread came upon its own first.
            if (error && (!slot.error || index < slot.error_at)) {
                slot.error = error;
                slot.error_at = index;
            }
            if (++slot.filled == batch_count(batch)) {
                filled_.notify_one();
            }
        }
    }

    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        room_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }

    const std::int64_t count_, batch_size_, pixels_;
    const ReadInput& read_;
    std::vector<Slot> slots_;
    std::atomic<std::int64_t> next_{0};
    std::mutex mutex_;
    std::condition_variable filled_, room_;
    std::int64_t released_ = 0;  // batches that the model is done with
    bool stopped_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace

std::array<float, 3> parse_three(std::string_view text, std::string_view what) {
    std::array<float, 3> values{};
    const char* at = text.data();
    const char* const end = at + text.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto [rest, error] = std::from_chars(at, end, values[i]);
        const bool separated = i + 1 < values.size() ? rest != end && *rest == ',' : rest == end;
        require(error == std::errc() && separated && std::isfinite(values[i]),
                "{}: '{}' is not three numbers like 0.485,0.456,0.406", what, printable(text));
        at = rest + 1;
    }
    return values;
}

InputSettings input_settings(const SafetensorsFile& weights) {
    InputSettings input{224, kImageNetMean, kImageNetStd};
    const auto& metadata = weights.metadata();
    const auto place = [&](const char* key) { return fmt::format("{}: metadata '{}'", weights.path().string(), key); };
    if (const auto mean = metadata.find("mean"); mean != metadata.end()) {
        input.mean = parse_three(mean->second, place("mean"));
    }
    if (const auto deviation = metadata.find("std"); deviation != metadata.end()) {
        input.std = parse_three(deviation->second, place("std"));
        require(*std::min_element(input.std.begin(), input.std.end()) > 0, "{}: '{}' must be positive", place("std"),
                printable(deviation->second));
    }
    if (const auto size = metadata.find("size"); size != metadata.end()) {
        const std::string& text = size->second;
        const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), input.size);
        require(
            error == std::errc() && rest == text.data() + text.size() && input.size >= 1 && input.size <= kLargestInput,
            "{}: '{}' is no image side from 1 to {}", place("size"), printable(text), kLargestInput);
    }
    return input;
}

std::vector<float> predict_logits(Model& model, std::int64_t count, int size, int batch_size, const ReadInput& read,
                                  Progress* progress, int readers) {
    require(size >= model.least_size() && size <= kLargestInput, "input side {}: the model takes {} to {} pixels", size,
            model.least_size(), kLargestInput);
    require(batch_size >= 1, "batch size {}: at least 1 is wanted", batch_size);
    const int batch = static_cast<int>(std::clamp<std::int64_t>(count, 1, batch_size));
    const auto classes = static_cast<std::size_t>(model.classes());
    std::vector<float> logits;
    logits.reserve(static_cast<std::size_t>(count) * classes);

    const NoGrad no_grad;
    ReadAhead inputs(count, size, batch, std::max(readers, 1), read);
    for (std::int64_t b = 0; b < inputs.batches(); ++b) {
        throw_if_stopped();
        const Variable output = model.forward(Variable(inputs.wait_for(b)), ForwardContext{});
        inputs.release(b);
        for (const float value : output.value().values()) {
            require(std::isfinite(value),
                    "the model's output for image {} is not a finite number; its weights are damaged, or training "
                    "diverged (try a lower --lr)",
                    logits.size() / classes);
            logits.push_back(value);
        }
        if (progress != nullptr) {
            progress->update(static_cast<std::int64_t>(logits.size() / classes));
        }
    }
    return logits;
}

Predictions predict_dataset(Model& model, const PackedDataset& data, std::span<const int> indices,
                            const InputSettings& input, int batch_size, Progress* progress) {
    const int classes = model.classes();
    Predictions predictions;
    predictions.class_names = class_names_for(classes, data.class_names());
    for (const int index : indices) {
        const Sample& sample = data.sample(static_cast<std::size_t>(index));
        require(sample.label < classes, "{}: image {} is of class '{}', number {}, but the model has {} classes",
                data.path().string(), printable(sample.image_id),
                printable(data.class_names()[static_cast<std::size_t>(sample.label)]), sample.label, classes);
        predictions.image_ids.push_back(sample.image_id);
        predictions.lesion_ids.push_back(sample.lesion_id);
        predictions.labels.push_back(sample.label);
    }
    const auto count = static_cast<std::int64_t>(indices.size());
    const int side = data.image_size();
    const auto read = [&](std::int64_t i, float* out) {
        const auto row = static_cast<std::size_t>(indices[static_cast<std::size_t>(i)]);
        PhiloxStream unused(0, RandomPurpose::augment, 0);
        augment_to_float(data.image(row).data(), side, side, AugmentOptions{}, unused, input.mean.data(),
                         input.std.data(), input.size, out);
    };
    const std::vector<float> logits = predict_logits(model, count, input.size, batch_size, read, progress);
    if (count > 0) {
        const auto probabilities = softmax(Tensor::from(logits, {count, classes}));
        predictions.probabilities.assign(probabilities.values().begin(), probabilities.values().end());
    }
    return predictions;
}

std::vector<std::string> class_names_for(int classes, std::vector<std::string> known) {
    for (auto i = static_cast<int>(known.size()); i < classes; ++i) {
        known.push_back(fmt::format("class_{}", i));
    }
    known.resize(static_cast<std::size_t>(classes));
    return known;
}

}  // namespace cutis
