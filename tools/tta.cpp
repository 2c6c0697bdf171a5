#include "tools/tta.h"

#include <array>
#include <charconv>
#include <cstring>
#include <tuple>
#include <utility>

#include "engine/text.h"
#include "kernels/error.h"

namespace cutis {
namespace {

constexpr int kLeastGrid = 2, kLargestGrid = 10, kLargestSide = 16384;

constexpr std::array<std::pair<std::string_view, TtaKind>, 4> kNames{{{"none", TtaKind::none},
                                                                      {"flips", TtaKind::flips},
                                                                      {"rotations", TtaKind::rotations},
                                                                      {"dihedral", TtaKind::dihedral}}};
constexpr std::string_view kCrops = "crops:";

/// Windows along one side.
int grid_of(int crops) {
    for (int grid = kLeastGrid; grid <= kLargestGrid; ++grid) {
        if (grid * grid == crops) {
            return grid;
        }
    }
    return 0;
}

/// Reads a whole number at the beginning of `text` and takes it away; 0 where there is none.
int take_number(std::string_view& text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) {
        return 0;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return value;
}

/// Where the pixel (x, y) of a square view of `side` comes from: mirrored left-right or not, then turned
/// counter-clockwise by quarter turns.
struct Turn {
    bool mirrored;
    int quarters;

    std::pair<int, int> source(int x, int y, int side) const {
        const int last = side - 1;
        // A pixel (x, y) of the image turned once came from (last - y, x).
        for (int i = 0; i < quarters; ++i) {
            std::tie(x, y) = std::pair{last - y, x};
        }
        return {mirrored ? last - x : x, y};
    }
};

Turn turn_of(TtaKind kind, int view) {
    switch (kind) {
        case TtaKind::flips: {
            // Mirroring top-bottom is mirroring left-right and half a turn.
            constexpr std::array<Turn, 4> kFlips{{{false, 0}, {true, 0}, {true, 2}, {false, 2}}};
            return kFlips[static_cast<std::size_t>(view)];
        }
        case TtaKind::rotations:
        case TtaKind::dihedral:
            return {view >= 4, view % 4};
        default:
            return {false, 0};
    }
}

}  // namespace

Tta parse_tta(std::string_view text) {
    for (const auto& [name, kind] : kNames) {
        if (text == name) {
            return {kind};
        }
    }
    Tta tta{TtaKind::crops};
    std::string_view rest = text;
    bool good = rest.starts_with(kCrops);
    if (good) {
        rest.remove_prefix(kCrops.size());
        tta.crops = take_number(rest);
        good = grid_of(tta.crops) > 0;
    }
    if (good && rest.starts_with('@')) {
        rest.remove_prefix(1);
        tta.side = take_number(rest);
        good = tta.side >= 1 && tta.side <= kLargestSide;
    }
    require(good && rest.empty(),
            "--tta '{}' is unknown; there are none, flips, rotations, dihedral, and crops:N or crops:N@SIDE with N = "
            "4, 9, 16 .. 100",
            printable(text));
    return tta;
}

std::string name_of(const Tta& tta) {
    for (const auto& [name, kind] : kNames) {
        if (tta.kind == kind) {
            return std::string(name);
        }
    }
    return fmt::format("{}{}{}", kCrops, tta.crops, tta.side > 0 ? fmt::format("@{}", tta.side) : "");
}

std::string file_suffix(const Tta& tta) {
    std::string suffix = tta.kind == TtaKind::none ? "" : "_" + name_of(tta);
    std::erase(suffix, ':');  // not in file names of every system
    return suffix;
}

int view_count(const Tta& tta) {
    switch (tta.kind) {
        case TtaKind::none:
            return 1;
        case TtaKind::dihedral:
            return 8;
        case TtaKind::crops:
            return tta.crops;
        default:
            return 4;
    }
}

int square_side(const Tta& tta, int size, int image_side) {
    if (tta.kind != TtaKind::crops) {
        return size;
    }
    const int side = tta.side > 0 ? tta.side : image_side;
    require(side > 0, "--tta {}: images of any size have no side to cut from; state it, like {}@{}", name_of(tta),
            name_of(tta), size + size / 4);
    require(
        side > size,
        "--tta {}: windows of {} x {} pixels, the network's size, of images of {} x {} are all alike; scale them up "
        "first, like crops:{}@{}, or prepare a data set of a larger --size",
        name_of(tta), size, size, side, side, tta.crops, size + size / 4);
    return side;
}

void take_view(const std::uint8_t* rgb, int side, const Tta& tta, int view, int size, std::uint8_t* out) {
    const auto row_bytes = static_cast<std::size_t>(size) * 3;
    if (tta.kind == TtaKind::crops) {
        const int grid = grid_of(tta.crops);
        // The nearest whole pixel to even distances.
        const auto place = [&](int i) { return (2 * i * (side - size) + (grid - 1)) / (2 * (grid - 1)); };
        const int left = place(view % grid), top = place(view / grid);
        for (int y = 0; y < size; ++y) {
            const std::size_t from =
                (static_cast<std::size_t>(top + y) * static_cast<std::size_t>(side) + static_cast<std::size_t>(left)) *
                3;
            std::memcpy(out + static_cast<std::size_t>(y) * row_bytes, rgb + from, row_bytes);
        }
        return;
    }
    const Turn turn = turn_of(tta.kind, view);
    if (!turn.mirrored && turn.quarters == 0) {
        std::memcpy(out, rgb, row_bytes * static_cast<std::size_t>(size));
        return;
    }
    for (int y = 0; y < size; ++y) {
        for (int x = 0; x < size; ++x, out += 3) {
            const auto [from_x, from_y] = turn.source(x, y, size);
            const std::uint8_t* const from = rgb + (static_cast<std::size_t>(from_y) * static_cast<std::size_t>(size) +
                                                    static_cast<std::size_t>(from_x)) *
                                                       3;
            std::memcpy(out, from, 3);
        }
    }
}

}  // namespace cutis
