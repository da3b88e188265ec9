"""Whether the same update, done again after the cut, leads to the new app, by the model's `esp_ota_*` and boots."""

from __future__ import annotations

from typing import TypeVar

from rig.crash.chain import Chain, Record, follow
from rig.crash.model import ModelBooter
from rig.idf import ota_ops
from rig.idf.effects import Steps
from rig.idf.memory import FlashImage, complete
from rig.idf.watched import WatchedFlash

T = TypeVar("T")


class Repeater:
    """Repeats an update to `image` with `model`, whose apps confirm. Results are kept by record and running slot."""

    def __init__(self, model: ModelBooter, image: bytes, otadata: int | None) -> None:
        self._model = model
        self._image = image
        self._otadata = otadata
        self._known: dict[tuple[Record, str], bool] = {}

    def repeats(self, flash: FlashImage, chain: Chain) -> bool:
        """Whether the app that runs at the end of `chain` can update to `image`, which then runs for good."""
        running = chain.last.slot
        if running is None or chain.last.end != "runs" or not self._image:
            return True
        key = (chain.record, running)
        if key not in self._known:
            try:
                self._known[key] = self._try(WatchedFlash.of(flash), running)
            except ota_ops.AppEnd:
                self._known[key] = False
        return self._known[key]

    def _try(self, flash: WatchedFlash, running: str) -> bool:
        context = ota_ops.AppContext(flash, self._model.table, self._model.app_config, running)
        state = self._do(ota_ops.esp_ota_get_state_partition(context, running), flash)[1]
        if state == 1:
            # An app that still is on probation may not update; this one waits to be told to confirm.
            self._do(ota_ops.esp_ota_mark_app_valid_cancel_rollback(context), flash)
        target = ota_ops.esp_ota_get_next_update_partition(context)
        error, handle = self._do(ota_ops.esp_ota_begin(context, target, len(self._image)), flash)
        if error != "ESP_OK" or handle is None or target is None:
            return False
        steps = (
            ota_ops.esp_ota_write(context, handle, self._image),
            ota_ops.esp_ota_end(context, handle),
            ota_ops.esp_ota_set_boot_partition(context, target),
        )
        if any(self._do(step, flash) != "ESP_OK" for step in steps):
            return False
        confirming = ModelBooter(self._model.config, self._model.app_config.idf_version, self._model.table, "pass")
        chain = follow(confirming, flash, self._otadata).chain
        return chain.settled and (chain.last.slot, chain.last.end) == (target, "runs")

    def _do(self, steps: Steps[T], flash: WatchedFlash) -> T:
        return complete(steps, flash)[0]
