#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "models/model.h"
#include "tools/combine_members.h"
#include "tools/command_options.h"
#include "tools/console.h"

namespace cutis {
namespace {

using Json = nlohmann::json;

struct Options {
    std::string model, ensemble;
    int classes = 7;
    int size = 224;
    float width = 1.0f;
    int lstm_hidden = 128;
    std::string format = "table";
};

constexpr std::int64_t kBytesPerValue = 4;  // fp32

std::int64_t activation_bytes(const LayerSummary& layer) {
    return layer.output.elements() * kBytesPerValue;
}

/// What the formats show.
struct Summary {
    Options options;
    std::vector<LayerSummary> layers;
    std::int64_t parameters = 0, macs = 0, activations = 0;
};

Summary summarize(const Options& options) {
    const std::unique_ptr<Model> model = build_model(
        options.model, {.classes = options.classes, .width = options.width, .lstm_hidden = options.lstm_hidden});
    Summary summary{options, model->summarize(options.size)};
    for (const LayerSummary& layer : summary.layers) {
        summary.parameters += layer.parameters;
        summary.macs += layer.macs;
        summary.activations += activation_bytes(layer);
    }
    return summary;
}

std::string table(const Summary& summary) {
    constexpr std::string_view kHeads[] = {"layer", "kind", "output", "parameters", "MACs", "bytes out"};
    std::vector<std::array<std::string, std::size(kHeads)>> rows;
    const auto add = [&](std::string name, std::string kind, std::string output, std::int64_t parameters,
                         std::int64_t macs, std::int64_t bytes) {
        rows.push_back({std::move(name), std::move(kind), std::move(output), grouped_digits(parameters),
                        grouped_digits(macs), grouped_digits(bytes)});
    };
    for (const LayerSummary& layer : summary.layers) {
        add(layer.name, layer.kind, to_string(layer.output), layer.parameters, layer.macs, activation_bytes(layer));
    }
    add("total", "", "", summary.parameters, summary.macs, summary.activations);
    std::array<std::size_t, std::size(kHeads)> widths{};
    for (std::size_t c = 0; c < widths.size(); ++c) {
        widths[c] = kHeads[c].size();
        for (const auto& row : rows) {
            widths[c] = std::max(widths[c], row[c].size());
        }
    }
    const auto line = [&](const auto& cells) {
        std::string text;
        for (std::size_t c = 0; c < widths.size(); ++c) {
            // Words to the left, numbers to the right.
            text += c < 2 ? fmt::format("{:<{}}  ", cells[c], widths[c]) : fmt::format("{:>{}}  ", cells[c], widths[c]);
        }
        return text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
    };
    std::string rule;
    for (const std::size_t width : widths) {
        rule += std::string(width, '-') + "  ";
    }
    rule.resize(rule.size() - 2);
    std::string text = fmt::format("{}, {} classes, input {} x {} x 3\n\n", summary.options.model,
                                   summary.options.classes, summary.options.size, summary.options.size);
    text += line(kHeads) + rule + "\n";
    for (std::size_t r = 0; r + 1 < rows.size(); ++r) {
        text += line(rows[r]);
    }
    text += rule + "\n" + line(rows.back());
    text += fmt::format("\n{} parameters ({} as fp32), {} MACs for one image, {} of layer outputs",
                        grouped_digits(summary.parameters),
                        bytes_text(static_cast<double>(summary.parameters * kBytesPerValue)),
                        grouped_digits(summary.macs), bytes_text(static_cast<double>(summary.activations)));
    return text;
}

std::string json_text(const Summary& summary) {
    Json layers = Json::array();
    for (const LayerSummary& layer : summary.layers) {
        layers.push_back(
            {{"name", layer.name},
             {"kind", layer.kind},
             {"output", std::vector<std::int64_t>(layer.output.sizes().begin(), layer.output.sizes().end())},
             {"parameters", layer.parameters},
             {"macs", layer.macs},
             {"bytes", activation_bytes(layer)}});
    }
    const Json json{{"model", summary.options.model},
                    {"classes", summary.options.classes},
                    {"size", summary.options.size},
                    {"width", Json::parse(fmt::format("{}", summary.options.width))},
                    {"parameters", summary.parameters},
                    {"macs", summary.macs},
                    {"parameter_bytes", summary.parameters * kBytesPerValue},
                    {"activation_bytes", summary.activations},
                    {"layers", layers}};
    return json.dump(2);
}

std::string label(const LayerSummary& layer, std::string_view line_end) {
    return fmt::format("{}{}{}{}{}", layer.name, line_end, layer.kind, line_end, to_string(layer.output));
}

std::string mermaid(const Summary& summary) {
    std::string text = fmt::format("flowchart TD\n  n0[\"input<br/>{0} x {0} x 3\"]\n", summary.options.size);
    for (std::size_t i = 0; i < summary.layers.size(); ++i) {
        text += fmt::format("  n{} --> n{}[\"{}\"]\n", i, i + 1, label(summary.layers[i], "<br/>"));
    }
    text.pop_back();
    return text;
}

std::string dot(const Summary& summary) {
    std::string text = fmt::format(
        "digraph {0} {{\n  node [shape=box, fontname=\"sans-serif\"];\n  n0 [label=\"input\\n{1} x {1} x 3\"];\n",
        summary.options.model, summary.options.size);
    for (std::size_t i = 0; i < summary.layers.size(); ++i) {
        text += fmt::format("  n{0} [label=\"{1}\"];\n  n{2} -> n{0};\n", i + 1, label(summary.layers[i], "\\n"), i);
    }
    return text + "}";
}

void run(const Options& options) {
    if (options.model.empty() == options.ensemble.empty()) {
        throw Misuse("summary: give either --model or --ensemble; see `cutis summary --help`");
    }
    if (!options.ensemble.empty()) {
        if (options.format != "mermaid") {
            throw Misuse("summary: an ensemble has a flow chart alone; give --format mermaid");
        }
        say("{}", ensemble_mermaid(open_ensemble(options.ensemble)));
        return;
    }
    require_within("--classes", options.classes, 1, 100000);
    require_within("--size", options.size, 1, 16384);
    require_within("--lstm-hidden", options.lstm_hidden, 1, 4096);
    const Summary summary = summarize(options);
    if (options.format == "table") {
        say("{}", table(summary));
    } else if (options.format == "json") {
        say("{}", json_text(summary));
    } else if (options.format == "mermaid") {
        say("{}", mermaid(summary));
    } else {
        say("{}", dot(summary));
    }
}

}  // namespace

void add_summary_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("summary", "Show a model layer by layer: shapes, parameters, multiply-adds, bytes");
    const auto options = std::make_shared<Options>();
    std::string models;
    for (const ModelEntry& entry : model_table()) {
        models += (models.empty() ? "" : ", ") + std::string(entry.name);
    }
    command->add_option("--model", options->model, "Name of the model: " + models);
    command->add_option("--ensemble", options->ensemble, "Instead of --model: folder of a `cutis ensemble`");
    command->add_option("--classes", options->classes, "Number of classes")->capture_default_str();
    command->add_option("--size", options->size, "Side of the input in pixels")->capture_default_str();
    command->add_option("--width", options->width, "Width multiplier")->capture_default_str();
    add_lstm_hidden_option(*command, options->lstm_hidden);
    command->add_option("--format", options->format, "table, json, mermaid or dot")
        ->capture_default_str()
        ->check(CLI::IsMember({"table", "json", "mermaid", "dot"}));
    command->footer(examples({"cutis summary --model mobilenet_v2",
                              "cutis summary --model mobilenet_v2 --classes 1000 --format json",
                              "cutis summary --ensemble runs/ensemble --format mermaid",
                              "cutis summary --model mobilenet_v2 --format dot | dot -Tsvg > mobilenet_v2.svg"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
