/* Arguments of requests, checked (PROTOCOL.md, section 5). No ESP-IDF, no allocation in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rig_line.h"

/**
 * @brief Read a number: decimal, or hexadecimal with 0x
 *
 * @return false for anything else, and for more than 32 bits
 */
bool rig_number(const char *text, size_t size, uint32_t *value);

/**
 * @brief Read a numeric argument
 *
 * @return false when it is missing, no number, or not within `low` to `high`
 */
bool rig_arg_number(const rig_line_t *line, const char *name, uint32_t low, uint32_t high, uint32_t *value);

/**
 * @brief Read a text argument
 *
 * @param[out] out with NUL at its end; empty when the argument is missing
 * @return false when it has a NUL inside or does not fit `size`
 */
bool rig_arg_text(const rig_line_t *line, const char *name, char *out, size_t size);

/** @brief Whether the argument is there at all */
bool rig_arg_given(const rig_line_t *line, const char *name);

/**
 * @brief Read bytes given as hexadecimal digits
 *
 * @return false when the argument is missing or has not exactly 2 * `size` digits
 */
bool rig_arg_bytes(const rig_line_t *line, const char *name, uint8_t *out, size_t size);

/** @brief Place of `text` in a list that ends with NULL, or -1 */
int rig_choice(const char *text, const char *const *list);
