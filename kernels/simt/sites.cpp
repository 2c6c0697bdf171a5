#include "kernels/simt/sites.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace simt::detail {
namespace {

constexpr int kPlaces = 64;  // of one launch; a trace leaves out what comes after them

Site g_places[kPlaces];
int g_count = 0;
std::atomic_flag g_busy;  // not a mutex: the thread sanitizer would take that for an order between CUDA threads

std::atomic<long> g_left_out{0};

bool same(Site a, Site b) {
    return a.line == b.line && std::strcmp(a.file, b.file) == 0;
}

bool is(Site site, const Options::LeaveOut& wanted) {
    if (site.line != wanted.line) {
        return false;
    }
    // Compilers are given absolute paths or relative ones.
    const std::string_view path(site.file), end(wanted.file);
    return path.size() >= end.size() && path.substr(path.size() - end.size()) == end &&
           (path.size() == end.size() || path[path.size() - end.size() - 1] == '/');
}

void note(Site site) {
    while (g_busy.test_and_set(std::memory_order_acquire)) {
    }
    if (g_count < kPlaces &&
        std::none_of(g_places, g_places + g_count, [&](Site place) { return same(place, site); })) {
        g_places[g_count++] = site;
    }
    g_busy.clear(std::memory_order_release);
}

bool chosen(Site site) {
    if (!is(site, options().leave_out)) {
        return false;
    }
    g_left_out.fetch_add(1, std::memory_order_relaxed);
    return true;
}

}  // namespace

bool left_out(Site site) {
    const Options& now = options();
    if (now.trace) {
        note(site);
    }
    return now.leave_out.line != 0 && !now.leave_out.weaken && chosen(site);
}

bool weakened(Site site) {
    return options().leave_out.weaken && chosen(site);
}

std::string take_places() {
    std::string text;
    for (int i = 0; i < g_count; ++i) {
        text +=
            (i == 0 ? "; waits at " : ", ") + std::string(g_places[i].file) + ":" + std::to_string(g_places[i].line);
    }
    g_count = 0;
    return text;
}

Options::LeaveOut parse_leave_out(const std::string& text) {
    Options::LeaveOut wanted;
    std::string place = text;
    if (place.size() > 2 && place.compare(place.size() - 2, 2, "+1") == 0) {
        wanted.weaken = true;
        place.resize(place.size() - 2);
    }
    const std::size_t colon = std::min(place.rfind(':'), place.size());
    wanted.file = place.substr(0, colon);
    const std::string digits = place.substr(std::min(colon + 1, place.size()));
    const char* const end = digits.data() + digits.size();
    const auto [rest, error] = std::from_chars(digits.data(), end, wanted.line);
    if (wanted.file.empty() || error != std::errc() || rest != end || wanted.line <= 0) {
        std::fprintf(stderr, "simt: SIMT_LEAVE_OUT=%s is no place; kernels/sum.cu:41 is, or with +1 behind it\n",
                     text.c_str());
        std::exit(2);
    }
    static const std::string said = text;  // before atexit, hence gone after it; options() itself is gone by then
    std::atexit([] { std::fprintf(stderr, "simt: left out %s, %ld times\n", said.c_str(), g_left_out.load()); });
    return wanted;
}

}  // namespace simt::detail
