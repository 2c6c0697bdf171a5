#include "layers/ema.h"

#include <algorithm>

#include "kernels/error.h"
#include "kernels/optimizer.h"

namespace cutis {

Ema::Ema(const Parts& parts, float decay) : decay_(decay) {
    require(decay > 0.0f && decay < 1.0f, "ema: decay {} is not between 0 and 1", decay);
    for (const ParameterRef& parameter : parts.parameters) {
        pairs_.push_back({parameter.name, parameter.variable.value(), parameter.variable.value().clone()});
    }
    for (const BufferRef& buffer : parts.buffers) {
        pairs_.push_back({buffer.name, buffer.tensor, buffer.tensor.clone()});
    }
}

void Ema::update() {
    const auto n = static_cast<float>(updates_);
    const float decay = std::min(decay_, (1.0f + n) / (10.0f + n));
    ++updates_;
    for (Pair& pair : pairs_) {
        cpu::ema_update(pair.average.data(), pair.live.data(), decay, pair.average.elements());
        pair.average.mark_changed();
    }
}

void Ema::swap() {
    for (Pair& pair : pairs_) {
        const Tensor live = pair.live.clone();
        pair.live.copy_from(pair.average);
        pair.average.copy_from(live);
    }
}

std::vector<BufferRef> Ema::state() const {
    std::vector<BufferRef> state;
    for (const Pair& pair : pairs_) {
        state.push_back({"ema." + pair.name, pair.average});
    }
    return state;
}

}  // namespace cutis
