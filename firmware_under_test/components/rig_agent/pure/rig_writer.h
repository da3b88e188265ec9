/* Writes lines of the serial contract (PROTOCOL.md, section 2). No ESP-IDF, no allocation in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rig_line.h"

/** A line that is being put together. A line that gets too long is noticed at its end, not written in part. */
typedef struct {
    char text[RIG_LINE_MAX];
    size_t length;
    bool too_long;
} rig_writer_t;

/**
 * @brief Begin a line
 *
 * @param id of the request that is answered, 0 for an event
 * @param word a name: lower case letters, digits, _
 */
void rig_writer_begin(rig_writer_t *writer, uint32_t id, const char *word);

/** @brief Add a field of `size` bytes of text; what is not UTF-8 in it becomes U+FFFD */
void rig_writer_add(rig_writer_t *writer, const char *name, const char *value, size_t size);

/** @brief Add a field of text that ends in NUL */
void rig_writer_text(rig_writer_t *writer, const char *name, const char *value);

/** @brief Add a decimal number */
void rig_writer_number(rig_writer_t *writer, const char *name, uint32_t value);

/** @brief Add a number in hexadecimal with 0x, as offsets and sizes in flash are written */
void rig_writer_hex(rig_writer_t *writer, const char *name, uint32_t value);

/** @brief Add a truth value, 0 or 1 */
void rig_writer_flag(rig_writer_t *writer, const char *name, bool value);

/** @brief Add bytes as pairs of hexadecimal digits in lower case */
void rig_writer_bytes(rig_writer_t *writer, const char *name, const void *data, size_t size);

/**
 * @brief Seal the line with its check-sum and a line feed
 *
 * @return its length in bytes, or 0 if it would be longer than RIG_LINE_MAX: then nothing may be sent
 */
size_t rig_writer_end(rig_writer_t *writer);
