#!/usr/bin/env python3
"""Writes the images that tests/engine/test_image.cpp and test_resize.cpp read into images/ beside this script.

Needs Pillow 11 or newer and NumPy. The files are committed: neither the build nor the tests run this. All content is synthetic.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent / "images"

# --- PNG, written by hand: Pillow writes neither 16-bit colour nor interlacing -------------------------------------------


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def filtered(rows, step):
    """Rows of bytes with PNG's five filters in turn; `step` is the bytes of a pixel, at least 1."""
    out, before = b"", bytes(len(rows[0])) if rows else b""
    for number, row in enumerate(rows):
        kind = number % 5
        line = bytearray()
        for i, value in enumerate(row):
            left = row[i - step] if i >= step else 0
            up = before[i]
            corner = before[i - step] if i >= step else 0
            guess = left + up - corner
            nearest = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
            line.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) & 255)
        out += bytes([kind]) + bytes(line)
        before = row
    return out


def pack(samples, depth):
    """A row of samples (pixels x channels) as bytes."""
    flat = [int(v) for v in np.asarray(samples).reshape(-1)]
    if depth == 16:
        return struct.pack(">%dH" % len(flat), *flat)
    if depth == 8:
        return bytes(flat)
    bits = "".join(format(v, "0%db" % depth) for v in flat)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def png(name, samples, colour_type, depth, interlaced=False, before_data=b""):
    height, width, channels = samples.shape
    step = max(1, channels * depth // 8)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, dx, dy in passes:
        part = samples[y::dy, x::dx]
        if part.size:
            raw += filtered([pack(row, depth) for row in part], step)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, int(interlaced))
    compressed = zlib.compress(raw, 9)
    half = len(compressed) // 2  # two IDAT chunks, as large files have
    (FOLDER / name).write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before_data + chunk(b"IDAT", compressed[:half])
        + chunk(b"IDAT", compressed[half:]) + chunk(b"IEND", b""))


def pattern(channels, maximum):
    """The test's `pattern_value`: (19 x + 27 y + 53 c + x y) scaled by the largest value, modulo."""
    y, x, c = np.mgrid[0:9, 0:13, 0:channels]
    unit = {255: 1, 65535: 251}.get(maximum, 1)
    return ((19 * x + 27 * y + 53 * c + x * y) * unit) % (maximum + 1)


def write_pngs():
    for depth in (1, 2, 4, 8, 16):
        png("grey%d.png" % depth, pattern(1, 2**depth - 1), 0, depth)
    png("grey8_interlaced.png", pattern(1, 255), 0, 8, interlaced=True)
    png("grey1_interlaced.png", pattern(1, 1), 0, 1, interlaced=True)
    png("grey_alpha8.png", pattern(2, 255), 4, 8)
    png("grey_alpha16.png", pattern(2, 65535), 4, 16)
    png("rgb8.png", pattern(3, 255), 2, 8)
    png("rgb8_interlaced.png", pattern(3, 255), 2, 8, interlaced=True)
    png("rgb8_transparent_colour.png", pattern(3, 255), 2, 8, before_data=chunk(b"tRNS", struct.pack(">3H", 0, 53, 106)))
    png("rgb16.png", pattern(3, 65535), 2, 16)
    png("rgba8.png", pattern(4, 255), 6, 8)
    png("rgba16.png", pattern(4, 65535), 6, 16)
    for depth in (1, 2, 4, 8):
        palette = bytes((i * 37 + c * 91 + 5) % 256 for i in range(2**depth) for c in range(3))
        png("palette%d.png" % depth, pattern(1, 2**depth - 1), 3, depth, before_data=chunk(b"PLTE", palette))
    png("palette8_transparent.png", pattern(1, 255), 3, 8,
        before_data=chunk(b"PLTE", palette) + chunk(b"tRNS", bytes(range(0, 200))))


# --- EXIF ----------------------------------------------------------------------------------------------------------------


def tiff(orientation, order, thumbnail=b""):
    """A TIFF block: a first directory with make, orientation and software, then, if given, one that points at a thumbnail."""
    e = "<" if order == "II" else ">"
    value = struct.pack(e + "H", orientation) + b"\0\0"
    entries = struct.pack(e + "HHI4s", 0x010F, 2, 4, b"cut\0") + struct.pack(e + "HHI4s", 0x0112, 3, 1, value)
    entries += struct.pack(e + "HHI4s", 0x0131, 2, 4, b"abc\0")
    first_size = 2 + 36 + 4
    block = order.encode() + struct.pack(e + "HI", 42, 8) + struct.pack(e + "H", 3) + entries
    if not thumbnail:
        return block + struct.pack(e + "I", 0)
    second = 8 + first_size
    offset = second + 2 + 24 + 4
    block += struct.pack(e + "I", second) + struct.pack(e + "H", 2)
    block += struct.pack(e + "HHII", 0x0201, 4, 1, offset) + struct.pack(e + "HHII", 0x0202, 4, 1, len(thumbnail))
    return block + struct.pack(e + "I", 0) + thumbnail


