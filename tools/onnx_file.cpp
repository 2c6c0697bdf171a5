#include "tools/onnx_file.h"

#include <bit>
#include <cstring>
#include <span>
#include <type_traits>

#include "engine/files.h"
#include "kernels/error.h"

// Protobuf's wire format (https://protobuf.dev/programming-guides/encoding): a message is a sequence of fields, each a
// tag (number * 8 + kind), then a varint (kind 0), a length and so many bytes (kind 2), or four bytes (kind 5). Numbers
// of fields are onnx.proto's.

namespace cutis {
namespace {

constexpr std::uint64_t kGreatestMessage = (std::uint64_t{1} << 31) - 1;
static_assert(std::endian::native == std::endian::little, "raw_data is little-endian");

/// The bytes of a message that is being put together.
class Message {
  public:
    Message& number(int field, std::int64_t value) {
        tag(field, 0);
        varint(static_cast<std::uint64_t>(value));
        return *this;
    }
    Message& numbers(int field, std::span<const std::int64_t> values) {
        for (const std::int64_t value : values) {
            number(field, value);
        }
        return *this;
    }
    Message& real(int field, float value) {
        tag(field, 5);
        char bytes[sizeof value];
        std::memcpy(bytes, &value, sizeof value);
        bytes_.append(bytes, sizeof value);
        return *this;
    }
    Message& text(int field, std::string_view value) {
        announce(field, value.size());
        bytes_ += value;
        return *this;
    }
    Message& message(int field, const Message& value) { return text(field, value.bytes()); }
    /// A field of `size` bytes which the caller lets follow.
    Message& announce(int field, std::uint64_t size) {
        tag(field, 2);
        varint(size);
        return *this;
    }

    const std::string& bytes() const { return bytes_; }

  private:
    void tag(int field, unsigned kind) { varint(static_cast<std::uint64_t>(field) << 3 | kind); }
    void varint(std::uint64_t value) {
        for (; value >= 0x80; value >>= 7) {
            bytes_ += static_cast<char>(value | 0x80);
        }
        bytes_ += static_cast<char>(value);
    }

    std::string bytes_;
};

// AttributeProto: name, one value in a field of its kind, and the kind's number.
Message encoded(const std::string& name, const OnnxAttribute& attribute) {
    Message result;
    result.text(1, name);
    std::visit(
        [&]<class T>(const T& value) {
            if constexpr (std::is_same_v<T, float>) {
                result.real(2, value).number(20, 1);
            } else if constexpr (std::is_same_v<T, std::int64_t>) {
                result.number(3, value).number(20, 2);
            } else if constexpr (std::is_same_v<T, std::string>) {
                result.text(4, value).number(20, 3);
            } else {
                result.numbers(8, value).number(20, 7);
            }
        },
        attribute);
    return result;
}

// NodeProto
Message encoded(const OnnxNode& node) {
    Message result;
    for (const std::string& input : node.inputs) {
        result.text(1, input);
    }
    for (const std::string& output : node.outputs) {
        result.text(2, output);
    }
    result.text(3, node.name).text(4, node.op);
    for (const auto& [name, attribute] : node.attributes) {
        result.message(5, encoded(name, attribute));
    }
    return result;
}

// ValueInfoProto: name; type, which holds a tensor type of fp32 with a shape.
Message encoded(const OnnxValue& value) {
    Message shape;
    for (const std::int64_t size : value.shape) {
        shape.message(1, size < 0 ? Message().text(2, "n") : Message().number(1, size));
    }
    const Message tensor = Message().number(1, 1).message(2, shape);
    return Message().text(1, value.name).message(2, Message().message(1, tensor));
}

// TensorProto, all but the bytes behind its last field: raw_data.
Message head_of(const OnnxConstant& constant, std::uint64_t bytes) {
    const bool reals = std::holds_alternative<std::vector<float>>(constant.values);
    return Message().numbers(1, constant.shape).number(2, reals ? 1 : 7).text(8, constant.name).announce(9, bytes);
}

std::span<const std::byte> bytes_of(const OnnxConstant& constant) {
    return std::visit([](const auto& values) { return std::as_bytes(std::span(values)); }, constant.values);
}

}  // namespace

void write_onnx(const std::filesystem::path& path, const OnnxModel& model, std::string_view version) {
    // The graph's length stands before it, so constants are announced first and written, uncopied, behind that.
    Message nodes;
    for (const OnnxNode& node : model.nodes) {
        nodes.message(1, encoded(node));
    }
    nodes.text(2, model.name);
    std::vector<std::string> heads;
    std::uint64_t size = nodes.bytes().size();
    for (const OnnxConstant& constant : model.constants) {
        const std::span<const std::byte> values = bytes_of(constant);
        const Message head = head_of(constant, values.size());
        heads.push_back(Message().announce(5, head.bytes().size() + values.size()).bytes() + head.bytes());
        size += heads.back().size() + values.size();
    }
    Message ends;
    for (const OnnxValue& input : model.inputs) {
        ends.message(11, encoded(input));
    }
    for (const OnnxValue& output : model.outputs) {
        ends.message(12, encoded(output));
    }
    size += ends.bytes().size();

    Message before, behind;
    before.number(1, kOnnxIrVersion).text(2, "cutis").text(3, version).announce(7, size);
    behind.message(8, Message().text(1, "").number(2, kOnnxOpset));
    for (const auto& [key, value] : model.metadata) {
        behind.message(14, Message().text(1, key).text(2, value));
    }
    require(before.bytes().size() + size + behind.bytes().size() <= kGreatestMessage,
            "{}: {} bytes; a file of ONNX holds less than 2 GiB; use a narrower model", path.string(), size);

    AtomicFile file(path);
    file.write(before.bytes());
    file.write(nodes.bytes());
    for (std::size_t i = 0; i < heads.size(); ++i) {
        const std::span<const std::byte> values = bytes_of(model.constants[i]);
        file.write(heads[i]);
        file.write(values.data(), values.size());
    }
    file.write(ends.bytes());
    file.write(behind.bytes());
    file.commit();
}

}  // namespace cutis
