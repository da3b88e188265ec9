/* Shared by the files of this component. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"
#include "esp_netif.h"
#include "rig_agent_command.h"

/** @brief `ethernet` or `wifi` */
extern const char *const rig_link_kind;

/**
 * @brief Install the driver and begin to connect; once
 *
 * @param ssid name of the access point, empty for none given; not used by Ethernet
 */
esp_err_t rig_link_start(const char *ssid, const char *password);

/** @brief Whether the link is up */
bool rig_link_is_up(void);

/** @brief The interface; NULL before rig_link_start() */
esp_netif_t *rig_link_netif(void);

/** @brief Name of the power save mode: `none`, `min`, `max`; `-` where there is no such thing */
const char *rig_link_power_save(void);

/** @brief Power save off, for an update; remembers the mode */
void rig_link_stay_awake(void);

/** @brief The mode as it was before rig_link_stay_awake() */
void rig_link_may_sleep(void);

/** @brief Whether the interface has an address */
bool rig_network_has_address(void);

/** @brief Certificates that the host has sent; NULL for none */
const char *rig_ca_pem(void);

esp_err_t rig_command_ca(rig_call_t *call);
esp_err_t rig_command_update_url(rig_call_t *call);
