"""Any file a visitor has: opened upright in RGB, or refused by its header with what is accepted."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from core import limits
from core.errors import PictureMissing, PictureTooLarge, PictureUnreadable
from core.pictures import ACCEPTED, open_picture

ORIENTATION, GPS = 0x0112, 0x8825


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(path, width, height):
    """Write a PNG of a few kilobytes that promises, and holds, a great many black pixels."""
    squeezed = zlib.compressobj(9)
    row = b"\0" * (width // 8 + 2)
    lines = b"".join(squeezed.compress(row) for _ in range(min(height, 13_000))) + squeezed.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [7_000, 13_000, 20_000])
def test_a_bomb_is_refused_by_its_header_and_never_unpacked(tmp_path, side, monkeypatch):
    path = bomb(tmp_path / "bomb.png", side, side)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("unpacked"))
    tracemalloc.start()
    with pytest.raises(PictureTooLarge) as error:
        open_picture(path)
    grown = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert grown < 10_000_000
    facts = error.value.facts
    assert (facts["limit"], facts["unit"]) == (40, "megapixels")
    assert facts["found"] == {7_000: 49, 13_000: 169}.get(side, f"{2 * Image.MAX_IMAGE_PIXELS // 1_000_000}+")


def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(limits.PICTURE_BYTES + 2_000_000)
    with pytest.raises(PictureTooLarge) as error:
        open_picture(path)
    assert error.value.facts == {"found": 12, "limit": 10, "unit": "MB"}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_picture_cut_short_is_refused_or_shown_wherever_the_cut_is(tmp_path, kind):
    path, cut = tmp_path / "whole", tmp_path / "cut"
    Image.effect_noise((24, 16), 90).convert("RGB").save(path, kind)
    assert open_picture(path).size == (24, 16)
    data, refused = path.read_bytes(), 0
    for length in range(0, len(data), max(1, len(data) // 100)):
        cut.write_bytes(data[:length])
        try:
            assert open_picture(cut).mode == "RGB"
        except PictureUnreadable:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, I am a text",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect width='9' height='9'/></svg>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100,
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
    ],
    ids=["empty", "text", "svg", "heic", "pdf", "eps", "png header", "gif header", "jpeg header"],
)
def test_what_is_no_picture_is_refused_by_name_of_what_is_accepted(tmp_path, content):
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(PictureUnreadable) as error:
        open_picture(path)
    assert error.value.facts == {"accepted": "PNG, JPEG, WEBP, GIF, BMP, TIFF"}


def test_nothing_and_what_is_not_there_are_refused(tmp_path):
    with pytest.raises(PictureMissing):
        open_picture(None)
    for missing in (tmp_path / "none.png", tmp_path, "a\0b", "x" * 5000):
        with pytest.raises(PictureUnreadable):
            open_picture(missing)


def test_every_accepted_kind_opens_as_it_was(tmp_path):
    for kind in ACCEPTED:
        path = tmp_path / "picture"
        Image.new("RGB", (30, 20), (200, 30, 40)).save(path, kind)
        opened = open_picture(path)
        assert (opened.mode, opened.size) == ("RGB", (30, 20))
        assert np.abs(np.array(opened).astype(int) - (200, 30, 40)).max() < 12, kind


def test_print_colours_become_screen_colours(tmp_path):
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path)
    red, green, blue = open_picture(path).getpixel((8, 8))
    assert red > 200 and green < 60 and blue < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_of_grey_keep_their_shades(tmp_path, kind):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    path = tmp_path / "deep"
    Image.fromarray(np.tile(ramp, (8, 1))).save(path, kind)
    opened = np.array(open_picture(path))[4, :, 0]
    np.testing.assert_allclose(opened, ramp // 256, atol=1)


def test_what_is_see_through_becomes_white(tmp_path):
    path = tmp_path / "clear.png"
    clear = Image.new("RGBA", (20, 10), (255, 0, 0, 255))
    clear.paste((0, 0, 0, 0), (0, 0, 10, 10))
    for mode in ("RGBA", "LA", "P"):
        made = clear if mode == "RGBA" else clear.convert("LA") if mode == "LA" else clear.quantize(4)
        made.save(path)
        opened = open_picture(path)
        assert opened.getpixel((3, 5)) == (255, 255, 255), mode
        assert opened.getpixel((15, 5)) != (255, 255, 255), mode


def test_a_palette_with_one_see_through_colour_is_white_there(tmp_path):
    path = tmp_path / "palette.gif"
    made = Image.new("P", (10, 10), 0)
    made.putpalette([0, 0, 0, 0, 0, 255])
    made.paste(1, (5, 0, 10, 10))
    made.save(path, transparency=0)
    opened = open_picture(path)
    assert opened.getpixel((1, 5)) == (255, 255, 255) and opened.getpixel((8, 5)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_a_moving_picture_the_first_one_is_taken(tmp_path, kind):
    path = tmp_path / "moving"
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "green", "blue")]
    frames[0].save(path, kind, save_all=True, append_images=frames[1:])
    assert np.abs(np.array(open_picture(path)).astype(int)[8, 8] - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright_and_forgets_where_it_was_taken(tmp_path, orientation):
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste("red", (0, 0, 16, 8))  # top left
    back = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # Image.Transpose that undoes it
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(GPS)[1] = "N"
    path = tmp_path / "photo.png"
    (upright if back is None else upright.transpose(Image.Transpose(back))).save(path, exif=exif)
    opened = open_picture(path)
    assert opened.size == (32, 16)
    assert opened.getpixel((4, 4)) == (255, 0, 0)
    assert opened.getpixel((28, 4)) == opened.getpixel((4, 12)) == (255, 255, 255)
    assert not opened.getexif().get_ifd(GPS) and not opened.info


def test_large_pictures_are_made_smaller_and_small_ones_are_not_made_larger():
    assert max(open_picture(Image.new("RGB", (3000, 1000))).size) == limits.PICTURE_SIDE
    assert open_picture(Image.new("RGB", (3, 5))).size == (3, 5)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 40)])
def test_a_strip_gets_white_margins_and_stays_in_the_middle(size):
    opened = open_picture(Image.new("RGB", size))
    assert max(opened.size) / min(opened.size) == limits.PICTURE_STRIP
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel(((opened.width - 1) // 2, (opened.height - 1) // 2)) == (0, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (40, 10), (10, 40)])
def test_what_is_no_strip_gets_no_margins(size):
    assert open_picture(Image.new("RGB", size)).size == size


def test_an_array_of_the_page_is_opened_like_a_file_and_left_alone():
    given = Image.new("L", (2000, 1000), 128)
    assert open_picture(given).getpixel((0, 0)) == (128, 128, 128)
    assert given.size == (2000, 1000) and given.mode == "L"
