/* Slots by the names of the contract, and otadata and partition table as they lie in flash. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "esp_err.h"
#include "esp_partition.h"
#include "rig_agent.h"
#include "rig_table.h"
#include "rig_writer.h"

/** Bytes of one select entry */
#define RIG_ENTRY_SIZE 32

/** @brief Add a field with the name of a slot, `-` for NULL */
void rig_slot_add(rig_writer_t *line, const char *field, const esp_partition_t *slot);

/** @brief Name of an error as the contract wants it: ESP_ERR_…, or a number in hexadecimal where ESP-IDF has none */
const char *rig_error_name(esp_err_t error, char text[RIG_STATE_SIZE]);

/** @brief The otadata partition, NULL without one */
const esp_partition_t *rig_otadata(void);

/** @brief Add `entry0` and `entry1`, read from flash now; nothing is added when that is not possible */
esp_err_t rig_otadata_add(rig_writer_t *line);

/** @brief The partition table in flash; `table` has RIG_TABLE_SIZE bytes, in clear text where flash is encrypted */
esp_err_t rig_table_read(uint8_t *table);
