/* One update from end to end through esp_https_ota (PROTOCOL.md, section 8.1). */
#pragma once

#include "esp_err.h"
#include "esp_partition.h"
#include "rig_agent_command.h"
#include "rig_update_request.h"

/**
 * @brief Download, write and choose an image; nothing is locked while this waits for the server
 *
 * @param slot what esp_ota_get_next_update_partition(NULL) says
 * @return ESP_OK with the size of the image in `call->offset`, or an error with `call->begun`, `offset` and `text`
 */
esp_err_t rig_https_ota(rig_call_t *call, const rig_update_request_t *request, const esp_partition_t *slot);
