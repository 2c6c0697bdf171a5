#include "tools/onnx_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "engine/files.h"
#include "tests/support/error_of.h"
#include "tests/support/temp_dir.h"

namespace cutis::testing {
namespace {

using Numbers = std::vector<std::int64_t>;

// A message's fields in their order: number, and value or bytes.
struct Field {
    std::uint64_t number = 0, value = 0;
    std::string_view bytes;
};
std::vector<Field> fields_of(std::string_view message) {
    const auto varint = [&] {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            const auto byte = static_cast<unsigned char>(message.at(0));
            message.remove_prefix(1);
            value |= std::uint64_t{byte & 0x7fu} << shift;
            if (byte < 0x80) {
                return value;
            }
        }
    };
    std::vector<Field> fields;
    while (!message.empty()) {
        const std::uint64_t tag = varint();
        Field field{tag >> 3, 0, {}};
        if ((tag & 7) == 0) {
            field.value = varint();
        } else {
            const std::size_t size = (tag & 7) == 5 ? 4 : varint();
            EXPECT_LE(size, message.size());
            field.bytes = message.substr(0, size);
            message.remove_prefix(size);
        }
        fields.push_back(field);
    }
    return fields;
}
std::vector<Field> all(const std::vector<Field>& fields, std::uint64_t number) {
    std::vector<Field> found;
    std::copy_if(fields.begin(), fields.end(), std::back_inserter(found),
                 [&](const Field& f) { return f.number == number; });
    return found;
}

TEST(OnnxFile, HoldsTheFieldsOfOnnxProto) {
    OnnxModel model{.name = "net",
                    .nodes = {},
                    .constants = {},
                    .inputs = {{"images", {-1, 300}}},
                    .outputs = {{"logits", {-1}}},
                    .metadata = {{"size", "224"}}};
    model.nodes.push_back(
        {"Op",
         "layer/Op",
         {"images", "w"},
         {"logits"},
         {{"f", 0.5f}, {"i", std::int64_t{-2}}, {"s", std::string("text")}, {"ints", Numbers{1, 200}}}});
    model.constants.push_back({"w", {2}, std::vector<float>{1.0f, -2.0f}});
    model.constants.push_back({"k", {1}, Numbers{7}});
    const TempDir folder;
    write_onnx(folder / "ünder.onnx", model, "1.2");
    const std::string bytes = read_text_file(folder / "ünder.onnx");

    const std::vector<Field> top = fields_of(bytes);
    EXPECT_EQ(all(top, 1).at(0).value, 8u);
    EXPECT_EQ(all(top, 2).at(0).bytes, "cutis");
    EXPECT_EQ(all(top, 3).at(0).bytes, "1.2");
    EXPECT_EQ(all(fields_of(all(top, 8).at(0).bytes), 2).at(0).value, 17u);
    const std::vector<Field> entry = fields_of(all(top, 14).at(0).bytes);
    EXPECT_EQ(entry.at(0).bytes, "size");
    EXPECT_EQ(entry.at(1).bytes, "224");

    const std::vector<Field> graph = fields_of(all(top, 7).at(0).bytes);
    EXPECT_EQ(all(graph, 2).at(0).bytes, "net");
    const std::vector<Field> node = fields_of(all(graph, 1).at(0).bytes);
    EXPECT_EQ(all(node, 1).at(1).bytes, "w");
    EXPECT_EQ(all(node, 2).at(0).bytes, "logits");
    EXPECT_EQ(all(node, 3).at(0).bytes, "layer/Op");
    EXPECT_EQ(all(node, 4).at(0).bytes, "Op");
    const std::vector<Field> attributes = all(node, 5);
    ASSERT_EQ(attributes.size(), 4u);
    const auto field = [&](std::size_t of, std::uint64_t number) {
        return all(fields_of(attributes[of].bytes), number);
    };
    EXPECT_EQ(field(0, 1).at(0).bytes, "f");
    float half = 0;
    std::memcpy(&half, field(0, 2).at(0).bytes.data(), sizeof half);
    EXPECT_EQ(half, 0.5f);
    EXPECT_EQ(static_cast<std::int64_t>(field(1, 3).at(0).value), -2);
    EXPECT_EQ(field(2, 4).at(0).bytes, "text");
    EXPECT_EQ(field(3, 8).at(1).value, 200u);
    for (const auto& [of, kind] : {std::pair(0u, 1u), {1u, 2u}, {2u, 3u}, {3u, 7u}}) {
        EXPECT_EQ(field(of, 20).at(0).value, kind);
    }

    const std::vector<Field> constants = all(graph, 5);
    const std::vector<Field> w = fields_of(constants.at(0).bytes), k = fields_of(constants.at(1).bytes);
    EXPECT_EQ(all(w, 1).at(0).value, 2u);
    EXPECT_EQ(all(w, 2).at(0).value, 1u);
    EXPECT_EQ(all(w, 8).at(0).bytes, "w");
    float second = 0;
    std::memcpy(&second, all(w, 9).at(0).bytes.data() + 4, sizeof second);
    EXPECT_EQ(second, -2.0f);
    EXPECT_EQ(all(k, 2).at(0).value, 7u);
    EXPECT_EQ(all(k, 9).at(0).bytes, std::string_view("\7\0\0\0\0\0\0\0", 8));

    // ValueInfoProto > TypeProto > Tensor > TensorShapeProto > Dimension
    const std::vector<Field> input = fields_of(all(graph, 11).at(0).bytes);
    EXPECT_EQ(all(input, 1).at(0).bytes, "images");
    const std::vector<Field> tensor = fields_of(fields_of(all(input, 2).at(0).bytes).at(0).bytes);
    EXPECT_EQ(all(tensor, 1).at(0).value, 1u);
    const std::vector<Field> sizes = fields_of(all(tensor, 2).at(0).bytes);
    EXPECT_EQ(all(fields_of(sizes.at(0).bytes), 2).at(0).bytes, "n");
    EXPECT_EQ(all(fields_of(sizes.at(1).bytes), 1).at(0).value, 300u);
    EXPECT_EQ(all(fields_of(all(graph, 12).at(0).bytes), 1).at(0).bytes, "logits");
}

TEST(OnnxFile, IsWholeOrNotThere) {
    const TempDir folder;
    EXPECT_TRUE(is_line_with(error_of([&] { write_onnx(folder / "none/m.onnx", {}, ""); }), "none"));
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace cutis::testing
