/* Updates over HTTP and HTTPS for the agent (PROTOCOL.md, section 8). */
#pragma once

#include "esp_err.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @brief Add the commands `net`, `ca` and `update_url` to the agent; before rig_agent_serve() */
esp_err_t rig_network_add_commands(void);

#ifdef __cplusplus
}
#endif
