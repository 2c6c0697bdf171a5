#include "kernels/augment.h"

#include <algorithm>
#include <cmath>

#include "kernels/launch.h"
#include "kernels/reduce.cuh"
#include "kernels/vector.cuh"

// out(x, y) = normalised(colour(image at (a x + b y + c, d x + e y + f))). A block makes a part of kPixels pixels of
// one image, in their order; a thread every kThreads-th of them, so that neighbouring threads look at neighbouring
// bytes. Three values a pixel are an awkward store, so the part is laid out in shared memory and leaves in 16-byte
// vectors:
//
//   part of an image      p0  p1  p2  ...  p255 | p256 ...       thread t: pixels t, t + 256, t + 512, t + 768
//   shared (fp32)         rgb rgb rgb ...                        3 t: no two of 32 threads meet in a bank
//   out                   | 16 bytes | 16 bytes | ...
//
//   Contrast needs the mean grey of the sampled image first: grey is linear, so augment_grey_kernel samples and leaves
//   a sum per part, and augment_kernel's blocks add the sums of their image. Sampling twice reads bytes that are in L2.
//
//   Bytes per pixel: 3 sizeof(T) written, 3 of the image's bytes read, under 12 loads of one byte (24 with contrast);
//   a record of 128 bytes a block.   FLOPs: about 45 a pixel, for at most 15 bytes.

namespace cutis::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPixels = 1024;  // of a part

int parts_of(int size) {
    return static_cast<int>(blocks_for(std::int64_t{size} * size, kPixels));
}

struct Rgb {
    float v[3];
};

// Two colours and the way between them.
__device__ __forceinline__ Rgb between(const Rgb& p, const Rgb& q, float share) {
    Rgb r;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        r.v[i] = fmaf(q.v[i] - p.v[i], share, p.v[i]);
    }
    return r;
}

__device__ __forceinline__ Rgb colour_at(const std::uint8_t* image, const AugmentSample& sample, const Rgb& fill,
                                         int row, int column) {
    if (row < 0 || row >= sample.height || column < 0 || column >= sample.width) {
        return fill;
    }
    const std::uint8_t* const p = image + (static_cast<std::int64_t>(row) * sample.width + column) * 3;
    return {{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2])}};
}

// The image at output pixel (x, y), bilinearly, 0..255. Rows begin in double, as on the CPU: far from the start a float
// has few bits left for the fraction.
__device__ __forceinline__ Rgb sample_at(const std::uint8_t* image, const AugmentSample& sample, const Rgb& fill, int x,
                                         int y) {
    const float column =
        fmaf(static_cast<float>(sample.a), static_cast<float>(x), static_cast<float>(sample.b * y + sample.c));
    const float row =
        fmaf(static_cast<float>(sample.d), static_cast<float>(x), static_cast<float>(sample.e * y + sample.f));
    // Written so that NaN is outside.
    if (!(column > -1.0f && row > -1.0f && column < static_cast<float>(sample.width) &&
          row < static_cast<float>(sample.height))) {
        return fill;
    }
    const float left = floorf(column), upper = floorf(row);
    const int i = static_cast<int>(upper), j = static_cast<int>(left);
    const Rgb above =
        between(colour_at(image, sample, fill, i, j), colour_at(image, sample, fill, i, j + 1), column - left);
    const Rgb below =
        between(colour_at(image, sample, fill, i + 1, j), colour_at(image, sample, fill, i + 1, j + 1), column - left);
    return between(above, below, row - upper);
}

__device__ __forceinline__ Rgb coloured(const Rgb& p, const AugmentSample& sample, float mean_grey) {
    const float offset = sample.contrast * mean_grey;
    Rgb r;
#pragma unroll
    for (int i = 0; i < 3; ++i) {
        const float value = fmaf(sample.colours[0][i], p.v[0],
                                 fmaf(sample.colours[1][i], p.v[1], fmaf(sample.colours[2][i], p.v[2], offset)));
        r.v[i] = fminf(fmaxf(value, 0.0f), 255.0f);
    }
    return r;
}

// The record of the block's image, for all its threads.
__device__ __forceinline__ const AugmentSample& record_of_block(const AugmentSample* samples, int parts) {
    static_assert(sizeof(AugmentSample) % sizeof(int) == 0 && sizeof(AugmentSample) / sizeof(int) <= kThreads);
    constexpr unsigned kWords = sizeof(AugmentSample) / sizeof(int);
    SIMT_SHARED(int, record, [kWords]);
    if (threadIdx.x < kWords) {
        record[threadIdx.x] = reinterpret_cast<const int*>(samples + blockIdx.x / parts)[threadIdx.x];
    }
    __syncthreads();  // every word of the record is there
    return *reinterpret_cast<const AugmentSample*>(record);
}

__device__ __forceinline__ Rgb fill_of(const AugmentLook& look) {
    return {{static_cast<float>(look.fill[0]), static_cast<float>(look.fill[1]), static_cast<float>(look.fill[2])}};
}

__global__ void __launch_bounds__(kThreads)
    augment_grey_kernel(float* greys, const std::uint8_t* images, const AugmentSample* samples, const AugmentLook look,
                        int size, int parts) {
    const AugmentSample& sample = record_of_block(samples, parts);
    if (sample.contrast == 0.0f) {
        return;
    }
    const int first = static_cast<int>(blockIdx.x % parts) * kPixels, last = min(first + kPixels, size * size);
    constexpr float kRed = float(kLuma[0]), kGreen = float(kLuma[1]), kBlue = float(kLuma[2]);
    float sum = 0.0f;
    for (int pixel = first + static_cast<int>(threadIdx.x); pixel < last; pixel += kThreads) {
        const Rgb p = sample_at(images + sample.first, sample, fill_of(look), pixel % size, pixel / size);
        sum += fmaf(kRed, p.v[0], fmaf(kGreen, p.v[1], kBlue * p.v[2]));
    }
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) {
        greys[blockIdx.x] = sum;
    }
}

