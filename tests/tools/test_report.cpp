#include "tools/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/error.h"
#include "kernels/philox.h"
#include "tools/html.h"
#include "tools/png.h"

namespace cutis {
namespace {

bool holds(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

std::size_t times(const std::string& text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++count;
    }
    return count;
}

/// Every tag must be closed in order, be one that the report uses and carry only attributes that it uses.
void expect_sound(const std::string& html) {
    static const std::set<std::string, std::less<>> kTags = {
        "html",    "head",       "meta",  "title", "style", "body", "header", "main",    "footer",
        "section", "nav",        "div",   "p",     "h1",    "h2",   "h3",     "a",       "b",
        "i",       "span",       "small", "br",    "dl",    "dt",   "dd",     "ul",      "li",
        "table",   "thead",      "tbody", "tr",    "th",    "td",   "pre",    "details", "summary",
        "figure",  "figcaption", "img",   "svg",   "line",  "path", "circle", "rect",    "text"};
    ASSERT_TRUE(html.starts_with("<!DOCTYPE html>\n"));
    std::vector<std::string> open;
    std::size_t at = html.find('\n');
    while ((at = html.find('<', at)) != std::string::npos) {
        // Quoted attributes hold no '>' because that is escaped.
        const std::size_t end = html.find('>', at);
        ASSERT_NE(end, std::string::npos);
        const std::string_view tag = std::string_view(html).substr(at + 1, end - at - 1);
        const bool closing = tag.starts_with('/');
        const std::string name(
            tag.substr(closing ? 1 : 0, tag.find_first_of(" /", closing ? 1 : 0) - (closing ? 1 : 0)));
        ASSERT_TRUE(kTags.contains(name)) << "<" << tag << ">";
        std::string bare;  // without the attributes' values
        bool quoted = false;
        for (const char c : tag) {
            quoted = quoted != (c == '"');
            bare += quoted ? "" : std::string(1, c);
        }
        ASSERT_FALSE(quoted) << tag;
        ASSERT_EQ(bare.find(" on"), std::string::npos) << "an event handler in <" << tag << ">";
        for (const std::string_view address : {" src=\"", " href=\""}) {
            const std::size_t found = tag.find(address);
            if (found != std::string_view::npos) {
                const std::string_view value = tag.substr(found + address.size());
                ASSERT_TRUE(value.starts_with("data:image/") || value.starts_with('#')) << tag.substr(0, 200);
            }
        }
        if (closing) {
            ASSERT_FALSE(open.empty());
            ASSERT_EQ(open.back(), name) << html.substr(at, 100);
            open.pop_back();
        } else if (!tag.ends_with('/')) {
            open.push_back(name);
        }
        if (name == "style" && !closing) {
            at = html.find("</style>", at);
        } else {
            at = end;
        }
    }
    EXPECT_TRUE(open.empty());
    for (const char* part : {"url(", "@import", "nan", "inf%", "=\"inf", "-inf"}) {
        EXPECT_FALSE(holds(html, part)) << part << ": " << html.substr(html.find(part) - 60, 120);
    }
}

Predictions random_predictions(std::vector<std::string> class_names, int images) {
    PhiloxStream random(11, RandomPurpose::test);
    Predictions p;
    p.class_names = std::move(class_names);
    for (int i = 0; i < images; ++i) {
        p.image_ids.push_back("ISIC_" + std::to_string(i));
        p.lesion_ids.push_back("HAM_" + std::to_string(i / 2));
        p.labels.push_back(static_cast<int>(random.below(static_cast<std::uint32_t>(p.classes()))));
        for (std::size_t k = 0; k < p.classes(); ++k) {
            p.probabilities.push_back(random.uniform() * 0.5f + (static_cast<int>(k) == p.labels.back() ? 0.2f : 0.0f));
        }
    }
    return p;
}

const BootstrapOptions kQuick{.resamples = 20};

ReportInput full_input() {
    ReportInput input;
    input.title = "mobilenet_v2 on HAM10000";
    input.facts = {{"Model", "mobilenet_v2"}, {"Seed", "1"}};
    const std::vector<std::string> names = {"MEL", "NV", "BCC"};
    input.evaluations = {judge("test", random_predictions(names, 80), false, kQuick),
                         judge("val", random_predictions(names, 40), false, kQuick)};
    for (int epoch = 1; epoch <= 3; ++epoch) {
        input.history.epochs.push_back({.epoch = static_cast<double>(epoch),
                                        .last_step = epoch * 10.0,
                                        .train_loss = 1.0 / epoch,
                                        .val_loss = 1.2 / epoch,
                                        .val_accuracy = 0.6,
                                        .val_balanced_accuracy = 0.5,
                                        .learning_rate = 0.01,
                                        .images_per_second = 40});
    }
    for (int step = 1; step <= 30; ++step) {
        input.history.steps.push_back({static_cast<double>(step), 2.0 / step});
    }
    input.history.best_epoch = 2;
    input.class_names = names;
    input.class_counts = {{"train", {1000, 6705, 30}}, {"test", {200, 1341, 0}}};
    input.mistakes = {{"ISIC_7", "MEL", "NV", 0.91, 0.05, encode_png(std::vector<std::uint8_t>(12), 2, 2)}};
    input.image_attribution = kHam10000Attribution;
    input.configuration = {{"epochs", "3"}, {"lr", "0.01"}, {"seed", "1"}};
    input.configuration_json = "{\"epochs\": 3}";
    input.commands = {"cutis train --data x.cutis --out run"};
    input.notices = {"A notice."};
    input.citations = {std::string(kHam10000Citation)};
    return input;
}

TEST(Report, ShowsEverythingInOneSoundPage) {
    const ReportInput input = full_input();
    const std::string html = make_report(input);
    expect_sound(html);
    const Metrics& m = input.evaluations[0].metrics;
    for (const std::string& part : {fmt::format("{:.3f}", m.balanced_accuracy),
                                    fmt::format("{:.3f}", m.accuracy),
                                    fmt::format("{:.3f}", m.ece),
                                    fmt::format("{:.3f} to {:.3f}", input.evaluations[0].intervals.accuracy.low,
                                                input.evaluations[0].intervals.accuracy.high),
                                    std::string("80 images of 40 lesions"),
                                    std::string("Confusion matrix"),
                                    std::string("ROC curves"),
                                    std::string("Reliability"),
                                    std::string("epoch 2 kept"),
                                    std::string("Learning rate"),
                                    std::string("validation"),
                                    std::string("data:image/png;base64,iVBORw0KGgo"),
                                    std::string("ISIC_7"),
                                    std::string("6,705"),
                                    std::string("CC BY-NC 4.0"),
                                    std::string("Tschandl"),
                                    std::string("A notice."),
                                    std::string("cutis train --data x.cutis --out run"),
                                    std::string("{&quot;epochs&quot;: 3}"),
                                    std::string("not a medical device"),
                                    std::string("chosen on val"),
                                    std::string("default-src &#39;none"),
                                    std::string("mobilenet_v2")}) {
        EXPECT_EQ(holds(html, part), part != "default-src &#39;none") << part;
    }
    EXPECT_TRUE(holds(html, "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\""));
    EXPECT_FALSE(holds(html, "leaky split</span>"));
    EXPECT_TRUE(holds(html, "<body>"));
    // Each link of the navigation has its section.
    for (const char* id : {"results", "classes", "mistakes", "training", "data", "repeat"}) {
        EXPECT_EQ(times(html, fmt::format("href=\"#{}\"", id)), 1u) << id;
        EXPECT_EQ(times(html, fmt::format(" id=\"{}\"", id)), 1u) << id;
    }
    EXPECT_EQ(html, make_report(full_input())) << "the same input gives the same bytes";
}

TEST(Report, ConfusionMatrixShowsCountsAndShares) {
    Predictions p;
    p.class_names = {"a", "b"};
    for (int i = 0; i < 8; ++i) {
        p.image_ids.push_back(std::to_string(i));
        p.lesion_ids.emplace_back();
        p.labels.push_back(i < 4 ? 0 : 1);
        const bool called_a = i < 3;  // 3 of 4 a are right, all b are
        p.probabilities.push_back(called_a ? 0.9f : 0.1f);
        p.probabilities.push_back(called_a ? 0.1f : 0.9f);
    }
    ReportInput input;
    input.evaluations = {judge("test", p, false, kQuick)};
    const std::string html = make_report(input);
    EXPECT_TRUE(holds(html, "title=\"3 images of a called a\">3<small>75\u00A0%</small>"));
    EXPECT_TRUE(holds(html, "title=\"1 images of a called b\">1<small>25\u00A0%</small>"));
    EXPECT_TRUE(holds(html, "title=\"0 images of b called a\">0<small>0\u00A0%</small>"));
    EXPECT_TRUE(holds(html, "An interval without width is no certainty")) << "all of b are right";
    EXPECT_FALSE(holds(make_report(full_input()), "An interval without width"));
    EXPECT_TRUE(holds(html, "title=\"4 images of b called b\">4<small>100\u00A0%</small>"));
}

TEST(Report, LeakyFiguresAreMarked) {
    ReportInput input = full_input();
    input.leaky = true;
    const std::string html = make_report(input);
    expect_sound(html);
    EXPECT_TRUE(holds(html, "class=\"warning\""));
    EXPECT_GE(times(html, "leaky split</span>"), 5u);                  // headings
    EXPECT_EQ(times(html, "<span class=\"leaky\">leaky</span>"), 8u);  // six cards and two columns
    EXPECT_TRUE(holds(html, "<body class=\"is-leaky\">"));             // panels, by the style sheet
    EXPECT_FALSE(holds(html, "none of which the model was trained on"));
    input.leaky = false;
    input.evaluations[1].leaky = true;
    EXPECT_TRUE(holds(make_report(input), "class=\"warning\""));
}

TEST(Report, SaysWhatASplitIsWorth) {
    ReportInput input = full_input();
    EXPECT_TRUE(holds(make_report(input), "none of which the model was trained on"));
    input.evaluations.erase(input.evaluations.begin());
    EXPECT_TRUE(holds(make_report(input), "which also chose the weights"));
    input.evaluations[0].split = "train";
    EXPECT_TRUE(holds(make_report(input), "on which the model was trained"));
    input.evaluations[0].split = "other";
    EXPECT_FALSE(holds(make_report(input), "model was trained"));
}

TEST(Report, HostileTextsStayText) {
    const std::string evil =
        "</style><script>alert(1)</script>\" onload='x' <img src=\"http://e.vil/\"> & {} \xFF\x01 \xE2\x80\xAE";
    ReportInput input = full_input();
    input.title = evil;
    input.facts = input.configuration = {{evil, evil}};
    const std::vector<std::string> names = {evil, "NV", "MEL"};
    input.evaluations = {judge(evil, random_predictions(names, 30), false, kQuick),
                         judge("val", random_predictions(names, 30), false, kQuick)};
    input.class_names = names;
    input.class_counts[0].part = evil;
    input.mistakes = {{evil, evil, evil, 0.9, 0.1, {}}};
    input.image_attribution = input.configuration_json = evil;
    input.commands = input.notices = input.citations = {evil};
    const std::string html = make_report(input);
    expect_sound(html);
    EXPECT_FALSE(holds(html, "<script"));
    EXPECT_FALSE(holds(html, "\xFF"));
    EXPECT_FALSE(holds(html, "\xE2\x80\xAE"));
}

TEST(Report, MissingPartsAreLeftOut) {
    const std::string empty = make_report({});
    expect_sound(empty);
    EXPECT_TRUE(holds(empty, "No split has been evaluated yet"));
    EXPECT_FALSE(holds(empty, "id=\"training\""));

    ReportInput input;
    input.class_names = {"a"};
    input.class_counts = {{"train", {0}}};
    input.history.steps = {{1, 0.7}, {2, kUndefined}};
    input.mistakes = {{"x", "a", "b", kUndefined, kUndefined, {1, 2, 3}}};
    const std::string steps = make_report(input);
    expect_sound(steps);
    EXPECT_TRUE(holds(steps, ">step</text>"));
    EXPECT_TRUE(holds(steps, "no image"));

    input.history.steps.clear();
    input.history.epochs = {{.epoch = 1, .train_loss = 0.5}};
    const std::string one_epoch = make_report(input);
    expect_sound(one_epoch);
    EXPECT_TRUE(holds(one_epoch, "<circle"));
    EXPECT_FALSE(holds(one_epoch, "Learning rate"));

    input.history.epochs = {{.epoch = kUndefined}, {.epoch = 1, .train_loss = INFINITY}};
    EXPECT_FALSE(holds(make_report(input), "id=\"training\""));
}

TEST(Report, OneClassAndUndefinedFigures) {
    ReportInput input;
    Predictions p = random_predictions({"only"}, 5);
    input.evaluations = {judge("test", p, false, kQuick)};
    expect_sound(make_report(input));
    p = random_predictions({"MEL", "NV"}, 4);
    p.labels = {1, 1, 1, 1};  // no melanoma at all
    input.evaluations = {judge("test", p, false, kQuick)};
    expect_sound(make_report(input));
    input.evaluations[0].intervals = {};  // none computed
    expect_sound(make_report(input));
    std::vector<std::string> many;
    for (int k = 0; k < 40; ++k) {
        many.push_back("class " + std::to_string(k));
    }
    input.evaluations = {judge("test", random_predictions(many, 100), false, kQuick)};
    expect_sound(make_report(input));
}

TEST(Report, RepeatedRecordsOfAResumedRunCountOnce) {
    ReportInput input;
    input.history.epochs = {
        {.epoch = 2, .val_accuracy = 0.111}, {.epoch = 1, .val_accuracy = 0.222}, {.epoch = 2, .val_accuracy = 0.333}};
    const std::string html = make_report(input);
    EXPECT_TRUE(holds(html, "accuracy at 1: 0.222"));
    EXPECT_TRUE(holds(html, "accuracy at 2: 0.333"));
    EXPECT_FALSE(holds(html, "0.111"));
    EXPECT_LT(html.find("accuracy at 1"), html.find("accuracy at 2"));
}

TEST(Report, RefusesWhatDoesNotFit) {
    ReportInput input = full_input();
    input.class_counts[0].images.pop_back();
    EXPECT_THROW(make_report(input), Error);
    input = full_input();
    input.evaluations[0].predictions.labels[0] = 9;
    EXPECT_THROW(make_report(input), Error);
    input = full_input();
    input.evaluations[0].metrics = {};
    EXPECT_THROW(make_report(input), Error);
}

TEST(Html, EscapesAndRepairs) {
    EXPECT_EQ(html_escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
    EXPECT_EQ(html_escape("na\xC3\xAFve \xE7\x97\xA3 \xF0\x9F\x94\xAC\n\t"),
              "na\xC3\xAFve \xE7\x97\xA3 \xF0\x9F\x94\xAC\n\t");
    const std::string bad = "\xEF\xBF\xBD";
    EXPECT_EQ(html_escape(std::string_view("\0", 1)), bad);
    EXPECT_EQ(html_escape("\x7F"), bad);
    EXPECT_EQ(html_escape("\xC3"), bad);                      // cut short
    EXPECT_EQ(html_escape("\xC3<"), bad + "&lt;");            // a lead byte swallows nothing
    EXPECT_EQ(html_escape("\xC0\xBC"), bad + bad);            // '<' in two bytes
    EXPECT_EQ(html_escape("\xE0\x80\xBC"), bad + bad + bad);  // and in three
    EXPECT_EQ(html_escape("\xED\xA0\x80"), bad + bad + bad);  // a surrogate
    EXPECT_EQ(html_escape("\xF4\x90\x80\x80"), bad + bad + bad + bad);
    EXPECT_EQ(html_escape("\xE2\x80\xAE"), bad);  // right-to-left override
    EXPECT_EQ(html_escape("\xC2\x85"), bad);      // a control character of Latin-1
}

TEST(Html, ShortensByCharacters) {
    EXPECT_EQ(shortened("abc", 3), "abc");
    EXPECT_EQ(shortened("abcd", 3), "ab\xE2\x80\xA6");
    EXPECT_EQ(shortened("\xC3\xAF\xC3\xAF\xC3\xAF\xC3\xAF", 3), "\xC3\xAF\xC3\xAF\xE2\x80\xA6");
    EXPECT_EQ(shortened("", 3), "");
}

TEST(Html, DataAddressesHoldPngAndJpegOnly) {
    const std::vector<std::uint8_t> jpeg = {0xFF, 0xD8, 0xFF, 0xE0};
    EXPECT_EQ(image_data_uri(jpeg), "data:image/jpeg;base64,/9j/4A==");
    const std::vector<std::uint8_t> jpeg5 = {0xFF, 0xD8, 0xFF, 0xE0, 0x10};
    EXPECT_EQ(image_data_uri(jpeg5), "data:image/jpeg;base64,/9j/4BA=");
    const std::vector<std::uint8_t> jpeg6 = {0xFF, 0xD8, 0xFF, 0xE0, 0x10, 0x3E};
    EXPECT_EQ(image_data_uri(jpeg6), "data:image/jpeg;base64,/9j/4BA+");
    const std::vector<std::uint8_t> svg = {'<', 's', 'v', 'g', '>'};
    EXPECT_EQ(image_data_uri(svg), "");
    EXPECT_EQ(image_data_uri({}), "");
}

}  // namespace
}  // namespace cutis
