/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF. No ESP-IDF in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/**
 * @brief Look at the next character of a text
 *
 * @param text at least one byte
 * @param size bytes in `text`
 * @param[out] length bytes of the character, or, if there is none, of the longest beginning of one (at least 1)
 * @return whether a whole, valid character stands there
 */
bool rig_utf8_next(const char *text, size_t size, size_t *length);

/** @brief Whether all of `text` is UTF-8 */
bool rig_utf8_valid(const char *text, size_t size);
