/* What an app leaves in RTC memory for the bootloader of the next start (PROTOCOL.md, section 9). No ESP-IDF in here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "rig_cut_operation.h"

/** Lies at the start of `custom` of ESP-IDF's rtc_retain_mem_t */
typedef struct {
    uint32_t magic;
    uint32_t program;  /**< 1: page programs are counted, 0: erases */
    uint32_t nth;      /**< from 1 */
    uint32_t delay_us;
    uint32_t start;    /**< of the flash that is meant, in bytes */
    uint32_t end;      /**< first byte behind it */
    uint32_t check;
} rig_cut_record_t;

/** @brief Make a record that rig_cut_record_good() takes */
void rig_cut_record_seal(rig_cut_record_t *record);

/** @brief Whether this is a record, and not what RTC memory holds after power-on */
bool rig_cut_record_good(const rig_cut_record_t *record);

/** @brief Make it none */
void rig_cut_record_clear(rig_cut_record_t *record);

/** @brief Whether an operation of `size` bytes at `address` is one that the record counts */
bool rig_cut_record_names(const rig_cut_record_t *record, bool program, uint32_t address, uint32_t size);
