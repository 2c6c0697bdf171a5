#include "kernels/conv_onednn.h"

#include <array>
#include <dnnl.hpp>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "kernels/error.h"
#include "kernels/parallel.h"

// A primitive is compiled for one shape and number of threads, which takes milliseconds: those last used are kept.
// Activations stay NHWC; the weights are reordered from our k r s c into what the primitive wants on every call, since
// they change on every training step and are small beside the activations.

namespace cutis::cpu::onednn {
namespace {

using dnnl::memory;

// Slots of thread_scratch beside those of conv.cpp, which keeps dy in one of its own meanwhile.
enum Slot { kScratchpad = 4, kWeights };

enum class Kind { forward, forward_bias, input_gradient, weight_gradient };

struct Primitive {
    dnnl::primitive primitive;
    memory::desc x, w, y, bias;  // w: the layout that the primitive wants
    memory::desc scratchpad;
    dnnl::primitive reorder;  // our weights to w, or for weight_gradient from w to ours
    bool needs_reorder;
};

dnnl::engine& engine() {
    static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
}

memory::desc our_weights(const ConvShape& s) {
    return {{s.k, s.c, s.r, s.s}, memory::data_type::f32, memory::format_tag::ohwi};
}

// oneDNN 2 describes an operation first and makes the primitive's description from that; oneDNN 3 does it in one step.
template <class Operation, class... Arguments>
auto describe(const dnnl::primitive_attr& attributes, Arguments&&... arguments) {
    using Description = typename Operation::primitive_desc;
#if DNNL_VERSION_MAJOR >= 3
    return [&](auto&&... hint) { return Description(engine(), arguments..., hint..., attributes); };
#else
    return [&](auto&&... hint) {
        return Description(typename Operation::desc(arguments...), attributes, engine(), hint...);
    };
#endif
}

Primitive make(Kind kind, const ConvShape& s) {
    constexpr auto f32 = memory::data_type::f32;
    constexpr auto direct = dnnl::algorithm::convolution_direct;
    constexpr auto training = dnnl::prop_kind::forward_training;
    const memory::desc x({s.n, s.c, s.h, s.w}, f32, memory::format_tag::nhwc);
    const memory::desc y({s.n, s.k, s.p(), s.q()}, f32, memory::format_tag::nhwc);
    const memory::desc w({s.k, s.c, s.r, s.s}, f32, memory::format_tag::any);
    const memory::desc bias({s.k}, f32, memory::format_tag::x);
    const memory::dims strides = {s.stride, s.stride}, padding = {s.padding, s.padding};
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);

    const auto finish = [&](dnnl::primitive primitive, const memory::desc& chosen, const memory::desc& scratchpad) {
        const memory::desc ours = our_weights(s);
        const bool backwards = kind == Kind::weight_gradient;
        const auto& from = backwards ? chosen : ours;
        const auto& to = backwards ? ours : chosen;
        return Primitive{std::move(primitive),
                         x,
                         chosen,
                         y,
                         bias,
                         scratchpad,
                         dnnl::reorder(dnnl::reorder::primitive_desc(engine(), from, engine(), to)),
                         chosen != ours};
    };
    if (kind == Kind::forward_bias) {
        const auto description = describe<dnnl::convolution_forward>(attributes, training, direct, x, w, bias, y,
                                                                     strides, padding, padding)();
        return finish(dnnl::convolution_forward(description), description.weights_desc(),
                      description.scratchpad_desc());
    }
    const auto forward =
        describe<dnnl::convolution_forward>(attributes, training, direct, x, w, y, strides, padding, padding)();
    if (kind == Kind::forward) {
        return finish(dnnl::convolution_forward(forward), forward.weights_desc(), forward.scratchpad_desc());
    }
    if (kind == Kind::input_gradient) {
        const auto description =
            describe<dnnl::convolution_backward_data>(attributes, direct, x, w, y, strides, padding, padding)(forward);
        return finish(dnnl::convolution_backward_data(description), description.weights_desc(),
                      description.scratchpad_desc());
    }
    const auto description =
        describe<dnnl::convolution_backward_weights>(attributes, direct, x, w, y, strides, padding, padding)(forward);
    return finish(dnnl::convolution_backward_weights(description), description.diff_weights_desc(),
                  description.scratchpad_desc());
}

// The primitives last used, newest first.
class Cache {
  public:
    static Cache& instance() {
        static Cache cache;
        return cache;
    }

