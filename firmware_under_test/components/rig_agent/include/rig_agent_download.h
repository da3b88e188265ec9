/* How far a download came that may be gone on with, in NVS (PROTOCOL.md, section 8.1). */
#pragma once

#include <stdint.h>

#include "esp_err.h"
#include "esp_partition.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @brief Bytes of `url` that lie in `slot`; 0 for another url or slot, and when nothing is kept */
uint32_t rig_download_kept(const char *url, const esp_partition_t *slot);

/**
 * @brief Keep that `size` bytes of `url` lie in `slot`
 *
 * A power cut leaves the earlier record, none, or this one.
 */
esp_err_t rig_download_keep(const char *url, const esp_partition_t *slot, uint32_t size);

/** @brief Keep nothing; no write to flash when nothing was kept */
void rig_download_forget(void);

#ifdef __cplusplus
}
#endif
