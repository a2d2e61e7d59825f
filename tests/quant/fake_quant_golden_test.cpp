// Fake quantization and LSQ against PyTorch: tools/golden/fake_quant.py, torch 2.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/kernels/fake_quant.h"

namespace bitloom::quant {
namespace {

Archive golden() { return io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/fake_quant.h5"); }

std::vector<std::string> case_names(const Archive& archive) {
  std::vector<std::string> names;
  for (const auto& [path, tensor] : archive.tensors()) {
    if (path.ends_with("/dscale")) names.push_back(path.substr(0, path.rfind('/')));
  }
  return names;
}

kernels::RowsFormat rows_of(const Archive& archive, const std::string& name) {
  const auto qmin = static_cast<std::int32_t>(archive.integer(name, "qmin"));
  const auto qmax = static_cast<std::int32_t>(archive.integer(name, "qmax"));
  const Tensor& scale = archive.tensor(cat(name, "/scale"));
  const Tensor& x = archive.tensor(cat(name, "/x"));
  const bool per_row = archive.integer(name, "per_channel") != 0;
  const std::int64_t rows = per_row ? x.shape()[0] : 1;
  return {.rows = rows,
          .cols = x.elements() / rows,
          .scale = scale.data<float>(),
          .scale_per_row = per_row,
          .format = {.bits = 8,
                     .is_signed = qmin < 0,
                     .zero_point = static_cast<std::int32_t>(archive.integer(name, "zero_point")),
                     .range = {qmin, qmax}}};
}

TEST(FakeQuantGolden, ForwardEqualsTorchBitForBit) {
  const Archive archive = golden();
  ASSERT_EQ(case_names(archive).size(), 7U);
  for (const std::string& name : case_names(archive)) {
    SCOPED_TRACE(name);
    const Tensor& x = archive.tensor(cat(name, "/x"));
    const Tensor& expected = archive.tensor(cat(name, "/y"));
    Tensor y(DType::kF32, x.shape());
    kernels::fake_quantize(x.data<float>(), rows_of(archive, name), y.data<float>());
    for (std::int64_t i = 0; i < y.elements(); ++i) {
      ASSERT_EQ(y.data<float>()[i], expected.data<float>()[i]) << i;
    }
  }
}

TEST(FakeQuantGolden, LsqGradientsMatchTorch) {
  const Archive archive = golden();
  for (const std::string& name : case_names(archive)) {
    SCOPED_TRACE(name);
    const Tensor& x = archive.tensor(cat(name, "/x"));
    const Tensor& dy = archive.tensor(cat(name, "/dy"));
    const Tensor& dx_expected = archive.tensor(cat(name, "/dx"));
    const Tensor& ds_expected = archive.tensor(cat(name, "/dscale"));
    Tensor dx(DType::kF32, x.shape());
    std::vector<kernels::GradientSums> sums(static_cast<std::size_t>(ds_expected.elements()));
    const kernels::RowsFormat rows = rows_of(archive, name);
    kernels::fake_quantize_backward(x.data<float>(), dy.data<float>(), rows, dx.data<float>(),
                                    sums.data());
    for (std::int64_t i = 0; i < dx.elements(); ++i) {
      // Torch's chain multiplies by the scale and by its reciprocal: one part in 2^22.
      ASSERT_NEAR(dx.data<float>()[i], dx_expected.data<float>()[i],
                  2.5e-7F * std::abs(dx_expected.data<float>()[i]))
          << i;
    }
    const auto below = static_cast<double>(rows.format.range.qmin - rows.format.zero_point);
    const auto above = static_cast<double>(rows.format.range.qmax - rows.format.zero_point);
    for (std::int64_t i = 0; i < ds_expected.elements(); ++i) {
      const kernels::GradientSums& sum = sums[static_cast<std::size_t>(i)];
      const double ds = sum.inside + sum.below * below + sum.above * above;
      // Terms reach qmax * |dy| and cancel; torch sums f32 products in its own order.
      ASSERT_NEAR(ds, ds_expected.data<float>()[i],
                  2e-5F * std::abs(ds_expected.data<float>()[i]) + 2e-3F)
          << i;
    }
  }
}

}  // namespace
}  // namespace bitloom::quant
