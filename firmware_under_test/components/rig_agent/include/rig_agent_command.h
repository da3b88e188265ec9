/* Commands of the agent, and how an app or a component adds its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "rig_line.h"
#include "rig_writer.h"

#ifdef __cplusplus
extern "C" {
#endif

/** One request while it is acted on */
typedef struct {
    const rig_line_t *request;
    rig_writer_t *answer; /**< fields of `ok` go here; not sent when an error is returned */
    char text[120];       /**< for a person, sent with an error unless empty */
    bool begun;           /**< an image was being written: `offset` is sent with an error */
    uint32_t offset;      /**< bytes of it in the slot */
    void (*then)(void);   /**< called once the answer has left the UART, if set */
} rig_call_t;

/** A command and what it does */
typedef struct {
    const char *name;
    esp_err_t (*run)(rig_call_t *call); /**< runs in the agent's task under rig_agent_lock() */
    bool slow;                          /**< erases, or waits: the task watchdog is not fed meanwhile */
} rig_command_t;

/**
 * @brief Add commands; before rig_agent_serve()
 *
 * @param commands kept by the caller; an earlier command of the same name is taken first
 * @return ESP_OK, or ESP_ERR_NO_MEM when too many tables were added
 */
esp_err_t rig_agent_add_commands(const rig_command_t *commands, size_t count);

/** @brief Explain an error to a person, as printf; returns `error` */
esp_err_t rig_call_refuse(rig_call_t *call, esp_err_t error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** @brief Read a numeric argument; ESP_ERR_INVALID_ARG with a text when it is not within `low` to `high` */
esp_err_t rig_call_number(rig_call_t *call, const char *name, uint32_t low, uint32_t high, uint32_t *value);

/** @brief Say `ack offset=` for a request that takes long: that many bytes are written */
void rig_call_progress(const rig_call_t *call, uint32_t offset);

#ifdef __cplusplus
}
#endif
