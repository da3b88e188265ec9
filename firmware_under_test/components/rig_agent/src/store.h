/* What outlives a reset: boot count and outcome of the next diagnostics, in NVS, namespace `rig`. */
#pragma once

#include <stdint.h>

#include "esp_err.h"
#include "rig_agent.h"

/** Longest delay of RIG_DIAG_DELAY, s */
#define RIG_DELAY_MAX 3600

/** @brief Open the namespace and count this boot; without NVS everything stays in RAM. The error of nvs_open() */
esp_err_t rig_store_init(void);

/** @brief Set the outcome; `seconds` for RIG_DIAG_DELAY, else 0 */
esp_err_t rig_store_set_diag(rig_diag_t outcome, uint32_t seconds);

/** @brief Outcome by name; RIG_DIAG_NONE for a name that is none */
rig_diag_t rig_store_diag_by_name(const char *name);
