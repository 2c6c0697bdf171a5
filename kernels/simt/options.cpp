#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/simt/scheduler.h"
#include "kernels/simt/sites.h"

namespace simt {

Options& options() {
    static Options instance = [] {
        Options defaults;
        const auto variable = [](const char* name) {
            const char* const value = std::getenv(name);
            return std::string(value != nullptr ? value : "");
        };
        const std::string order = variable("SIMT_ORDER");
        defaults.order = order == "reverse"  ? Order::reverse
                         : order == "random" ? Order::random
                         : order == "warps"  ? Order::warps
                                             : Order::forward;
        if (defaults.order == Order::forward && !order.empty() && order != "forward") {
            std::fprintf(stderr, "simt: SIMT_ORDER=%s is unknown; forward, reverse, random and warps are\n",
                         order.c_str());
            std::exit(2);
        }
        if (const std::string seed = variable("SIMT_SEED"); !seed.empty()) {
            defaults.seed = static_cast<unsigned>(std::strtoul(seed.c_str(), nullptr, 10));
        }
        defaults.os_threads = std::atoi(variable("SIMT_THREADS").c_str());
        defaults.abort = variable("SIMT_ABORT") == "1";
        defaults.trace = variable("SIMT_TRACE") == "1";
        defaults.lazy_streams = variable("SIMT_STREAMS") == "lazy";
        if (const std::string place = variable("SIMT_LEAVE_OUT"); !place.empty()) {
            defaults.leave_out = detail::parse_leave_out(place);
        }
        return defaults;
    }();
    return instance;
}

}  // namespace simt
