// The whole walk with the real program on synthetic data.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "cli/program.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

TEST(Cli, TrainQuantizeExportEvalBenchInspect) {
  const Folder folder;
  const ChildEnd trained = bitloom(train_words(folder / "float"));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(trained.output, HasSubstr("synthetic_images = 576"));  // the resolved config is shown
  const auto epochs = rows_of(folder / "float/epochs.jsonl");
  ASSERT_EQ(epochs.size(), 2U);
  for (const nlohmann::json& epoch : epochs) {
    ASSERT_TRUE(epoch["loss"].is_number()) << epoch;  // NaN would be null
    EXPECT_TRUE(std::isfinite(epoch["loss"].get<double>()));
  }
  EXPECT_LT(epochs[0]["loss"].get<double>(), 2.0 * std::log(4.0));  // chance is log(classes)
  EXPECT_LT(epochs[1]["loss"].get<double>(), epochs[0]["loss"].get<double>());

  const std::string float_checkpoint = folder / "float/checkpoint.h5";
  const ChildEnd quantized =
      bitloom({"quantize", "--checkpoint", float_checkpoint, "--method", "ptq-static",
               "--quant.weight_bits=4", "--out", folder / "ptq.h5"});
  ASSERT_EQ(quantized.exit_code, 0) << quantized.output;
  for (const char* name : {"float", "ptq"}) {
    const std::string checkpoint =
        name == std::string("ptq") ? folder / "ptq.h5" : float_checkpoint;
    const ChildEnd exported = bitloom({"export", "--checkpoint", checkpoint, "--out",
                                       folder / (name + std::string(".model.h5"))});
    ASSERT_EQ(exported.exit_code, 0) << exported.output;
  }

  const std::string model = folder / "ptq.model.h5";
  const ChildEnd evaluated =
      bitloom({"eval", "--model", model, "--backend", "onednn", "--parity", "--validation",
               "--logits", folder / "logits.h5", "--json", folder / "eval.json"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  const nlohmann::json row = rows_of(folder / "eval.json").at(0);
  EXPECT_EQ(row["parity_identical"], 1.0);
  EXPECT_EQ(row["weight_bits"], 4);
  EXPECT_EQ(row["levels"], 16);
  EXPECT_EQ(row["images"], 200);
  EXPECT_GT(row["top1"].get<double>(), 60.0);  // chance is 25
  EXPECT_NEAR(row["validation_top1"].get<double>(), row["top1"].get<double>(), 15.0);
  EXPECT_GT(row["parameter_bytes"].get<double>(), 0.0);
  EXPECT_LT(row["parameter_bytes"].get<double>(), row["size_bytes"].get<double>());
  const Archive logits = io::load_archive(folder / "logits.h5");
  EXPECT_EQ(logits.tensor("logits").shape(), (Shape{200, 4}));

  const ChildEnd timed = bitloom({"bench", "--model", (folder / "float.model.h5") + "," + model,
                                  "--threads=1", "--runs", "5", "--json", folder / "bench.json"});
  ASSERT_EQ(timed.exit_code, 0) << timed.output;
  const auto bench_rows = rows_of(folder / "bench.json");
  ASSERT_EQ(bench_rows.size(), 2U);
  for (const nlohmann::json& bench : bench_rows) {
    for (const std::string& key : row_keys()) EXPECT_TRUE(bench.contains(key)) << key;
    EXPECT_GT(bench["latency_ms_p50"].get<double>(), 0.0);
    EXPECT_GE(bench["latency_ms_p90"].get<double>(), bench["latency_ms_p50"].get<double>());
    EXPECT_GT(bench["peak_memory_bytes"].get<double>(), bench["size_bytes"].get<double>());
    EXPECT_EQ(bench["plan"].size(), 6U);
    EXPECT_EQ(bench["threads"], 1);
  }
  EXPECT_LT(bench_rows[1]["size_bytes"].get<double>(),
            0.5 * bench_rows[0]["size_bytes"].get<double>());

  for (const std::string& file : {float_checkpoint, model}) {
    const ChildEnd inspected = bitloom({"inspect", file});
    EXPECT_EQ(inspected.exit_code, 0) << inspected.output;
    EXPECT_THAT(inspected.output, HasSubstr("conv1"));
    const ChildEnd text = bitloom({"inspect", file, "--text"});
    EXPECT_THAT(text.output, HasSubstr("bitloom-graph 1\n"));
    io::write_whole_file(folder / "again.net", text.output);
    EXPECT_EQ(bitloom({"inspect", folder / "again.net", "--text"}).output, text.output);
  }
}

// Dynamic range and weight-only need no calibration images, and say the activations that they have.
TEST(Cli, DynamicAndWeightOnlyWalkFromQuantizeToInspect) {
  const Folder folder;
  const ChildEnd trained = bitloom(train_words(folder / "float", {"--train.epochs=1"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  struct Method {
    std::string name, label, mode;
    int activation_bits;
  };
  double float_top1 = 0.0;
  for (const Method& method :
       {Method{"float", "float", "float", 32}, Method{"ptq-dynamic", "w4a8", "dynamic", 8},
        Method{"ptq-weight-only", "w4a32", "weight-only", 32}}) {
    SCOPED_TRACE(method.name);
    std::string checkpoint = folder / "float/checkpoint.h5";
    const std::string model = folder / (method.name + ".model.h5");
    if (method.name != "float") {
      const std::string made = folder / (method.name + ".h5");
      const ChildEnd quantized =
          bitloom({"quantize", "--checkpoint", checkpoint, "--method", method.name,
                   "--quant.weight_bits=4", "--quant.activation_bits=4", "--out", made});
      ASSERT_EQ(quantized.exit_code, 0) << quantized.output;
      checkpoint = made;
    }
    const ChildEnd exported = bitloom({"export", "--checkpoint", checkpoint, "--out", model});
    ASSERT_EQ(exported.exit_code, 0) << exported.output;
    EXPECT_THAT(exported.output, HasSubstr(method.name + " " + method.label));
    const ChildEnd evaluated =
        bitloom({"eval", "--model", model, "--parity", "--json", folder / "eval.json"});
    ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
    const nlohmann::json row = rows_of(folder / "eval.json").at(0);
    EXPECT_EQ(row["method"], method.name);
    EXPECT_EQ(row["activation_bits"], method.activation_bits);
    EXPECT_EQ(row["weight_bits"], method.name == "float" ? 32 : 4);
    EXPECT_EQ(row["plan"][0]["mode"], method.mode);
    EXPECT_EQ(row["plan"][0]["activation_bits"], method.activation_bits);
    if (method.name == "ptq-dynamic") {
      EXPECT_EQ(row["parity_identical"], 1.0);
      EXPECT_EQ(row["largest_difference"], 0.0);
    } else {
      EXPECT_TRUE(row["parity_identical"].is_null());
      EXPECT_LT(row["largest_difference"].get<double>(), 1e-4);
      EXPECT_THAT(evaluated.output, HasSubstr("largest difference: "));
    }
    if (method.name == "float") float_top1 = row["top1"].get<double>();
    EXPECT_GT(row["top1"].get<double>(), float_top1 - 25.0);
    EXPECT_GT(row["top1"].get<double>(), 30.0);  // chance is 25
    const ChildEnd inspected = bitloom({"inspect", model});
    EXPECT_THAT(inspected.output, HasSubstr(method.mode));
    EXPECT_EQ(bitloom({"bench", "--model", model, "--runs", "3"}).exit_code, 0);
  }
  EXPECT_LT(std::filesystem::file_size(folder / "ptq-weight-only.model.h5"),
            std::filesystem::file_size(folder / "float.model.h5"));
}

TEST(Cli, NetworkTextTrainsAsAModelFile) {
  const Folder folder;
  const ChildEnd text =
      bitloom({"inspect", "--network", "resnet8", "--text", "--data.reader=synthetic",
               "--data.classes=4", "--data.synthetic_height=12", "--data.synthetic_width=12"});
  ASSERT_EQ(text.exit_code, 0) << text.output;
  io::write_whole_file(folder / "my.net", text.output);
  const ChildEnd trained =
      bitloom(train_words(folder / "run", {"--model.file", folder / "my.net", "--train.epochs=1"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(bitloom({"inspect", folder / "run/checkpoint.h5"}).output,
              HasSubstr("checkpoint, my,"));
}

// A CPU without VNNI, as --isa=avx2 shows it, runs the reduced profile with the very same logits.
TEST(Cli, ReducedProfileGivesTheSameBitsUnderAvx2) {
  const Folder folder;
  const ChildEnd trained = bitloom(train_words(
      folder / "run", {"--quant.method=qat", "--profile=int8-reduced", "--train.epochs=1"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const ChildEnd exported = bitloom({"export", "--checkpoint", folder / "run/checkpoint.h5",
                                     "--profile", "int8-reduced", "--out", folder / "m.h5"});
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  for (const std::string& more : {std::string("--isa=avx2"), std::string("--threads=2")}) {
    const ChildEnd evaluated = bitloom({"eval", "--model", folder / "m.h5", "--parity", "--logits",
                                        folder / (more + ".h5"), more});
    EXPECT_EQ(evaluated.exit_code, 0) << evaluated.output;
    EXPECT_THAT(evaluated.output, HasSubstr("parity: 100.00 %"));
  }
  EXPECT_EQ(io::content_checksum(io::load_archive(folder / "--isa=avx2.h5")),
            io::content_checksum(io::load_archive(folder / "--threads=2.h5")));
}

TEST(Cli, CompareWritesRowsAndReportAndReuses) {
  const Folder folder;
  const Words words = {"compare",
                       "--config",
                       tiny_config(),
                       "--out",
                       folder / "cmp",
                       "--compare.bits=w8a8,w4a4",
                       "--compare.methods=float,ptq-static,ptq-dynamic,ptq-weight-only,qat",
                       "--compare.latency_runs=5",
                       "--train.epochs=1"};
  const ChildEnd compared = bitloom(words);
  ASSERT_EQ(compared.exit_code, 0) << compared.output;
  const auto rows = rows_of(folder / "cmp/rows.jsonl");
  ASSERT_EQ(rows.size(), 9U);
  const std::string page = io::read_whole_file(folder / "cmp/report.html");
  for (const nlohmann::json& row : rows) {
    SCOPED_TRACE(row["method"]);
    for (const std::string& key : row_keys()) EXPECT_TRUE(row.contains(key)) << key;
    EXPECT_EQ(row.at("precision"), "f32");
    EXPECT_TRUE(row["latency_ms_p50"].is_number());
    EXPECT_GT(row["peak_memory_bytes"].get<double>(), 0.0);
    const bool real = row["method"] == "float" || row["method"] == "ptq-weight-only";
    EXPECT_EQ(row["parity_identical"].is_null(), real);
    if (!real) {
      EXPECT_EQ(row["parity_identical"], 1.0);
    }
    EXPECT_LE(row["largest_difference"].get<double>(), real ? 1e-4 : 0.0);
    EXPECT_EQ(row["activation_bits"] == 32, real);
    if (row["method"] == "float") {
      EXPECT_EQ(row["weight_bits"], 32);
    } else {
      EXPECT_EQ(row["simulation_agreement"].is_null(), row["method"] == "ptq-dynamic");
      if (row["method"] != "ptq-dynamic") {
        EXPECT_GE(row["simulation_agreement"].get<double>(), 0.9);
      }
      EXPECT_THAT(compared.output, HasSubstr(row["method"].get<std::string>() + " w"));
    }
    EXPECT_THAT(page,
                HasSubstr("<td>" + bytes_text(row["size_bytes"].get<std::int64_t>()) + "</td>"));
  }
  EXPECT_EQ(rows[0]["method"], "float");
  EXPECT_EQ(rows[4]["method"], "ptq-dynamic");
  EXPECT_EQ(rows[4]["weight_bits"], 4);
  EXPECT_EQ(rows[4]["activation_bits"], 8);
  EXPECT_EQ(rows[8]["method"], "qat");
  EXPECT_EQ(rows[8]["epochs"], 1);
  EXPECT_EQ(rows[1]["epochs"], 0);

  const ChildEnd again = bitloom(words);
  EXPECT_EQ(again.exit_code, 2);
  EXPECT_THAT(again.output, HasSubstr("--reuse"));
  Words reuse = words;
  reuse.push_back("--reuse");
  const ChildEnd reused = bitloom(reuse);
  EXPECT_EQ(reused.exit_code, 0) << reused.output;
  EXPECT_THAT(reused.output, HasSubstr("qat w4a4: taken from"));
  EXPECT_EQ(rows_of(folder / "cmp/rows.jsonl")[8]["top1"], rows[8]["top1"]);
  reuse.push_back("--train.lr=0.03");
  EXPECT_EQ(bitloom(reuse).exit_code, 2);  // another configuration's runs are not taken
}

TEST(Cli, HelpAndVersionExitWithZero) {
  EXPECT_EQ(bitloom({"--help"}).exit_code, 0);
  const ChildEnd version = bitloom({"--version"});
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_THAT(version.output, HasSubstr("oneDNN 3."));
  EXPECT_THAT(bitloom({"eval", "--help"}).output, HasSubstr("--parity"));
}

}  // namespace
}  // namespace bitloom::tools
