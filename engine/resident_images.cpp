#include "engine/resident_images.h"

#include <algorithm>
#include <array>

#include "engine/augment.h"
#include "engine/cuda_device.h"
#include "engine/resize.h"
#include "kernels/error.h"
#include "kernels/parallel.h"

namespace cutis {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{8} << 20;

std::int64_t bytes_of_side(int side) {
    return std::int64_t{3} * side * side;
}

std::int64_t bytes_of_image(int side, int out_size) {
    std::int64_t sum = 0;
    for (const int each : augmentation_sides(side, out_size)) {
        sum += bytes_of_side(each);
    }
    return sum;
}

// The image in all its sizes, one after the other.
void write_sizes(const PackedDataset& dataset, int index, const std::vector<int>& sides, std::uint8_t* to) {
    const std::span<const std::uint8_t> rgb = dataset.image(static_cast<std::size_t>(index));
    for (const int each : sides) {
        write_resized(rgb.data(), dataset.image_size(), each, to);
        to += bytes_of_side(each);
    }
}

}  // namespace

std::size_t ResidentImages::bytes_needed(const PackedDataset& dataset, std::size_t images, int out_size) {
    return images * static_cast<std::size_t>(bytes_of_image(dataset.image_size(), out_size));
}

ResidentImages::ResidentImages(const PackedDataset& dataset, std::span<const int> indices, int out_size, Device device)
    : sides_(augmentation_sides(dataset.image_size(), out_size)),
      image_bytes_(bytes_of_image(dataset.image_size(), out_size)) {
    std::int64_t offset = 0;
    for (const int side : sides_) {
        offset_of_side_.push_back(offset);
        offset += bytes_of_side(side);
    }
    std::vector<int> order;
    for (const int index : indices) {
        if (place_.try_emplace(index, static_cast<std::int64_t>(order.size()) * image_bytes_).second) {
            order.push_back(index);
        }
    }
    bytes_ = Tensor::empty({static_cast<std::int64_t>(order.size()) * image_bytes_}, DType::u8, device);

    // While one chunk is copied the next is filled.
    struct Chunk {
        PinnedMemory memory;
        CudaEvent copied;
        bool used = false;
        explicit Chunk(std::size_t bytes) : memory(bytes) {}
    };
    const auto image_bytes = static_cast<std::size_t>(image_bytes_);
    const std::size_t images =
        std::clamp<std::size_t>(kChunkBytes / image_bytes, 1, std::max<std::size_t>(1, order.size()));
    std::array<Chunk, 2> chunks{Chunk(images * image_bytes), Chunk(images * image_bytes)};
    for (std::size_t first = 0, turn = 0; first < order.size(); first += images, ++turn) {
        Chunk& chunk = chunks[turn % chunks.size()];
        if (chunk.used) {
            chunk.copied.wait();
        }
        const std::size_t count = std::min(images, order.size() - first);
        auto* const to = static_cast<std::uint8_t*>(chunk.memory.data());
        parallel_for(static_cast<std::int64_t>(count), 1, [&](std::int64_t begin, std::int64_t end, int) {
            for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                write_sizes(dataset, order[first + i], sides_, to + i * image_bytes);
            }
        });
        copy_bytes(bytes_.data<std::uint8_t>() + first * image_bytes, device, to, {}, count * image_bytes);
        chunk.copied.record(device);
        chunk.used = true;
    }
    synchronize(device);
}

std::int64_t ResidentImages::first_byte(int index, int side) const {
    const auto place = place_.find(index);
    require(place != place_.end(), "resident images: image {} is not among the {} that were copied", index,
            place_.size());
    const auto found = std::find(sides_.begin(), sides_.end(), side);
    require(found != sides_.end(), "resident images: none is {} pixels high and wide", side);
    return place->second + offset_of_side_[static_cast<std::size_t>(found - sides_.begin())];
}

}  // namespace cutis
