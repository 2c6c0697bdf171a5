#pragma once

#include <array>
#include <cmath>
#include <cstdint>

namespace cutis {

/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a keyed bijection of a
/// 128-bit counter. Value `i` of a stream costs the same from anywhere, so that every device, every loader thread and
/// every resumed run draws the same numbers.
/// @param key      the seed, two words
/// @param counter  the position, four words
/// @return four independent uniform words
constexpr std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 2> key,
                                                  std::array<std::uint32_t, 4> counter) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t left = std::uint64_t{0xD2511F53u} * counter[0];
        const std::uint64_t right = std::uint64_t{0xCD9E8D57u} * counter[2];
        counter = {static_cast<std::uint32_t>(right >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(right),
                   static_cast<std::uint32_t>(left >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(left)};
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    return counter;
}

/// Maps a word to [0, 1) with 24 random bits, exactly representable in fp32.
constexpr float uniform_from_bits(std::uint32_t bits) {
    return static_cast<float>(bits >> 8) * 0x1.0p-24f;
}

/// What a random stream is for. Streams of one seed with different purposes never share a counter.
enum class RandomPurpose : std::uint32_t {
    weights = 1,
    dropout = 2,
    shuffle = 3,
    augment = 4,
    split = 5,
    bootstrap = 6,
    test = 7
};

/// A sequential reader of one Philox stream. The stream is named by (seed, purpose, a, b): for instance a = epoch,
/// b = sample. Copying it copies its position.
class PhiloxStream {
  public:
    /// @param a,b  any two numbers that tell streams of one purpose apart; `b` may use 64 bits, of which the upper 32
    /// are
    ///             mixed into the key together with the purpose
    constexpr PhiloxStream(std::uint64_t seed, RandomPurpose purpose, std::uint32_t a = 0, std::uint64_t b = 0)
        : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32) ^
                                                     (static_cast<std::uint32_t>(purpose) << 24) ^
                                                     static_cast<std::uint32_t>(b >> 32)},
          counter_{0, static_cast<std::uint32_t>(purpose), a, static_cast<std::uint32_t>(b)} {}

    constexpr std::uint32_t next() {
        if (used_ == 4) {
            block_ = philox4x32(key_, counter_);
            ++counter_[0];
            used_ = 0;
        }
        return block_[used_++];
    }
    /// Words 4 * index to 4 * index + 3 of the stream, wherever it stands.
    constexpr std::array<std::uint32_t, 4> block(std::uint32_t index) const {
        return philox4x32(key_, {index, counter_[1], counter_[2], counter_[3]});
    }
    /// Makes word `index` of the stream the next one, index < 2^34; words are counted from 0.
    constexpr void seek(std::uint64_t index) {
        counter_[0] = static_cast<std::uint32_t>(index / 4);
        used_ = 4;
        for (std::uint64_t i = 0; i < index % 4; ++i) {
            next();
        }
    }
    /// Uniform in [0, 1).
    constexpr float uniform() { return uniform_from_bits(next()); }
    /// Uniform in [low, high).
    constexpr float uniform(float low, float high) { return low + (high - low) * uniform(); }
    /// Uniform integer in [0, n) without modulo bias (Lemire's rejection); n >= 1.
    constexpr std::uint32_t below(std::uint32_t n) {
        std::uint64_t product = std::uint64_t{next()} * n;
        if (static_cast<std::uint32_t>(product) < n) {
            const std::uint32_t threshold = (0u - n) % n;
            while (static_cast<std::uint32_t>(product) < threshold) {
                product = std::uint64_t{next()} * n;
            }
        }
        return static_cast<std::uint32_t>(product >> 32);
    }
    /// Standard normal (Box-Muller; the second value of a pair is thrown away, so the position stays simple).
    float normal() {
        const float radius = std::sqrt(-2.0f * std::log(1.0f - uniform()));
        return radius * std::cos(6.28318530717958647692f * uniform());
    }

  private:
    std::array<std::uint32_t, 2> key_;
    std::array<std::uint32_t, 4> counter_;
    std::array<std::uint32_t, 4> block_{};
    int used_ = 4;
};

}  // namespace cutis
