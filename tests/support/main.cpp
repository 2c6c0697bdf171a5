#include <gtest/gtest.h>

#include <cstdio>

/// Every test executable starts here, so that its first line says what the figures and the silence below stand for.
int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (!testing::GTEST_FLAG(list_tests)) {
        std::puts("device cpu, CUDA off");
        std::fflush(stdout);
    }
    return RUN_ALL_TESTS();
}
