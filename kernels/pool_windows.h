#pragma once

namespace cutis {

/// Positions begin <= i < end of one axis.
struct Span {
    int begin, end;
    constexpr int size() const { return end - begin; }
};

// One axis of a pooling: which inputs an output's window holds, and the windows that hold an input. Windows are
// numbered as their outputs, and those that hold an input follow each other, which lets a backward pass gather instead
// of adding to shared places.

/// Windows of one size, `stride` apart, the first beginning `padding` before the axis.
struct PoolAxis {
    int size, outputs;
    int window, stride, padding;

    /// Where a window begins: before 0 where it reaches into the padding.
    constexpr int origin_of(int output) const { return output * stride - padding; }
    constexpr Span inputs_of(int output) const {
        const int first = origin_of(output), last = first + window;
        return {first > 0 ? first : 0, last < size ? last : size};
    }
    /// What the axis contributes to the size of a window: padding counts, what is beyond it does not.
    constexpr int divisor(int output) const {
        const int first = origin_of(output), last = first + window, end = size + padding;
        return (last < end ? last : end) - first;
    }
    constexpr Span outputs_of(int input) const {
        const int past = input + padding - window;  // a window that begins here ends just before the input
        const int first = past < 0 ? 0 : past / stride + 1, last = (input + padding) / stride + 1;
        return {first, last < outputs ? last : outputs};
    }
};

/// As many windows as are wanted, of nearly one size (torch.nn.AdaptiveAvgPool2d): output i holds floor(i size /
/// outputs)
/// .. ceil((i + 1) size / outputs) - 1.
struct AdaptiveAxis {
    int size, outputs;

    constexpr Span inputs_of(int output) const {
        return {output * size / outputs, ((output + 1) * size + outputs - 1) / outputs};
    }
    constexpr int divisor(int output) const { return inputs_of(output).size(); }
    constexpr Span outputs_of(int input) const {
        return {input * outputs / size, ((input + 1) * outputs + size - 1) / size};
    }
};

}  // namespace cutis
