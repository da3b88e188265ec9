/* SHA-256 (FIPS 180-4). Own code, so that the base build needs no crypto library, whose interface changed with
 * ESP-IDF v6.0. No ESP-IDF, no allocation in here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define RIG_SHA256_SIZE 32

/** A digest in the making */
typedef struct {
    uint32_t state[8];
    uint64_t total; /**< bytes so far */
    uint8_t block[64];
} rig_sha256_t;

/** @brief Begin */
void rig_sha256_init(rig_sha256_t *sha);

/** @brief Add bytes */
void rig_sha256_update(rig_sha256_t *sha, const void *data, size_t size);

/** @brief End and give the digest */
void rig_sha256_finish(rig_sha256_t *sha, uint8_t digest[RIG_SHA256_SIZE]);
