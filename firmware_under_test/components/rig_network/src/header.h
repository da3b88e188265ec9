/* The check of an app's description before it is written (PROTOCOL.md, section 8.1). */
#pragma once

#include "esp_app_desc.h"
#include "rig_agent_command.h"

/** @brief ESP_OK, or why this app is refused, with a text for a person */
esp_err_t rig_header_refuses(rig_call_t *call, const esp_app_desc_t *offered);
