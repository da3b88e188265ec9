"""The images of a test in the words of a scenario: version, variant, and what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from rig.evidence.taken import Origin
from rig.fieldkit.steps import Image

MOST_FLIPS = 16


class Images:
    """Knows where bytes came from. `variant`: that of the firmware on the board, as the test calls it."""

    def __init__(self, known: Mapping[bytes, Origin], variants: Mapping[str, str]) -> None:
        self.variant = ""
        self._known = known
        self._variants = variants

    def image(self, data: str | bytes | None, flip: int | None = None, keep: float = 1.0) -> Image | None:
        """A version of the firmware on the board, or bytes; with one more byte inverted, and only a share of it kept.

        None for what no scenario can describe.
        """
        try:
            if isinstance(data, str):
                return Image(version=data, flip=() if flip is None else (flip,), keep=keep)
            found = None if data is None else self._of_bytes(data)
            if found is None or (found.keep != 1.0 and (flip is not None or keep != 1.0)):
                return None
            flips = found.flip if flip is None else (*found.flip, flip)
            return Image(**{**dict(found), "flip": flips, "keep": keep if found.keep == 1.0 else found.keep})
        except ValidationError:
            return None

    def _of_bytes(self, data: bytes) -> Image | None:
        if not data:
            return Image(keep=0.0)
        if data in self._known:
            return self._of(self._known[data])
        for image, origin in self._known.items():
            if image.startswith(data):
                # half a byte more, so that no rounding loses the last one
                return self._of(origin, keep=(len(data) + 0.5) / len(image))
            if len(image) == len(data):
                changed = [at for at in range(len(data)) if data[at] != image[at]]
                if len(changed) <= MOST_FLIPS and all(data[at] == image[at] ^ 0xFF for at in changed):
                    return self._of(origin, more=tuple(changed))
        return None

    def _of(self, origin: Origin, keep: float = 1.0, more: tuple[int, ...] = ()) -> Image:
        variant = self._variants.get(origin.variant, origin.variant)
        same = origin.other_chip or origin.variant == self.variant
        return Image(
            version=origin.version,
            variant=None if same else variant,
            flip=(*origin.flip, *more),
            keep=keep,
            chip="other" if origin.other_chip else "same",
        )
