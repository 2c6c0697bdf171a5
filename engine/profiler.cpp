#include "engine/profiler.h"

#include <chrono>
#include <cmath>
#include <utility>

#include "kernels/error.h"

namespace cutis {
namespace {

std::int64_t clock_ns() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

std::int64_t to_ns(float milliseconds) {
    return std::llround(static_cast<double>(milliseconds) * 1e6);
}

std::string_view layer_of(std::string_view parameter) {
    const std::size_t dot = parameter.rfind('.');
    return dot == std::string_view::npos ? parameter : parameter.substr(0, dot);
}

}  // namespace

Profiler::Profiler(Device device) : device_(device), origin_ns_(clock_ns()) {
    require(detail::t_profiler == nullptr, "profiler: this thread has one already");
    if (device.kind == DeviceKind::cuda) {
        first_event_ = std::make_unique<CudaEvent>();
        first_event_->record(device);
    }
    detail::t_profiler = this;
}

Profiler::~Profiler() {
    detail::t_profiler = nullptr;
}

std::int64_t Profiler::now_ns() const {
    return clock_ns() - origin_ns_;
}

CudaEvent& Profiler::next_event() {
    if (used_events_ == events_.size()) {
        events_.push_back(std::make_unique<CudaEvent>());
    }
    return *events_[used_events_++];
}

void Profiler::begin(std::string_view name, std::string_view layer) {
    ProfiledRange range;
    range.name = name;
    range.layer = layer;
    range.parent = open_.empty() ? -1 : open_.back();
    if (device_.kind == DeviceKind::cuda) {
        range.begin_ns = static_cast<std::int64_t>(used_events_);
        next_event().record(device_);
    } else {
        range.begin_ns = now_ns();
    }
    open_.push_back(static_cast<int>(ranges_.size()));
    ranges_.push_back(std::move(range));
}

// In a destructor: what goes wrong is kept for `take`.
void Profiler::end() noexcept {
    ProfiledRange& range = ranges_[static_cast<std::size_t>(open_.back())];
    open_.pop_back();
    if (device_.kind == DeviceKind::cpu) {
        range.end_ns = now_ns();
        return;
    }
    try {
        range.end_ns = static_cast<std::int64_t>(used_events_);
        next_event().record(device_);
    } catch (...) {
        failure_ = std::current_exception();
    }
}

void Profiler::add_work(double flops, double bytes) {
    if (!open_.empty()) {
        ProfiledRange& range = ranges_[static_cast<std::size_t>(open_.back())];
        range.flops += flops;
        range.bytes += bytes;
    }
}

std::vector<ProfiledRange> Profiler::take() {
    if (!open_.empty()) {
        fail("profiler: range '{}' is open", ranges_[static_cast<std::size_t>(open_.back())].name);
    }
    if (failure_) {
        std::rethrow_exception(std::exchange(failure_, nullptr));
    }
    std::vector<ProfiledRange> taken = std::exchange(ranges_, {});
    if (device_.kind == DeviceKind::cuda && !taken.empty()) {
        synchronize(device_);
        // Milliseconds are of single precision: within a step they are taken from the step's own first event, so that
        // a long session does not cost them their digits.
        const std::int64_t base = to_ns(CudaEvent::elapsed(*first_event_, *events_.front()));
        const auto at = [&](std::int64_t event) {
            return base + to_ns(CudaEvent::elapsed(*events_.front(), *events_[static_cast<std::size_t>(event)]));
        };
        for (ProfiledRange& range : taken) {
            range.begin_ns = at(range.begin_ns);
            range.end_ns = at(range.end_ns);
        }
        used_events_ = 0;
    }
    return taken;
}

void ProfileRange::begin(std::string_view name, std::string_view parameter) {
    const std::string_view layer = layer_of(parameter);
    profiler_ = detail::t_profiler;
    if (profiler_ != nullptr) {
        profiler_->begin(name, layer);
    }
    std::string text(name);
    if (!layer.empty()) {
        text.append(" ").append(layer);
    }
    nvtx_push(text.c_str());
    open_ = true;
}

void ProfileRange::end() noexcept {
    nvtx_pop();
    if (profiler_ != nullptr && profiler_ == detail::t_profiler) {
        profiler_->end();
    }
}

void profile_work(double flops, std::initializer_list<const Tensor*> moved) {
    if (detail::t_profiler == nullptr) {
        return;
    }
    double bytes = 0;
    for (const Tensor* tensor : moved) {
        bytes += tensor != nullptr ? static_cast<double>(tensor->bytes()) : 0.0;
    }
    detail::t_profiler->add_work(flops, bytes);
}

}  // namespace cutis
