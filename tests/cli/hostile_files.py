"""Makes files that nobody should send us: hostile_files.py CHECKPOINT FOLDER.

FOLDER/archive/NAME.h5: CHECKPOINT with its structure attacked.
FOLDER/hdf5/NAME/test.h5: data sets in HDF5. What each must be answered is in hostile_*_test.cpp.
"""
import os
import shutil
import sys
import zlib

import h5py
import numpy

checkpoint, folder = sys.argv[1:]


def virtual(shape):
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape)
    return layout


def zeros(file, chunks):
    """Deflate shrinks zeros a thousandfold: `chunks` times 32 KB on disk, 32 MB in memory."""
    images = file.create_dataset("images", (32 * chunks, 1000, 1000, 1), "u1",
                                 chunks=(32, 1000, 1000, 1), compression="gzip")
    packed = zlib.compress(bytes(32 * 1000 * 1000))
    for chunk in range(chunks):
        images.id.write_direct_chunk((32 * chunk, 0, 0, 0), packed)


def text_bomb(file):
    """A text of 2^30 bytes, of which none was written."""
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(1 << 30)
    kind.set_strpad(h5py.h5t.STR_NULLPAD)
    h5py.h5d.create(file.id, b"x", kind, h5py.h5s.create(h5py.h5s.SCALAR))


ARCHIVES = {
    "soft_link": lambda f: f.__setitem__("config2", h5py.SoftLink("/config")),
    "soft_link_cycle": lambda f: f.__setitem__("a", h5py.SoftLink("/a")),
    "hard_link": lambda f: f.__setitem__("config2", f["config"]),
    "hard_link_cycle": lambda f: f["parameters"].__setitem__("again", f["parameters"]),
    "external_link": lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/hostname", "/")),
    "external_storage": lambda f: f.create_dataset("x", (9,), "u1", external=[("/etc/passwd", 0, 9)]),
    "virtual_dataset": lambda f: f.create_virtual_dataset("x", virtual((3,))),
    "filter": lambda f: f.create_dataset("x", data=numpy.ones(99), compression="lzf"),
    "shape_bomb": lambda f: f.create_dataset("x", (1 << 19, 1 << 19), "u1"),
    "shape_bomb_chunks": lambda f: f.create_dataset("x", (1 << 38,), "u1", chunks=(1 << 30,)),
    "text_bomb": lambda f: text_bomb(f),
    "many_names": lambda f: [f.__setitem__(f"config{i}", f["config"]) for i in range(2000)],
    "deep_groups": lambda f: f.create_group("/".join("g" * 3000)),
    "wrong_type": lambda f: (f.__delitem__("parameters/bn1.beta"),
                             f.create_dataset("parameters/bn1.beta", data=numpy.ones(32, "f2"))),
    "wrong_kind": lambda f: (f.__delitem__("parameters"),
                             f.create_dataset("parameters", data=numpy.ones(3))),
    "data_changed": lambda f: f["parameters/conv1.weight"].__setitem__((0, 0, 0, 0), 9),
    "checksum_changed": lambda f: f.attrs.modify("checksum", numpy.bytes_(b"0" * 64)),
    "checksum_missing": lambda f: f.attrs.__delitem__("checksum"),
}
os.makedirs(folder + "/archive")
for name, attack in ARCHIVES.items():
    path = f"{folder}/archive/{name}.h5"
    shutil.copyfile(checkpoint, path)
    with h5py.File(path, "r+") as file:
        attack(file)

IMAGES = numpy.zeros((4, 12, 12, 1), "u1")
LABELS = numpy.array([0, 1, 2, 1])
DATASETS = {
    "soft_link": lambda f: f.__setitem__("images", h5py.SoftLink("/x")),
    "external_link": lambda f: f.__setitem__("images", h5py.ExternalLink("/etc/hostname", "/")),
    "external_storage": lambda f: f.create_dataset("images", (1, 1, 1, 9), "u1",
                                                   external=[("/etc/passwd", 0, 9)]),
    "virtual_dataset": lambda f: f.create_virtual_dataset("images", virtual((4, 12, 12, 1))),
    "filter": lambda f: f.create_dataset("images", data=IMAGES, compression="lzf"),
    "shape_bomb": lambda f: f.create_dataset("images", (1 << 20, 512, 512, 1), "u1"),
    "chunk_bomb": lambda f: f.create_dataset("images", (1, 1, 1, 1), "u1", maxshape=(None,) * 4,
                                             chunks=(1 << 10, 1 << 10, 1 << 10, 1),
                                             compression="gzip"),
    "zeros_bomb": lambda f: zeros(f, 100),
    "wrong_type": lambda f: f.__setitem__("images", IMAGES / 255.0),
    "label": lambda f: f.__setitem__("images", IMAGES),
}
for name, attack in DATASETS.items():
    os.makedirs(f"{folder}/hdf5/{name}")
    with h5py.File(f"{folder}/hdf5/{name}/test.h5", "w") as file:
        attack(file)
        file["labels"] = LABELS + 90 if name == "label" else LABELS
