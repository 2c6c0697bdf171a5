#include "kernels/parallel.h"

#include <sched.h>
#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

#include "kernels/error.h"

#if defined(CUTIS_USE_OPENMP)
#include <omp.h>
#else
#include <condition_variable>
#include <vector>
#endif

namespace cutis {
namespace {

int available_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) {
        return CPU_COUNT(&set);
    }
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int g_threads = available_cores();
thread_local bool t_inside_region = false;

// Marks the calling thread as inside a region and keeps the first exception of all threads.
struct RegionGuard {
    std::mutex mutex;
    std::exception_ptr error;

    void run(detail::RegionBody body, void* context, int thread, int threads) {
        t_inside_region = true;
        try {
            body(context, thread, threads);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!error) {
                error = std::current_exception();
            }
        }
        t_inside_region = false;
    }
};

#if !defined(CUTIS_USE_OPENMP)

// Workers that sleep between regions. Worker i is thread i + 1 of a region; the caller is thread 0.
class Pool {
  public:
    static Pool& instance() {
        static Pool pool;
        return pool;
    }

    void run(RegionGuard& guard, detail::RegionBody body, void* context, int threads) {
        const std::lock_guard one_region(region_mutex_);
        {
            const std::lock_guard lock(mutex_);
            while (static_cast<int>(workers_.size()) < threads - 1) {
                workers_.emplace_back(&Pool::work, this, static_cast<int>(workers_.size()) + 1, generation_);
            }
            guard_ = &guard;
            body_ = body;
            context_ = context;
            threads_ = threads;
            pending_ = static_cast<int>(workers_.size());
            ++generation_;
        }
        wake_.notify_all();
        guard.run(body, context, 0, threads);
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return pending_ == 0; });
    }

    ~Pool() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        for (auto& worker : workers_) {
            worker.join();
        }
    }

  private:
    void work(int index, std::uint64_t seen) {
        while (true) {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
            if (stop_) {
                return;
            }
            seen = generation_;
            const auto body = body_;
            const auto context = context_;
            const auto threads = threads_;
            const auto guard = guard_;
            lock.unlock();
            if (index < threads) {
                guard->run(body, context, index, threads);
            }
            lock.lock();
            if (--pending_ == 0) {
                done_.notify_one();
            }
        }
    }

    std::mutex region_mutex_, mutex_;
    std::condition_variable wake_, done_;
    std::vector<std::thread> workers_;
    RegionGuard* guard_ = nullptr;
    detail::RegionBody body_ = nullptr;
    void* context_ = nullptr;
    int threads_ = 0, pending_ = 0;
    std::uint64_t generation_ = 0;
    bool stop_ = false;
};

#endif

struct ScratchBuffer {
    float* data = nullptr;
    std::int64_t capacity = 0;
    ~ScratchBuffer() { std::free(data); }
};

}  // namespace

int thread_count() {
    return t_inside_region ? 1 : g_threads;
}

void set_thread_count(int threads) {
    require(threads >= 1 && threads <= 1024, "threads: {} is not between 1 and 1024", threads);
    g_threads = threads;
#if defined(CUTIS_USE_OPENMP)
    omp_set_num_threads(threads);
#endif
}

namespace detail {

void run_region(RegionBody body, void* context) {
    if (t_inside_region || g_threads == 1) {
        body(context, 0, 1);
        return;
    }
    RegionGuard guard;
#if defined(CUTIS_USE_OPENMP)
#pragma omp parallel num_threads(g_threads)
    guard.run(body, context, omp_get_thread_num(), omp_get_num_threads());
#else
    Pool::instance().run(guard, body, context, g_threads);
#endif
    if (guard.error) {
        std::rethrow_exception(guard.error);
    }
}

}  // namespace detail

float* thread_scratch(int slot, std::int64_t count) {
    thread_local std::array<ScratchBuffer, kScratchSlots> buffers;
    ScratchBuffer& buffer = buffers.at(static_cast<std::size_t>(slot));
    if (count > buffer.capacity) {
        constexpr std::size_t kHugePage = std::size_t{2} << 20;
        const std::size_t wanted = static_cast<std::size_t>(count) * sizeof(float);
        const std::size_t align = wanted >= kHugePage ? kHugePage : 64;
        const std::size_t bytes = (wanted + align - 1) / align * align;
        std::free(buffer.data);
        buffer.data = nullptr;
        buffer.capacity = 0;
        buffer.data = static_cast<float*>(std::aligned_alloc(align, bytes));
        if (buffer.data == nullptr) {
            throw std::bad_alloc();
        }
        if (align == kHugePage) {
            madvise(buffer.data, bytes, MADV_HUGEPAGE);  // page faults cost more than the arithmetic on short steps
        }
        buffer.capacity = static_cast<std::int64_t>(bytes / sizeof(float));
    }
    return buffer.data;
}

}  // namespace cutis
