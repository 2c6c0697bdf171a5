#pragma once

#include <array>
#include <cstdint>
#include <dnnl.hpp>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "kernels/activation.h"

/// What every call of oneDNN here is made of: a primitive, compiled once for its sizes and kept, and a run of it on
/// pointers. For kernels/vendor/onednn_*.cpp.

// oneDNN 2 and 3 differ in how an operation is described. Arguments that only one of them takes:
#if DNNL_VERSION_MAJOR >= 3
#define CUTIS_ONLY_ONEDNN2(...)
#define CUTIS_ONLY_ONEDNN3(...) __VA_ARGS__
#else
#define CUTIS_ONLY_ONEDNN2(...) __VA_ARGS__
#define CUTIS_ONLY_ONEDNN3(...)
#endif

namespace cutis::onednn::detail {

using dnnl::memory;

/// Slots of thread_scratch (kernels/parallel.h) beside those of the native kernels that call these functions.
enum Slot { kScratchpad = 4, kWeights, kWeights2, kSmall, kGradient, kGradient2, kStates, kMore };

dnnl::engine& engine();

/// fp32 values of these sizes. Throws Error where one is negative.
memory::desc layout(const memory::dims& sizes, memory::format_tag tag);
/// Without a layout: the primitive chooses.
inline memory::desc any_layout(const memory::dims& sizes) {
    return layout(sizes, memory::format_tag::any);
}

/// Scratch memory comes from us.
dnnl::primitive_attr attributes();

/// A primitive's description. oneDNN 2 describes an operation first and makes the description from that; oneDNN 3 does
/// it in one step: describe<Op>(arguments..)(hint of the forward pass, where there is one).
template <class Operation, class... Arguments>
auto describe(Arguments&&... arguments) {
    using Description = typename Operation::primitive_desc;
#if DNNL_VERSION_MAJOR >= 3
    return [&](auto&&... hint) { return Description(engine(), arguments..., hint..., attributes()); };
#else
    return [&](auto&&... hint) {
        return Description(typename Operation::desc(arguments...), attributes(), engine(), hint...);
    };
#endif
}

/// A compiled primitive and the layout of each of its arguments, by DNNL_ARG_...
struct Prepared {
    dnnl::primitive primitive;
    memory::desc scratchpad;
    std::unordered_map<int, memory::desc> layouts;
};
template <class Operation, class Description>
Prepared prepare(const Description& description, std::unordered_map<int, memory::desc> layouts) {
    return {Operation(description), description.scratchpad_desc(), std::move(layouts)};
}

/// What a compiled primitive depends on beside the number of threads.
struct Key {
    std::string_view operation;
    std::array<std::int64_t, 12> sizes;
    auto operator<=>(const Key&) const = default;
};

using Handle = std::shared_ptr<const Prepared>;
Handle find(const Key& key);
Handle keep(const Key& key, Prepared prepared);
/// Throws Error with the library's message, the operation's name and its sizes.
[[noreturn]] void failed(const Key& key, const char* message);

/// The primitive for `key`, made by `make` unless it is there.
template <class Make>
Handle prepared(const Key& key, Make&& make) {
    Handle found = find(key);
    if (found == nullptr) {
        try {
            found = keep(key, make());
        } catch (const dnnl::error& error) {
            failed(key, error.what());
        }
    }
    return found;
}

/// Runs it on memory in its layouts; null pointers are left out.
void run(const Key& key, const Prepared& prepared, std::span<const std::pair<int, const void*>> pointers);
inline void run(const Key& key, const Prepared& prepared, std::initializer_list<std::pair<int, const void*>> pointers) {
    run(key, prepared, std::span(pointers.begin(), pointers.size()));
}

/// `data` of layout `ours` in the layout `wanted`: itself, or a copy in the scratch slot.
const float* reordered(const memory::desc& ours, const memory::desc& wanted, const float* data, Slot slot);
/// Where a primitive is to write what has layout `wanted` and is to end as `ours` in `data`: there, or in the slot.
float* place_for(const memory::desc& ours, const memory::desc& wanted, float* data, Slot slot);
/// Then brings it there, unless it is.
void bring_back(const memory::desc& ours, const memory::desc& wanted, const float* from, float* data);

/// y = act(x), and its gradient from x or, with from_output, from y; n > 0.
void activate(float* y, const float* x, Activation act, bool from_output, std::int64_t n);
void activation_gradient(float* dx, const float* dy, const float* x_or_y, Activation act, bool from_output,
                         std::int64_t n);

template <class... Pointers>
bool all_null(const Pointers*... pointers) {
    return (... && (pointers == nullptr));
}
/// Throws Error unless `plain`: what is joined on is the native kernels' alone.
void require_plain(bool plain, std::string_view operation);

}  // namespace cutis::onednn::detail
