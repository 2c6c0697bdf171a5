#include <gtest/gtest.h>

#include "kernels/philox.h"
#include "layers/optimizer.h"
#include "tests/models/small_cnn.h"

// The model of one's own that docs/models.md shows; that the two are the same is held by house.quoted_code.

namespace cutis::testing {
namespace {

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
