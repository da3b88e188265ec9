/* Cuts what the UART receives into console lines. No ESP-IDF, no allocation in here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "rig_line.h"

/** The console line that is being received. Of a very long one, as binary noise is, only the end is kept. */
typedef struct {
    char text[2 * (RIG_LINE_MAX + 2)];
    size_t length;
} rig_input_t;

/** @brief Forget what was received */
void rig_input_clear(rig_input_t *input);

/**
 * @brief Add one byte
 *
 * @return whether that was the line feed: `text` and `length` are a whole line without it, until the next call
 */
bool rig_input_put(rig_input_t *input, char byte);
