/* What a private key in PEM is, by its label and algorithm. No ESP-IDF, no allocation in here. */
#pragma once

typedef enum {
    RIG_KEY_OTHER, /**< no private key, or of a kind not known here */
    RIG_KEY_RSA,
    RIG_KEY_EC,
} rig_key_kind_t;

/** @brief Look at the first private key in `pem`, which ends in NUL: PKCS #1, SEC 1 or PKCS #8, not encrypted */
rig_key_kind_t rig_key_kind(const char *pem);
