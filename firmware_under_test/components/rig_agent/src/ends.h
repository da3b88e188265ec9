/* How an app ends: restart, rejection, crash. */
#pragma once

/** @brief Have the event `shutdown` printed last before any esp_restart() */
void rig_ends_init(void);
