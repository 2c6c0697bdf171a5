#include "engine/sampler.h"

#include <numeric>
#include <utility>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace cutis {
namespace {

/// Fisher-Yates (Knuth, The Art of Computer Programming 2, algorithm 3.4.2P).
void shuffle(std::vector<int>& values, PhiloxStream stream) {
    for (std::size_t left = values.size(); left > 1; --left) {
        std::swap(values[left - 1], values[stream.below(static_cast<std::uint32_t>(left))]);
    }
}

/// Streams of one seed: 0 orders the epoch, 1 hands out remainders, 2 + c orders the images of class c.
PhiloxStream stream_of(std::uint64_t seed, std::uint32_t turn, std::size_t stream) {
    return {seed, RandomPurpose::shuffle, turn, stream};
}

/// Values `first` to `last - 1` of the endless sequence that runs through `members` again and again, each time in a new
/// order.
void draw(const std::vector<int>& members, std::uint64_t first, std::uint64_t last, std::uint64_t seed,
          std::size_t stream, std::vector<int>& drawn) {
    std::vector<int> shuffled;
    for (std::uint64_t i = first; i < last; ++i) {
        const std::uint64_t place = i % members.size();
        if (i == first || place == 0) {
            shuffled = members;
            shuffle(shuffled, stream_of(seed, static_cast<std::uint32_t>(i / members.size()), stream));
        }
        drawn.push_back(shuffled[place]);
    }
}

std::vector<int> balanced_order(std::span<const int> indices, std::span<const int> labels, int n_classes,
                                std::uint64_t seed, std::uint32_t epoch) {
    std::vector<std::vector<int>> members(static_cast<std::size_t>(n_classes));
    for (const int i : indices) {
        members[static_cast<std::size_t>(labels[static_cast<std::size_t>(i)])].push_back(i);
    }
    std::erase_if(members, [](const std::vector<int>& of_class) { return of_class.empty(); });

    // Class c has been drawn floor((epoch * N + k_c) / C) times before this epoch, where the k_c are 0 to C - 1 in a
    // random order: summed over the classes that is epoch * N (Hermite's identity), so every epoch has exactly N
    // images.
    const std::uint64_t classes = members.size();
    std::vector<int> remainders(members.size());
    std::iota(remainders.begin(), remainders.end(), 0);
    shuffle(remainders, stream_of(seed, 0, 1));

    std::vector<int> drawn;
    drawn.reserve(indices.size());
    for (std::size_t c = 0; c < members.size(); ++c) {
        const std::uint64_t before = std::uint64_t{epoch} * indices.size() + static_cast<std::uint64_t>(remainders[c]);
        draw(members[c], before / classes, (before + indices.size()) / classes, seed, 2 + c, drawn);
    }
    return drawn;
}

}  // namespace

Order order_named(std::string_view name) {
    if (name == "sequential") {
        return Order::sequential;
    }
    if (name == "shuffled") {
        return Order::shuffled;
    }
    require(name == "balanced", "order '{}' is unknown; choose sequential, shuffled or balanced", name);
    return Order::balanced;
}

std::vector<int> epoch_order(Order order, std::span<const int> indices, std::span<const int> labels, int n_classes,
                             std::uint64_t seed, std::uint32_t epoch) {
    for (const int i : indices) {
        require(i >= 0 && static_cast<std::size_t>(i) < labels.size(), "epoch order: image {} of {} does not exist", i,
                labels.size());
        const int label = labels[static_cast<std::size_t>(i)];
        require(label >= 0 && label < n_classes, "epoch order: image {} has label {}, but there are {} classes", i,
                label, n_classes);
    }
    std::vector<int> images;
    if (order == Order::balanced && !indices.empty()) {
        images = balanced_order(indices, labels, n_classes, seed, epoch);
    } else {
        images.assign(indices.begin(), indices.end());
    }
    if (order != Order::sequential) {
        shuffle(images, stream_of(seed, epoch, 0));
    }
    return images;
}

}  // namespace cutis
