/* Rows of a partition table as they lie in flash. No ESP-IDF, no allocation in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Room for the table in flash, bytes (ESP_PARTITION_TABLE_MAX_LEN) */
#define RIG_TABLE_SIZE 0xc00

/** One row: `esp_partition_info_t`, numbers as the CPU has them */
typedef struct {
    uint8_t type;
    uint8_t subtype;
    uint32_t offset;
    uint32_t size;
    char label[17]; /**< ends in NUL */
    uint32_t flags; /**< bit 0 encrypted, bit 1 readonly */
} rig_table_row_t;

/** @brief Rows in a table: those with the magic number, up to the first without (MD5 row, erased flash) */
size_t rig_table_count(const uint8_t *table, size_t size);

/** @brief Read one row; false behind the last */
bool rig_table_row(const uint8_t *table, size_t size, size_t index, rig_table_row_t *row);
