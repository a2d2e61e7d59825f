#!/usr/bin/env python3
"""Golden pixels of JPEG and PNG files and of their resizing, from Pillow.

Run in a virtual environment with pillow, numpy and h5py:  python tools/golden/pictures.py
Writes tests/golden/pictures.h5; Pillow's version stands in its root attribute "made_by".

file/NAME holds a file's bytes; rgb/NAME and gray/NAME what Image.open(..).convert("RGB" or "L")
gives; resized/NAME the RGB picture with its shorter side brought to attribute `side` as torchvision's
Resize does, by Image.resize(BILINEAR); cropped/NAME its central side - 3 square as CenterCrop does.
PNG and resizing compare bit for bit. JPEG compares within 1: libjpeg-turbo versions may round the
inverse transform and the upsampling of colour differently.
"""
import io
import pathlib
import sys

import numpy as np
import PIL
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bitloom_archive import write_archive  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]


def scene(height, width, seed):
    """Smooth colours with an edge and a little noise: something that JPEG keeps."""
    y, x = np.mgrid[0:height, 0:width] / 9.0
    noise = np.random.default_rng(seed).integers(0, 12, (height, width, 3))
    planes = np.stack([np.sin(x + seed), np.cos(y), np.sin(x * y / 3 + seed)], axis=-1)
    pixels = 120 + 90 * planes + noise
    pixels[height // 3:, width // 2:] = 255 - pixels[height // 3:, width // 2:]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(picture, **options):
    stream = io.BytesIO()
    picture.save(stream, **options)
    return stream.getvalue()


def resized(picture, side):
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    other = int(side * long / short)
    size = (side, other) if width <= height else (other, side)
    return picture.resize(size, Image.BILINEAR) if size != picture.size else picture


def cropped(picture, side):
    width, height = picture.size
    top, left = int(round((height - side) / 2.0)), int(round((width - side) / 2.0))
    return picture.crop((left, top, left + side, top + side))


def main():
    alpha = scene(13, 19, 5).convert("RGBA")
    alpha.putalpha(Image.fromarray(np.arange(13 * 19, dtype=np.uint8).reshape(13, 19)))
    cases = {  # name: (bytes, side)
        "jpeg_420": (encoded(scene(45, 61, 1), format="JPEG", quality=90, subsampling=2), 17),
        "jpeg_444_progressive": (encoded(scene(33, 24, 2), format="JPEG", quality=95, subsampling=0,
                                         progressive=True), 40),
        "jpeg_gray": (encoded(scene(21, 30, 3).convert("L"), format="JPEG", quality=92), 21),
        "jpeg_cmyk": (encoded(scene(16, 25, 4).convert("CMYK"), format="JPEG", quality=95), 11),
        "png_rgb": (encoded(scene(37, 53, 6), format="PNG"), 16),
        "png_alpha": (encoded(alpha, format="PNG"), 29),
        "png_palette": (encoded(scene(15, 15, 7).quantize(9), format="PNG"), 8),
        "png_gray": (encoded(scene(18, 27, 8).convert("L"), format="PNG"), 13),
        "png_one_bit": (encoded(scene(18, 11, 9).convert("1"), format="PNG"), 11),
    }
    tensors, attributes = {}, {"": {"made_by": f"Pillow {PIL.__version__}"}}
    for name, (data, side) in cases.items():
        rgb = Image.open(io.BytesIO(data)).convert("RGB")
        gray = Image.open(io.BytesIO(data)).convert("L")
        small = resized(rgb, side)
        tensors[f"file/{name}"] = (np.frombuffer(data, dtype=np.uint8), "C", "1")
        tensors[f"rgb/{name}"] = (np.asarray(rgb)[None], "NHWC", "pixel")
        tensors[f"gray/{name}"] = (np.asarray(gray)[None, :, :, None], "NHWC", "pixel")
        tensors[f"resized/{name}"] = (np.asarray(small)[None], "NHWC", "pixel")
        tensors[f"cropped/{name}"] = (np.asarray(cropped(small, side - 3))[None], "NHWC", "pixel")
        attributes[f"resized/{name}"] = {"side": side}
    write_archive(str(ROOT / "tests/golden/pictures.h5"), "bitloom.golden", 1, tensors, attributes)


if __name__ == "__main__":
    main()
