// Runs an exported model on one image: infer MODEL.h5 < pixels
// The image is raw u8, channels-last (H, W, C); the logits go to stdout, one a line.
#include <exception>
#include <iomanip>
#include <iostream>

#include "bitloom/backends/load_model.h"
#include "bitloom/backends/session.h"

int main(int argc, char** argv) try {
  const bitloom::integer::Model model = bitloom::backends::load_model(argc > 1 ? argv[1] : "");
  bitloom::backends::Session session(model, {.backend = "onednn", .batch = 1});
  bitloom::Tensor image(bitloom::DType::kU8, model.tensors.front().shape);
  bitloom::Tensor logits(bitloom::DType::kF32, bitloom::Shape{1, model.classes()});
  if (!std::cin.read(static_cast<char*>(image.raw()), image.elements())) {
    std::cerr << "infer: expected " << image.elements() << " bytes on stdin\n";
    return 2;
  }
  session.run(image, logits);
  std::cout << std::setprecision(9);
  for (const float logit : logits.span<float>()) std::cout << logit << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "infer: " << error.what() << "\n";
  return 2;
}