    std::shared_ptr<const Primitive> get(Kind kind, const ConvShape& s) {
        const Key key{static_cast<int>(kind), s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding, thread_count()};
        const std::lock_guard lock(mutex_);
        for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
            if (entry->first == key) {
                entries_.splice(entries_.begin(), entries_, entry);
                return entry->second;
            }
        }
        entries_.emplace_front(key, std::make_shared<const Primitive>(make(kind, s)));
        if (entries_.size() > kEntries) {
            entries_.pop_back();
        }
        return entries_.front().second;
    }

  private:
    // Three primitives for each of VGG-16's or ResNet-50's shapes, for some batch sizes.
    static constexpr std::size_t kEntries = 256;
    using Key = std::array<int, 11>;
    std::mutex mutex_;
    std::list<std::pair<Key, std::shared_ptr<const Primitive>>> entries_;
};

memory view(const memory::desc& desc, const float* data) {
    return memory(desc, engine(), const_cast<float*>(data));  // oneDNN has no view of constant memory
}

memory scratch(Slot slot, const memory::desc& desc) {
    return view(desc, thread_scratch(slot, static_cast<std::int64_t>(desc.get_size() / sizeof(float) + 1)));
}

// Runs body(stream), turning oneDNN's exceptions into ours.
template <class Body>
void run(const char* what, const ConvShape& s, Body&& body) {
    try {
        thread_local dnnl::stream stream(engine());
        body(stream);
        stream.wait();
    } catch (const dnnl::error& error) {
        fail("convolution {}: oneDNN: {} (n {} h {} w {} c {} k {} r {} s {} stride {} padding {})", what, error.what(),
             s.n, s.h, s.w, s.c, s.k, s.r, s.s, s.stride, s.padding);
    }
}

memory wanted_weights(const Primitive& primitive, const float* w, const ConvShape& s, dnnl::stream& stream) {
    memory ours = view(our_weights(s), w);
    if (!primitive.needs_reorder) {
        return ours;
    }
    memory wanted = scratch(kWeights, primitive.w);
    primitive.reorder.execute(stream, {{DNNL_ARG_FROM, ours}, {DNNL_ARG_TO, wanted}});
    return wanted;
}

}  // namespace

bool serves(const ConvShape& s) {
    return s.n > 0 && s.groups == 1 && s.r * s.s > 1 && s.c >= 16;
}

void conv_forward(float* y, const float* x, const float* w, const float* bias, const ConvShape& s) {
    run("forward", s, [&](dnnl::stream& stream) {
        const auto primitive = Cache::instance().get(bias != nullptr ? Kind::forward_bias : Kind::forward, s);
        std::unordered_map<int, memory> arguments = {
            {DNNL_ARG_SRC, view(primitive->x, x)},
            {DNNL_ARG_WEIGHTS, wanted_weights(*primitive, w, s, stream)},
            {DNNL_ARG_DST, view(primitive->y, y)},
            {DNNL_ARG_SCRATCHPAD, scratch(kScratchpad, primitive->scratchpad)}};
        if (bias != nullptr) {
            arguments.emplace(DNNL_ARG_BIAS, view(primitive->bias, bias));
        }
        primitive->primitive.execute(stream, arguments);
    });
}

void conv_backward(float* dx, float* dw, const float* dy, const float* x, const float* w, const ConvShape& s) {
    if (dx != nullptr) {
        run("input gradient", s, [&](dnnl::stream& stream) {
            const auto primitive = Cache::instance().get(Kind::input_gradient, s);
            primitive->primitive.execute(stream, {{DNNL_ARG_DIFF_DST, view(primitive->y, dy)},
                                                  {DNNL_ARG_WEIGHTS, wanted_weights(*primitive, w, s, stream)},
                                                  {DNNL_ARG_DIFF_SRC, view(primitive->x, dx)},
                                                  {DNNL_ARG_SCRATCHPAD, scratch(kScratchpad, primitive->scratchpad)}});
        });
    }
    if (dw != nullptr) {
        run("weight gradient", s, [&](dnnl::stream& stream) {
            const auto primitive = Cache::instance().get(Kind::weight_gradient, s);
            memory ours = view(our_weights(s), dw);
            memory made = primitive->needs_reorder ? scratch(kWeights, primitive->w) : ours;
            primitive->primitive.execute(stream, {{DNNL_ARG_DIFF_DST, view(primitive->y, dy)},
                                                  {DNNL_ARG_SRC, view(primitive->x, x)},
                                                  {DNNL_ARG_DIFF_WEIGHTS, made},
                                                  {DNNL_ARG_SCRATCHPAD, scratch(kScratchpad, primitive->scratchpad)}});
            if (primitive->needs_reorder) {
                primitive->reorder.execute(stream, {{DNNL_ARG_FROM, made}, {DNNL_ARG_TO, ours}});
            }
        });
    }
}

}  // namespace cutis::cpu::onednn
