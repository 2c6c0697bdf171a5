#include "layers/ema.h"

#include <algorithm>
#include <utility>

#include "engine/cuda_device.h"
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
#ifdef CUTIS_WITH_CUDA
    const Device device = parts.device();
    if (device.kind == DeviceKind::cuda) {
        std::vector<cuda::AveragedTensor> tensors;
        std::vector<std::int64_t> sizes;
        for (Pair& pair : pairs_) {
            tensors.push_back({pair.average.data(), pair.live.data(), pair.live.elements()});
            sizes.push_back(pair.live.elements());
        }
        const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
        chunk_count_ = static_cast<int>(chunks.size());
        const auto table = [&](const auto& rows) {
            const std::size_t bytes = rows.size() * sizeof rows[0];
            Tensor copy = Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
            copy_bytes(copy.raw(), device, rows.data(), {}, bytes);
            return copy;
        };
        tensors_ = table(tensors);
        chunks_ = table(chunks);
    }
#endif
}

float Ema::next_decay() const {
    const auto n = static_cast<float>(updates_);
    return std::min(decay_, (1.0f + n) / (10.0f + n));
}

void Ema::update() {
    const float decay = next_decay();
    ++updates_;
    for (Pair& pair : pairs_) {
        cpu::ema_update(pair.average.data(), pair.live.data(), decay, pair.average.elements());
        pair.average.mark_changed();
    }
}

#ifdef CUTIS_WITH_CUDA
void Ema::update_on_gpu(const StepState* state) {
    cuda::ema_update(static_cast<const cuda::AveragedTensor*>(tensors_.raw()),
                     static_cast<const cuda::TensorChunk*>(chunks_.raw()), chunk_count_, state,
                     stream_of(tensors_.device()));
    for (Pair& pair : pairs_) {
        pair.average.mark_changed();
    }
}
#else
void Ema::update_on_gpu(const StepState*) {
    fail("ema: this build has no CUDA kernels");
}
#endif

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
