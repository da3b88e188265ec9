/* An eye on the connection of a download. esp_https_ota waits for ever for a server that says nothing, and follows
 * redirections for ever; here the connection is hung up, and esp_https_ota sees one that is lost. */
#pragma once

#include <stdint.h>

#include "esp_err.h"
#include "esp_http_client.h"

/** @brief Begin to watch; the error of esp_timer if it cannot be done */
esp_err_t rig_connection_watch(uint32_t timeout_s);

/** @brief Give this to esp_http_client as its event handler */
esp_err_t rig_connection_event(esp_http_client_event_t *event);

/** @brief The device works and does not listen: silence does not count until rig_connection_listen() */
void rig_connection_pause(void);

/** @brief Silence counts from here on */
void rig_connection_listen(void);

/** @brief HTTP status of the last connection that was closed; 0 or less for none */
int rig_connection_status(void);

/** @brief Watch no longer; ESP_OK, or why the connection was hung up */
esp_err_t rig_connection_leave(void);
