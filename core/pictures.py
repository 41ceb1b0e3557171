"""Pictures in: opened with care, upright, in RGB, no larger than needed."""

import math
import os
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from core import limits
from core.errors import PictureMissing, PictureTooLarge, PictureUnreadable

ACCEPTED = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def open_picture(source: str | Path | Image.Image | None) -> Image.Image:
    """Return a picture in RGB, at most limits.PICTURE_SIDE a side; what is see-through becomes white, and a strip gets margins.

    The header is read first, so nothing large is decoded.
    Raises PictureMissing, PictureUnreadable, PictureTooLarge.
    """
    if source is None:
        raise PictureMissing()
    try:
        if not isinstance(source, Image.Image) and os.path.getsize(source) > limits.PICTURE_BYTES:
            raise PictureTooLarge(
                found=os.path.getsize(source) // 1_000_000, limit=limits.PICTURE_BYTES // 1_000_000, unit="MB"
            )
        picture = source if isinstance(source, Image.Image) else Image.open(source, formats=ACCEPTED)
        megapixels = picture.width * picture.height / 1e6
        if megapixels > limits.PICTURE_PIXELS / 1e6:
            limit = limits.PICTURE_PIXELS // 1_000_000
            raise PictureTooLarge(found=round(megapixels), limit=limit, unit="megapixels")
        picture.draft("RGB", (limits.PICTURE_SIDE, limits.PICTURE_SIDE))
        picture = ImageOps.exif_transpose(in_eight_bits(picture))
    except Image.DecompressionBombError as error:  # Pillow's own bound, above ours
        most, limit = 2 * Image.MAX_IMAGE_PIXELS // 1_000_000, limits.PICTURE_PIXELS // 1_000_000
        raise PictureTooLarge(found=f"{most}+", limit=limit, unit="megapixels") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise PictureUnreadable(accepted=", ".join(ACCEPTED)) from error
    picture.thumbnail((limits.PICTURE_SIDE, limits.PICTURE_SIDE))
    return framed(picture.convert("RGBA"))


def framed(picture: Image.Image) -> Image.Image:
    """Return a picture on white, wide and tall enough to be cut into patches, and without what the camera noted of it."""
    least = math.ceil(max(picture.size) / limits.PICTURE_STRIP)
    size = (max(picture.width, least), max(picture.height, least))
    frame = Image.new("RGB", size, "white")
    frame.paste(picture, ((size[0] - picture.width) // 2, (size[1] - picture.height) // 2), picture)
    return frame


def in_eight_bits(picture: Image.Image) -> Image.Image:
    """Return 16-bit grey in 8 bits: Pillow's own conversion clips it to white."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value / 256).convert("L")
    picture.load()
    return picture
