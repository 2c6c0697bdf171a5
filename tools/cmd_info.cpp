#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "engine/cuda_device.h"
#include "kernels/isa.h"
#include "kernels/parallel.h"
#include "models/model.h"
#include "tools/build_info.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/device_choice.h"

namespace cutis {
namespace {

using Json = nlohmann::json;

std::int64_t memory_bytes() {
    return std::int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
}

Json facts() {
    const BuildInfo& build = build_info();
    Json supported = Json::array();
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
        if (isa_supported(isa)) {
            supported.push_back(isa_name(isa));
        }
    }
    Json models = Json::array();
    for (const ModelEntry& entry : model_table()) {
        models.push_back({{"name", entry.name}, {"description", entry.description}});
    }
    Json devices = Json::array({{{"name", "cpu"}, {"processor", processor_name({})}, {"memory_bytes", memory_bytes()}}});
    for (int i = 0; i < cuda_device_count(); ++i) {
        const CudaDeviceInfo gpu = cuda_device_info(i);
        devices.push_back({{"name", to_string(Device{DeviceKind::cuda, i})},
                           {"processor", gpu.name},
                           {"compute_capability", fmt::format("{}.{}", gpu.major, gpu.minor)},
                           {"multiprocessors", gpu.multiprocessors},
                           {"memory_bytes", gpu.memory}});
    }
    utsname system{};
    ::uname(&system);
    return {{"version", build.version},
            {"git_revision", build.git_revision},
            {"compiler", build.compiler},
            {"build_type", build.build_type},
            {"cuda", build.cuda},
            {"system", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
            {"devices", devices},
            {"instruction_set", {{"active", isa_name(active_isa())}, {"supported", supported}}},
            {"threads", thread_count()},
            {"kernel_threads", build.kernel_threads},
            {"libraries",
             {{"oneDNN", build.onednn},
              {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
              {"nlohmann_json", fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
                                            NLOHMANN_JSON_VERSION_PATCH)},
              {"CLI11", CLI11_VERSION},
              {"zlib", ::zlibVersion()}}},
            {"models", models}};
}

void print_text(const Json& json) {
    const auto row = [](std::string_view name, const std::string& value) { say("{:<18}{}", name, value); };
    const auto text = [&](const char* key) { return json[key].get<std::string>(); };
    row("cutis", fmt::format("{}, revision {}", text("version"), text("git_revision")));
    row("build", fmt::format("{}, {}, CUDA {}", text("build_type"), text("compiler"), text("cuda")));
    row("system", text("system"));
    for (const Json& device : json["devices"]) {
        row("device",
            fmt::format("{}: {}, {} of memory", device["name"].get<std::string>(),
                        device["processor"].get<std::string>(), bytes_text(device["memory_bytes"].get<double>())));
    }
    std::string supported;
    for (const Json& isa : json["instruction_set"]["supported"]) {
        supported += (supported.empty() ? "" : ", ") + isa.get<std::string>();
    }
    row("instruction set",
        fmt::format("{} (possible here: {})", json["instruction_set"]["active"].get<std::string>(), supported));
    row("threads", fmt::format("{} ({})", json["threads"].get<int>(), text("kernel_threads")));
    std::string libraries;
    for (const auto& item : json["libraries"].items()) {
        libraries += fmt::format("{}{} {}", libraries.empty() ? "" : ", ", item.key(), item.value().get<std::string>());
    }
    row("libraries", libraries);
    for (const Json& model : json["models"]) {
        row("model", fmt::format("{}: {}", model["name"].get<std::string>(), model["description"].get<std::string>()));
    }
}

}  // namespace

void add_info_command(CLI::App& app, Command& chosen) {
    CLI::App* const command = app.add_subcommand("info", "Show build, devices, instruction set, library versions");
    const auto as_json = std::make_shared<bool>(false);
    command->add_flag("--json", *as_json, "As JSON");
    command->footer(examples({"cutis info", "cutis info --json"}));
    command->callback([=, &chosen] {
        chosen = [as_json] {
            const Json json = facts();
            if (*as_json) {
                say("{}", json.dump(2, ' ', false, Json::error_handler_t::replace));
            } else {
                print_text(json);
            }
        };
    });
}

}  // namespace cutis
