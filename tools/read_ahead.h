#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

namespace cutis {

/// Values that threads make ahead of one consumer, who gets them in order: what comes out depends on neither the number
/// of threads nor their speed, and no more than `ahead` values wait.
template <class T>
class ReadAhead {
  public:
    /// @param threads,ahead  at least 1
    /// @param make  gives value `index` of 0 .. count-1; called from several threads. What it throws comes out of
    /// `next`
    ///              in that value's place.
    ReadAhead(std::int64_t count, int threads, std::int64_t ahead, std::function<T(std::int64_t)> make)
        : count_(count), ahead_(ahead), make_(std::move(make)), slots_(static_cast<std::size_t>(ahead)) {
        try {
            for (int i = 0; i < threads && i < count; ++i) {
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

    /// The value of the next index; may be called `count` times.
    T next() {
        std::unique_lock lock(mutex_);
        std::optional<Outcome>& slot = slot_of(delivered_);
        made_event_.wait(lock, [&] { return slot.has_value(); });
        Outcome outcome = std::move(*slot);
        slot.reset();
        ++delivered_;
        lock.unlock();
        room_event_.notify_one();
        if (const auto* error = std::get_if<std::exception_ptr>(&outcome)) {
            std::rethrow_exception(*error);
        }
        return std::get<T>(std::move(outcome));
    }

  private:
    using Outcome = std::variant<T, std::exception_ptr>;

    std::optional<Outcome>& slot_of(std::int64_t index) { return slots_[static_cast<std::size_t>(index % ahead_)]; }

    Outcome outcome_of(std::int64_t index) const {
        try {
            return make_(index);
        } catch (...) {
            return std::current_exception();
        }
    }

    void work() {
        std::unique_lock lock(mutex_);
        while (true) {
            room_event_.wait(lock, [&] { return stopped_ || taken_ == count_ || taken_ < delivered_ + ahead_; });
            if (stopped_ || taken_ == count_) {
                room_event_.notify_one();  // another thread may wait for what this one was woken for
                return;
            }
            const std::int64_t index = taken_++;
            lock.unlock();
            Outcome outcome = outcome_of(index);
            lock.lock();
            slot_of(index) = std::move(outcome);
            if (index == delivered_) {
                made_event_.notify_one();
            }
        }
    }

    void stop() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        room_event_.notify_all();
        for (std::thread& thread : threads_) {
            thread.join();
        }
    }

    const std::int64_t count_, ahead_;
    const std::function<T(std::int64_t)> make_;
    std::mutex mutex_;
    std::condition_variable made_event_, room_event_;
    std::vector<std::optional<Outcome>> slots_;  // a ring: value i waits in slot i % ahead
    std::int64_t taken_ = 0, delivered_ = 0;
    bool stopped_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace cutis
