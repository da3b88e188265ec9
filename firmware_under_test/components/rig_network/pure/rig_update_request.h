/* What `update_url` asks for (PROTOCOL.md, section 8). No ESP-IDF, no allocation in here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "rig_line.h"

/** Longest url, in bytes; an address with all its arguments must fit a line */
#define RIG_URL_MAX 300

typedef struct {
    char url[RIG_URL_MAX + 1];
    char common_name[64];  /**< what the server's certificate must say instead of its host; empty for none */
    uint32_t timeout_s;    /**< 1 to 120 */
    bool check_header;
    uint32_t request_size; /**< bytes of a range request, 0 for all in one */
    bool resume;
    bool keep_power_save;
} rig_update_request_t;

/**
 * @brief Read the arguments
 *
 * @param[out] request with the defaults for what is not given
 * @return NULL, or for a person what is wrong
 */
const char *rig_update_request_read(const rig_line_t *line, rig_update_request_t *request);

/** @brief Whether the url begins with https, in letters of either case */
bool rig_url_is_https(const char *url);
