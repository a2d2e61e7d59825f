// The readers that `data.reader` can name. Private to datasets.
#pragma once

#include "bitloom/datasets/dataset.h"

namespace bitloom::datasets {

/// IDX files of MNIST's layout in the folder `options.path`, plain or gzip. @throws FormatError.
ImageSet read_idx(const DataOptions& options, Split split);

/// CIFAR-10's binary files data_batch_1.bin .. data_batch_5.bin and test_batch.bin in the folder
/// `options.path`. @throws FormatError.
ImageSet read_cifar10(const DataOptions& options, Split split);

/// HDF5 files train.h5 and test.h5 in the folder `options.path`: /images u8 [N, H, W, C], /labels
/// integers [N]. @throws FormatError.
ImageSet read_hdf5(const DataOptions& options, Split split);

/// Pictures in `options.path`/{train,test or val}/CLASS, decoded in parallel, resized and cropped
/// by options.resize and options.image_size. @throws FormatError, ConfigError.
ImageSet read_image_folder(const DataOptions& options, Split split);

/// Images computed from `options.synthetic_seed`. @throws ConfigError for sizes out of range.
ImageSet make_synthetic(const DataOptions& options, Split split);

}  // namespace bitloom::datasets