def write_orientations():
    samples = pattern(3, 255)[:3, :4]
    stored = Image.fromarray(samples.astype(np.uint8))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        stored.save(buffer, "PNG", exif=exif)
        with Image.open(io.BytesIO(buffer.getvalue())) as reopened:
            upright = np.asarray(ImageOps.exif_transpose(reopened).convert("RGB"))
        order = "II" if orientation % 2 else "MM"
        png("orientation%d.png" % orientation, samples, 2, 8, before_data=chunk(b"eXIf", tiff(orientation, order)))
        png("orientation%d_upright.png" % orientation, upright.astype(int), 2, 8)


# --- JPEG ----------------------------------------------------------------------------------------------------------------

# The test's `kQuadrants`: left to right, top to bottom.
QUADRANTS = [(200, 30, 40), (30, 180, 60), (40, 60, 220), (230, 220, 90)]


def quadrants():
    image = np.zeros((32, 32, 3), np.uint8)
    for i, colour in enumerate(QUADRANTS):
        image[16 * (i // 2) :, 16 * (i % 2) :][:16, :16] = colour
    return Image.fromarray(image)


def jpeg(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **{"quality": 95, **options})
    return buffer.getvalue()


def with_segment(data, marker, body):
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


def adobe_at(data):
    return data.index(b"\xff\xee\x00\x0eAdobe")


def write_jpegs():
    def write(name, data):
        (FOLDER / name).write_bytes(data)

    image = quadrants()
    plain = jpeg(image)
    write("quadrants.jpg", plain)
    write("quadrants_444.jpg", jpeg(image, subsampling=0))
    write("quadrants_progressive.jpg", jpeg(image, progressive=True))
    write("quadrants_restart.jpg", jpeg(image, restart_marker_blocks=1))
    write("quadrants_rgb.jpg", jpeg(image, keep_rgb=True))
    write("quadrants_grey.jpg", jpeg(image.convert("L")))

    # CMYK with a black channel of its own, so that the multiplication by it is seen. Pillow inverts on writing, as Adobe does.
    rgb = np.asarray(image).astype(float)
    black = (255 - rgb.max(axis=2, keepdims=True)) / 2
    ink = 255 - np.clip(rgb * 255 / (255 - black), 0, 255)
    cmyk = np.concatenate([ink, black], axis=2).round().astype(np.uint8)
    adobe = jpeg(Image.fromarray(cmyk, "CMYK"), subsampling=0)
    assert adobe[adobe_at(adobe) + 15] == 0
    write("quadrants_cmyk.jpg", adobe)
    at = adobe_at(adobe)
    write("quadrants_cmyk_no_adobe.jpg", adobe[:at] + adobe[at + 16 :])
    # YCCK: the inverted inks are taken for 255 - RGB, and that RGB is stored as YCbCr; the fourth channel stays.
    ycc = np.asarray(Image.fromarray(255 - (255 - cmyk[..., :3])).convert("YCbCr"))
    stored = np.concatenate([ycc, 255 - cmyk[..., 3:]], axis=2)
    ycck = bytearray(jpeg(Image.fromarray(255 - stored, "CMYK"), subsampling=0))
    ycck[adobe_at(ycck) + 15] = 2
    write("quadrants_ycck.jpg", bytes(ycck))
    ycck[adobe_at(ycck) + 15] = 1  # libjpeg takes this for YCCK too
    write("quadrants_ycck_transform1.jpg", bytes(ycck))

    thumbnail = jpeg(image.resize((8, 8)), quality=50)
    write("exif_little_endian6.jpg", with_segment(plain, 0xE1, b"Exif\0\0" + tiff(6, "II")))
    write("exif_big_endian3.jpg", with_segment(plain, 0xE1, b"Exif\0\0" + tiff(3, "MM")))
    write("exif_thumbnail8.jpg", with_segment(plain, 0xE1, b"Exif\0\0" + tiff(8, "MM", thumbnail)))

    # Something like a photograph, of a size that no block divides, against Pillow's own decoding.
    y, x = np.mgrid[0:31, 0:45]
    waves = [127 + 90 * np.sin(x / (5 + c) + c) * np.cos(y / (4 + c)) + 30 * np.sin(x * y / 60 + c) for c in range(3)]
    photo = Image.fromarray(np.clip(np.stack(waves, axis=2), 0, 255).astype(np.uint8))
    for name, options in (("photo", {}), ("photo_progressive", {"progressive": True})):
        data = jpeg(photo, quality=85, **options)
        write(name + ".jpg", data)
        with Image.open(io.BytesIO(data)) as decoded:
            decoded.save(FOLDER / (name + "_decoded.png"), optimize=True)


# --- resizing ------------------------------------------------------------------------------------------------------------


def write_resized():
    y, x = np.mgrid[0:29, 0:41]
    noise = np.random.default_rng(1).integers(-40, 41, (29, 41, 3))
    smooth = np.stack([6 * x, 8 * y, 255 - 3 * x - 4 * y], axis=2)
    source = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    source.save(FOLDER / "resize_source.png", optimize=True)
    for size in ((16, 16), (41, 12), (7, 29), (60, 45), (20, 50), (1, 1)):
        result = source.resize(size, Image.Resampling.BILINEAR)
        result.save(FOLDER / ("resize_%dx%d.png" % size), optimize=True)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write_pngs()
    write_orientations()
    write_jpegs()
    write_resized()
    print(sum(f.stat().st_size for f in FOLDER.iterdir()), "bytes in", len(list(FOLDER.iterdir())), "files")
