#include "kernels/simt/warp.h"

#include <bit>

// Layouts of mma's fragments: the tables of the PTX ISA, as written down in ptx.h.

namespace simt::detail {
namespace {

float low_bf16(std::uint32_t word) {
    return std::bit_cast<float>(word << 16);
}
float high_bf16(std::uint32_t word) {
    return std::bit_cast<float>(word & 0xFFFF0000u);
}

// d[16][8] = a[16][K] * b[K][8] in fp32, added to each lane's d at the end, as a GPU adds a tile's products to the sum.
template <int K>
void multiply(const float (&a)[16][K], const float (&b)[K][8], Lane* const* lanes) {
    float d[16][8] = {};
    for (int i = 0; i < 16; ++i) {
        for (int k = 0; k < K; ++k) {
            for (int j = 0; j < 8; ++j) {
                d[i][j] += a[i][k] * b[k][j];
            }
        }
    }
    for (int l = 0; l < 32; ++l) {
        for (int i = 0; i < 4; ++i) {
            const int row = l / 4 + (i / 2) * 8, column = (l % 4) * 2 + i % 2;
            lanes[l]->out[i] = std::bit_cast<std::uint32_t>(std::bit_cast<float>(lanes[l]->in[6 + i]) + d[row][column]);
        }
    }
}

void mma_bf16(Lane* const* lanes) {
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; ++l) {
        const int g = l / 4, t = (l % 4) * 2;
        for (int i = 0; i < 4; ++i) {
            const int row = g + (i & 1) * 8, k = t + (i >> 1) * 8;
            a[row][k] = low_bf16(lanes[l]->in[i]);
            a[row][k + 1] = high_bf16(lanes[l]->in[i]);
        }
        for (int i = 0; i < 2; ++i) {
            b[t + i * 8][g] = low_bf16(lanes[l]->in[4 + i]);
            b[t + i * 8 + 1][g] = high_bf16(lanes[l]->in[4 + i]);
        }
    }
    multiply<16>(a, b, lanes);
}

// The hardware reads the upper 19 bits of what it is given.
float tf32(std::uint32_t word) {
    return std::bit_cast<float>(word & ~0x1FFFu);
}

void mma_tf32(Lane* const* lanes) {
    float a[16][8], b[8][8];
    for (int l = 0; l < 32; ++l) {
        const int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; ++i) {
            a[g + (i & 1) * 8][t + (i >> 1) * 4] = tf32(lanes[l]->in[i]);
        }
        for (int i = 0; i < 2; ++i) {
            b[t + i * 4][g] = tf32(lanes[l]->in[4 + i]);
        }
    }
    multiply<8>(a, b, lanes);
}

void ldmatrix(Lane* const* lanes) {
    for (int l = 0; l < 32; ++l) {
        for (int j = 0; j < 4; ++j) {
            lanes[l]->out[j] = lanes[j * 8 + l / 4]->in[l % 4];
        }
    }
}

void ldmatrix_transposed(Lane* const* lanes) {
    for (int l = 0; l < 32; ++l) {
        for (int j = 0; j < 4; ++j) {
            const auto half = [&](int row) {
                const int column = l / 4;
                return lanes[j * 8 + row]->in[column / 2] >> (column % 2 != 0 ? 16 : 0) & 0xFFFFu;
            };
            lanes[l]->out[j] = half((l % 4) * 2) | half((l % 4) * 2 + 1) << 16;
        }
    }
}

template <class Body>
void for_lanes(unsigned mask, Body&& body) {
    for (unsigned l = 0; l < 32; ++l) {
        if ((mask >> l & 1u) != 0) {
            body(l);
        }
    }
}

}  // namespace

const char* combine(WarpOp op, unsigned mask, Lane* const* lanes) {
    std::uint32_t result = 0;
    switch (op) {
        case WarpOp::sync:
            return nullptr;
        case WarpOp::shuffle: {
            bool outside = false;
            for_lanes(mask, [&](unsigned l) {
                const std::uint32_t source = lanes[l]->in[2];
                if ((mask >> source & 1u) == 0) {
                    outside = true;
                } else {
                    lanes[l]->out[0] = lanes[source]->in[0];
                    lanes[l]->out[1] = lanes[source]->in[1];
                }
            });
            return outside ? "a shuffle reads a lane outside its mask" : nullptr;
        }
        case WarpOp::ballot:
            for_lanes(mask, [&](unsigned l) { result |= lanes[l]->in[0] << l; });
            break;
        case WarpOp::reduce_add:
            for_lanes(mask, [&](unsigned l) { result += lanes[l]->in[0]; });
            break;
        case WarpOp::ldmatrix:
            ldmatrix(lanes);
            return nullptr;
        case WarpOp::ldmatrix_transposed:
            ldmatrix_transposed(lanes);
            return nullptr;
        case WarpOp::mma_bf16:
            mma_bf16(lanes);
            return nullptr;
        case WarpOp::mma_tf32:
            mma_tf32(lanes);
            return nullptr;
    }
    for_lanes(mask, [&](unsigned l) { lanes[l]->out[0] = result; });
    return nullptr;
}

}  // namespace simt::detail