// The mean over the parts of the block's image. All threads call it.
__device__ __forceinline__ float mean_grey_of_block(const float* greys, int size, int parts) {
    const float* const of_image = greys + static_cast<std::int64_t>(blockIdx.x / parts) * parts;
    float sum = 0.0f;
    for (int part = static_cast<int>(threadIdx.x); part < parts; part += kThreads) {
        sum += of_image[part];
    }
    return block_sum<kThreads>(sum) / static_cast<float>(size * size);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    augment_kernel(T* out, const std::uint8_t* images, const AugmentSample* samples, const float* greys,
                   const AugmentLook look, int size, int parts) {
    SIMT_SHARED(float, values, [kPixels * 3]);
    const AugmentSample& sample = record_of_block(samples, parts);
    const float mean_grey = sample.contrast != 0.0f ? mean_grey_of_block(greys, size, parts) : 0.0f;
    const std::uint8_t* const image = images + sample.first;
    const int first = static_cast<int>(blockIdx.x % parts) * kPixels, last = min(first + kPixels, size * size);
    for (int pixel = first + static_cast<int>(threadIdx.x); pixel < last; pixel += kThreads) {
        float* const value = values + (pixel - first) * 3;
        const int x = pixel % size, y = pixel / size;
        if (x >= sample.hole_left && x < sample.hole_right && y >= sample.hole_top && y < sample.hole_bottom) {
            value[0] = value[1] = value[2] = 0.0f;
        } else if (sample.sampled == 0) {
#pragma unroll
            for (int i = 0; i < 3; ++i) {
                value[i] = (static_cast<float>(image[pixel * 3 + i]) / 255.0f - look.mean[i]) / look.std[i];
            }
        } else {
            Rgb p = sample_at(image, sample, fill_of(look), x, y);
            if (sample.coloured != 0) {
                p = coloured(p, sample, mean_grey);
            }
#pragma unroll
            for (int i = 0; i < 3; ++i) {
                value[i] = fmaf(p.v[i], 1.0f / (255.0f * look.std[i]), -look.mean[i] / look.std[i]);
            }
        }
    }
    __syncthreads();  // a vector holds values of two or more threads
    constexpr int N = kVector<T>;
    const int count = (last - first) * 3;
    const std::int64_t place = (static_cast<std::int64_t>(blockIdx.x / parts) * size * size + first) * 3;
    // Images of an odd side begin between two vectors' places.
    const int whole = place % N == 0 ? count / N * N : 0;
    for (int i = static_cast<int>(threadIdx.x) * N; i < whole; i += kThreads * N) {
        store<N>(out + place + i, load<N>(static_cast<const float*>(values) + i));
    }
    for (int i = whole + static_cast<int>(threadIdx.x); i < count; i += kThreads) {
        out[place + i] = from_float<T>(values[i]);
    }
}

}  // namespace

template <class T>
void augment(T* out, const std::uint8_t* images, const AugmentSample* samples, const AugmentLook& look, bool contrast,
             int n, int size, Stream stream) {
    check_augment(n, size);
    const int parts = parts_of(size);
    const std::int64_t blocks = std::int64_t{n} * parts;
    const simt::LaunchShape shape{.grid = static_cast<unsigned>(blocks), .block = kThreads};
    const Scratch<float> greys(contrast ? blocks : 0, stream);
    if (contrast) {
        launch<augment_grey_kernel>(shape, stream, greys.data(), images, samples, look, size, parts);
    }
    launch<augment_kernel<T>>(shape, stream, out, images, samples, static_cast<const float*>(greys.data()), look, size,
                              parts);
}

template <class T>
Traffic augment_traffic(std::span<const AugmentSample> samples, bool contrast, int size) {
    const std::int64_t pixels = std::int64_t{size} * size, parts = parts_of(size);
    Traffic sum;
    for (const AugmentSample& s : samples) {
        const bool grey = contrast && s.contrast != 0.0f;
        const Traffic record = Traffic::times(parts, sizeof(AugmentSample));
        // The bytes under the map: its area at least, and at most the whole image.
        const auto area = [&](std::int64_t of_pixels) {
            const double under = std::abs(s.a * s.e - s.b * s.d) * static_cast<double>(of_pixels);
            return 3 * std::min(static_cast<std::int64_t>(under), std::int64_t{s.height} * s.width);
        };
        const std::int64_t hole =
            std::int64_t{std::max(0, s.hole_right - s.hole_left)} * std::max(0, s.hole_bottom - s.hole_top);
        const std::int64_t seen = pixels - hole;
        if (contrast) {
            sum += record;
        }
        if (grey) {
            sum += Traffic{12 * pixels, area(pixels)} + Traffic::once(4 * parts) + Traffic::times(parts, 4 * parts);
        }
        sum += record;
        sum += s.sampled != 0 ? Traffic{12 * seen, area(seen)} : Traffic::once(3 * seen);
        sum += Traffic::once(std::int64_t{sizeof(T)} * 3 * pixels);
    }
    return sum;
}

template void augment(float*, const std::uint8_t*, const AugmentSample*, const AugmentLook&, bool, int, int, Stream);
template void augment(BFloat16*, const std::uint8_t*, const AugmentSample*, const AugmentLook&, bool, int, int, Stream);
template Traffic augment_traffic<float>(std::span<const AugmentSample>, bool, int);
template Traffic augment_traffic<BFloat16>(std::span<const AugmentSample>, bool, int);

}  // namespace cutis::cuda
