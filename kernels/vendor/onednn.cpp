#include <fmt/ranges.h>

#include <cstring>
#include <map>
#include <mutex>

#include "kernels/error.h"
#include "kernels/parallel.h"
#include "kernels/vendor/onednn_primitive.h"

namespace cutis::onednn::detail {
namespace {

// Training and evaluation of the largest network here have a few hundred; beyond this number all are made anew.
constexpr std::size_t kMostPrimitives = 2048;

struct Cache {
    std::mutex mutex;
    std::map<std::pair<int, Key>, Handle> primitives;  // by number of threads, too
};
Cache& cache() {
    static Cache instance;
    return instance;
}

memory view(const memory::desc& desc, const void* data) {
    return memory(desc, engine(), const_cast<void*>(data));  // oneDNN has no view of constant memory
}

dnnl::stream& stream() {
    thread_local dnnl::stream of_thread(engine());
    return of_thread;
}

void reorder(const memory::desc& from_layout, const float* from, const memory::desc& to_layout, float* to) {
    memory source = view(from_layout, from), target = view(to_layout, to);
    try {
        dnnl::reorder(source, target).execute(stream(), source, target);
        stream().wait();
    } catch (const dnnl::error& error) {
        fail("oneDNN, reorder: {}", error.what());
    }
}

}  // namespace

dnnl::engine& engine() {
    static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
}

memory::desc layout(const memory::dims& sizes, memory::format_tag tag) {
    try {
        return {sizes, memory::data_type::f32, tag};
    } catch (const dnnl::error& error) {
        fail("oneDNN, sizes {}: {}", fmt::join(sizes, " x "), error.what());
    }
}

dnnl::primitive_attr attributes() {
    dnnl::primitive_attr result;
    result.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return result;
}

Handle find(const Key& key) {
    Cache& all = cache();
    const std::lock_guard lock(all.mutex);
    const auto found = all.primitives.find({thread_count(), key});
    return found == all.primitives.end() ? nullptr : found->second;
}

Handle keep(const Key& key, Prepared prepared) {
    auto handle = std::make_shared<const Prepared>(std::move(prepared));
    Cache& all = cache();
    const std::lock_guard lock(all.mutex);
    if (all.primitives.size() >= kMostPrimitives) {
        all.primitives.clear();
    }
    all.primitives.insert_or_assign({thread_count(), key}, handle);
    return handle;
}

void failed(const Key& key, const char* message) {
    fail("oneDNN, {}: {} (sizes {})", key.operation, message, fmt::join(key.sizes, " "));
}

void run(const Key& key, const Prepared& prepared, std::span<const std::pair<int, const void*>> pointers) {
    try {
        std::unordered_map<int, memory> arguments;
        for (const auto& [argument, data] : pointers) {
            if (data != nullptr) {
                arguments.emplace(argument, view(prepared.layouts.at(argument), data));
            }
        }
        const std::size_t bytes = prepared.scratchpad.get_size();
        if (bytes > 0) {
            float* const scratch = thread_scratch(kScratchpad, static_cast<std::int64_t>(bytes / sizeof(float) + 1));
            arguments.emplace(DNNL_ARG_SCRATCHPAD, view(prepared.scratchpad, scratch));
        }
        prepared.primitive.execute(stream(), arguments);
        stream().wait();
    } catch (const dnnl::error& error) {
        failed(key, error.what());
    }
}

const float* reordered(const memory::desc& ours, const memory::desc& wanted, const float* data, Slot slot) {
    if (ours == wanted || data == nullptr) {
        return data;
    }
    float* const copy = thread_scratch(slot, static_cast<std::int64_t>(wanted.get_size() / sizeof(float) + 1));
    reorder(ours, data, wanted, copy);
    return copy;
}

float* place_for(const memory::desc& ours, const memory::desc& wanted, float* data, Slot slot) {
    if (ours == wanted || data == nullptr) {
        return data;
    }
    return thread_scratch(slot, static_cast<std::int64_t>(wanted.get_size() / sizeof(float) + 1));
}

void bring_back(const memory::desc& ours, const memory::desc& wanted, const float* from, float* data) {
    if (data != nullptr && from != data) {
        reorder(wanted, from, ours, data);
    }
}

void require_plain(bool plain, std::string_view operation) {
    require(plain, "oneDNN, {}: joined batchnorm; only native kernels have that", operation);
}

}  // namespace cutis::onednn::detail
