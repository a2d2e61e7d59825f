// HDF5 identifiers that close themselves, and quiet calls. Private to io.
#pragma once

#include <hdf5.h>

#include <mutex>
#include <utility>

namespace bitloom::io {

/// Owns one HDF5 identifier; `Close` is H5Gclose, H5Dclose, ...
template <herr_t (*Close)(hid_t)>
class Handle {
 public:
  explicit Handle(hid_t id) : id_(id) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) Close(id_);
  }

  bool ok() const { return id_ >= 0; }
  hid_t get() const { return id_; }
  hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }

 private:
  hid_t id_;
};

using File = Handle<H5Fclose>;
using Group = Handle<H5Gclose>;
using Dataset = Handle<H5Dclose>;
using Space = Handle<H5Sclose>;
using Type = Handle<H5Tclose>;
using Attribute = Handle<H5Aclose>;
using Properties = Handle<H5Pclose>;

/// While it lives: the library's global state is ours alone (Debian's build has no locks of its
/// own), and its errors are not printed.
class QuietHdf5 {
 public:
  QuietHdf5() : lock_(mutex()) {
    // After a damaged file HDF5 1.10 loops in its own clean-up at exit; no file of ours is open
    // then.
    static const herr_t no_clean_up = H5dont_atexit();
    static_cast<void>(no_clean_up);
    H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  }
  ~QuietHdf5() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }
  QuietHdf5(const QuietHdf5&) = delete;
  QuietHdf5& operator=(const QuietHdf5&) = delete;

 private:
  static std::mutex& mutex() {
    static std::mutex instance;
    return instance;
  }

  std::lock_guard<std::mutex> lock_;
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace bitloom::io
