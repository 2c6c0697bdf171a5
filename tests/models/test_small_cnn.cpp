#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "kernels/philox.h"
#include "layers/optimizer.h"
#include "tests/models/small_cnn.h"

// The model of one's own that docs/models.md shows.

namespace cutis::testing {
namespace {

std::string text_of(const char* path) {
    std::ifstream file(std::filesystem::path(CUTIS_SOURCE_DIR) / path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(SmallCnn, IsTheDocumentsExample) {
    const std::string source = text_of("tests/models/small_cnn.h"), document = text_of("docs/models.md");
    ASSERT_FALSE(source.empty());
    EXPECT_NE(document.find("```cpp\n" + source + "```\n"), std::string::npos)
        << "tests/models/small_cnn.h and the code in docs/models.md differ";
}

TEST(SmallCnn, LearnsABatchByHeart) {
    const std::unique_ptr<Model> model = make_small_cnn({.classes = 3, .width = 0.25f, .dropout = 0.0f});
    model->init(1);
    EXPECT_EQ(model->summarize(32).back().output, (Shape{3}));
    Optimizer optimizer({.momentum = 0.9f}, {{model->parts().parameters, 0.01f}});
    Tensor images = Tensor::empty({6, 32, 32, 3});
    PhiloxStream random(3, RandomPurpose::test);
    for (std::int64_t i = 0; i < images.elements(); ++i) {
        images.data()[i] = random.normal();
    }
    const Tensor labels = Tensor::from(std::vector<std::int32_t>{0, 1, 2, 2, 1, 0}, {6});
    float loss = 0.0f;
    for (std::uint64_t step = 0; step < 40; ++step) {
        Variable value =
            training_loss(model->forward_training(Variable(images), {.training = true, .step = step}), labels);
        loss = value.value().values()[0];
        value.backward();
        optimizer.step(1.0);
        optimizer.clear_gradients();
    }
    EXPECT_LT(loss, 0.1f);
}

}  // namespace
}  // namespace cutis::testing
