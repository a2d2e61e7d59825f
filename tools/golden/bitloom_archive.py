"""Writes and reads bitloom archives with h5py: what io::save_archive() writes, from Python.

Used by the scripts beside it to make golden files, and an example of a foreign reader.
src/io/README.md defines the layout and the checksum.

    write_archive("conv.h5", "golden", 1, {"conv/x": (x_nhwc, "NHWC", "1")}, {"conv": {"stride": 2}})
    archive = read_archive("conv.h5"); archive.tensors["conv/x"]

Exported models are packed: read_archive() gives their layers/00000/weight all the same.
"""
import collections
import hashlib
import json
import struct
import zlib

import h5py
import numpy as np

WORDS = {"float32": "f32", "float64": "f64", "uint8": "u8", "int8": "s8", "int32": "s32",
         "int64": "s64", "uint16": "bf16"}

Archive = collections.namedtuple("Archive", "schema_name schema_version tensors axes units texts attributes")


def _fixed(text):
    """The text as a fixed-length UTF-8 string with its closing NUL, as the C++ side writes it."""
    data = text.encode()
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(data) + 1)
    kind.set_cset(h5py.h5t.CSET_UTF8)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    return kind, np.frombuffer(data + b"\0", dtype=f"S{len(data) + 1}")


def _set_attribute(place, name, value):
    if isinstance(value, str):
        kind, data = _fixed(value)
    elif isinstance(value, (int, np.integer)):
        kind, data = h5py.h5t.STD_I64LE, np.array(value, dtype="<i8")
    else:
        kind, data = h5py.h5t.IEEE_F64LE, np.array(value, dtype="<f8")
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    attribute = h5py.h5a.create(place.id, name.encode(), kind, space)
    attribute.write(data.reshape(()), mtype=kind)


def checksum(schema_name, schema_version, tensors, texts, attributes):
    """SHA-256 of the content; tensors: path -> (array in memory order, axes, unit)."""
    total = hashlib.sha256()
    number = lambda value: total.update(struct.pack("<q", value))

    def text(value):
        data = value.encode()
        number(len(data))
        total.update(data)

    text(schema_name)
    number(schema_version)
    number(len(tensors))
    for path, (array, axes, unit) in sorted(tensors.items(), key=lambda item: item[0].encode()):
        text(path)
        text(WORDS[array.dtype.name])
        number(array.ndim)
        for size in array.shape:
            number(size)
        text(axes)
        text(unit)
        total.update(np.ascontiguousarray(array).tobytes())
    number(len(texts))
    for path, value in sorted(texts.items(), key=lambda item: item[0].encode()):
        text(path)
        text(value)
    for path, entries in sorted(attributes.items(), key=lambda item: item[0].encode()):
        for name, value in sorted(entries.items(), key=lambda item: item[0].encode()):
            text(path)
            text(name)
            if isinstance(value, str):
                text("text")
                text(value)
            elif isinstance(value, (int, np.integer)):
                text("integer")
                number(int(value))
            else:
                text("real")
                total.update(struct.pack("<d", value))
    return total.hexdigest()


def write_archive(file_name, schema_name, schema_version, tensors, attributes=None, texts=None):
    """tensors: path -> (array in memory order, axes, unit), e.g. (weights_ohwi, "OHWI", "1")."""
    attributes = attributes or {}
    texts = texts or {}
    with h5py.File(file_name, "w", libver=("v108", "v110")) as file:
        _set_attribute(file, "schema_name", schema_name)
        _set_attribute(file, "schema_version", schema_version)
        _set_attribute(file, "checksum",
                       checksum(schema_name, schema_version, tensors, texts, attributes))
        for path, (array, axes, unit) in tensors.items():
            if len(axes) != array.ndim or array.ndim not in (0, 1, 2, 4):
                raise ValueError(f"{path}: axes '{axes}' for {array.ndim} dimensions")
            place = file.create_dataset(path, data=array, track_times=False)
            _set_attribute(place, "axes", axes)
            _set_attribute(place, "unit", unit)
        for path, value in texts.items():
            kind, data = _fixed(value)
            parent, _, name = path.rpartition("/")
            group = file.require_group(parent) if parent else file
            space = h5py.h5s.create(h5py.h5s.SCALAR)
            place = h5py.h5d.create(group.id, name.encode(), kind, space)
            place.write(h5py.h5s.ALL, h5py.h5s.ALL, data.reshape(()), mtype=kind)
        for path, entries in attributes.items():
            place = file if not path else file[path] if path in file else file.create_group(path)
            for name, value in entries.items():
                _set_attribute(place, name, value)


def _plain(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, (np.bytes_, np.generic)):
        return value.item().decode() if isinstance(value, np.bytes_) else value.item()
    return value


def _values(tensors, word):
    """All values of a type: plain, or the bytes of their elements regrouped and deflated."""
    if "values/" + word in tensors:
        return tensors["values/" + word][0]
    dtype = np.dtype(next(name for name, other in WORDS.items() if other == word))
    apart = np.frombuffer(zlib.decompress(tensors["shuffled/" + word][0].tobytes()), dtype=np.uint8)
    return apart.reshape(dtype.itemsize, -1).T.copy().view(dtype).reshape(-1)


def _unpacked(tensors):
    """What the index of a packed archive says: tensors, texts and attributes as if it were plain."""
    index = json.loads(zlib.decompress(tensors["index"][0].tobytes()))
    places = {}
    for path, entry in index["tensors"].items():
        shape, word = entry["shape"], entry["dtype"]
        if "values" in entry:
            array = np.array(entry["values"], dtype=np.int64)
        else:
            values, at = _values(tensors, word), entry["at"]
            array = values[at:at + int(np.prod(shape))]
        places[path] = (array.reshape(shape), entry["axes"], entry["unit"])
    return places, index["texts"], index["attributes"]


def read_archive(file_name):
    """Everything as plain Python; raises ValueError if the checksum does not match."""
    tensors, texts, attributes = {}, {}, {}
    with h5py.File(file_name, "r") as file:
        root = {name: _plain(value) for name, value in file.attrs.items()}

        def visit(path, place):
            entries = {name: _plain(value) for name, value in place.attrs.items()}
            if isinstance(place, h5py.Dataset):
                if place.dtype.kind in "SO":
                    texts[path] = _plain(place[()])
                else:
                    tensors[path] = (np.asarray(place[()]), entries.pop("axes"), entries.pop("unit"))
            if entries:
                attributes[path] = entries

        file.visititems(visit)
    schema_name, schema_version, stored = (root.pop(name) for name in
                                           ("schema_name", "schema_version", "checksum"))
    if root:
        attributes[""] = root
    if checksum(schema_name, schema_version, tensors, texts, attributes) != stored:
        raise ValueError(f"{file_name}: the checksum does not match: the file is damaged")
    if root.get("storage") == "packed":
        tensors, texts, attributes = _unpacked(tensors)
    return Archive(schema_name, schema_version,
                   {path: entry[0] for path, entry in tensors.items()},
                   {path: entry[1] for path, entry in tensors.items()},
                   {path: entry[2] for path, entry in tensors.items()}, texts, attributes)
