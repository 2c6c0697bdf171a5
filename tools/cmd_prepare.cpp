#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "engine/text.h"
#include "kernels/parallel.h"
#include "tools/command_options.h"
#include "tools/console.h"
#include "tools/prepare.h"

namespace cutis {
namespace {

struct Options {
    std::vector<std::string> images;
    std::string metadata, lesions, masks, out, class_names;
    std::optional<double> mask_margin;
    std::string mask_background;
    int size = 224;
    bool keep_aspect = false, skip_bad = false;
    std::string codec = "raw";
    std::optional<int> jpeg_quality;
    int threads = 0;
};

void print_counts(const Prepared& prepared) {
    std::size_t width = 5;
    for (const PreparedClass& row : prepared.classes) {
        width = std::max(width, row.name.size());
    }
    const auto line = [&](std::string_view name, const std::string& images, const std::string& lesions) {
        say("{:<{}}  {:>9}  {:>9}", name, width, images, lesions);
    };
    line("class", "images", "lesions");
    for (const PreparedClass& row : prepared.classes) {
        line(row.name, grouped_digits(row.images), grouped_digits(row.lesions));
    }
    line("all", grouped_digits(prepared.images), grouped_digits(prepared.lesions));
}

PackedCodec codec_of(const Options& options) {
    const PackedCodec codec = options.codec == name_of(PackedCodec::jpeg) ? PackedCodec::jpeg : PackedCodec::raw;
    if (options.jpeg_quality) {
        require_within("--jpeg-quality", *options.jpeg_quality, 1, 100);
        if (codec != PackedCodec::jpeg) {
            throw Misuse("--jpeg-quality is for --codec jpeg; give both, or neither");
        }
    }
    return codec;
}

MaskOptions masks_of(const Options& options) {
    MaskOptions masks;
    if (options.masks.empty() && (options.mask_margin || !options.mask_background.empty())) {
        throw Misuse("--mask-margin and --mask-background say what is done with --masks; give that, too");
    }
    if (options.mask_margin && !(*options.mask_margin >= 0 && *options.mask_margin <= 100)) {
        throw Misuse(fmt::format("--mask-margin is {}; 0 to 100 is possible", *options.mask_margin));
    }
    masks.folder = options.masks;
    masks.margin = options.mask_margin.value_or(masks.margin);
    masks.black_outside = options.mask_background == "black";
    return masks;
}

void run(const Options& options) {
    const PackedCodec codec = codec_of(options);
    require_within("--size", options.size, 1, 16384);
    use_threads(options.threads);
    const PrepareOptions wanted{.folders = {options.images.begin(), options.images.end()},
                                .metadata = options.metadata,
                                .class_names = options.class_names.empty()
                                                   ? std::vector<std::string>{}
                                                   : comma_list("--class-names", options.class_names),
                                .out = options.out,
                                .lesions = options.lesions,
                                .masks = masks_of(options),
                                .size = options.size,
                                .keep_aspect = options.keep_aspect,
                                .skip_bad = options.skip_bad,
                                .codec = codec,
                                .jpeg_quality = options.jpeg_quality.value_or(kJpegQuality),
                                .threads = thread_count()};
    const Prepared prepared = prepare(wanted);
    for (const std::string& notice : prepared.notices) {
        say("note: {}", notice);
    }
    if (prepared.without_row > 0) {
        say("note: {} images have no row in {} and are not packed", grouped_digits(prepared.without_row),
            options.metadata);
    }
    if (!prepared.left_out.empty()) {
        warn("{} images are left out (--skip-bad), as listed", prepared.left_out.size());
        for (const LeftOut& image : prepared.left_out) {
            say("left out: {}: {}", printable(image.image_id), image.reason);
        }
    }
    print_counts(prepared);
    say("{}: {} x {} pixels, {}, {}, checksum {}", options.out, options.size, options.size,
        codec == PackedCodec::jpeg ? fmt::format("JPEG of quality {}", wanted.jpeg_quality) : "raw",
        bytes_text(static_cast<double>(prepared.bytes)), prepared.checksum);
    say("{} images in {} ({:.0f} images/s)", prepared.images, duration_text(prepared.seconds),
        static_cast<double>(prepared.images) / std::max(prepared.seconds, 1e-9));
}

}  // namespace

void add_prepare_command(CLI::App& app, Command& chosen) {
    CLI::App* const command =
        app.add_subcommand("prepare", "Decode images once and pack them, with their diagnoses, into one file");
    const auto options = std::make_shared<Options>();
    command
        ->add_option("--images", options->images,
                     "Folder with .jpg, .jpeg or .png files, folders in it included; may be given several times")
        ->required();
    command
        ->add_option("--metadata", options->metadata,
                     "CSV with the diagnoses: HAM10000's metadata (image_id, lesion_id, dx) or ISIC's one-hot (image, "
                     "MEL, NV, ...)")
        ->required();
    command->add_option("--lesions", options->lesions,
                        "ISIC's metadata CSV (image, lesion_id, age_approx, ...), for a one-hot --metadata, which does "
                        "not say which images show the same lesion");
    command->add_option(
        "--masks", options->masks,
        "Folder with a mask for each image, IMAGE_segmentation.png or IMAGE.png: only the square around "
        "the lesion is kept");
    command
        ->add_option("--mask-margin", options->mask_margin,
                     "Added around the lesion's box on each side, as a share of its longer side")
        ->default_str(fmt::format("{}", MaskOptions{}.margin));
    command
        ->add_option("--mask-background", options->mask_background,
                     "keep, or black: what the mask does not mark becomes black")
        ->default_str("keep")
        ->check(CLI::IsMember({"keep", "black"}));
    command->add_option("--out", options->out, "File to write, usually called *.cutis")->required();
    command
        ->add_option("--size", options->size,
                     "Side of the packed images in pixels: the shorter side is scaled to it, the middle is kept")
        ->capture_default_str();
    command->add_flag("--keep-aspect", options->keep_aspect,
                      "Keep the whole image: scale the longer side, fill the rest with black");
    command->add_flag("--skip-bad", options->skip_bad,
                      "Leave out rows whose image is missing or damaged, and list them");
    command
        ->add_option("--codec", options->codec,
                     "raw, or jpeg: a file that is a twentieth as large and can be carried to another machine, with "
                     "images that are a little changed and decoded again in memory")
        ->capture_default_str()
        ->check(CLI::IsMember({"raw", "jpeg"}));
    command
        ->add_option("--jpeg-quality", options->jpeg_quality,
                     "1 to 100, for --codec jpeg; above 90 colour is stored as finely as brightness")
        ->default_str(std::to_string(kJpegQuality));
    command->add_option("--class-names", options->class_names, "Classes of one's own, in their order: a,b,c");
    add_threads_option(*command, options->threads);
    command->footer(examples(
        {"cutis prepare --images HAM10000_images --metadata HAM10000_metadata.csv --out ham10000.cutis",
         "cutis prepare --images part_1 --images part_2 --metadata HAM10000_metadata.csv --size 160 --out small.cutis",
         "cutis prepare --images HAM10000_images --metadata HAM10000_metadata.csv --codec jpeg --out to_carry.cutis",
         "cutis prepare --images ISIC_2019_Training_Input --metadata ISIC_2019_Training_GroundTruth.csv --lesions "
         "ISIC_2019_Training_Metadata.csv --out isic2019.cutis",
         "cutis prepare --images HAM10000_images --metadata HAM10000_metadata.csv --masks "
         "HAM10000_segmentations_lesion_tschandl --out lesions.cutis",
         "cutis prepare --images photos --metadata labels.csv --class-names benign,malignant --skip-bad --out "
         "own.cutis"}));
    command->callback([=, &chosen] { chosen = [options] { run(*options); }; });
}

}  // namespace cutis
