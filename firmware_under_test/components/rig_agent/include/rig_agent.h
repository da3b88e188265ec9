/*
 * The device's side of the serial contract between bench and app (firmware_under_test/PROTOCOL.md).
 *
 * In an app's own start-up, in this order:
 *   nvs_flash_init(); rig_agent_init(); rig_agent_report_start();
 *   the app's diagnostics; rig_agent_report_diag();
 *   rig_agent_serve();
 *
 * The agent calls esp_ota_* only from its own task, and only while it holds rig_agent_lock(); an update over the
 * network lets go of it while it downloads, for nobody may wait for a server.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"
#include "esp_partition.h"

#ifdef __cplusplus
extern "C" {
#endif

/** How diagnostics end, set by the bench (PROTOCOL.md, section 4) */
typedef enum {
    RIG_DIAG_NONE, /**< nothing set: they pass */
    RIG_DIAG_PASS,
    RIG_DIAG_FAIL,
    RIG_DIAG_HANG,
    RIG_DIAG_PANIC,
    RIG_DIAG_WATCHDOG,
    RIG_DIAG_REBOOT,
    RIG_DIAG_DELAY,
    RIG_DIAG_MANUAL,
} rig_diag_t;

/** How an app may end other than by esp_restart() */
typedef enum {
    RIG_CRASH_PANIC,    /**< store through a null pointer */
    RIG_CRASH_WATCHDOG, /**< never yield, until the task watchdog ends it */
    RIG_CRASH_HANG,     /**< stop for ever; no watchdog ends it */
} rig_crash_t;

/** Room for the name of a slot, `ota_15` */
#define RIG_SLOT_NAME_SIZE 8

/** Room for a state or the name of an error */
#define RIG_STATE_SIZE 40

/**
 * @brief Count this boot, read the outcome that is set, install the UART driver and the shutdown handler
 *
 * NVS should be ready. Without it boots are not counted and outcomes are lost with the next reset.
 *
 * @return ESP_OK; what nvs_open() said, with everything else done; or the error of the UART driver
 */
esp_err_t rig_agent_init(void);

/** @brief Print the event `start` */
void rig_agent_report_start(void);

/**
 * @brief Print the event `diag`
 *
 * @param result `confirmed`, `rejecting`, `rebooting`, `waiting` or `error`
 * @param error ESP_OK for none
 */
void rig_agent_report_diag(rig_diag_t outcome, const char *result, esp_err_t error);

/**
 * @brief Start the task that answers the bench; it prints `ready`
 *
 * @return ESP_OK, or ESP_ERR_NO_MEM
 */
esp_err_t rig_agent_serve(void);

/** @brief Keep the agent from calling esp_ota_* meanwhile; hold it briefly */
void rig_agent_lock(void);

/** @brief Undo rig_agent_lock() */
void rig_agent_unlock(void);

/** @brief Starts of this app so far, this one included; 0 without NVS */
uint32_t rig_agent_boot(void);

/** @brief esp_reset_reason() without ESP_RST_ */
const char *rig_agent_reset_reason(void);

/**
 * @brief The outcome that is set
 *
 * @param[out] seconds for RIG_DIAG_DELAY, else 0; may be NULL
 */
rig_diag_t rig_agent_diag(uint32_t *seconds);

/** @brief Name of an outcome as in the contract; `none` for RIG_DIAG_NONE */
const char *rig_agent_diag_name(rig_diag_t outcome);

/** @brief Forget the outcome, as after an image was confirmed and before one is rejected */
esp_err_t rig_agent_diag_clear(void);

/** @brief Print the event `restart` and call esp_restart() */
void rig_agent_restart(const char *cause) __attribute__((noreturn));

/**
 * @brief Print the event `restart` and call esp_ota_mark_app_invalid_rollback_and_reboot()
 *
 * @return only if that failed: its error
 */
esp_err_t rig_agent_reject(const char *cause);

/** @brief End as asked; does not return */
void rig_agent_crash(rig_crash_t kind) __attribute__((noreturn));

/**
 * @brief Name of a slot as in the contract: by its subtype, whatever its label
 *
 * @param[out] name `factory`, `ota_0` … `ota_15`, `test`; `-` for NULL
 * @return `name`
 */
const char *rig_agent_slot_name(const esp_partition_t *slot, char name[RIG_SLOT_NAME_SIZE]);

/** @brief The first partition that the name of a slot stands for; NULL for none */
const esp_partition_t *rig_agent_slot(const char *name);

/**
 * @brief State of a slot as in the contract
 *
 * @param[out] text `VALID` and so on, or the error name of esp_ota_get_state_partition()
 * @return `text`
 */
const char *rig_agent_slot_state(const esp_partition_t *slot, char text[RIG_STATE_SIZE]);

#ifdef __cplusplus
}
#endif
