/* Whether an app may replace the one that runs, by what their descriptions say (PROTOCOL.md, section 8.1).
 * No ESP-IDF, no allocation in here. */
#pragma once

#include <stdint.h>

/** Size of a project name and of a version in esp_app_desc_t, NUL not always included */
#define RIG_APP_TEXT_SIZE 32

typedef struct {
    char project[RIG_APP_TEXT_SIZE];
    char version[RIG_APP_TEXT_SIZE];
    uint32_t secure_version;
} rig_app_words_t;

typedef enum {
    RIG_HEADER_GOOD,
    RIG_HEADER_OTHER_PROJECT,
    RIG_HEADER_SAME_VERSION,   /**< as the app that runs */
    RIG_HEADER_FAILED_VERSION, /**< as the last one that was rejected or aborted */
    RIG_HEADER_LOW_SECURE_VERSION,
} rig_header_verdict_t;

/**
 * @brief The first reason not to take an app
 *
 * @param failed version of the last invalid slot, RIG_APP_TEXT_SIZE bytes; NULL for none
 * @param lowest secure version in eFuse, 0 without anti-rollback
 */
rig_header_verdict_t rig_header_check(const rig_app_words_t *offered, const rig_app_words_t *running,
                                      const char *failed, uint32_t lowest);
