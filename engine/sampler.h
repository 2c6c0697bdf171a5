#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace cutis {

/// In which order an epoch visits the images that train.
enum class Order {
    sequential,  ///< as they are given
    shuffled,    ///< each once, in a new random order every epoch
    balanced,    ///< each class equally often
};

/// From "sequential", "shuffled" or "balanced"; throws Error naming these for any other text.
Order order_named(std::string_view name);

/// The images of one epoch, as many as there are `indices`. Depends on its arguments alone, so that a resumed run goes
/// on as if it had never stopped.
///
/// `balanced` counts only the classes that occur. With N images and C such classes each is drawn floor(N/C) or
/// ceil(N/C) times an epoch, and over C epochs exactly N times. A class is drawn without replacement until all of its
/// images were seen, then again in a new order, across the ends of epochs.
/// @param indices    images to visit, each an index into `labels`
/// @param labels     class of every image of the data set, 0 to n_classes - 1
/// @param epoch      from 0
std::vector<int> epoch_order(Order order, std::span<const int> indices, std::span<const int> labels, int n_classes,
                             std::uint64_t seed, std::uint32_t epoch);

}  // namespace cutis
