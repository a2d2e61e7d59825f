// docs/formats.md names every field of checkpoints and exported models, and no other.
#include <gtest/gtest.h>

#include <set>

#include "backends/binary_models.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/compare_methods.h"
#include "support/tiny_task.h"

namespace bitloom::trainers {
namespace {

using Fields = std::set<std::string>;

// A residual beside a pool, both bounds of a clip, a window padded in its columns alone, an average
// that counts padding: every kind of field occurs.
constexpr const char* kNet = R"(bitloom-graph 1
input = input(shape=1x12x12)
conv1.weight = parameter(shape=8x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu6(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=8x8x3x3)
conv2 = conv2d(pool1, conv2.weight, pad=1)
add1 = add(conv2, pool1)
relu2 = relu(add1)
pool2 = avg_pool(relu2, kernel=3, stride=1, pad=1, count_pad=1)
conv3.weight = parameter(shape=8x8x1x3)
conv3 = conv2d(pool2, conv3.weight, pad=0, pad_w=1)
relu3 = relu(conv3)
gap = global_avg_pool(relu3)
flatten = flatten(gap)
fc.weight = parameter(shape=4x8)
fc = linear(flatten, fc.weight, bias=1)
)";

/// "/layers/00003/bias" to "/layers/NNNNN/bias", "/parameters/conv1.weight" to "/parameters/NAME".
std::string general(const std::string& path) {
  for (const char* named : {"/parameters", "/averages", "/optimizer/first_moment",
                            "/optimizer/second_moment", "/optimizer"}) {
    if (path.starts_with(cat(named, "/"))) return cat(named, "/NAME");
  }
  std::filesystem::path fields = "/";
  for (const std::filesystem::path& part : std::filesystem::path(path).relative_path()) {
    const std::string text = part.string();
    const bool number =
        text.size() == 5 && text.find_first_not_of("0123456789") == std::string::npos;
    fields /= number ? "NNNNN" : text;
  }
  return fields.string();
}

void add_fields(const Archive& archive, Fields& fields) {
  for (const auto& [path, entry] : archive.tensors()) fields.insert(general("/" + path));
  for (const auto& [path, text] : archive.texts()) fields.insert(general("/" + path));
  for (const auto& [path, attributes] : archive.attributes()) {
    for (const auto& [name, value] : attributes) {
      fields.insert(cat(general("/" + path), "@", name));
    }
  }
}

void add_fields(const std::filesystem::path& file, Fields& fields) {
  add_fields(io::load_archive(file), fields);
}

/// What the first column of the tables below `heading` names.
Fields documented(const std::string& heading) {
  const std::string text =
      io::read_whole_file(std::string(BITLOOM_SOURCE_DIR) + "/docs/formats.md");
  const std::size_t begin = text.find("\n## " + heading);
  EXPECT_NE(begin, std::string::npos) << heading;
  std::istringstream lines(text.substr(begin + 1, text.find("\n## ", begin + 1) - begin));
  Fields fields;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("| `", 0) != 0) continue;
    const std::string column = line.substr(1, line.find('|', 1) - 1);
    for (std::size_t at = column.find("`/"); at != std::string::npos;) {
      const std::size_t end = column.find('`', at + 1);
      const std::string name = column.substr(at + 1, end - at - 1);
      EXPECT_TRUE(fields.insert(name).second) << name << " is named twice";
      at = column.find("`/", end + 1);
    }
  }
  return fields;
}

void expect_same(const Fields& documented, const Fields& found) {
  for (const std::string& field : found) {
    EXPECT_TRUE(documented.contains(field)) << field << " is in files, not in docs/formats.md";
  }
  for (const std::string& field : documented) {
    EXPECT_TRUE(found.contains(field)) << field << " is in docs/formats.md, not in files";
  }
}

class Formats : public testing::Test {
 protected:
  Config config(const std::string& method, const Overrides& more = {}) const {
    Overrides all = {"quant.method=" + method,      "data.validation_images=64",
                     "data.synthetic_images=192",   "train.epochs=1",
                     "train.qat_epochs=1",          "quant.activation_bits=4",
                     "quant.calibration_images=64", "quant.first_last_bits=8"};
    all.insert(all.end(), more.begin(), more.end());
    return task_.config(all);
  }

  std::filesystem::path trained(const std::string& name, const Config& config) const {
    return train({.config = config, .out = task_ / name}).checkpoint;
  }

  /// A checkpoint in the middle of an epoch, where the optimizer's slots are still needed.
  std::filesystem::path stopped(const std::string& name, const Config& config) const {
    TrainRequest request{.config = config, .out = task_ / name};
    request.watcher = [](const StepReport&) { request_stop(); };
    return train(request).checkpoint;
  }

  TinyTask task_{kNet};
};

TEST_F(Formats, CheckpointsHoldWhatTheirTableNames) {
  Fields found;
  add_fields(stopped("sgd", config("float", {"train.ema_decay=0.9"})), found);
  add_fields(stopped("adam", config("qat", {"train.optimizer=adam"})), found);
  add_fields(stopped("schedule",
                     config("qat", {"train.epochs=3", "quant.bits=auto", "schedule.kind=sqnr"})),
             found);
  expect_same(documented("Checkpoint:"), found);
}

TEST_F(Formats, ModelsHoldWhatTheirTableNames) {
  Fields found;
  const std::filesystem::path reals = trained("float", config("float"));
  for (const char* method : {"float", "ptq-static", "ptq-dynamic", "ptq-weight-only"}) {
    std::filesystem::path checkpoint = reals;
    if (method != std::string("float")) {
      checkpoint = task_ / cat(method, ".h5");
      quantize({.checkpoint = reals, .config = config(method), .out = checkpoint});
    }
    const std::filesystem::path model = task_ / cat(method, ".model.h5");
    export_model({.checkpoint = checkpoint, .out = model});
    add_fields(model, found);
  }
  const std::filesystem::path fixed = task_ / "fixed.h5";
  quantize({.checkpoint = reals,
            .config = config("ptq-static", compare_method("ptq-fixed-point").overrides),
            .out = fixed});
  export_model({.checkpoint = fixed, .out = task_ / "fixed.model.h5"});
  add_fields(task_ / "fixed.model.h5", found);
  std::vector<integer::Model> few_bits = integer::binary_models();  // signs and few levels
  few_bits.front().tuned.push_back({{.cpu = "a", .isa = "avx2", .backend = "onednn"},
                                    {few_bits.front().layers.size(), "onednn"}});
  for (const integer::Model& model : few_bits) add_fields(integer::to_archive(model), found);
  expect_same(documented("Exported model:"), found);
}

}  // namespace
}  // namespace bitloom::trainers
