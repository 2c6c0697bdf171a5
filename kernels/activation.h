#pragma once

#include <limits>

namespace cutis {

/// Activations that a normalisation carries along.
enum class Activation { identity, relu, relu6 };

/// The interval that an activation clamps to; its gradient is 1 strictly inside and 0 elsewhere (as in PyTorch).
struct Clamp {
    float lo, hi;
};
constexpr Clamp clamp_of(Activation act) {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    switch (act) {
        case Activation::relu:
            return {0.0f, infinity};
        case Activation::relu6:
            return {0.0f, 6.0f};
        case Activation::identity:
            break;
    }
    return {-infinity, infinity};
}

}  // namespace cutis
