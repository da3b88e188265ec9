/* The UART that carries log and contract: bytes in from the driver, whole lines out through stdout. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "rig_writer.h"

/** @brief Install the UART driver for input, unless the app has done so */
esp_err_t rig_console_init(void);

/**
 * @brief Read what is there, or wait for the first byte
 *
 * @return bytes read, 0 when none came in `timeout_ms`
 */
size_t rig_console_read(uint8_t *data, size_t size, uint32_t timeout_ms);

/** @brief Seal a line and write it whole; says so in the log when it has become too long. ESP_ERR_INVALID_SIZE then */
esp_err_t rig_console_send(rig_writer_t *line);

/** @brief Wait until everything has left the UART */
void rig_console_drain(void);
